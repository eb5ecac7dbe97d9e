//! A schedule as it is written down.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Schedule;
use super::error::ScheduleError;
use super::local::{LocalTime, Weekdays};
use super::zone::Zone;

/// A schedule as it is stored and sent, not checked yet: `{"every": <ms>}`,
/// `{"at": ["16:05"], "days": ["mon"], "timezone": "Asia/Shanghai"}` (`days` left out for every day) or
/// `{"cron": "*/5 * * * *", "timezone": "UTC"}`.
///
/// Turn it into a [`Schedule`] with `Schedule::try_from` when each error should keep its
/// [`ScheduleError::field`]; deserialising a [`Schedule`] directly gives the message alone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleSpec {
    /// The period in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// Local times, `hh:mm` or `hh:mm:ss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Vec<String>>,
    /// Names of weekdays, beside `at`; `None` is every day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<Vec<String>>,
    /// A cron expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// The name of a time zone, beside `at` and `cron`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

impl TryFrom<ScheduleSpec> for Schedule {
    type Error = ScheduleError;

    fn try_from(spec: ScheduleSpec) -> Result<Self, Self::Error> {
        let stray = |key, present: bool, kind| {
            if present { Err(ScheduleError::KeyOutOfPlace { key, kind }) } else { Ok(()) }
        };
        let zone = |kind| match &spec.timezone {
            Some(name) => Zone::named(name),
            None => Err(ScheduleError::NoZone { kind }),
        };
        match (spec.every, &spec.at, &spec.cron) {
            (Some(ms), None, None) => {
                stray("days", spec.days.is_some(), "every")?;
                stray("timezone", spec.timezone.is_some(), "every")?;
                Self::every(Duration::from_millis(ms))
            }
            (None, Some(at), None) => {
                let times = at.iter().map(|time| time.parse()).collect::<Result<Vec<LocalTime>, _>>()?;
                let days = spec.days.as_ref().map_or(Ok(Weekdays::EVERY_DAY), Weekdays::from_names)?;
                Self::at(&times, days, zone("at")?)
            }
            (None, None, Some(cron)) => {
                stray("days", spec.days.is_some(), "cron")?;
                Self::cron(cron, zone("cron")?)
            }
            (every, at, cron) => {
                let count = usize::from(every.is_some()) + usize::from(at.is_some()) + usize::from(cron.is_some());
                Err(ScheduleError::NotOneKind { count })
            }
        }
    }
}

impl From<Schedule> for ScheduleSpec {
    fn from(schedule: Schedule) -> Self {
        let zone = schedule.zone().map(|zone| zone.name().to_owned());
        match schedule {
            Schedule::Every(every) => {
                Self { every: Some(u64::try_from(every.period().as_millis()).unwrap_or(u64::MAX)), ..Self::default() }
            }
            Schedule::At(at) => Self {
                at: Some(at.times().iter().map(ToString::to_string).collect()),
                days: (at.days() != Weekdays::EVERY_DAY).then(|| at.days().names().map(str::to_owned).collect()),
                timezone: zone,
                ..Self::default()
            },
            Schedule::Cron(cron) => {
                Self { cron: Some(cron.expression().to_owned()), timezone: zone, ..Self::default() }
            }
        }
    }
}
