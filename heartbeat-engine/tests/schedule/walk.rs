//! Occurrences equal a walk over every minute of the local clock, across clock changes (S2.2 to S2.4).

use std::time::Duration;

use crate::oracle::{DAY_S, PlainCron, Walk, cases, expression, naive, near_a_change};
use heartbeat_engine::{Grace, LocalTime, Schedule, ScheduleError, Timestamp, Weekdays, Zone};
use proptest::prelude::*;

/// The occurrences after `from` up to `until`, in seconds; each must be later than the one before.
fn occurrences(schedule: &Schedule, from: i64, until: i64) -> Vec<i64> {
    let mut found = vec![];
    let mut last = Timestamp::from_secs(from);
    loop {
        let next = schedule.next_after(last);
        assert!(next > last, "{next} is not after {last}");
        if next > Timestamp::from_secs(until) {
            return found;
        }
        assert_eq!(schedule.next_after(Timestamp::from_millis(next.as_millis() - 1)), next);
        found.push(next.as_secs());
        last = next;
    }
}

/// The first place at which the lists differ.
fn difference(found: &[i64], expected: &[i64]) -> Option<String> {
    let show = |at: Option<&i64>| at.map_or("nothing".to_owned(), |at| Timestamp::from_secs(*at).to_string());
    let at = (0..found.len().max(expected.len())).find(|n| found.get(*n) != expected.get(*n))?;
    Some(format!("found {}, the walk has {}", show(found.get(at)), show(expected.get(at))))
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn cron_equals_a_walk_over_local_minutes((zone, from) in near_a_change(), expression in expression()) {
        let schedule = match Schedule::cron(&expression, Zone::named(zone.name())?) {
            Ok(schedule) => schedule,
            Err(error) => {
                prop_assert!(error.to_string().contains("never fires"), "{expression}: {error}");
                return Ok(());
            }
        };
        let walk = Walk::around(zone, from);
        let plain = PlainCron::read(&expression);
        let expected = match plain.fixed {
            true => walk.fixed(0, |local| plain.matches(local)),
            false => walk.shown(|local| plain.matches(local)),
        };
        let found = occurrences(&schedule, walk.from, walk.until);
        prop_assert_eq!(difference(&found, &expected), None, "{} in {}", expression, zone);
    }

    #[test]
    fn at_equals_a_walk_over_local_minutes(
        (zone, from) in near_a_change(),
        clocks in prop::collection::btree_set((0..48u32, 0..60u32, prop_oneof![Just(0u32), 0..60u32]), 1..5),
        days in 1..128u32,
    ) {
        // Every second time lies in the hours in which clocks are changed.
        let clocks = clocks.into_iter().map(|(hour, minute, second)| (if hour < 24 { hour } else { hour % 4 }, minute, second));
        let times: Vec<LocalTime> = clocks.filter_map(|(hour, minute, second)| LocalTime::new(hour, minute, second)).collect();
        let names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
        let allowed = Weekdays::from_names((0..7).filter(|day| days >> day & 1 != 0).map(|day| names[day]))?;
        let schedule = Schedule::at(&times, allowed, Zone::named(zone.name())?)?;
        let walk = Walk::around(zone, from);
        let mut expected: Vec<i64> = times.iter().flat_map(|time| {
            walk.fixed(i64::from(time.second()), |local| {
                use chrono::{Datelike, Timelike};
                let local = naive(local);
                (local.hour(), local.minute()) == (time.hour(), time.minute())
                    && days >> local.weekday().num_days_from_monday() & 1 != 0
            })
        }).collect();
        expected.sort_unstable();
        expected.dedup();
        let found = occurrences(&schedule, walk.from, walk.until);
        prop_assert_eq!(difference(&found, &expected), None, "{} in {}", schedule.describe(), zone);
    }

    #[test]
    fn the_end_of_a_day_is_the_next_local_date((zone, from) in near_a_change()) {
        let schedule = Schedule::cron("* * * * *", Zone::named(zone.name())?)?;
        let minute = from.div_euclid(60) * 60;
        let date = |at: i64| (at + crate::oracle::offset_s(zone, at)).div_euclid(DAY_S);
        let expected = (1..).map(|n| minute + n * 60).find(|at| date(*at) > date(minute)).unwrap_or_default();
        let found = schedule.deadline(Timestamp::from_secs(minute), Grace::EndOfDay);
        prop_assert_eq!(found, Timestamp::from_secs(expected));
    }

    #[test]
    fn a_later_heartbeat_never_awaits_an_earlier_occurrence(
        (zone, from) in near_a_change(),
        expression in expression(),
        early_s in 0..200_000u64,
        later_ms in prop_oneof![0..1000u64, 0..10_000_000u64, 0..300_000_000u64],
    ) {
        let early = Duration::from_secs(early_s);
        let Ok(schedule) = Schedule::cron(&expression, Zone::named(zone.name())?) else { return Ok(()) };
        let first = Timestamp::from_secs(from);
        let second = first + Duration::from_millis(later_ms);
        let (one, other) = (schedule.awaited_after(first, early), schedule.awaited_after(second, early));
        prop_assert!(first < one && one <= other);
        // What is awaited is the first not covered: all that lie between do so within `early`.
        let covered = std::iter::successors(Some(schedule.next_after(first)), |at| Some(schedule.next_after(*at)));
        let last = covered.take_while(|at| *at < one).last();
        prop_assert!(one > first + early && last.is_none_or(|last| last <= first + early));
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn the_smallest_gap_is_that_of_five_years_of_occurrences(
        minute in prop::collection::btree_set(0..60u32, 1..3),
        hour in prop::collection::btree_set(0..24u32, 1..3),
        days in expression(),
        start in 0..20_000i64,
    ) {
        let list = |values: &std::collections::BTreeSet<u32>| {
            values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        let days: Vec<_> = days.split(' ').skip(2).collect();
        let expression = format!("{} {} {}", list(&minute), list(&hour), days.join(" "));
        let Ok(schedule) = Schedule::cron(&expression, Zone::utc()) else { return Ok(()) };
        let occurrences = occurrences(&schedule, start * DAY_S - 1, (start + 5 * 366 + 1) * DAY_S - 1);
        let smallest = occurrences.windows(2).map(|two| two[1] - two[0]).min();
        let limit = Duration::from_secs(366 * 86_400);
        let errors = schedule.check(Grace::EndOfDay, limit, Timestamp::from_secs(start * DAY_S)).err().unwrap_or_default();
        let [ScheduleError::EarlyTooLong { gap, .. }] = errors[..] else {
            // Two dates at least a year apart.
            prop_assert!(smallest.is_some_and(|gap| gap > 366 * DAY_S), "{}", expression);
            return Ok(());
        };
        let expected = smallest.map_or(limit, |gap| Duration::from_secs(gap.unsigned_abs()));
        prop_assert_eq!(gap, expected, "{}", expression);
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn the_next_occurrence_is_the_same_from_wherever_before_it(
        (zone, change) in near_a_change(),
        expression in expression(),
        day in 1..32u32,
        month in 1..13u32,
        years in 0..12i64,
        back_s in 1..4 * DAY_S,
    ) {
        // One day of the year, so that many clock changes lie between.
        let fields: Vec<_> = expression.split(' ').collect();
        for weekday in ["*", "*/6"] {
            let rare = format!("{} {} {day} {month} {weekday}", fields[0], fields[1]);
            let Ok(schedule) = Schedule::cron(&rare, Zone::named(zone.name())?) else { return Ok(()) };
            let from = Timestamp::from_secs(change - years * 366 * DAY_S);
            let next = schedule.next_after(from);
            let nearer = from.max(next - Duration::from_secs(back_s.unsigned_abs()));
            prop_assert!(next > from);
            prop_assert_eq!(schedule.next_after(nearer), next, "{} in {} after {}", rare, zone, from);
        }
    }
}
