//! What is written, in one atomic step, and how it went.

mod whole;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::monitor::shared;
use crate::{
    Epoch, Incident, MonitorId, Notification, Outage, PartitionId, PingEntry, Record, Settlement, State, Timestamp,
    Version,
};

/// A change of a monitor's state, as it is kept and published.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StateChange {
    /// The monitor.
    pub monitor: MonitorId,
    /// The version of the record that made it.
    pub version: Version,
    /// When it happened: for a missed deadline, the deadline (S3.5).
    pub at: Timestamp,
    /// When the engine saw it: in what is stored, when it was decided; for those who look on, when that was known to be
    /// durable, which is not earlier (S3.5).
    pub detected_at: Timestamp,
    /// The state before.
    pub from: State,
    /// The state after.
    pub to: State,
    /// Why, in a few words.
    pub reason: String,
}

/// What becomes of a record.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub enum Change {
    /// It is made or replaced by this one.
    Put(#[serde(with = "shared")] Arc<Record>),
    /// It is removed with its pings, their counts and its state changes; incidents and notifications stay.
    Remove,
}

/// One monitor's share of a batch: its new record with everything that goes with it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Transition {
    /// The monitor.
    pub monitor: MonitorId,
    /// The version that it was built on; `None` when the monitor is new.
    pub expected: Option<Version>,
    /// What becomes of the record.
    pub change: Change,
    /// The heartbeats that it folds, in order of arrival.
    #[serde(with = "whole::pings")]
    pub pings: Vec<PingEntry>,
    /// The changes of state in it, in order.
    pub changes: Vec<StateChange>,
    /// Incidents that were opened, changed or closed: the newest form of each.
    pub incidents: Vec<Incident>,
    /// The messages that it owes, in order.
    #[serde(with = "whole::notifications")]
    pub notifications: Vec<Notification>,
}

/// Something that a host keeps beside monitors: a channel, a key, a route. At most 64 kB of JSON.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Document {
    /// What it is: `channel`, `key`, …
    pub kind: String,
    /// Names it within its kind.
    pub id: String,
    /// Counts its changes.
    pub version: Version,
    /// Its content.
    pub body: serde_json::Value,
}

/// The largest document: bytes of its JSON text.
pub const DOCUMENT_BYTES_MAX: usize = 64 * 1024;

/// A change of a document.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DocumentWrite {
    /// What it is.
    pub kind: String,
    /// Names it within its kind.
    pub id: String,
    /// The version that it was built on; `None` when it must not exist yet.
    pub expected: Option<Version>,
    /// Its new content; `None` removes it.
    pub body: Option<serde_json::Value>,
}

/// Everything that is written at once for one partition.
///
/// It never holds two transitions of one monitor, nor two writes of one document. Its serialised form is complete, bodies
/// of heartbeats included, so a storage can keep batches as they came; `serde_json` needs its feature `float_roundtrip`.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Batch {
    /// The partition that it belongs to.
    pub partition: PartitionId,
    /// The epoch of the lease under which it was made; an older one than the stored is fenced.
    pub epoch: Epoch,
    /// Changes of monitors, each under its own compare-and-swap.
    pub transitions: Vec<Transition>,
    /// Changes of documents, each under its own compare-and-swap.
    pub documents: Vec<DocumentWrite>,
    /// Outcomes of deliveries.
    pub settlements: Vec<Settlement>,
    /// Messages that belong to no transition.
    #[serde(with = "whole::notifications")]
    pub notifications: Vec<Notification>,
    /// The new mark of the watcher's life (S6.1).
    pub mark: Option<Timestamp>,
    /// An outage of the watcher that ended (S6.6).
    pub outage: Option<Outage>,
    /// Forget outages that ended before this instant. What is forgotten goes first: the outage of this batch stays.
    pub forget_outages_before: Option<Timestamp>,
    /// Forget outages that end after this instant, because the wall clock was set back (S6.7). This goes first, too.
    pub forget_outages_after: Option<Timestamp>,
}

impl Batch {
    /// Whether nothing would be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.transitions.is_empty()
            && self.documents.is_empty()
            && self.settlements.is_empty()
            && self.notifications.is_empty()
            && self.mark.is_none()
            && self.outage.is_none()
            && self.forget_outages_before.is_none()
            && self.forget_outages_after.is_none()
    }
}

/// How one compare-and-swap of a batch went.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It is written, durably.
    Committed,
    /// The stored version differs, and nothing of it is written.
    Conflict {
        /// The version found; `None` when there is no such thing.
        found: Option<Version>,
    },
    /// Another monitor has the slug or a token, and nothing of it is written.
    NameTaken {
        /// `slug` or `token`.
        field: &'static str,
    },
    /// The document is larger than [`DOCUMENT_BYTES_MAX`], and nothing of it is written.
    TooLarge {
        /// How large its JSON text is.
        bytes: usize,
    },
}

/// How a batch went, in the order of its parts.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Applied {
    /// One outcome for each transition.
    pub transitions: Vec<Outcome>,
    /// One outcome for each document.
    pub documents: Vec<Outcome>,
}
