//! The rules of schedules, graces and `early` by their smallest cases.

use std::time::Duration;

use heartbeat_engine::{Grace, LocalTime, Schedule, ScheduleError, ScheduleSpec, Timestamp, Weekdays, Zone};
use serde_json::json;

const NONE: Duration = Duration::ZERO;

fn minutes(minutes: u64) -> Duration {
    Duration::from_secs(minutes * 60)
}

fn at(times: &[&str], days: &str, zone: &str) -> Schedule {
    let times: Vec<LocalTime> = times.iter().map(|time| time.parse().unwrap()).collect();
    let days = if days.is_empty() { Weekdays::EVERY_DAY } else { days.parse().unwrap() };
    Schedule::at(&times, days, Zone::named(zone).unwrap()).unwrap()
}

fn cron(expression: &str, zone: &str) -> Schedule {
    Schedule::cron(expression, Zone::named(zone).unwrap()).unwrap()
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn following(schedule: &Schedule, from: &str, count: usize) -> Vec<String> {
    let preview = schedule.preview(schedule.default_grace(), NONE, time(from), count);
    preview.iter().map(|occurrence| occurrence.at.to_string()).collect()
}

fn refusals(schedule: &Schedule, grace: Grace, early: Duration) -> Vec<(&'static str, String)> {
    let found = schedule.check(grace, early, time("2026-11-20T08:05:00Z"));
    found.err().unwrap_or_default().iter().map(|error| (error.field(), error.to_string())).collect()
}

#[test]
fn s2_1_every_follows_the_heartbeat_at_multiples_of_the_period() {
    let schedule = Schedule::every(minutes(120)).unwrap();
    assert_eq!(
        following(&schedule, "2026-11-20T08:05:00.250Z", 2),
        ["2026-11-20T10:05:00.250Z", "2026-11-20T12:05:00.250Z"]
    );
    let due = schedule.awaited_after(time("2026-11-20T08:00:00Z"), NONE);
    assert_eq!(schedule.deadline(due, Grace::Fixed(minutes(5))), time("2026-11-20T10:05:00Z"));
    assert_eq!(schedule.period(), Some(minutes(120)));
    assert_eq!(schedule.zone(), None);
}

#[test]
fn s2_1_periods_from_a_second_to_366_days() {
    for period in [1_000, 1_001, 366 * 86_400_000] {
        assert!(Schedule::every(Duration::from_millis(period)).is_ok());
    }
    for period in
        [Duration::ZERO, Duration::from_millis(999), Duration::from_millis(366 * 86_400_000 + 1), Duration::MAX]
    {
        let error = Schedule::every(period).unwrap_err();
        assert_eq!(error, ScheduleError::PeriodOutOfRange { period });
        assert_eq!(error.field(), "schedule.every");
        assert!(error.to_string().ends_with("must be from 1 s to 366 d"), "{error}");
    }
    let error = Schedule::every(Duration::from_micros(1_500_500)).unwrap_err();
    assert_eq!(error.to_string(), "the period 1.5005s must be a whole number of milliseconds");
}

#[test]
fn s2_2_the_day_is_the_local_date_of_the_configured_time() {
    let schedule = at(&["16:05"], "", "Asia/Shanghai");
    assert_eq!(following(&schedule, "2026-11-20T08:05:00Z", 2), ["2026-11-21T08:05:00Z", "2026-11-22T08:05:00Z"]);
    // Monday 00:30 in Auckland is Sunday in London.
    assert_eq!(
        following(&at(&["00:30"], "mon", "Pacific/Auckland"), "2026-07-01T00:00:00Z", 1),
        ["2026-07-05T12:30:00Z"]
    );
    assert_eq!(
        following(&at(&["23:59:59", "00:00:01", "23:59:59"], "sat,sun", "UTC"), "2026-11-20T00:00:00Z", 3),
        ["2026-11-21T00:00:01Z", "2026-11-21T23:59:59Z", "2026-11-22T00:00:01Z"]
    );
}

#[test]
fn s2_4_a_skipped_time_happens_after_the_gap() {
    assert_eq!(
        following(&at(&["02:30"], "", "Europe/Berlin"), "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    assert_eq!(
        following(&cron("0,30 2 * * *", "Europe/Berlin"), "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"]
    );
    // A whole day is missing: 30 December 2011 in Apia.
    assert_eq!(
        following(&at(&["09:00"], "", "Pacific/Apia"), "2011-12-29T00:00:00Z", 3),
        ["2011-12-29T19:00:00Z", "2011-12-30T10:00:00Z", "2011-12-30T19:00:00Z"]
    );
    assert_eq!(following(&cron("0 9 30 12 *", "Pacific/Apia"), "2011-12-01T00:00:00Z", 1), ["2011-12-30T10:00:00Z"]);
}

#[test]
fn s2_4_a_repeated_time_happens_once_the_first_time() {
    for schedule in [at(&["02:30"], "", "Europe/Berlin"), cron("30 2 * * *", "Europe/Berlin")] {
        assert_eq!(following(&schedule, "2026-10-24T12:00:00Z", 2), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        // Also from between the two, and from within the second.
        for from in ["2026-10-25T00:30:00Z", "2026-10-25T01:10:00Z", "2026-10-25T01:30:00Z"] {
            assert_eq!(following(&schedule, from, 1), ["2026-10-26T01:30:00Z"]);
        }
    }
    // Also before 1970.
    assert_eq!(following(&at(&["01:30"], "", "America/New_York"), "1969-10-26T06:10:00Z", 1), ["1969-10-27T06:30:00Z"]);
}

#[test]
fn s2_4_the_time_at_which_the_clock_is_put_back_is_not_repeated() {
    for schedule in [at(&["03:00"], "", "Europe/Berlin"), cron("0 3 * * *", "Europe/Berlin")] {
        for from in ["2026-10-25T00:30:00Z", "2026-10-25T01:10:00Z"] {
            assert_eq!(following(&schedule, from, 2), ["2026-10-25T02:00:00Z", "2026-10-26T02:00:00Z"]);
        }
    }
}

#[test]
fn s2_4_a_star_in_minute_or_hour_follows_the_instants() {
    assert_eq!(
        following(&cron("*/30 2 * * *", "Europe/Berlin"), "2026-10-24T12:00:00Z", 5),
        [
            "2026-10-25T00:00:00Z",
            "2026-10-25T00:30:00Z",
            "2026-10-25T01:00:00Z",
            "2026-10-25T01:30:00Z",
            "2026-10-26T01:00:00Z"
        ]
    );
    assert_eq!(following(&cron("*/30 2 * * *", "Europe/Berlin"), "2026-03-28T12:00:00Z", 1), ["2026-03-30T00:00:00Z"]);
    // Also where the next time on the clock is a year away.
    assert_eq!(
        following(&cron("*/30 2 25 10 *", "Europe/Berlin"), "2026-10-25T00:30:00Z", 3),
        ["2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2027-10-25T00:00:00Z"]
    );
    assert_eq!(
        following(&cron("15 * * * *", "Australia/Lord_Howe"), "2026-04-04T13:00:00Z", 4),
        ["2026-04-04T13:15:00Z", "2026-04-04T14:15:00Z", "2026-04-04T15:45:00Z", "2026-04-04T16:45:00Z"]
    );
}

#[test]
fn s2_4_no_run_is_invented_before_a_gap() {
    assert_eq!(
        following(&cron("0 0 * * *", "Europe/London"), "2027-03-27T12:00:00Z", 2),
        ["2027-03-28T00:00:00Z", "2027-03-28T23:00:00Z"]
    );
}

#[test]
fn s2_5_a_heartbeat_covers_what_is_past_and_what_is_early_enough() {
    let schedule = at(&["10:00"], "", "UTC");
    let early = minutes(10);
    for (heartbeat, awaited) in [
        ("2026-11-20T09:49:59.999Z", "2026-11-20T10:00:00Z"),
        ("2026-11-20T09:50:00Z", "2026-11-21T10:00:00Z"),
        ("2026-11-20T10:00:00Z", "2026-11-21T10:00:00Z"),
        ("2026-11-21T09:55:00Z", "2026-11-22T10:00:00Z"),
    ] {
        assert_eq!(schedule.awaited_after(time(heartbeat), early), time(awaited), "{heartbeat}");
    }
    assert_eq!(schedule.awaited_after(time("2026-11-20T09:59:59Z"), NONE), time("2026-11-20T10:00:00Z"));
}

#[test]
fn s2_5_early_is_shorter_than_the_smallest_gap() {
    for (schedule, gap) in [
        (at(&["02:30", "03:05"], "", "Europe/Berlin"), 35),
        (at(&["23:50", "00:10"], "", "UTC"), 20),
        (at(&["23:50", "00:10"], "mon,wed", "UTC"), 1420),
        (at(&["23:50", "00:10"], "sat,sun", "UTC"), 20),
        (at(&["12:00"], "mon", "UTC"), 7 * 1440),
        (at(&["12:00"], "mon,sat", "UTC"), 2 * 1440),
        (cron("*/5 * * * *", "UTC"), 5),
        (cron("*/7 * * * *", "UTC"), 4),
        (cron("0,50 9-17 * * *", "UTC"), 10),
        (cron("50 23 * * *", "UTC"), 1440),
        (cron("10 0,23 * * *", "UTC"), 60),
        (cron("0 9 1,15 * *", "UTC"), 14 * 1440),
        (cron("0 9 31 * *", "UTC"), 31 * 1440),
        (cron("0 9 L * *", "UTC"), 28 * 1440),
        (cron("0 9 1 * MON", "UTC"), 1440),
        (cron("0 0 29 2,3 *", "UTC"), 29 * 1440),
    ] {
        let grace = Grace::Fixed(minutes(1));
        assert_eq!(refusals(&schedule, grace, minutes(gap) - Duration::from_millis(1)), [], "{}", schedule.describe());
        let [(field, message)] = &refusals(&schedule, grace, minutes(gap))[..] else {
            panic!("{}", schedule.describe())
        };
        assert_eq!(*field, "early");
        assert!(message.contains("smallest gap"), "{message}");
    }
    // One occurrence in five years has no gap; a length of a year is still the limit.
    let leap_day = cron("0 0 29 2 *", "UTC");
    assert_eq!(refusals(&leap_day, Grace::Fixed(NONE), minutes(300 * 1440)), []);
    assert_eq!(refusals(&leap_day, Grace::Fixed(NONE), minutes(400 * 1440)).len(), 1);
}

#[test]
fn s2_5_the_gaps_of_the_days_up_to_five_leap_years_later_count() {
    // The only short gap for years is the last: 2100 has no leap day.
    for (expression, zone, first_day_of_five_years, last_gap, without_it) in [
        ("0 0 28,29 2 *", "UTC", "2099-02-24T12:00:00Z", 1, 365),
        // A Friday and the Sunday with which the next month begins.
        ("0 0 1,30 3,4 */5", "UTC", "2024-03-28T12:00:00Z", 2, 334),
        // It is the 24th there.
        ("0 0 28,29 2 *", "Pacific/Kiritimati", "2099-02-23T12:00:00Z", 1, 365),
    ] {
        let schedule = cron(expression, zone);
        let gap = |now: Timestamp| match schedule.check(Grace::Fixed(NONE), minutes(366 * 1440), now) {
            Err(errors) => match errors[..] {
                [ScheduleError::EarlyTooLong { gap, .. }] => gap,
                _ => panic!("{errors:?}"),
            },
            Ok(()) => panic!("{expression} has a gap"),
        };
        let now = time(first_day_of_five_years);
        assert_eq!(gap(now), minutes(last_gap * 1440), "{expression}");
        assert_eq!(gap(now - minutes(1440)), minutes(without_it * 1440), "{expression}");
    }
}

#[test]
fn case_21_one_report_covers_two_times_that_a_clock_change_brings_together() {
    let schedule = at(&["02:30", "03:05"], "", "Europe/Berlin");
    let (grace, early) = (Grace::Fixed(minutes(30)), minutes(10));
    assert_eq!(refusals(&schedule, grace, early), []);
    assert_eq!(following(&schedule, "2026-03-28T12:00:00Z", 2), ["2026-03-29T01:00:00Z", "2026-03-29T01:05:00Z"]);
    assert_eq!(schedule.awaited_after(time("2026-03-29T01:00:30Z"), early), time("2026-03-30T00:30:00Z"));
}

#[test]
fn case_22_the_end_of_the_day_is_that_of_the_instant() {
    let schedule = at(&["23:30"], "", "America/Nuuk");
    let [occurrence] = schedule.preview(Grace::EndOfDay, NONE, time("2026-03-28T12:00:00Z"), 1)[..] else { panic!() };
    assert_eq!(occurrence.at, time("2026-03-29T01:00:00Z"));
    assert_eq!(occurrence.deadline, time("2026-03-30T01:00:00Z"));
}

#[test]
fn s2_6_end_of_day_across_clock_changes() {
    // Midnight is skipped in Havana, 30 December in Apia; St. John's passes midnight twice.
    for (zone, from, deadline) in [
        ("Asia/Shanghai", "2026-11-20T08:05:00Z", "2026-11-20T16:00:00Z"),
        ("America/Havana", "2024-03-09T17:00:00Z", "2024-03-10T05:00:00Z"),
        ("Pacific/Apia", "2011-12-29T20:00:00Z", "2011-12-30T10:00:00Z"),
        ("America/St_Johns", "2006-10-29T02:00:00Z", "2006-10-29T02:30:00Z"),
        ("America/St_Johns", "2006-10-29T02:45:00Z", "2006-10-29T03:30:00Z"),
    ] {
        let schedule = cron("* * * * *", zone);
        assert_eq!(schedule.deadline(time(from), Grace::EndOfDay), time(deadline), "{zone} {from}");
    }
}

#[test]
fn s2_6_default_graces() {
    let every = |secs| Schedule::every(Duration::from_secs(secs)).unwrap().default_grace();
    assert_eq!(every(60), Grace::Fixed(minutes(1)));
    assert_eq!(every(3600), Grace::Fixed(minutes(12)));
    assert_eq!(every(86_400), Grace::Fixed(minutes(60)));
    assert_eq!(at(&["10:00"], "", "UTC").default_grace(), Grace::Fixed(minutes(60)));
    assert_eq!(cron("* * * * *", "UTC").default_grace(), Grace::Fixed(minutes(60)));
    assert_eq!(Grace::EndOfDay.length(), minutes(60));
}

#[test]
fn everything_wrong_is_told_at_once() {
    let every = Schedule::every(minutes(10)).unwrap();
    assert_eq!(
        refusals(&every, Grace::EndOfDay, minutes(1)),
        [
            ("grace", "`end_of_day` needs a time of day: use it with `at` or `cron`, or give a duration".to_owned()),
            ("early", "`early` needs fixed times: use it with `at` or `cron`, or leave it out".to_owned())
        ]
    );
    assert_eq!(
        refusals(&at(&["10:00"], "", "UTC"), Grace::Fixed(minutes(367 * 1440)), Duration::from_nanos(1)),
        [
            ("grace", "the grace 367 d must be at most 366 d".to_owned()),
            ("early", "early 1ns must be a whole number of milliseconds".to_owned())
        ]
    );
    assert_eq!(refusals(&every, Grace::Fixed(Duration::from_micros(1)), NONE)[0].0, "grace");
    assert_eq!(refusals(&every, Grace::Fixed(minutes(366 * 1440)), NONE), []);
}

// chrono-tz knows no clock changes after 2099, so there the expression fires in 2100.
#[cfg(feature = "zoneinfo")]
#[test]
fn s2_7_what_clock_changes_always_skip_is_refused() {
    let schedule = cron("*/5 0 * 4 5L", "Africa/Cairo");
    assert_eq!(schedule.next_after(time("2026-11-20T08:05:00Z")), Timestamp::MAX);
    let [(field, message)] = &refusals(&schedule, Grace::EndOfDay, NONE)[..] else { panic!() };
    assert_eq!(*field, "schedule.cron");
    assert!(message.contains("never fires"), "{message}");
    assert_eq!(schedule.preview(Grace::EndOfDay, NONE, time("2026-11-20T08:05:00Z"), 5), []);
}

#[cfg(feature = "testing")]
#[test]
fn s2_7_the_work_is_counted_and_bounded() {
    let steps = |schedule: &Schedule| {
        let before = heartbeat_engine::testing::schedule_steps();
        let next = schedule.next_after(time("2026-11-20T08:05:00Z"));
        (next, heartbeat_engine::testing::schedule_steps() - before)
    };
    // 63 months away.
    for expression in ["0 9 29 2 */8", "*/5 9 29 2 */8"] {
        let (next, taken) = steps(&cron(expression, "Europe/Berlin"));
        assert_eq!(next, time("2032-02-29T08:00:00Z"));
        assert!((63..200).contains(&taken), "{expression}: {taken}");
    }
    // Nothing is looked for beyond the 400 years after which all repeats.
    let (next, taken) = steps(&cron("*/5 0 * 4 5L", "Africa/Cairo"));
    assert!(next == Timestamp::MAX || cfg!(not(feature = "zoneinfo")));
    assert!(taken < 10_000, "{taken}");
}

#[test]
fn the_ends_of_time() {
    let cases = [at(&["00:00"], "", "Europe/Berlin"), cron("0 0 * * *", "UTC"), cron("* * * * *", "America/New_York")];
    for schedule in &cases {
        assert_eq!(schedule.next_after(Timestamp::MAX), Timestamp::MAX);
        assert_eq!(schedule.awaited_after(Timestamp::MAX, Duration::MAX), Timestamp::MAX);
        assert_eq!(schedule.deadline(Timestamp::MAX, Grace::EndOfDay), Timestamp::MAX);
        assert!(schedule.next_after(Timestamp::MIN) > Timestamp::MIN);
        assert!(schedule.next_after(time("9998-12-31T00:00:00Z")) < time("9999-01-02T00:00:00Z"));
        assert_eq!(schedule.next_after(time("9999-12-31T23:59:59Z")), Timestamp::MAX);
        assert!(schedule.check(Grace::EndOfDay, NONE, Timestamp::MIN).is_ok());
    }
}

#[cfg(feature = "zoneinfo")]
#[test]
fn clock_changes_go_on_after_2100() {
    let schedule = at(&["01:30"], "", "Europe/London");
    assert_eq!(following(&schedule, "2399-06-15T00:00:00Z", 1), ["2399-06-15T00:30:00Z"]);
    assert_eq!(following(&schedule, "2400-03-25T12:00:00Z", 2), ["2400-03-26T01:00:00Z", "2400-03-27T00:30:00Z"]);
    let shown = cron("*/30 1 * * *", "Europe/London");
    assert_eq!(
        following(&shown, "2400-10-29T00:00:00Z", 3),
        ["2400-10-29T00:30:00Z", "2400-10-29T01:00:00Z", "2400-10-29T01:30:00Z"]
    );
}

#[test]
fn schedules_differ_by_expression_and_by_zone() {
    let daily = cron("0 9 * * *", "UTC");
    assert_eq!(daily, cron(" 0  9 * * *", "UTC"));
    assert_ne!(daily, cron("0 10 * * *", "UTC"));
    assert_ne!(daily, cron("0 9 * * *", "Europe/Berlin"));
}

#[test]
fn descriptions() {
    for (schedule, text) in [
        (Schedule::every(minutes(120)).unwrap(), "every 2 h"),
        (at(&["16:05"], "", "Asia/Shanghai"), "every day at 16:05, Asia/Shanghai"),
        (at(&["09:00"], "mon,tue,wed,thu,fri", "UTC"), "mon to fri at 09:00, UTC"),
        (at(&["17:00", "09:00:30", "12:00"], "sun,wed", "UTC"), "wed and sun at 09:00:30, 12:00 and 17:00, UTC"),
        (cron(" */5  * * * * ", "UTC"), "cron `*/5 * * * *`, UTC"),
    ] {
        assert_eq!(schedule.describe(), text);
    }
    let hourly: Vec<_> = (0..24).map(|hour| format!("{hour:02}:00")).collect();
    let hourly: Vec<_> = hourly.iter().map(String::as_str).collect();
    assert_eq!(at(&hourly, "", "UTC").describe(), "every day at 24 times from 00:00 to 23:00, UTC");
    assert_eq!(at(&hourly[..9], "", "UTC").describe(), "every day at 9 times from 00:00 to 08:00, UTC");
    assert_eq!(
        at(&hourly[..8], "", "UTC").describe(),
        "every day at 00:00, 01:00, 02:00, 03:00, 04:00, 05:00, 06:00 and 07:00, UTC"
    );
}

#[test]
fn written_and_read_back() {
    for (schedule, text) in [
        (Schedule::every(minutes(1)).unwrap(), json!({"every": 60_000})),
        (at(&["16:05"], "", "Asia/Shanghai"), json!({"at": ["16:05"], "timezone": "Asia/Shanghai"})),
        (
            at(&["16:05:30", "02:00"], "sun,mon", "UTC"),
            json!({"at": ["02:00", "16:05:30"], "days": ["mon", "sun"], "timezone": "UTC"}),
        ),
        (cron("@daily", "Europe/Berlin"), json!({"cron": "@daily", "timezone": "Europe/Berlin"})),
    ] {
        assert_eq!(serde_json::to_value(&schedule).unwrap(), text);
        assert_eq!(serde_json::from_value::<Schedule>(text).unwrap(), schedule);
    }
    for (grace, text) in [(Grace::Fixed(minutes(1)), json!(60_000)), (Grace::EndOfDay, json!("end_of_day"))] {
        assert_eq!(serde_json::to_value(grace).unwrap(), text);
        assert_eq!(serde_json::from_value::<Grace>(text).unwrap(), grace);
    }
    for wrong in [json!(-1), json!("5m"), json!(1.5), json!(null), json!({})] {
        let message = serde_json::from_value::<Grace>(wrong).unwrap_err().to_string();
        assert!(message.ends_with("expected a number of milliseconds or \"end_of_day\""), "{message}");
    }
    for grace in ["5m", "1d12h", "end_of_day"] {
        assert_eq!(grace.parse::<Grace>().unwrap().to_string(), grace);
    }
    assert_eq!(
        "soon".parse::<Grace>().unwrap_err().to_string(),
        "`soon` is not a grace; write a duration such as 5m, or end_of_day"
    );
}

#[test]
fn specs_that_are_refused_name_the_field() {
    for (spec, field, part) in [
        (json!({}), "schedule", "has 0"),
        (json!({"every": 60_000, "cron": "* * * * *"}), "schedule", "has 2"),
        (json!({"at": ["10:00"], "cron": "* * * * *"}), "schedule", "has 2"),
        (json!({"every": 60_000, "at": ["10:00"], "cron": "* * * * *"}), "schedule", "has 3"),
        (json!({"every": 999}), "schedule.every", "from 1 s to 366 d"),
        (json!({"every": 60_000, "timezone": "UTC"}), "schedule.timezone", "does not go with `every`"),
        (json!({"cron": "* * * * *", "days": ["mon"], "timezone": "UTC"}), "schedule.days", "does not go with `cron`"),
        (json!({"at": [], "timezone": "UTC"}), "schedule.at", "at least one"),
        (json!({"at": ["25:00"], "timezone": "UTC"}), "schedule.at", "`25:00`"),
        (json!({"at": vec!["10:00"; 1441], "timezone": "UTC"}), "schedule.at", "1441 times"),
        (json!({"at": ["10:00"], "days": [], "timezone": "UTC"}), "schedule.days", "at least one|name at least one"),
        (json!({"at": ["10:00"], "days": ["someday"], "timezone": "UTC"}), "schedule.days", "`someday`"),
        (json!({"at": ["10:00"]}), "schedule.timezone", "needs a time zone"),
        (json!({"at": ["10:00"], "timezone": "Berlin"}), "schedule.timezone", "`Berlin`"),
        (json!({"cron": "* * * *", "timezone": "UTC"}), "schedule.cron", "4 fields"),
    ] {
        let error = Schedule::try_from(serde_json::from_value::<ScheduleSpec>(spec.clone()).unwrap()).unwrap_err();
        assert_eq!(error.field(), field, "{spec}");
        assert!(part.split('|').any(|part| error.to_string().contains(part)), "{error}");
        let message = serde_json::from_value::<Schedule>(spec).unwrap_err().to_string();
        assert!(message.contains(&error.to_string()), "{message}");
    }
    for unread in [json!({"every": "2h"}), json!({"every": -1}), json!({"hourly": true}), json!("every day")] {
        assert!(serde_json::from_value::<Schedule>(unread).is_err());
    }
}
