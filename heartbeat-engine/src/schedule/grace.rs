//! How much later than an occurrence a heartbeat may come.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::error::{ScheduleError, shorten};
use crate::duration::{format_duration, parse_duration};

const END_OF_DAY: &str = "end_of_day";

/// How much later than an occurrence a heartbeat may still come (S2.6).
///
/// It is written as a duration or `end_of_day`, and serialised as a number of milliseconds or `"end_of_day"`.
///
/// ```
/// use heartbeat_engine::Grace;
/// use std::time::Duration;
///
/// assert_eq!("5m".parse::<Grace>()?, Grace::Fixed(Duration::from_secs(300)));
/// assert_eq!("end_of_day".parse::<Grace>()?, Grace::EndOfDay);
/// # Ok::<(), heartbeat_engine::ScheduleError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Grace {
    /// That much later.
    Fixed(Duration),
    /// Until the local date of the occurrence has ended; for `at` and cron only.
    EndOfDay,
}

impl Grace {
    /// Its length; 1 h for [`Grace::EndOfDay`], where a rule needs one.
    #[must_use]
    pub const fn length(self) -> Duration {
        match self {
            Self::Fixed(length) => length,
            Self::EndOfDay => Duration::from_secs(3600),
        }
    }
}

impl FromStr for Grace {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.trim() == END_OF_DAY {
            return Ok(Self::EndOfDay);
        }
        parse_duration(text).map(Self::Fixed).map_err(|_| ScheduleError::BadGrace { text: shorten(text) })
    }
}

impl fmt::Display for Grace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(length) => f.write_str(&format_duration(*length)),
            Self::EndOfDay => f.write_str(END_OF_DAY),
        }
    }
}

impl Serialize for Grace {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(length) => serializer.serialize_u64(u64::try_from(length.as_millis()).unwrap_or(u64::MAX)),
            Self::EndOfDay => serializer.serialize_str(END_OF_DAY),
        }
    }
}

impl<'de> Deserialize<'de> for Grace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(GraceVisitor)
    }
}

struct GraceVisitor;

impl de::Visitor<'_> for GraceVisitor {
    type Value = Grace;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number of milliseconds or \"end_of_day\"")
    }

    fn visit_u64<E: de::Error>(self, ms: u64) -> Result<Grace, E> {
        Ok(Grace::Fixed(Duration::from_millis(ms)))
    }

    fn visit_i64<E: de::Error>(self, ms: i64) -> Result<Grace, E> {
        u64::try_from(ms)
            .map(Duration::from_millis)
            .map(Grace::Fixed)
            .map_err(|_| E::invalid_value(de::Unexpected::Signed(ms), &self))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Grace, E> {
        if text == END_OF_DAY { Ok(Grace::EndOfDay) } else { Err(E::invalid_value(de::Unexpected::Str(text), &self)) }
    }
}
