//! Schedules: when a job is expected, and when its silence counts (S2).
//!
//! Nothing here reads a clock: the instant to start from is always an argument.

mod at;
mod civil;
mod cron;
mod cron_parse;
mod error;
mod grace;
mod local;
mod spec;
mod steps;
mod walk;
mod zone;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use at::At;
pub use cron::Cron;
pub use error::{CronPart, CronProblem, ScheduleError};
pub use grace::Grace;
pub use local::{LocalTime, Weekdays};
pub use spec::ScheduleSpec;
#[cfg(feature = "testing")]
pub use steps::schedule_steps;
pub use zone::{Zone, ZoneData, zone_data};

use crate::Timestamp;
use crate::duration::describe_duration;

/// The most local times that one `at` schedule takes.
pub const AT_TIMES_MAX: usize = 1440;

/// The longest cron expression that is read, in bytes.
pub const CRON_LENGTH_MAX: usize = 1000;

/// The longest list of times that a description spells out.
const AT_TIMES_DESCRIBED: usize = 8;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const PERIOD_MIN: Duration = Duration::from_secs(1);
const LENGTH_MAX: Duration = Duration::from_secs(366 * 86_400);

/// When a job is expected to report (S2).
///
/// A schedule that exists is right: the constructors and deserialising refuse what could never be met. It is
/// serialised as a [`ScheduleSpec`].
///
/// ```
/// use heartbeat_engine::{Grace, Schedule, Timestamp, Weekdays, Zone};
/// use std::time::Duration;
///
/// let schedule = Schedule::at(&["16:05".parse()?], Weekdays::EVERY_DAY, Zone::named("Asia/Shanghai")?)?;
/// let reported: Timestamp = "2026-11-20T08:06:00Z".parse()?;
/// let expected = schedule.awaited_after(reported, Duration::ZERO);
/// assert_eq!(expected.to_string(), "2026-11-21T08:05:00Z");
/// assert_eq!(schedule.deadline(expected, Grace::EndOfDay).to_string(), "2026-11-21T16:00:00Z");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ScheduleSpec", into = "ScheduleSpec")]
#[non_exhaustive]
pub enum Schedule {
    /// A period after the last heartbeat.
    Every(Every),
    /// Fixed local times.
    At(At),
    /// A cron expression.
    Cron(Cron),
}

/// A period after the last heartbeat (S2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Every(Duration);

impl Every {
    /// The period, in whole milliseconds.
    #[must_use]
    pub const fn period(self) -> Duration {
        self.0
    }
}

/// One expected instant and the deadline that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Occurrence {
    /// When the job is expected.
    pub at: Timestamp,
    /// When its silence counts one failure.
    pub deadline: Timestamp,
}

impl Schedule {
    /// Every `period`: from 1 s to 366 d, in whole milliseconds.
    ///
    /// # Errors
    /// When the period has another length.
    pub fn every(period: Duration) -> Result<Self, ScheduleError> {
        if !(PERIOD_MIN..=LENGTH_MAX).contains(&period) {
            return Err(ScheduleError::PeriodOutOfRange { period });
        }
        if !is_whole(period) {
            return Err(ScheduleError::PeriodNotWhole { period });
        }
        Ok(Self::Every(Every(period)))
    }

    /// At each of the local times on each of the weekdays. Times given twice count once.
    ///
    /// # Errors
    /// When there is no time or no weekday, or there are more than [`AT_TIMES_MAX`] times.
    pub fn at(times: &[LocalTime], days: Weekdays, zone: Zone) -> Result<Self, ScheduleError> {
        At::new(times, days, zone).map(Self::At)
    }

    /// By a cron expression of five fields, or `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`
    /// or `@annually` (S2.3).
    ///
    /// # Errors
    /// When the expression is not understood, or names no date that ever comes.
    ///
    /// ```
    /// use heartbeat_engine::{Schedule, Zone};
    ///
    /// assert!(Schedule::cron("*/5 9-17 * * MON-FRI", Zone::utc()).is_ok());
    /// let error = Schedule::cron("0 25 * * *", Zone::utc()).unwrap_err();
    /// assert_eq!(error.to_string(), "in the hour field `25`: `25` must be from 0 to 23");
    /// ```
    pub fn cron(expression: &str, zone: Zone) -> Result<Self, ScheduleError> {
        Cron::new(expression, zone).map(Self::Cron)
    }

    /// The first occurrence strictly after `t`; for `every`, `t` and the period.
    ///
    /// [`Timestamp::MAX`] when none comes any more, at the latest at the end of the year 9999.
    #[must_use]
    pub fn next_after(&self, t: Timestamp) -> Timestamp {
        let next = match self {
            Self::Every(every) => return t + every.0,
            Self::At(at) => walk::next_fixed(at.zone(), at, t.as_secs()),
            Self::Cron(cron) if cron.is_fixed() => walk::next_fixed(cron.zone(), cron, t.as_secs()),
            Self::Cron(cron) => walk::next_shown(cron.zone(), cron, t.as_secs()),
        };
        next.map_or(Timestamp::MAX, Timestamp::from_secs)
    }

