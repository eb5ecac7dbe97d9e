//! A batch as the writer wants it: owned, with its texts and its entries for the log made on the caller's thread.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use heartbeat_engine::{
    Batch, Change, DOCUMENT_BYTES_MAX, Delivery, DeliveryState, DocumentWrite, Incident, Monitor, MonitorId,
    Notification, PingEntry, Record, Settlement, StateChange, StorageError, Timestamp, Transition,
};
use serde::Serialize;

use crate::line::Line;
use crate::wish_text;
use heartbeat_engine::compact::{self, CompactError, Frame, FramePacker};

/// How much memory a batch takes ahead at most, for its log and for its history.
const RESERVED_MAX: usize = 4 << 20;

/// Batches of so many transitions are encoded by the writer: whoever hands one over has the next one to decide meanwhile.
const ENCODED_BY_WRITER: usize = 256;

/// A batch on its way to the writer.
pub(crate) enum Content {
    Encoded(Box<Encoded>),
    /// The writer encodes it.
    Shared(Arc<Batch>),
}

impl Content {
    /// Encodes it here unless it is large.
    pub(crate) fn new(batch: Arc<Batch>) -> Result<Self, StorageError> {
        if batch.transitions.len() >= ENCODED_BY_WRITER { Ok(Self::Shared(batch)) } else { Self::encoded(&batch) }
    }

    pub(crate) fn encoded(batch: &Batch) -> Result<Self, StorageError> {
        encode(batch).map(|encoded| Self::Encoded(Box::new(encoded)))
    }

    /// How many transitions it has.
    pub(crate) fn transitions(&self) -> usize {
        match self {
            Self::Encoded(batch) => batch.transitions.len(),
            Self::Shared(batch) => batch.transitions.len(),
        }
    }

    /// How many lines of history it writes.
    pub(crate) fn lines(&self) -> usize {
        match self {
            Self::Encoded(batch) => batch.history.lines,
            Self::Shared(batch) => {
                let of = |found: &Transition| found.changes.len() + found.incidents.len() + found.notifications.len();
                batch.transitions.iter().map(of).sum::<usize>() + batch.notifications.len() + batch.settlements.len()
            }
        }
    }

    /// What it is for the writer; encoding may fail.
    pub(crate) fn look<T, E: From<StorageError>>(&self, look: impl FnOnce(&Encoded) -> Result<T, E>) -> Result<T, E> {
        match self {
            Self::Encoded(batch) => look(batch),
            Self::Shared(batch) => look(&encode(batch)?),
        }
    }
}

/// A batch.
pub(crate) struct Encoded {
    pub(crate) partition: u16,
    pub(crate) epoch: u64,
    pub(crate) transitions: Vec<EncodedTransition>,
    /// The entries of all transitions for the log.
    pub(crate) bytes: Vec<u8>,
    pub(crate) documents: Vec<EncodedDocument>,
    /// The history of all transitions, and behind it what belongs to none.
    pub(crate) history: History,
    /// Notifications that belong to no transition, and outcomes of deliveries: where each lies in the history.
    pub(crate) beside: Vec<Range<usize>>,
    pub(crate) mark: Option<i64>,
    /// From and to.
    pub(crate) outage: Option<(i64, i64)>,
    pub(crate) forget_outages_before: Option<i64>,
    pub(crate) forget_outages_after: Option<i64>,
}

pub(crate) struct EncodedTransition {
    pub(crate) monitor: [u8; 16],
    pub(crate) expected: Option<u64>,
    /// `None`: it is removed.
    pub(crate) put: Option<EncodedRecord>,
    /// Where its changes of state, incidents and notifications lie in the history.
    pub(crate) history: Range<usize>,
}

pub(crate) struct EncodedRecord {
    pub(crate) monitor: Arc<Monitor>,
    /// The text of it for a new monitor; otherwise the writer makes it, if it has to, which it seldom has.
    pub(crate) wish: Option<String>,
    pub(crate) version: u64,
    pub(crate) wake_at: i64,
    /// The entry for the log, within the bytes of the batch: see [`crate::log::LogEntry`].
    pub(crate) entry: Range<usize>,
    /// The state within it.
    pub(crate) health: Range<usize>,
    pub(crate) has_pings: bool,
}

pub(crate) struct EncodedDocument {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) expected: Option<u64>,
    /// `None`: it is removed.
    pub(crate) body: Option<String>,
}

/// Lines of history, packed one behind the other: in one piece of memory, for a hundred thousand monitors that go down at once
/// would need a million.
#[derive(Default)]
pub(crate) struct History {
    pub(crate) packed: Vec<u8>,
    /// How many lines they are.
    pub(crate) lines: usize,
    text: Vec<u8>,
    text_beside: Vec<u8>,
}

