//! A batch as the writer wants it: owned, with its texts and its entries for the log made on the caller's thread.

use std::ops::Range;
use std::sync::Arc;

use heartbeat_engine::{
    Batch, Change, DOCUMENT_BYTES_MAX, Delivery, DeliveryState, DocumentWrite, Incident, Monitor, Notification,
    PingEntry, Record, Settlement, StateChange, StorageError, Timestamp, Transition,
};
use serde::Serialize;

use crate::line::Line;
use heartbeat_engine::compact::{self, CompactError, Frame, FramePacker};

/// A batch.
pub(crate) struct Encoded {
    pub(crate) partition: u16,
    pub(crate) epoch: u64,
    pub(crate) transitions: Vec<EncodedTransition>,
    /// The entries of all transitions for the log.
    pub(crate) bytes: Vec<u8>,
    pub(crate) documents: Vec<EncodedDocument>,
    pub(crate) notifications: Vec<EncodedNotification>,
    pub(crate) settlements: Vec<EncodedSettlement>,
    /// How many lines of history it has: changes of state, incidents, notifications and their outcomes.
    pub(crate) lines: usize,
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
    pub(crate) changes: Vec<EncodedChange>,
    pub(crate) incidents: Vec<EncodedIncident>,
    pub(crate) notifications: Vec<EncodedNotification>,
}

pub(crate) struct EncodedRecord {
    pub(crate) monitor: Arc<Monitor>,
    /// The JSON of it for a new monitor; otherwise the writer makes it, if it has to, which it seldom has.
    pub(crate) wish: Option<String>,
    pub(crate) version: u64,
    pub(crate) wake_at: i64,
    /// The entry for the log, within the bytes of the batch: see [`crate::log::LogEntry`].
    pub(crate) entry: Range<usize>,
    /// The state within it.
    pub(crate) health: Range<usize>,
    pub(crate) has_pings: bool,
}

pub(crate) struct EncodedChange {
    pub(crate) version: u64,
    pub(crate) change: String,
}

pub(crate) struct EncodedIncident {
    pub(crate) id: [u8; 16],
    pub(crate) monitor: [u8; 16],
    pub(crate) opened_at: i64,
    pub(crate) open: bool,
    pub(crate) incident: String,
}

pub(crate) struct EncodedNotification {
    pub(crate) id: [u8; 16],
    pub(crate) incident: Option<[u8; 16]>,
    pub(crate) notification: String,
    pub(crate) ping_body: Option<Vec<u8>>,
    pub(crate) delivery: String,
}

pub(crate) struct EncodedSettlement {
    pub(crate) id: [u8; 16],
    pub(crate) state: i64,
    pub(crate) delivery: String,
}

pub(crate) struct EncodedDocument {
    pub(crate) kind: String,
    pub(crate) id: String,
    pub(crate) expected: Option<u64>,
    /// `None`: it is removed.
    pub(crate) body: Option<String>,
}

impl EncodedChange {
    pub(crate) fn line(&self, monitor: &[u8; 16]) -> Line<'_> {
        Line::Change { monitor: *monitor, version: self.version, change: &self.change }
    }
}

impl EncodedIncident {
    pub(crate) fn line(&self) -> Line<'_> {
        let Self { id, monitor, opened_at, open, incident } = self;
        Line::Incident { id: *id, monitor: *monitor, opened_at: *opened_at, open: *open, incident }
    }
}

impl EncodedNotification {
    pub(crate) fn line(&self) -> Line<'_> {
        Line::Owed {
            id: self.id,
            incident: self.incident,
            notification: &self.notification,
            ping_body: self.ping_body.as_deref(),
            delivery: &self.delivery,
        }
    }
}

impl EncodedSettlement {
    pub(crate) fn line(&self) -> Line<'_> {
        Line::Outcome { id: self.id, state: self.state, delivery: &self.delivery }
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
    let transitions =
        batch.transitions.iter().map(|found| transition(found, &mut entries)).collect::<Result<_, _>>()?;
    let lines = |found: &Transition| found.changes.len() + found.incidents.len() + found.notifications.len();
    let beside = batch.notifications.len() + batch.settlements.len();
    Ok(Encoded {
        lines: batch.transitions.iter().map(lines).sum::<usize>() + beside,
        partition: batch.partition.0,
        epoch: batch.epoch.0,
        transitions,
        bytes: entries.bytes,
        documents: all(&batch.documents, document)?,
        notifications: all(&batch.notifications, notification)?,
        settlements: all(&batch.settlements, settlement)?,
        mark: batch.mark.map(Timestamp::as_millis),
        outage: batch.outage.map(|outage| (outage.from.as_millis(), outage.to.as_millis())),
        forget_outages_before: batch.forget_outages_before.map(Timestamp::as_millis),
        forget_outages_after: batch.forget_outages_after.map(Timestamp::as_millis),
    })
}

pub(crate) fn json(value: &impl Serialize) -> Result<String, StorageError> {
    serde_json::to_string(value).map_err(|error| StorageError::Unavailable(format!("it has no JSON form: {error}")))
}

fn all<T, E>(items: &[T], encode: impl Fn(&T) -> Result<E, StorageError>) -> Result<Vec<E>, StorageError> {
    items.iter().map(encode).collect()
}

fn transition(transition: &Transition, entries: &mut Entries) -> Result<EncodedTransition, StorageError> {
    let put = match &transition.change {
        Change::Put(record) => Some(entries.push(transition, record)?),
        Change::Remove => None,
    };
    Ok(EncodedTransition {
        monitor: *transition.monitor.as_bytes(),
        expected: transition.expected.map(|version| version.0),
        put,
        changes: all(&transition.changes, change)?,
        incidents: all(&transition.incidents, incident)?,
        notifications: all(&transition.notifications, notification)?,
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
            wish: is_new.then(|| json(&*record.monitor)).transpose()?,
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

fn change(change: &StateChange) -> Result<EncodedChange, StorageError> {
    Ok(EncodedChange { version: change.version.0, change: json(change)? })
}

pub(crate) fn incident(incident: &Incident) -> Result<EncodedIncident, StorageError> {
    Ok(EncodedIncident {
        id: *incident.id.as_bytes(),
        monitor: *incident.monitor.as_bytes(),
        opened_at: incident.opened_at.as_millis(),
        open: incident.is_open(),
        incident: json(incident)?,
    })
}

fn notification(notification: &Notification) -> Result<EncodedNotification, StorageError> {
    Ok(EncodedNotification {
        id: *notification.id.as_bytes(),
        incident: notification.incident.as_ref().map(|incident| *incident.id.as_bytes()),
        notification: json(notification)?,
        ping_body: notification.ping.as_ref().and_then(|ping| ping.body.clone()),
        delivery: json(&Delivery::pending(notification.created_at))?,
    })
}

fn settlement(settlement: &Settlement) -> Result<EncodedSettlement, StorageError> {
    Ok(EncodedSettlement {
        id: *settlement.id.as_bytes(),
        state: state_number(settlement.delivery.state),
        delivery: json(&settlement.delivery)?,
    })
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
    fn the_wish_of_a_new_monitor_is_made_into_json_by_the_caller() {
        let after = next(&record(2), |_, _| ());
        let encoded = encode(&batch([create(&record(1)), replace(&after)])).unwrap();
        let wishes = encoded.transitions.iter().map(|found| found.put.as_ref().unwrap().wish.clone());
        assert_eq!(wishes.collect::<Vec<_>>(), [Some(json(&*record(1).monitor).unwrap()), None]);
    }
}
