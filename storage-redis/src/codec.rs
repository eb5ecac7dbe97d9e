//! The forms in which things are kept, as far as `lua/commit.lua` does not make them.

use heartbeat_engine::compact::{self, Frame, FramePacker, Frames};
use heartbeat_engine::{
    Delivery, DeliveryState, Health, Incident, Monitor, MonitorId, Notification, OutboxEntry, PingEntry, Record,
    Settlement, StorageError, Timestamp, Version,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{damaged, damaged_json, unencodable};

/// Where the part of a stored state begins that only we read.
const HEALTH_AT: usize = 32;
/// The same in a state as it is given to `commit.lua`.
const GIVEN_HEALTH_AT: usize = 24;

/// An instant as a double: milliseconds, exact within 285,000 years of 1970.
pub(crate) fn double(at: Timestamp) -> [u8; 8] {
    let millis = if at == Timestamp::MAX { f64::INFINITY } else { at.as_millis() as f64 };
    millis.to_be_bytes()
}

/// An instant, so that bytes sort as instants do.
pub(crate) fn sortable(at: Timestamp) -> [u8; 8] {
    (at.as_millis().cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

pub(crate) fn from_sortable(bytes: [u8; 8]) -> Timestamp {
    Timestamp::from_millis((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
}

/// The state of a record as `commit.lua` takes it.
pub(crate) fn state(record: &Record) -> Result<Vec<u8>, StorageError> {
    let mut out = Vec::with_capacity(64);
    out.extend_from_slice(&record.version.0.to_be_bytes());
    out.extend_from_slice(&record.monitor.revision.0.to_be_bytes());
    out.extend_from_slice(&double(record.health.wake_at()));
    compact::write_health(&mut out, &record.health).map_err(unencodable)?;
    Ok(out)
}

/// A state as it is kept: the record's version, the wish's revision, and how the monitor stands.
pub(crate) fn read_state(id: MonitorId, bytes: &[u8]) -> Result<(Version, Version, Health), StorageError> {
    read_state_at(id, bytes, HEALTH_AT)
}

/// The same of a state as it was given to `commit.lua`.
pub(crate) fn read_given_state(id: MonitorId, bytes: &[u8]) -> Result<(Version, Version, Health), StorageError> {
    read_state_at(id, bytes, GIVEN_HEALTH_AT)
}

fn read_state_at(id: MonitorId, bytes: &[u8], health_at: usize) -> Result<(Version, Version, Health), StorageError> {
    let what = || format!("the state of monitor {id}");
    let head = |at: usize| {
        let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u64::from_be_bytes).map(Version)
    };
    let (Some(version), Some(revision), Some(rest)) = (head(0), head(8), bytes.get(health_at..)) else {
        return Err(StorageError::Corrupt(format!("{} ends too soon", what())));
    };
    let health = compact::read_health(rest).map_err(|error| damaged(&what(), &error))?;
    Ok((version, revision, health))
}

pub(crate) fn json(value: &impl Serialize) -> Result<Vec<u8>, StorageError> {
    serde_json::to_vec(value).map_err(unencodable)
}

fn from_json<T: DeserializeOwned>(what: &dyn std::fmt::Display, bytes: &[u8]) -> Result<T, StorageError> {
    serde_json::from_slice(bytes).map_err(|error| damaged_json(&what.to_string(), &error))
}

pub(crate) fn read_wish(id: MonitorId, bytes: &[u8]) -> Result<Monitor, StorageError> {
    from_json(&format_args!("the wish of monitor {id}"), bytes)
}

pub(crate) fn read_change(bytes: &[u8]) -> Result<heartbeat_engine::StateChange, StorageError> {
    from_json(&"a change of state", bytes)
}

/// A heartbeat on its own.
pub(crate) fn ping(out: &mut Vec<u8>, ping: &PingEntry) {
    let mut content = Vec::new();
    compact::write_ping(&mut content, ping);
    let mut packer = FramePacker::behind(std::mem::take(out));
    packer.push(Frame { n: ping.n, arrived_at: ping.arrived_at.as_millis(), content: &content });
    *out = packer.bytes;
}

pub(crate) fn read_frame(id: MonitorId, bytes: &[u8]) -> Result<Frame<'_>, StorageError> {
    let what = || format!("a heartbeat of monitor {id}");
    let frame = Frames::new(bytes).next();
    let frame = frame.ok_or_else(|| StorageError::Corrupt(format!("{} is empty", what())))?;
    frame.map_err(|error| damaged(&what(), &error))
}

pub(crate) fn read_ping(id: MonitorId, bytes: &[u8]) -> Result<PingEntry, StorageError> {
    let frame = read_frame(id, bytes)?;
    compact::read_ping(&frame).map_err(|error| damaged(&format!("a heartbeat of monitor {id}"), &error))
}

/// Where an incident stands in the order of incidents.
pub(crate) fn place(opened_at: Timestamp, id: heartbeat_engine::IncidentId) -> Vec<u8> {
    [&sortable(opened_at)[..], id.as_bytes()].concat()
}

/// An incident as `commit.lua` takes and keeps it.
pub(crate) fn incident(out: &mut Vec<u8>, incident: &Incident) -> Result<(), StorageError> {
    out.extend(place(incident.opened_at, incident.id));
    out.extend_from_slice(incident.monitor.as_bytes());
    out.push(if incident.is_open() { b'o' } else { b'c' });
    out.extend(json(incident)?);
    Ok(())
}

pub(crate) fn read_incident(bytes: &[u8]) -> Result<Incident, StorageError> {
    from_json(&"an incident", bytes.get(41..).unwrap_or_default())
}

/// A notification as `commit.lua` takes it. Its own form leaves the body of its heartbeat out.
pub(crate) fn notification(out: &mut Vec<u8>, owed: &Notification) -> Result<(), StorageError> {
    out.extend_from_slice(owed.id.as_bytes());
    out.extend_from_slice(&double(owed.created_at));
    let body = owed.ping.as_ref().and_then(|ping| ping.body.as_ref());
    out.extend(json(&(owed, body))?);
    Ok(())
}

pub(crate) fn settlement(settlement: &Settlement) -> Result<Vec<u8>, StorageError> {
    let letter = match settlement.delivery.state {
        DeliveryState::Pending => b'p',
        DeliveryState::Delivered => b'd',
        DeliveryState::Dead => b'x',
        DeliveryState::Grouped => b'g',
    };
    Ok([&settlement.id.as_bytes()[..], &[letter], &json(&settlement.delivery)?].concat())
}

/// A notification as `commit.lua` keeps it, with its delivery if anything was settled.
pub(crate) fn read_entry(bytes: &[u8], delivery: Option<&[u8]>) -> Result<OutboxEntry, StorageError> {
    let Some((place, rest)) = bytes.split_first_chunk() else {
        return Err(StorageError::Corrupt("a notification ends too soon".to_owned()));
    };
    let (mut notification, body): (Notification, Option<Vec<u8>>) = from_json(&"a notification", rest)?;
    if let Some(ping) = &mut notification.ping {
        ping.body = body;
    }
    let delivery = match delivery {
        Some(bytes) => from_json(&"a delivery", bytes.get(1..).unwrap_or_default())?,
        None => Delivery::pending(notification.created_at),
    };
    Ok(OutboxEntry { seq: f64::from_be_bytes(*place) as u64, notification, delivery })
}
