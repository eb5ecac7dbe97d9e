//! What the evaluator is asked, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use crate::{Effect, Monitor, MonitorId, MonitorSpec, Ping, Record, Secret, StorageError, Timestamp, Token, Version};

/// Something that is asked of one monitor.
#[derive(Clone, PartialEq, Debug)]
pub enum Request {
    /// A heartbeat arrived.
    Ping(MonitorId, Box<Ping>),
    /// A monitor is to be made.
    Create(Box<Monitor>),
    /// A monitor is to be changed.
    Edit(MonitorId, Edit),
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
}

impl Request {
    /// The monitor that it is about.
    #[must_use]
    pub fn monitor(&self) -> MonitorId {
        match self {
            Self::Ping(id, _) | Self::Edit(id, _) => *id,
            Self::Create(monitor) => monitor.id,
        }
    }
}

/// A request that was carried out, durably.
#[derive(Clone, PartialEq, Debug)]
pub struct Done {
    /// The monitor's record after it; for a removal, the last one.
    pub record: Arc<Record>,
    /// For a heartbeat: what became of it.
    pub ping: Option<Taken>,
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

/// Why a request was not carried out; nothing of it is stored, unless the storage says `Unknown`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such monitor.
    NotFound,
    /// The heartbeat's claimed time is too old or in the future (S4.8).
    ClaimedTime(Timestamp),
    /// Another revision is stored.
    Revision(Version),
    /// Another monitor has the `slug`, the `token` or the `id`.
    Taken(&'static str),
    /// The storage did not write it.
    Storage(StorageError),
}
