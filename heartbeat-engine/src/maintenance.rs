//! Maintenance windows: announced stretches of time in which silence proves nothing and nothing goes down (S5.3).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::schedule::Schedule;
use crate::time::duration_ms;
use crate::{Record, Timestamp};

/// A maintenance window with its name.
#[derive(Clone, PartialEq, Debug)]
pub struct Maintenance {
    /// Names it among the windows.
    pub id: String,
    /// What it covers, and when.
    pub spec: MaintenanceSpec,
}

/// What a maintenance window covers, and when.
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
    /// It was ended before its time, or for ever, at this instant.
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
        let MaintenanceSpec { monitors, tags, all, .. } = &self.spec;
        let spec = record.spec();
        let named = |name: &String| *name == spec.slug || name.parse() == Ok(record.id());
        *all || tags.iter().any(|tag| spec.tags.contains(tag)) || monitors.iter().any(named)
    }
}
