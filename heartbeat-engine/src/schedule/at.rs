//! Fixed local times on chosen weekdays.

use std::sync::Arc;
use std::time::Duration;

use super::civil::{DAY_S, weekday};
use super::error::ScheduleError;
use super::local::{LocalTime, Weekdays, listed};
use super::steps::step;
use super::walk::LocalTimes;
use super::zone::Zone;
use super::{AT_TIMES_DESCRIBED, AT_TIMES_MAX};

/// Local times on chosen weekdays in a time zone (S2.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    times: Arc<[LocalTime]>,
    days: Weekdays,
    zone: Zone,
}

impl At {
    pub(super) fn new(times: &[LocalTime], days: Weekdays, zone: Zone) -> Result<Self, ScheduleError> {
        if times.is_empty() {
            return Err(ScheduleError::NoTimes);
        }
        if times.len() > AT_TIMES_MAX {
            return Err(ScheduleError::TooManyTimes { count: times.len() });
        }
        if days.is_empty() {
            return Err(ScheduleError::NoDays);
        }
        let mut times = times.to_vec();
        times.sort_unstable();
        times.dedup();
        Ok(Self { times: times.into(), days, zone })
    }

    /// The local times, in order, each once.
    #[must_use]
    pub fn times(&self) -> &[LocalTime] {
        &self.times
    }

    /// The weekdays.
    #[must_use]
    pub fn days(&self) -> Weekdays {
        self.days
    }

    /// The time zone.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    pub(super) fn describe(&self) -> String {
        let (days, zone) = (self.days, &self.zone);
        let times: Vec<_> = self.times.iter().map(ToString::to_string).collect();
        match (times.first(), times.last()) {
            (Some(first), Some(last)) if times.len() > AT_TIMES_DESCRIBED => {
                format!("{days} at {} times from {first} to {last}, {zone}", times.len())
            }
            _ => format!("{days} at {}, {zone}", listed(&times)),
        }
    }

    /// The smallest gap by the wall clock (S2.5).
    pub(super) fn smallest_gap(&self) -> Duration {
        let times = self.times.iter().map(|time| time.clock_s());
        let within = times.clone().zip(times.skip(1)).map(|(one, next)| next - one).min();
        let days = (0..7).filter(|day| self.days.contains(*day)).map(|day| self.days.days_to_next(day)).min();
        let night = i64::from(days.unwrap_or(1)) * DAY_S + self.first() - self.last();
        let gap = within.map_or(night, |within| within.min(night));
        Duration::from_secs(u64::try_from(gap).unwrap_or_default())
    }

    fn first(&self) -> i64 {
        self.times.first().map_or(0, |time| time.clock_s())
    }

    fn last(&self) -> i64 {
        self.times.last().map_or(0, |time| time.clock_s())
    }
}

impl LocalTimes for At {
    fn next(&self, after: i64, upto: i64) -> Option<i64> {
        step();
        let day = after.div_euclid(DAY_S);
        let clock = after.rem_euclid(DAY_S);
        let today = self.times.partition_point(|time| time.clock_s() <= clock);
        let local = match self.times.get(today) {
            Some(time) if self.days.contains(weekday(day)) => day * DAY_S + time.clock_s(),
            _ => (day + i64::from(self.days.days_to_next(weekday(day)))) * DAY_S + self.first(),
        };
        (local <= upto).then_some(local)
    }
}
