//! Makes of what monitors have in the log what is to be written.

use heartbeat_engine::MonitorId;
use rusqlite::{Connection, OptionalExtension};

use super::gather::Entries;
use crate::counts::{self, Hours};
use crate::damage::Damage;
use crate::error;
use crate::log::Position;
use crate::options::Kept;
use crate::pings::{self, FOLDED, Stored};
use crate::readers::{Read, ReadError};
use heartbeat_engine::compact::CompactError;

/// What is to be written of some monitors.
pub(crate) type Slice = Vec<Item>;

/// What is to be written of one monitor.
pub(crate) struct Item {
    pub(crate) id: [u8; 16],
    /// What its row has taken of the log so far; when that has changed, somebody removed the monitor.
    pub(crate) from: Position,
    /// What its row has taken then.
    pub(crate) to: Position,
    pub(crate) partition: u16,
    pub(crate) version: u64,
    pub(crate) wake_at: i64,
    pub(crate) health: Vec<u8>,
    /// `None` when no heartbeats came.
    pub(crate) pings: Option<(pings::Folded, counts::Folded)>,
}

impl Item {
    /// About how much is written.
    pub(super) fn bytes(&self) -> usize {
        let of_pings = |(pings, counts): &(pings::Folded, counts::Folded)| {
            let added = pings.added.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
            pings.recent.len() + pings.chunks.len() + added + counts.bytes()
        };
        self.health.len() + self.pings.as_ref().map_or(0, of_pings)
    }
}

/// `None` when everything is in the monitor's row already, or the monitor is removed.
pub(super) fn item(
    connection: &Connection,
    entries: Entries<'_>,
    kept: Kept,
    last_chunk: &mut i64,
    damage: &mut Damage,
) -> Read<Option<Item>> {
    let id = entries.id();
    let folded = connection.prepare_cached(FOLDED)?.query_row([&id], |row| row.get(0)).optional()?;
    let Some(from) = folded.map(Position::from_column) else { return Ok(None) };
    let mut item = None;
    let (mut frames, mut newest, mut hours) = (Vec::new(), None, Hours::new());
    let mut is_enough = false;
    for entry in entries.backwards() {
        let (position, entry) = entry?;
        if position <= from {
            break;
        }
        item.get_or_insert_with(|| Item {
            id,
            from,
            to: position,
            partition: entry.partition,
            version: entry.version,
            wake_at: entry.wake_at,
            health: entry.health.to_vec(),
            pings: None,
        });
        if entry.pings.is_empty() {
            continue;
        }
        let Some((first, last)) = range(&id, position, entry.pings, damage) else { continue };
        if kept.counts() {
            count(&mut hours, &id, entry.pings);
        }
        if !is_enough {
            frames.push(entry.pings);
        }
        // What is older is forgotten already, and only counted.
        is_enough |= !pings::is_kept(first, *newest.get_or_insert(last), kept.pings);
        if is_enough && !kept.counts() {
            break;
        }
    }
    let Some(item) = item else { return Ok(None) };
    if frames.is_empty() {
        return Ok(Some(item));
    }
    frames.reverse();
    let folded = fold(connection, &id, &frames, hours, kept, last_chunk)?;
    Ok(Some(Item { pings: Some(folded), ..item }))
}

/// What cannot be read is not counted: nothing would ever be folded again otherwise.
fn count(hours: &mut Hours, id: &[u8; 16], frames: &[u8]) {
    if let Err(error) = counts::tally(hours, frames) {
        tracing::error!(monitor = %MonitorId::from_bytes(*id), %error, "some heartbeats are damaged and not counted");
    }
}

/// The numbers of the first and the last heartbeat of an entry; `None` when they are damaged.
fn range(id: &[u8; 16], position: Position, frames: &[u8], damage: &mut Damage) -> Option<(u64, u64)> {
    let lost = |error: CompactError| {
        let monitor = MonitorId::from_bytes(*id);
        tracing::error!(%monitor, %error, "heartbeats in the log are damaged and lost");
        damage.note(position.seq());
    };
    pings::range(frames).map_err(lost).ok()
}

/// The heartbeats of the log behind those that are stored. Of these, what is damaged is left out: nothing would ever be
/// folded again otherwise.
fn fold(
    connection: &Connection,
    id: &[u8; 16],
    frames: &[&[u8]],
    hours: Hours,
    kept: Kept,
    last_chunk: &mut i64,
) -> Read<(pings::Folded, counts::Folded)> {
    let monitor = MonitorId::from_bytes(*id);
    let (stored, damaged) = Stored::readable(connection, id)?;
    if let Some(error) = damaged {
        tracing::error!(%monitor, %error, "some of its older heartbeats are lost");
    }
    let counts = if kept.counts() {
        let (counts, damaged) = counts::fold(&stored.hours, hours);
        if let Some(error) = damaged {
            tracing::error!(%monitor, %error, "how many heartbeats it had in some of the last hours is lost");
        }
        counts
    } else {
        counts::Folded::default()
    };
    let unreadable = |error: CompactError| ReadError::Undecodable(error::undecodable(&"heartbeats in the log", &error));
    let pings = stored.fold(frames, kept.pings, last_chunk).map_err(unreadable)?;
    Ok((pings, counts))
}