impl History {
    /// Appends what a transition writes of history; says where.
    fn push(&mut self, transition: &Transition) -> Result<Range<usize>, StorageError> {
        let begin = self.packed.len();
        // The changes of a monitor are removed with it.
        if matches!(transition.change, Change::Put(_)) {
            transition.changes.iter().try_for_each(|change| self.change(transition.monitor, change))?;
        }
        transition.incidents.iter().try_for_each(|incident| self.incident(incident))?;
        transition.notifications.iter().try_for_each(|notification| self.owed(notification))?;
        Ok(begin..self.packed.len())
    }

    /// The same of what belongs to no transition.
    fn beside(&mut self, batch: &Batch) -> Result<Vec<Range<usize>>, StorageError> {
        let mut found = Vec::with_capacity(batch.notifications.len() + batch.settlements.len());
        let mut begin = self.packed.len();
        let mut end = |end: usize| found.push(std::mem::replace(&mut begin, end)..end);
        for notification in &batch.notifications {
            self.owed(notification)?;
            end(self.packed.len());
        }
        for settlement in &batch.settlements {
            self.outcome(settlement)?;
            end(self.packed.len());
        }
        Ok(found)
    }

    fn change(&mut self, monitor: MonitorId, change: &StateChange) -> Result<(), StorageError> {
        let change_text = text(&mut self.text, change)?;
        let line = Line::Change { monitor: *monitor.as_bytes(), version: change.version.0, change: change_text };
        line.pack(&mut self.packed);
        self.lines += 1;
        Ok(())
    }

    pub(crate) fn incident(&mut self, incident: &Incident) -> Result<(), StorageError> {
        let line = Line::Incident {
            id: *incident.id.as_bytes(),
            monitor: *incident.monitor.as_bytes(),
            opened_at: incident.opened_at.as_millis(),
            open: incident.is_open(),
            incident: text(&mut self.text, incident)?,
        };
        line.pack(&mut self.packed);
        self.lines += 1;
        Ok(())
    }

    fn owed(&mut self, notification: &Notification) -> Result<(), StorageError> {
        let line = Line::Owed {
            id: *notification.id.as_bytes(),
            incident: notification.incident.as_ref().map(|incident| *incident.id.as_bytes()),
            notification: text(&mut self.text, notification)?,
            ping_body: notification.ping.as_ref().and_then(|ping| ping.body.as_deref()),
            delivery: text(&mut self.text_beside, &Delivery::pending(notification.created_at))?,
        };
        line.pack(&mut self.packed);
        self.lines += 1;
        Ok(())
    }

    fn outcome(&mut self, settlement: &Settlement) -> Result<(), StorageError> {
        let Settlement { id, delivery } = settlement;
        let state = state_number(delivery.state);
        Line::Outcome { id: *id.as_bytes(), state, delivery: text(&mut self.text, delivery)? }.pack(&mut self.packed);
        self.lines += 1;
        Ok(())
    }
}

impl EncodedDocument {
    /// How large it is when that is too large.
    pub(crate) fn excess(&self) -> Option<usize> {
        self.body.as_ref().map(String::len).filter(|bytes| *bytes > DOCUMENT_BYTES_MAX)
    }
}

/// How a state of delivery is stored.
pub(crate) const fn state_number(state: DeliveryState) -> i64 {
    match state {
        DeliveryState::Pending => 0,
        DeliveryState::Delivered => 1,
        DeliveryState::Dead => 2,
        DeliveryState::Grouped => 3,
    }
}

pub(crate) fn encode(batch: &Batch) -> Result<Encoded, StorageError> {
    let mut entries = Entries { partition: batch.partition.0, ..Entries::default() };
    let mut history = History::default();
    let mut transitions = Vec::with_capacity(batch.transitions.len());
    for found in &batch.transitions {
        transitions.push(transition(found, &mut entries, &mut history)?);
        if transitions.len() == 1 {
            // Growing to megabytes would copy all of it again and again. The others are often as large as the first.
            let others = batch.transitions.len() - 1;
            for bytes in [&mut entries.bytes, &mut history.packed] {
                bytes.reserve(bytes.len().saturating_mul(others).min(RESERVED_MAX));
            }
        }
    }
    Ok(Encoded {
        partition: batch.partition.0,
        epoch: batch.epoch.0,
        transitions,
        bytes: entries.bytes,
        documents: batch.documents.iter().map(document).collect::<Result<_, _>>()?,
        beside: history.beside(batch)?,
        history,
        mark: batch.mark.map(Timestamp::as_millis),
        outage: batch.outage.map(|outage| (outage.from.as_millis(), outage.to.as_millis())),
        forget_outages_before: batch.forget_outages_before.map(Timestamp::as_millis),
        forget_outages_after: batch.forget_outages_after.map(Timestamp::as_millis),
    })
}

