//! What is known of one server's promises: what it acknowledged, and what was found stored.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use heartbeat_engine::Timestamp;
use serde_json::Value;

use crate::crash::api::text;
use crate::crash::beats::{Beat, Fate};

/// What a server promised so far, and what was found of it.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Heartbeats that were sent since the last check.
    pub(crate) sent: Vec<Beat>,
    /// Heartbeats that are stored, by monitor, and the texts of the newest ones by their numbers.
    pub(crate) stored: BTreeMap<String, Stored>,
    pub(crate) incidents: HashMap<String, Incident>,
    pub(crate) notifications: HashMap<String, Notification>,
    /// The ids of notifications in the order in which they came to be owed.
    pub(crate) order: Vec<String>,
    /// Texts of failures that must have opened an incident.
    pub(crate) must_open: BTreeSet<String>,
    /// Texts of reports that must be told.
    pub(crate) must_tell: BTreeSet<String>,
    /// Figures for the summary.
    pub(crate) acknowledged: u64,
    pub(crate) unavailable: u64,
    pub(crate) unanswered: u64,
    pub(crate) found: u64,
    pub(crate) found_unanswered: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Stored {
    pub(crate) count: u64,
    pub(crate) newest: BTreeMap<u64, String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incident {
    pub(crate) id: String,
    pub(crate) slug: String,
    pub(crate) cause: String,
    pub(crate) detail: String,
    pub(crate) opened_at: Option<Timestamp>,
    pub(crate) closed_at: Option<Timestamp>,
    pub(crate) closing: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) id: String,
    pub(crate) kind: String,
    pub(crate) channel: String,
    pub(crate) incident: String,
    pub(crate) slug: String,
    pub(crate) message: String,
    pub(crate) state: String,
}

impl Incident {
    pub(crate) fn read(value: &Value) -> Self {
        let text = |pointer| text(value, pointer).to_owned();
        Self {
            id: text("/id"),
            slug: text("/monitor/slug"),
            cause: text("/cause"),
            detail: text("/detail"),
            opened_at: text("/opened_at").parse().ok(),
            closed_at: text("/closed_at").parse().ok(),
            closing: text("/closing"),
        }
    }
}

impl Notification {
    pub(crate) fn read(value: &Value) -> Self {
        let text = |pointer| text(value, pointer).to_owned();
        Self {
            id: text("/id"),
            kind: text("/type"),
            channel: text("/channel"),
            incident: text("/incident/id"),
            slug: text("/monitor/slug"),
            message: text("/message"),
            state: text("/state"),
        }
    }
}

impl Ledger {
    /// Notes what was sent.
    pub fn sent(&mut self, beats: Vec<Beat>) {
        for beat in &beats {
            match beat.fate {
                Fate::Acknowledged => self.acknowledged += 1,
                Fate::Unavailable => self.unavailable += 1,
                Fate::Unanswered => self.unanswered += 1,
                Fate::Refused(_) => {}
            }
            if beat.takes_down {
                self.must_open.insert(beat.message.clone());
            }
            if beat.signal == "report" && beat.fate == Fate::Acknowledged {
                self.must_tell.insert(beat.message.clone());
            }
        }
        self.sent.extend(beats);
    }

    /// How many heartbeats were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// How many heartbeats were answered 503.
    #[must_use]
    pub fn unavailable(&self) -> u64 {
        self.unavailable
    }

    /// How many incidents of a monitor are known.
    #[must_use]
    pub fn incidents_of(&self, slug: &str) -> usize {
        self.incidents.values().filter(|incident| incident.slug == slug).count()
    }
}
