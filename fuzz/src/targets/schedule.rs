//! Schedules. An input is up to five lines: a cron expression or a schedule as JSON; the time zone of the expression;
//! the grace; `early`; the time to start from.
//!
//! ```text
//! */5 9-17 * * MON-FRI
//! Europe/Berlin
//! end_of_day
//! 10m
//! 2026-03-28T23:00:00Z
//! ```

use std::time::Duration;

use heartbeat_engine::schedule::{Grace, Schedule, ScheduleError, ScheduleSpec, Zone};
use heartbeat_engine::testing::schedule_steps;
use heartbeat_engine::{Timestamp, parse_duration};

use super::{assert_line, lines};

/// Steps of one calculation: a month, a day or a stretch with one offset is a step. A rule like "29 February when it is a
/// Monday" goes over 40 years.
const NEXT_STEPS_MAX: u64 = 1_200;
/// Steps of a check, which looks at every day of five years.
const CHECK_STEPS_MAX: u64 = 6_000;

const OCCURRENCES: usize = 100;
const DAY: Duration = Duration::from_secs(86_400);
/// A local date lasts no longer, even where a zone goes back by a day.
const DATE_MAX: Duration = Duration::from_secs(50 * 3600);
/// The calendar ends with the year 9999; from here on a rare date may not come any more.
const LATE: &str = "9900-01-01T00:00:00Z";

pub(super) fn run(input: &[u8]) {
    let lines = lines(input);
    let line = |n: usize| lines.get(n).map_or("", String::as_str);
    let zone = match Zone::named(line(1)) {
        Ok(zone) => {
            assert_eq!(zone.name(), line(1));
            zone
        }
        Err(error) => {
            assert_error(&error);
            Zone::utc()
        }
    };
    let from = line(4).parse().unwrap_or_else(|_| Timestamp::from_secs(1_795_162_500));
    let early = parse_duration(line(3)).unwrap_or_default();
    let grace = match line(2) {
        "end_of_day" => Some(Grace::EndOfDay),
        text => parse_duration(text).ok().map(Grace::Fixed),
    };
    let schedule = match line(0).starts_with('{') {
        true => serde_json::from_str::<ScheduleSpec>(line(0)).ok().map(Schedule::try_from),
        false => Some(Schedule::cron(line(0), zone)),
    };
    match schedule {
        None => {}
        Some(Err(error)) => assert_error(&error),
        Some(Ok(schedule)) => check(&schedule, grace.unwrap_or_else(|| schedule.default_grace()), early, from),
    }
}

/// What the work gives, and the steps that it took.
fn counted<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = schedule_steps();
    let result = work();
    (result, schedule_steps() - before)
}

fn assert_error(error: &ScheduleError) {
    assert_line(&error.to_string());
    let known = ["schedule", "grace", "early"];
    assert!(known.iter().any(|field| error.field().starts_with(field)), "{error:?} names {}", error.field());
}

fn check(schedule: &Schedule, grace: Grace, early: Duration, from: Timestamp) {
    assert_line(&schedule.describe());
    let text = serde_json::to_string(schedule).expect("a schedule has only texts and numbers");
    let read: Schedule =
        serde_json::from_str(&text).expect("a schedule that exists is right, also when it is read again");
    assert_eq!(read, *schedule, "{text} is read as another one");
    if let Schedule::Cron(cron) = schedule {
        let again = Schedule::cron(cron.expression(), cron.zone().clone()).expect("it was parsed from this");
        assert_eq!(again, *schedule);
    }
    walk(schedule, grace, from);
    cover(schedule, early, from);

    let (checked, steps) = counted(|| schedule.check(grace, early, from));
    assert!(steps <= CHECK_STEPS_MAX, "a check took {steps} steps: {text}");
    let never = schedule.next_after(from) == Timestamp::MAX;
    if let Err(errors) = checked {
        errors.iter().for_each(assert_error);
        let told = errors.iter().any(|error| matches!(error, ScheduleError::NeverFires { .. }));
        assert_eq!(told, never && matches!(schedule, Schedule::Cron(_)), "{errors:?}");
    } else {
        assert!(!never || !matches!(schedule, Schedule::Cron(_)), "{text} never fires and is accepted");
        let preview = schedule.preview(grace, early, from, OCCURRENCES);
        assert!(preview.is_sorted_by(|one, next| one.at < next.at));
        assert_eq!(preview.first().map_or(Timestamp::MAX, |first| first.at), schedule.awaited_after(from, early));
    }
}

/// Occurrences rise, none lies between two of them, and each takes a bounded number of steps.
fn walk(schedule: &Schedule, grace: Grace, from: Timestamp) {
    let mut last = from;
    for _ in 0..OCCURRENCES {
        let (next, steps) = counted(|| schedule.next_after(last));
        assert!(steps <= NEXT_STEPS_MAX, "{steps} steps from {last}: {schedule:?}");
        if next == Timestamp::MAX {
            let late: Timestamp = LATE.parse().unwrap();
            assert!(last >= late, "nothing comes after {last}: {schedule:?}");
            return;
        }
        assert!(next > last, "{next} is not after {last}: {schedule:?}");
        if !schedule.is_every() {
            let just_before = Timestamp::from_millis(next.as_millis() - 1);
            assert_eq!(schedule.next_after(just_before), next, "from just before: {schedule:?}");
        }
        check_deadline(schedule, grace, next);
        last = next;
    }
}

fn check_deadline(schedule: &Schedule, grace: Grace, at: Timestamp) {
    let (deadline, steps) = counted(|| schedule.deadline(at, grace));
    assert!(steps <= NEXT_STEPS_MAX, "a deadline took {steps} steps: {schedule:?}");
    match grace {
        Grace::EndOfDay if !schedule.is_every() => {
            assert!(deadline > at && deadline - at <= DATE_MAX, "the date of {at} ends at {deadline}: {schedule:?}");
        }
        _ => assert_eq!(deadline, at + grace.length()),
    }
}

/// What a heartbeat covers: every occurrence up to it and `early` (S2.5).
fn cover(schedule: &Schedule, early: Duration, from: Timestamp) {
    let (next, awaited) = (schedule.next_after(from), schedule.awaited_after(from, early));
    let covered = if schedule.is_every() { from } else { from + early };
    assert_eq!(awaited, schedule.next_after(covered), "{schedule:?}");
    assert_eq!(schedule.awaited_after(from, Duration::ZERO), next);
    if schedule.is_every() {
        assert_eq!(next, from + schedule.period().unwrap_or(DAY));
    }
}