pub(crate) fn json(value: &impl Serialize) -> Result<String, StorageError> {
    serde_json::to_string(value).map_err(|error| no_json(&error))
}

/// The text of a monitor's wish.
pub(crate) fn wish(monitor: &Monitor) -> Result<String, StorageError> {
    wish_text::write(monitor).map_err(|error| no_json(&error))
}

/// JSON in memory that is used again and again.
fn text<'a>(buffer: &'a mut Vec<u8>, value: &impl Serialize) -> Result<&'a str, StorageError> {
    buffer.clear();
    serde_json::to_writer(&mut *buffer, value).map_err(|error| no_json(&error))?;
    str::from_utf8(buffer).map_err(|error| no_json(&error))
}

fn no_json(error: &dyn Display) -> StorageError {
    StorageError::Unavailable(format!("it has no JSON form: {error}"))
}

fn transition(
    transition: &Transition,
    entries: &mut Entries,
    history: &mut History,
) -> Result<EncodedTransition, StorageError> {
    let put = match &transition.change {
        Change::Put(record) => Some(entries.push(transition, record)?),
        Change::Remove => None,
    };
    Ok(EncodedTransition {
        monitor: *transition.monitor.as_bytes(),
        expected: transition.expected.map(|version| version.0),
        put,
        history: history.push(transition)?,
    })
}

/// Writes entries for the log, one behind the other.
#[derive(Default)]
struct Entries {
    partition: u16,
    bytes: Vec<u8>,
    health: Vec<u8>,
    content: Vec<u8>,
}

impl Entries {
    fn push(&mut self, transition: &Transition, record: &Record) -> Result<EncodedRecord, StorageError> {
        let wake_at = record.health.wake_at().as_millis();
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(transition.monitor.as_bytes());
        compact::write_number(&mut self.bytes, self.partition.into());
        compact::write_number(&mut self.bytes, record.version.0);
        compact::write_signed(&mut self.bytes, wake_at);
        self.health.clear();
        compact::write_health(&mut self.health, &record.health).map_err(unencodable)?;
        compact::write_bytes(&mut self.bytes, &self.health);
        let health = self.bytes.len() - self.health.len()..self.bytes.len();
        pack(&mut self.bytes, &mut self.content, &transition.pings);
        let is_new = transition.expected.is_none();
        Ok(EncodedRecord {
            monitor: Arc::clone(&record.monitor),
            wish: is_new.then(|| wish(&record.monitor)).transpose()?,
            version: record.version.0,
            wake_at,
            entry: begin..self.bytes.len(),
            health,
            has_pings: !transition.pings.is_empty(),
        })
    }
}

/// Appends heartbeats as frames.
pub(crate) fn pack(out: &mut Vec<u8>, content: &mut Vec<u8>, pings: &[PingEntry]) {
    let mut packer = FramePacker::behind(std::mem::take(out));
    for ping in pings {
        content.clear();
        compact::write_ping(content, ping);
        packer.push(Frame { n: ping.n, arrived_at: ping.arrived_at.as_millis(), content });
    }
    *out = packer.bytes;
}

#[allow(clippy::needless_pass_by_value, reason = "it is handed to map_err")]
fn unencodable(error: CompactError) -> StorageError {
    StorageError::Unavailable(format!("it has no stored form: {error}"))
}

fn document(write: &DocumentWrite) -> Result<EncodedDocument, StorageError> {
    Ok(EncodedDocument {
        kind: write.kind.clone(),
        id: write.id.clone(),
        expected: write.expected.map(|version| version.0),
        body: write.body.as_ref().map(json).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use heartbeat_engine::testing::fixtures::{batch, create, next, record, replace};

    use super::*;

    #[test]
    fn the_wish_of_a_new_monitor_is_made_into_text_by_the_caller() {
        let after = next(&record(2), |_, _| ());
        let encoded = encode(&batch([create(&record(1)), replace(&after)])).unwrap();
        let wishes = encoded.transitions.iter().map(|found| found.put.as_ref().unwrap().wish.clone());
        assert_eq!(wishes.collect::<Vec<_>>(), [Some(wish(&record(1).monitor).unwrap()), None]);
    }
}
