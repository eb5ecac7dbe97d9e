//! The forms in which things are kept, as far as `lua/commit.lua` does not make them.

use heartbeat_engine::compact::{self, Frame, FramePacker, Frames};
use heartbeat_engine::{
    Delivery, DeliveryState, Health, Incident, Monitor, MonitorId, Notification, OutboxEntry, PingEntry, Record,
    Settlement, StorageError, Timestamp, Version,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{damaged, damaged_json, unencodable};

/// Where the part of a state begins that only we read, behind its version, its revision, how long the rest is, and when the
/// monitor wakes.
const HEALTH_AT: usize = 28;
/// Where the rest begins whose length a state tells.
const REST_AT: usize = 20;
/// What is kept last: under which instant the monitor is among those that are due.
const DUE_BYTES: usize = 8;

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

/// The state of a record as `commit.lua` takes it, appended.
pub(crate) fn state(out: &mut Vec<u8>, record: &Record) -> Result<(), StorageError> {
    let begin = out.len();
    out.extend_from_slice(&record.version.0.to_be_bytes());
    out.extend_from_slice(&record.monitor.revision.0.to_be_bytes());
    out.extend_from_slice(&[0; REST_AT - 16]);
    out.extend_from_slice(&double(record.health.wake_at()));
    compact::write_health(out, &record.health).map_err(unencodable)?;
    let length = u32::try_from(out.len() - begin - REST_AT).map_err(unencodable)?;
    out[begin + 16..begin + REST_AT].copy_from_slice(&length.to_be_bytes());
    Ok(())
}

/// A state as it was given to `commit.lua` or is kept: the record's version, the wish's revision, how the monitor stands, and
/// what follows.
pub(crate) fn read_state(id: MonitorId, bytes: &[u8]) -> Result<(Version, Version, Health, &[u8]), StorageError> {
    let what = || format!("the state of monitor {id}");
    let read = || {
        let (version, rest) = bytes.split_first_chunk()?;
        let (revision, rest) = rest.split_first_chunk()?;
        let (length, _) = rest.split_first_chunk()?;
        let end = REST_AT.checked_add(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let (state, behind) = bytes.split_at_checked(end)?;
        Some((u64::from_be_bytes(*version), u64::from_be_bytes(*revision), state.get(HEALTH_AT..)?, behind))
    };
    let read = read().ok_or_else(|| StorageError::Corrupt(format!("{} ends too soon", what())))?;
    let (version, revision, health, behind) = read;
    let health = compact::read_health(health).map_err(|error| damaged(&what(), &error))?;
    Ok((Version(version), Version(revision), health, behind))
}

/// The latest heartbeats of a monitor, newest first, that are kept with its state.
pub(crate) fn latest_of(id: MonitorId, state: &[u8]) -> Result<&[u8], StorageError> {
    let (_, _, _, behind) = read_state(id, state)?;
    let latest = behind.len().checked_sub(DUE_BYTES).and_then(|end| behind.get(..end));
    latest.ok_or_else(|| StorageError::Corrupt(format!("the state of monitor {id} ends too soon")))
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

/// A heartbeat on its own, appended.
pub(crate) fn ping(out: &mut Vec<u8>, ping: &PingEntry) {
    let mut content = Vec::new();
    compact::write_ping(&mut content, ping);
    let mut packer = FramePacker::behind(std::mem::take(out));
    packer.push(Frame { n: ping.n, arrived_at: ping.arrived_at.as_millis(), content: &content });
    *out = packer.bytes;
}

/// Heartbeats one behind the other, each on its own.
pub(crate) fn read_frames(id: MonitorId, bytes: &[u8]) -> impl Iterator<Item = Result<Frame<'_>, StorageError>> {
    Frames::apart(bytes)
        .map(move |frame| frame.map_err(|error| damaged(&format!("a heartbeat of monitor {id}"), &error)))
}

pub(crate) fn read_ping(id: MonitorId, frame: &Frame<'_>) -> Result<PingEntry, StorageError> {
    compact::read_ping(frame).map_err(|error| damaged(&format!("a heartbeat of monitor {id}"), &error))
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
