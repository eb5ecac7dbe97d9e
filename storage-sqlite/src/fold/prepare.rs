//! Reads what a slice of monitors has in the log, and makes of it what is to be written.

use rusqlite::{Connection, OptionalExtension};

use crate::error;
use crate::index::Index;
use crate::log::{self, LogEntry, Position};
use crate::pings::{self, FOLDED, Stored};
use crate::readers::{Read, ReadError};

/// How many bytes a slice has at most, unless it is one monitor.
const SLICE_BYTES_MAX: usize = 256 << 10;

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
    pub(crate) pings: Option<pings::Folded>,
}

/// The slice, and how many of the monitors it is about. The index is asked before the connection sees anything.
pub(super) fn slice(
    connection: &Connection,
    index: &Index,
    ids: &[[u8; 16]],
    keep: u64,
    last_chunk: &mut i64,
) -> Read<(Slice, usize)> {
    let tails: Vec<Option<Position>> = {
        let table = index.read();
        ids.iter().map(|id| table.tail(id)).collect()
    };
    let (mut slice, mut bytes) = (Vec::new(), 0);
    for (done, (id, tail)) in ids.iter().zip(tails).enumerate() {
        if bytes > SLICE_BYTES_MAX {
            return Ok((slice, done));
        }
        let Some(tail) = tail else { continue };
        if let Some(item) = item(connection, id, tail, keep, last_chunk)? {
            bytes += item.bytes();
            slice.push(item);
        }
    }
    Ok((slice, ids.len()))
}

impl Item {
    fn new(entry: &LogEntry<'_>, from: Position, to: Position) -> Self {
        Self {
            id: entry.id,
            from,
            to,
            partition: entry.partition,
            version: entry.version,
            wake_at: entry.wake_at,
            health: entry.health.to_vec(),
            pings: None,
        }
    }

    fn bytes(&self) -> usize {
        let of_pings = |pings: &pings::Folded| {
            pings.recent.len() + pings.chunks.len() + pings.added.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
        };
        self.health.len() + self.pings.as_ref().map_or(0, of_pings)
    }
}

fn item(
    connection: &Connection,
    id: &[u8; 16],
    tail: Position,
    keep: u64,
    last_chunk: &mut i64,
) -> Read<Option<Item>> {
    let folded = connection.prepare_cached(FOLDED)?.query_row([id], |row| row.get(0)).optional()?;
    let Some(folded) = folded.map(Position::from_column) else { return Ok(None) };
    let mut item = None;
    let (mut entries, mut newest) = (Vec::new(), None);
    log::walk(connection, id, tail, folded, |entry| {
        item.get_or_insert_with(|| Item::new(entry, folded, tail));
        if entry.pings.is_empty() {
            return Ok(true);
        }
        let (first, last) = pings::range(entry.pings).map_err(|error| damaged(&error))?;
        let newest = *newest.get_or_insert(last);
        entries.push(entry.pings.to_vec());
        // What is older is forgotten already.
        Ok(pings::is_kept(first, newest, keep))
    })?;
    let Some(item) = item else { return Ok(None) };
    if entries.is_empty() {
        return Ok(Some(item));
    }
    entries.reverse();
    let folded = Stored::read(connection, id)?.fold(&entries, keep, last_chunk).map_err(|error| damaged(&error))?;
    Ok(Some(Item { pings: Some(folded), ..item }))
}

fn damaged(error: &dyn std::fmt::Display) -> ReadError {
    ReadError::Undecodable(error::undecodable(&"heartbeats in the log", error))
}
