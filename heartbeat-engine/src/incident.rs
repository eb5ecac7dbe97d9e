//! Incidents: the time from going down to recovery, with its cause.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{IncidentId, MonitorId, Timestamp};

/// Why a monitor went down.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No heartbeat came until the deadline.
    Missed,
    /// The job said that it failed.
    Failed,
    /// A run was still open at its limit (S4.2).
    Overrun,
    /// A value lay outside its limits (S4.9).
    Value,
}

impl Cause {
    /// Its name: `missed`, `failed`, `overrun` or `value`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missed => "missed",
            Self::Failed => "failed",
            Self::Overrun => "overrun",
            Self::Value => "value",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How an incident ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closing {
    /// The job reports again.
    Recovered,
    /// The monitor was paused (S5.1).
    Paused,
    /// The monitor was removed (S5.1).
    Removed,
}

impl Closing {
    /// Its name: `recovered`, `paused` or `removed`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Paused => "paused",
            Self::Removed => "removed",
        }
    }
}

/// One outage of a job. Incidents of one monitor never overlap (S8.4).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Incident {
    /// Its name, for ever.
    pub id: IncidentId,
    /// The monitor that is down.
    pub monitor: MonitorId,
    /// When the monitor went down: the deadline that passed, or the arrival of the failure (S3.5).
    pub opened_at: Timestamp,
    /// When the engine saw it: in what is stored, when it decided that the monitor is down; in what is told, when that was
    /// known to be durable, which is not earlier (S3.5).
    pub detected_at: Timestamp,
    /// When it ended; `None` while open.
    pub closed_at: Option<Timestamp>,
    /// How it ended; `None` while open.
    pub closing: Option<Closing>,
    /// Why the monitor went down.
    pub cause: Cause,
    /// The cause in a few words for people.
    pub detail: String,
    /// The channels that were told of it; they are told of its end too (S7.6).
    pub told: Vec<String>,
    /// Who took care of it, and when; from then on nobody is reminded and nothing escalates (S7.7, S7.8).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<Acknowledgement>,
    /// What people wrote about it, oldest first; at most [`Incident::NOTES_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<IncidentNote>,
    /// The slugs of the monitors that it depends on and that are down themselves: while there are some its messages are
    /// held back (S5.4).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held_by: Vec<String>,
}

/// Somebody takes care of an incident.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// When.
    pub at: Timestamp,
    /// Who, as they named themselves.
    pub by: String,
}

/// What somebody wrote about an incident.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct IncidentNote {
    /// When.
    pub at: Timestamp,
    /// Who, as they named themselves.
    pub by: String,
    /// The text; at most [`Incident::NOTE_BYTES_MAX`].
    pub text: String,
}

impl Incident {
    /// How many notes an incident keeps.
    pub const NOTES_MAX: usize = 100;
    /// The longest note: bytes of UTF-8.
    pub const NOTE_BYTES_MAX: usize = 4_000;

    /// Whether it lasts still.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.closed_at.is_none()
    }
}
