//! What the evaluator is asked, and what it answers.

use std::sync::Arc;

use crate::step::{CareError, Edit, Taken};
use crate::{FieldError, Incident, Monitor, MonitorId, MonitorSpec, Ping, Record, StorageError, Timestamp, Version};

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

impl Request {
    /// The monitor that it is about.
    #[must_use]
    pub fn monitor(&self) -> MonitorId {
        match self {
            Self::Ping(id, _) | Self::Edit(id, _) => *id,
            Self::Create(monitor) => monitor.id,
        }
    }

    /// The wish in it, where there is one.
    pub(super) fn wish(&self) -> Option<&MonitorSpec> {
        match self {
            Self::Create(monitor) => Some(&monitor.spec),
            Self::Edit(_, Edit::Spec { spec, .. }) => Some(spec),
            Self::Edit(..) | Self::Ping(..) => None,
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
    /// For what is done about an incident: the incident after it.
    pub incident: Option<Box<Incident>>,
}

impl Done {
    pub(super) fn new(record: Arc<Record>, reply: Reply) -> Self {
        let (ping, incident) = match reply {
            Reply::Nothing => (None, None),
            Reply::Ping(taken) => (Some(taken), None),
            Reply::Incident(incident) => (None, Some(incident)),
        };
        Self { record, ping, incident }
    }
}

/// What a request came to, besides the record.
#[derive(Debug)]
pub(super) enum Reply {
    Nothing,
    Ping(Taken),
    Incident(Box<Incident>),
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
    /// A field cannot be so.
    Invalid(FieldError),
    /// Nothing can be done about the incident.
    Incident(CareError),
    /// The incident, which is over, may have been written since it was read: read it again.
    Reread,
    /// The storage did not write it.
    Storage(StorageError),
}
