//! Maintenance windows: announced stretches of time in which silence proves nothing and nothing goes down (S5.3).

mod faults;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::schedule::Schedule;
use crate::time::duration_ms;
use crate::{Monitor, MonitorSpec, Record, Timestamp};

/// How many windows that follow one another without a gap are taken as one, at most.
pub(crate) const JOINED_MAX: usize = 256;
/// How many occurrences are looked at before a window is said to cover every one.
const SWALLOWED_MIN: usize = 1_000;

/// A maintenance window with its name.
#[derive(Clone, PartialEq, Debug)]
pub struct Maintenance {
    /// Names it among the windows.
    pub id: String,
    /// What it covers, and when.
    pub spec: MaintenanceSpec,
}

/// What a maintenance window covers, and when.
///
/// ```
/// use heartbeat_engine::{MaintenanceSpec, MaintenanceTime, Timestamp};
///
/// let (from, to) = ("2026-11-20T02:00:00Z".parse()?, "2026-11-20T02:46:00Z".parse()?);
/// let mut window = MaintenanceSpec::new("New disks", MaintenanceTime::Once { from, to });
/// window.tags = vec!["storage".to_owned()];
/// assert!(window.faults(from).is_empty());
/// assert_eq!(window.current(from), Some((from, to)));
/// assert_eq!(window.current(to), None);
/// # Ok::<(), heartbeat_engine::ParseTimestampError>(())
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MaintenanceSpec {
    /// Says to people what it is for.
    pub title: String,
    /// It covers the monitors with these slugs or ids, …
    #[serde(default)]
    pub monitors: Vec<String>,
    /// … those that have one of these tags, …
    #[serde(default)]
    pub tags: Vec<String>,
    /// … or every monitor.
    #[serde(default)]
    pub all: bool,
    /// When.
    pub time: MaintenanceTime,
    /// A recurring one explains nothing before this instant, at which it was made. The engine sets it.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// It was ended before its time, or for ever, at this instant. The engine sets it.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    /// The file that declares it; then it is edited there and nowhere else.
    #[serde(default)]
    pub declared_in: Option<String>,
}

/// When a maintenance window is. A window is half-open: its end does not belong to it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MaintenanceTime {
    /// Once.
    Once {
        /// Its first instant.
        from: Timestamp,
        /// The first instant behind it.
        to: Timestamp,
    },
    /// Again and again.
    Recurring {
        /// When it begins: `at` or cron, in a time zone.
        schedule: Schedule,
        /// How long it lasts each time.
        #[serde(with = "duration_ms")]
        length: Duration,
    },
}

impl Maintenance {
    /// Whether it covers this monitor, at whatever time.
    #[must_use]
    pub fn covers(&self, record: &Record) -> bool {
        self.covers_monitor(&record.monitor)
    }

    pub(crate) fn covers_monitor(&self, monitor: &Monitor) -> bool {
        let MaintenanceSpec { monitors, tags, all, .. } = &self.spec;
        let spec = &monitor.spec;
        let named = |name: &String| spec.slug == *name || name.parse() == Ok(monitor.id);
        *all || tags.iter().any(|tag| spec.tags.contains(tag)) || monitors.iter().any(named)
    }

    /// Whether every occurrence of a monitor from `now` on lies in it, so that the monitor can never go down for its
    /// silence: worth a warning. It does not say whether it [covers](Maintenance::covers) that monitor.
    #[must_use]
    pub fn swallows(&self, monitor: &MonitorSpec, now: Timestamp) -> bool {
        let fixed = !monitor.schedule.is_every();
        let recurs = matches!(self.spec.time, MaintenanceTime::Recurring { .. });
        let mut at = now;
        fixed
            && recurs
            && (0..SWALLOWED_MIN).all(|_| {
                at = monitor.schedule.next_after(at);
                at == Timestamp::MAX || self.spec.own_window_at(at).is_some()
            })
    }
}

impl MaintenanceSpec {
    /// A window that covers nothing yet.
    pub fn new(title: impl Into<String>, time: MaintenanceTime) -> Self {
        Self {
            title: title.into(),
            monitors: Vec::new(),
            tags: Vec::new(),
            all: false,
            time,
            since: None,
            ended_at: None,
            declared_in: None,
        }
    }

    /// The window that `at` lies in, from its first instant to the first behind it. Two of a recurring one that a clock
    /// change lets overlap or touch are one.
    #[must_use]
    pub fn current(&self, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        self.own_window_at(at).map(|window| self.joined(window))
    }

