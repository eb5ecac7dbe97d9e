//! What can be wrong with a maintenance window.

use std::time::Duration;

use super::{MaintenanceSpec, MaintenanceTime};
use crate::monitor::list_faults;
use crate::schedule::{Grace, Schedule, ScheduleError};
use crate::{FieldError, MonitorId, Timestamp, describe_duration};

const TITLE_CHARS_MAX: usize = 200;
/// How many monitors one window may name; more are better found by a tag.
const MONITORS_MAX: usize = 500;
const LENGTH_MIN: Duration = Duration::from_secs(1);
const LENGTH_MAX: Duration = Duration::from_secs(366 * 86_400);
/// The start of the year 10000, which RFC 3339 cannot name.
const TO_BEFORE_S: i64 = 253_402_300_800;

impl MaintenanceSpec {
    /// Every field that is wrong; empty when it can be made. `now` is where the search for the smallest gap between two
    /// windows starts (S2.5).
    #[must_use]
    pub fn faults(&self, now: Timestamp) -> Vec<FieldError> {
        let mut faults = Vec::new();
        let title = self.title.trim();
        if title.is_empty() || self.title.chars().count() > TITLE_CHARS_MAX || self.title.contains(char::is_control) {
            let message = format!("must have 1 to {TITLE_CHARS_MAX} characters and no control character");
            faults.push(FieldError::new("title", message));
        }
        if !self.all && self.monitors.is_empty() && self.tags.is_empty() {
            faults.push(FieldError::new(
                "monitors",
                "nothing is covered; give `monitors` or `tags`, or set `all` to true",
            ));
        }
        self.monitor_faults(&mut faults);
        list_faults("tags", &self.tags, &mut faults);
        match &self.time {
            MaintenanceTime::Once { from, to } => once_faults(*from, *to, &mut faults),
            MaintenanceTime::Recurring { schedule, length } => recurring_faults(schedule, *length, now, &mut faults),
        }
        faults
    }

    fn monitor_faults(&self, faults: &mut Vec<FieldError>) {
        let count = self.monitors.len();
        if count > MONITORS_MAX {
            let message = format!("has {count} entries; at most {MONITORS_MAX} are allowed, a tag covers more");
            faults.push(FieldError::new("monitors", message));
        }
        for (index, name) in self.monitors.iter().enumerate() {
            let shown: String = name.chars().take(64).collect();
            let path = format!("monitors.{index}");
            if !crate::monitor::is_slug(name) && name.parse::<MonitorId>().is_err() {
                faults.push(FieldError::new(path, format!("`{shown}` is neither the slug nor the id of a monitor")));
            } else if self.monitors[..index].contains(name) {
                faults.push(FieldError::new(path, format!("`{shown}` stands twice")));
            }
        }
    }
}

fn once_faults(from: Timestamp, to: Timestamp, faults: &mut Vec<FieldError>) {
    if to < from {
        faults.push(FieldError::new("time.to", format!("{to} is not after time.from, {from}")));
    } else if let Some(message) = length_fault(to.since(from)) {
        faults.push(FieldError::new("time.to", message));
    } else if to.as_secs() >= TO_BEFORE_S {
        faults.push(FieldError::new("time.to", "lies behind the year 9999; end the window earlier"));
    }
}

fn recurring_faults(schedule: &Schedule, length: Duration, now: Timestamp, faults: &mut Vec<FieldError>) {
    if schedule.is_every() {
        faults.push(FieldError::new("time.schedule", "must be `at` or `cron`: a period has no time to begin at"));
        return;
    }
    if let Some(message) = length_fault(length) {
        faults.push(FieldError::new("time.length", message));
        return;
    }
    // A window that would reach its own next start is wrong just where `early` of that length would be (S2.5).
    let errors = schedule.check(Grace::Fixed(Duration::ZERO), length, now).err().unwrap_or_default();
    faults.extend(errors.into_iter().map(|error| match error {
        ScheduleError::EarlyTooLong { early, gap } => FieldError::new(
            "time.length",
            format!(
                "{} reaches the next start, which may be {} later; it must be shorter than that",
                describe_duration(early),
                describe_duration(gap)
            ),
        ),
        ScheduleError::EarlyNotWhole { .. } => FieldError::new("time.length", "must be whole milliseconds"),
        other => FieldError::new("time.schedule", other.to_string()),
    }));
}

fn length_fault(length: Duration) -> Option<String> {
    let fits = (LENGTH_MIN..=LENGTH_MAX).contains(&length);
    (!fits).then(|| format!("{} is out of range; a window lasts 1 s to 366 d", describe_duration(length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Zone;

    fn now() -> Timestamp {
        "2026-11-20T00:00:00Z".parse().unwrap()
    }

    fn fields(spec: &MaintenanceSpec) -> Vec<String> {
        spec.faults(now()).into_iter().map(|fault| fault.field).collect()
    }

    fn once(seconds: i64) -> MaintenanceSpec {
        let to = Timestamp::from_secs(now().as_secs() + seconds);
        let time = MaintenanceTime::Once { from: now(), to };
        MaintenanceSpec { all: true, ..MaintenanceSpec::new("t", time) }
    }

    fn recurring(schedule: Schedule, length: Duration) -> MaintenanceSpec {
        let time = MaintenanceTime::Recurring { schedule, length };
        MaintenanceSpec { all: true, ..MaintenanceSpec::new("t", time) }
    }

    #[test]
    fn each_field_is_checked() {
        assert_eq!(fields(&once(60)), [""; 0]);
        assert_eq!(fields(&once(366 * 86_400)), [""; 0]);
        for seconds in [0, -1, 366 * 86_400 + 1] {
            assert_eq!(fields(&once(seconds)), ["time.to"]);
        }
        let last = Timestamp::from_secs(TO_BEFORE_S - 1);
        let new_year = MaintenanceTime::Once { from: Timestamp::from_secs(TO_BEFORE_S - 60), to: last };
        assert_eq!(fields(&MaintenanceSpec { time: new_year, ..once(60) }), [""; 0]);
        let beyond = MaintenanceTime::Once { from: last, to: Timestamp::from_secs(TO_BEFORE_S) };
        assert_eq!(fields(&MaintenanceSpec { time: beyond, ..once(60) }), ["time.to"]);
        assert_eq!(once(0).faults(now())[0].message, "0 s is out of range; a window lasts 1 s to 366 d");
        assert_eq!(fields(&MaintenanceSpec { title: " ".to_owned(), all: false, ..once(60) }), ["title", "monitors"]);
        let named = MaintenanceSpec {
            monitors: ["job", "no slug", "job"].map(str::to_owned).to_vec(),
            tags: vec!["a,b".to_owned()],
            ..once(60)
        };
        assert_eq!(fields(&named), ["monitors.1", "monitors.2", "tags.0"]);
    }

    #[test]
    fn a_recurring_window_that_reaches_its_next_start_is_refused() {
        let hourly = Schedule::cron("0 * * * *", Zone::utc()).unwrap();
        assert_eq!(fields(&recurring(hourly.clone(), Duration::from_secs(3599))), [""; 0]);
        assert_eq!(fields(&recurring(hourly.clone(), Duration::from_secs(3600))), ["time.length"]);
        assert_eq!(fields(&recurring(hourly.clone(), Duration::ZERO)), ["time.length"]);
        assert_eq!(fields(&recurring(hourly, Duration::from_micros(1_500_500))), ["time.length"]);
        let every = Schedule::every(Duration::from_secs(3600)).unwrap();
        assert_eq!(fields(&recurring(every, Duration::from_secs(60))), ["time.schedule"]);
    }
}
