//! Reads the log from its beginning to its end and keeps what it has of some monitors, in the order of their ids.
//!
//! Following each monitor's entries backwards would read the log in random order, a page for each heartbeat. Reading it as a
//! whole is so much cheaper that it may as well be done several times, each time for as many monitors as fit into memory.

use rusqlite::Connection;

use crate::damage::Damage;
use crate::error;
use crate::log::{self, LogEntry, Position};
use crate::readers::{Read, ReadError};

/// How many bytes of entries are kept at once, as long as monitors have about the same number of them.
pub(super) const GATHER_BYTES: u64 = 32 << 20;
/// How many rows are read in one look at the database.
const ROWS: u64 = 4096;

pub(crate) const ENTRIES: &str = "SELECT seq, entries FROM log WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq";

/// Where an entry is among the bytes that were kept.
struct Place {
    id: [u8; 16],
    position: Position,
    at: usize,
    bytes: usize,
}

/// What the log has of the monitors between two ids.
#[derive(Default)]
pub(super) struct Gathered {
    bytes: Vec<u8>,
    places: Vec<Place>,
}

impl Gathered {
    /// Adds some rows of the log from `seq` on, up to the row `last`; says where to go on. What is in the log is deleted
    /// by nobody but who folds it, so it may be read piece by piece.
    pub(super) fn read(
        &mut self,
        connection: &Connection,
        ids: (&[u8; 16], &[u8; 16]),
        (seq, last): (u64, u64),
        damage: &mut Damage,
    ) -> Read<u64> {
        let end = last.min(seq.saturating_add(ROWS - 1));
        let mut statement = connection.prepare_cached(ENTRIES)?;
        let mut rows = statement.query([seq.cast_signed(), end.cast_signed()])?;
        while let Some(row) = rows.next()? {
            let seq = row.get::<_, i64>(0)?.cast_unsigned();
            let Ok(entries) = row.get_ref(1)?.as_bytes() else {
                damage.found(seq, &"it holds no bytes");
                continue;
            };
            for entry in log::entries(seq, entries) {
                match entry {
                    Ok((position, entry)) if *ids.0 <= entry.id && entry.id <= *ids.1 => self.keep(position, &entry),
                    Ok(_) => (),
                    Err(error) => damage.found(seq, &error),
                }
            }
        }
        Ok(end + 1)
    }

    fn keep(&mut self, position: Position, entry: &LogEntry<'_>) {
        let (at, bytes) = (self.bytes.len(), entry.body.len());
        self.bytes.extend_from_slice(entry.body);
        self.places.push(Place { id: entry.id, position, at, bytes });
    }

    pub(super) fn sort(&mut self) {
        self.places.sort_unstable_by_key(|place| (place.id, place.position));
    }

    /// The entries of each monitor, oldest first.
    pub(super) fn monitors(&self) -> impl Iterator<Item = Entries<'_>> {
        let monitors = self.places.chunk_by(|one, next| one.id == next.id);
        monitors.map(|places| Entries { bytes: &self.bytes, places })
    }
}

/// The entries of one monitor, oldest first.
#[derive(Clone, Copy)]
pub(super) struct Entries<'a> {
    bytes: &'a [u8],
    places: &'a [Place],
}

impl<'a> Entries<'a> {
    pub(super) fn id(&self) -> [u8; 16] {
        self.places.first().map_or([0; 16], |place| place.id)
    }

    /// The newest first.
    pub(super) fn backwards(self) -> impl Iterator<Item = Read<(Position, LogEntry<'a>)>> {
        self.places.iter().rev().map(move |place| {
            let body = self.bytes.get(place.at..place.at + place.bytes).unwrap_or_default();
            let entry = LogEntry::of(None, body).map_err(|error| damaged(place.position.seq(), &error))?;
            Ok((place.position, entry))
        })
    }
}

fn damaged(seq: u64, error: &dyn std::fmt::Display) -> ReadError {
    ReadError::Undecodable(error::undecodable(&format_args!("row {seq} of the log"), error))
}