    /// The first window that begins after this instant.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let behind = self.current(after).map_or(after, |(_, to)| to);
        let next = self.ending_after(behind)?;
        (next.0 > after).then(|| self.joined(next))
    }

    /// Whether no window of it is in force at this instant or comes later.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.ending_after(now).is_none()
    }

    /// Whether a window of it began before this instant: then it explains silence, and what it explains must stay.
    #[must_use]
    pub fn has_begun(&self, now: Timestamp) -> bool {
        self.ending_after(Timestamp::MIN).is_some_and(|(from, _)| from < now)
    }

    /// When its last window ended, where it is over.
    #[must_use]
    pub fn over_since(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.is_over(now) {
            return None;
        }
        match self.time {
            MaintenanceTime::Once { to, .. } => Some(self.ended_at.map_or(to, |ended| ended.min(to))),
            MaintenanceTime::Recurring { .. } => self.ended_at.or(self.since),
        }
    }

    /// Whether both cover the same monitors.
    #[must_use]
    pub fn covers_the_same(&self, other: &Self) -> bool {
        self.all == other.all && self.monitors == other.monitors && self.tags == other.tags
    }

    /// The first single window whose end lies after `x`.
    pub(crate) fn ending_after(&self, x: Timestamp) -> Option<(Timestamp, Timestamp)> {
        let (from, to) = match &self.time {
            MaintenanceTime::Once { from, to } => (*from, *to),
            MaintenanceTime::Recurring { schedule, length } => {
                let since = self.since.unwrap_or(Timestamp::MIN);
                let start = schedule.next_after(x.max(since) - *length);
                (start.max(since), start + *length)
            }
        };
        let to = self.ended_at.map_or(to, |ended| ended.min(to));
        (from < to && to > x && from < Timestamp::MAX).then_some((from, to))
    }

    fn own_window_at(&self, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
        self.ending_after(at).filter(|(from, _)| *from <= at)
    }

    fn joined(&self, (mut from, mut to): (Timestamp, Timestamp)) -> (Timestamp, Timestamp) {
        let instant = Duration::from_millis(1);
        for _ in 0..JOINED_MAX {
            let before = self.ending_after(from - instant).filter(|window| window.0 < from);
            let behind = self.ending_after(to).filter(|window| window.0 <= to);
            if before.is_none() && behind.is_none() {
                break;
            }
            from = before.map_or(from, |window| window.0);
            to = behind.map_or(to, |window| window.1);
        }
        (from, to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Weekdays, Zone};

    fn t(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn nightly(zone: &str, at: &[&str], hours: u64) -> MaintenanceSpec {
        let times: Vec<_> = at.iter().map(|time| time.parse().unwrap()).collect();
        let schedule = Schedule::at(&times, Weekdays::EVERY_DAY, Zone::named(zone).unwrap()).unwrap();
        let length = Duration::from_secs(hours * 3600);
        MaintenanceSpec {
            all: true,
            ..MaintenanceSpec::new("nightly", MaintenanceTime::Recurring { schedule, length })
        }
    }

    #[test]
    fn a_window_is_half_open_and_follows_the_time_zone_over_a_clock_change() {
        let spec = nightly("Europe/Berlin", &["02:00"], 2);
        // The clock goes from 2:00 to 3:00 on the 29th: 1:00 UTC is the first instant after the gap.
        let window = (t("2026-03-29T01:00:00Z"), t("2026-03-29T03:00:00Z"));
        assert_eq!(spec.current(window.0), Some(window));
        assert_eq!(spec.current(t("2026-03-29T02:59:59.999Z")), Some(window));
        assert_eq!(spec.current(window.1), None);
        assert_eq!(spec.next(window.0), Some((t("2026-03-30T00:00:00Z"), t("2026-03-30T02:00:00Z"))));
        assert_eq!(spec.next(t("2026-03-28T23:00:00Z")), Some(window));
        assert!(!spec.is_over(window.1));
    }

    #[test]
    fn windows_of_one_spec_that_a_clock_change_lets_touch_are_one() {
        // By the wall clock an hour lies between them, in which the clock goes from 2:00 to 3:00.
        let spec = nightly("Europe/Berlin", &["00:30", "03:30"], 2);
        let window = (t("2026-03-28T23:30:00Z"), t("2026-03-29T03:30:00Z"));
        assert_eq!(spec.current(t("2026-03-29T01:00:00Z")), Some(window));
        assert_eq!(spec.current(t("2026-03-29T03:00:00Z")), Some(window));
        assert_eq!(spec.next(t("2026-03-28T12:00:00Z")), Some(window));
    }

    #[test]
    fn what_is_ended_or_not_made_yet_is_cut() {
        let mut spec = nightly("UTC", &["02:00"], 1);
        spec.since = Some(t("2026-11-20T02:30:00Z"));
        assert_eq!(spec.current(t("2026-11-20T02:29:00Z")), None);
        assert_eq!(
            spec.current(t("2026-11-20T02:30:00Z")),
            Some((t("2026-11-20T02:30:00Z"), t("2026-11-20T03:00:00Z")))
        );
        assert!(!spec.has_begun(t("2026-11-20T02:30:00Z")) && spec.has_begun(t("2026-11-20T02:31:00Z")));
        spec.ended_at = Some(t("2026-11-21T02:20:00Z"));
        let last = (t("2026-11-21T02:00:00Z"), t("2026-11-21T02:20:00Z"));
        assert_eq!(spec.next(t("2026-11-20T12:00:00Z")), Some(last));
        assert_eq!(spec.next(last.0), None);
        assert!(spec.is_over(last.1) && !spec.is_over(last.0));
        assert_eq!(spec.over_since(t("2026-11-22T00:00:00Z")), Some(last.1));
    }

    #[test]
    fn a_window_that_covers_every_occurrence_is_noticed() {
        let window = Maintenance { id: "n".to_owned(), spec: nightly("UTC", &["02:00"], 1) };
        let now = t("2026-11-20T00:00:00Z");
        let job = |schedule: &str| MonitorSpec::new("job", Schedule::cron(schedule, Zone::utc()).unwrap());
        assert!(window.swallows(&job("30 2 * * *"), now));
        assert!(!window.swallows(&job("30 2,4 * * *"), now));
        assert!(!window.swallows(&job("0 3 * * *"), now), "its end does not belong to it");
        assert!(!window.swallows(&MonitorSpec::new("job", Schedule::every(Duration::from_secs(60)).unwrap()), now));
    }
}