    /// The first occurrence that a heartbeat at `t` does not cover (S2.5): for `at` and cron it covers those up to `t` and
    /// `early`. For `every`: `t` and the period.
    #[must_use]
    pub fn awaited_after(&self, t: Timestamp, early: Duration) -> Timestamp {
        // Where clocks change, occurrences may lie closer together than `early`; one heartbeat is then early for both.
        let covered = if self.is_every() { t } else { t + early };
        self.next_after(covered)
    }

    /// When silence about the occurrence counts one failure (S2.6).
    #[must_use]
    pub fn deadline(&self, occurrence: Timestamp, grace: Grace) -> Timestamp {
        match (grace, self.zone()) {
            (Grace::EndOfDay, Some(zone)) if is_dated(occurrence) => {
                Timestamp::from_secs(walk::next_date(zone, occurrence.as_secs()))
            }
            _ => occurrence + grace.length(),
        }
    }

    /// The grace of a monitor that names none: for `every` a fifth of the period, at least 1 minute and at most
    /// 1 hour; 1 hour for `at` and cron.
    #[must_use]
    pub fn default_grace(&self) -> Grace {
        Grace::Fixed(match self {
            Self::Every(every) => whole(every.0 / 5).clamp(MINUTE, HOUR),
            Self::At(_) | Self::Cron(_) => HOUR,
        })
    }

    /// Whether the grace and `early` go with this schedule (S2.5, S2.6), and whether it will fire at all (S2.7).
    ///
    /// `now` is where the five years begin over which the gaps of a cron expression are measured.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn check(&self, grace: Grace, early: Duration, now: Timestamp) -> Result<(), Vec<ScheduleError>> {
        let found = [self.check_fires(now), self.check_grace(grace), self.check_early(early, now)];
        let errors: Vec<_> = found.into_iter().filter_map(Result::err).collect();
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Whether this is a period and not a list of fixed times.
    #[must_use]
    pub fn is_every(&self) -> bool {
        matches!(self, Self::Every(_))
    }

    /// The period of an `every` schedule.
    #[must_use]
    pub fn period(&self) -> Option<Duration> {
        match self {
            Self::Every(every) => Some(every.0),
            Self::At(_) | Self::Cron(_) => None,
        }
    }

    /// The time zone of an `at` or cron schedule.
    #[must_use]
    pub fn zone(&self) -> Option<&Zone> {
        match self {
            Self::Every(_) => None,
            Self::At(at) => Some(at.zone()),
            Self::Cron(cron) => Some(cron.zone()),
        }
    }

    /// The schedule in words: `every 2 h`, `mon to fri at 09:00, UTC`, ``cron `*/5 * * * *`, UTC``.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Self::Every(every) => format!("every {}", describe_duration(every.0)),
            Self::At(at) => at.describe(),
            Self::Cron(cron) => cron.describe(),
        }
    }

    /// The first `count` occurrences that a heartbeat at `from` leaves to come, were none to follow it.
    #[must_use]
    pub fn preview(&self, grace: Grace, early: Duration, from: Timestamp, count: usize) -> Vec<Occurrence> {
        std::iter::successors(Some(self.awaited_after(from, early)), |at| Some(self.next_after(*at)))
            .take_while(|at| *at != Timestamp::MAX)
            .take(count)
            .map(|at| Occurrence { at, deadline: self.deadline(at, grace) })
            .collect()
    }

    fn check_fires(&self, now: Timestamp) -> Result<(), ScheduleError> {
        match self {
            Self::Cron(cron) if self.next_after(now) == Timestamp::MAX => {
                Err(ScheduleError::NeverFires { expression: error::shorten(cron.expression()) })
            }
            _ => Ok(()),
        }
    }

    fn check_grace(&self, grace: Grace) -> Result<(), ScheduleError> {
        match grace {
            Grace::EndOfDay if self.is_every() => Err(ScheduleError::EndOfDayWithoutTime),
            Grace::Fixed(grace) if grace > LENGTH_MAX => Err(ScheduleError::GraceTooLong { grace }),
            Grace::Fixed(grace) if !is_whole(grace) => Err(ScheduleError::GraceNotWhole { grace }),
            Grace::Fixed(_) | Grace::EndOfDay => Ok(()),
        }
    }

    fn check_early(&self, early: Duration, now: Timestamp) -> Result<(), ScheduleError> {
        if early.is_zero() {
            return Ok(());
        }
        let gap = match self {
            Self::Every(_) => return Err(ScheduleError::EarlyWithoutTime),
            Self::At(at) => at.smallest_gap(),
            Self::Cron(cron) => cron.smallest_gap(walk::local(cron.zone(), now.as_secs())).unwrap_or(LENGTH_MAX),
        };
        if early >= gap {
            return Err(ScheduleError::EarlyTooLong { early, gap });
        }
        if is_whole(early) { Ok(()) } else { Err(ScheduleError::EarlyNotWhole { early }) }
    }
}

/// Whether the instant lies in the years that have dates here.
fn is_dated(t: Timestamp) -> bool {
    (civil::FIRST_S..civil::END_S).contains(&t.as_secs())
}

fn is_whole(duration: Duration) -> bool {
    duration.subsec_nanos().is_multiple_of(1_000_000)
}

fn whole(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
