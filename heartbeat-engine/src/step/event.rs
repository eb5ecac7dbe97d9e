//! What happens to a monitor, and what became of it.

use std::time::Duration;

use crate::step::NewNote;
use crate::{Effect, IncidentId, MonitorSpec, Ping, Secret, Timestamp, Token, Version};

/// Something that happens to a monitor.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// Time has passed.
    Wake,
    /// A heartbeat arrived.
    Ping(Box<Ping>),
    /// Somebody changed it.
    Edit(Edit),
}

/// A change of a monitor that is not a heartbeat.
#[derive(Clone, PartialEq, Debug)]
pub enum Edit {
    /// Another wish (S3.9), if the stored revision is still `expected` where one is given.
    Spec {
        /// The new wish.
        spec: Box<MonitorSpec>,
        /// The revision that it was built on.
        expected: Option<Version>,
        /// A secret for the signature, used where the monitor has none and the wish requires one.
        secret: Option<Secret>,
    },
    /// No more expectations (S5.1).
    Pause {
        /// Whether only a person may resume it.
        manual_resume: bool,
    },
    /// Expect again (S5.2); nothing happens to a monitor that is not paused.
    Resume,
    /// Take it away with its pings (S5.1).
    Remove,
    /// Another ping token; the old one is accepted for a while still.
    RotateToken {
        /// The new token.
        token: Token,
        /// How long the old one is accepted still.
        overlap: Duration,
    },
    /// Another signing secret; the old one is accepted for a while still.
    RotateSecret {
        /// The new secret.
        secret: Secret,
        /// How long the old one is accepted still.
        overlap: Duration,
    },
    /// Somebody takes care of its open incident (S7.7).
    Acknowledge {
        /// The incident.
        incident: IncidentId,
        /// Who, as they named themselves.
        by: String,
    },
    /// Somebody writes about one of its incidents.
    Note(NewNote),
}

/// What became of a heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// Its place among the pings of the monitor.
    pub n: u64,
    /// What it did.
    pub effect: Effect,
    /// When it arrived.
    pub arrived_at: Timestamp,
}
