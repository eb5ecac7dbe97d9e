//! Schedules.
#![allow(missing_docs, clippy::all)]
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    Every(u64),
}
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grace {
    Fixed(u64),
    EndOfDay,
}
#[derive(Debug, Clone, thiserror::Error)]
#[error("bad schedule")]
pub struct ScheduleError;
impl ScheduleError {
    pub fn field(&self) -> &'static str {
        "schedule"
    }
}
impl Grace {
    pub fn length(self) -> Duration {
        match self {
            Self::Fixed(ms) => Duration::from_millis(ms),
            Self::EndOfDay => Duration::from_secs(3600),
        }
    }
}
impl Schedule {
    pub fn every(p: Duration) -> Result<Self, ScheduleError> {
        Ok(Self::Every(p.as_millis() as u64))
    }
    pub fn is_every(&self) -> bool {
        true
    }
    pub fn period(&self) -> Option<Duration> {
        let Self::Every(p) = self;
        Some(Duration::from_millis(*p))
    }
    pub fn default_grace(&self) -> Grace {
        Grace::Fixed(60_000)
    }
    pub fn next_after(&self, t: Timestamp) -> Timestamp {
        let Self::Every(p) = self;
        t + Duration::from_millis(*p)
    }
    pub fn awaited_after(&self, t: Timestamp, _early: Duration) -> Timestamp {
        self.next_after(t)
    }
    pub fn deadline(&self, o: Timestamp, grace: Grace) -> Timestamp {
        o + grace.length()
    }
    pub fn describe(&self) -> String {
        String::new()
    }
    pub fn check(&self, _g: Grace, _e: Duration, _now: Timestamp) -> Result<(), Vec<ScheduleError>> {
        Ok(())
    }
}
