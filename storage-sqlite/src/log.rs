//! The log: every new state of a monitor is appended to it together with the heartbeats that made it, and goes into the
//! monitor's row later, see [`crate::fold`].
//!
//! One heartbeat in the rows of a million monitors costs a page of the state and a page of the history, at random places.
//! In the log it costs its own bytes. A row of the log holds entries of one batch, up to some size, so that reading one
//! entry needs one page. An entry names the one before it of the same monitor, unless that is in the monitor's row already;
//! so what is not in the row yet is found from the newest entry backwards, and memory is needed for the newest alone.
//!
//! The row of a monitor says up to which position it has taken the log. Whatever is at or before that position is in it,
//! or belonged to a removed monitor of the same id; so reading, folding and replaying may meet entries that are folded, in
//! any order, as often as they like.

use rusqlite::{Connection, OptionalExtension, params};

use crate::error;
use crate::readers::{Read, ReadError};
use heartbeat_engine::compact::{CompactError, Reader};

/// How many bytes of entries a row holds; a larger entry has a row of its own. Two of these fit on a page.
pub(crate) const ROW_BYTES: usize = 2000;
const OFFSET_BITS: u32 = 12;

pub(crate) const ROW: &str = "SELECT entries FROM log WHERE seq = ?1";
pub(crate) const ROWS_BACKWARDS: &str = "SELECT seq, entries FROM log WHERE seq >= ?1 ORDER BY seq DESC";

/// As much of an entry as holds the place of the one before and the id.
const HEAD: &str = "SELECT length(entries), substr(entries, ?2, 34) FROM log WHERE seq = ?1";

/// A place in the log: the row, then the offset in it. They grow in the order of commits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Position(pub(crate) u64);

impl Position {
    pub(crate) const fn new(seq: u64, offset: usize) -> Self {
        Self(seq << OFFSET_BITS | offset as u64)
    }

    pub(crate) const fn seq(self) -> u64 {
        self.0 >> OFFSET_BITS
    }

    const fn offset(self) -> usize {
        (self.0 & ((1 << OFFSET_BITS) - 1)) as usize
    }

    /// Behind everything that is before this one.
    pub(crate) const fn before(self) -> Self {
        Self(self.0 - 1)
    }

    /// As it is stored.
    pub(crate) const fn column(self) -> i64 {
        self.0.cast_signed()
    }

    pub(crate) const fn from_column(value: i64) -> Self {
        Self(value.cast_unsigned())
    }
}

/// An entry as it lies in a row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogEntry<'a> {
    /// The one before it of the same monitor, unless that was in the row already.
    pub(crate) previous: Option<Position>,
    pub(crate) id: [u8; 16],
    pub(crate) partition: u16,
    pub(crate) version: u64,
    pub(crate) wake_at: i64,
    pub(crate) health: &'a [u8],
    /// Frames.
    pub(crate) pings: &'a [u8],
    /// Everything but the place of the one before.
    pub(crate) body: &'a [u8],
}

impl<'a> LogEntry<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, CompactError> {
        let previous = u64::from_le_bytes(reader.array()?);
        Self::of((previous != 0).then_some(Position(previous)), reader.bytes()?)
    }

    pub(crate) fn of(previous: Option<Position>, body: &'a [u8]) -> Result<Self, CompactError> {
        let mut reader = Reader::new(body);
        Ok(Self {
            previous,
            id: reader.array()?,
            partition: reader.small()?,
            version: reader.number()?,
            wake_at: reader.signed()?,
            health: reader.bytes()?,
            pings: reader.take(reader.len())?,
            body,
        })
    }
}

/// All entries of a row with their positions.
pub(crate) fn entries(seq: u64, row: &[u8]) -> impl Iterator<Item = Result<(Position, LogEntry<'_>), CompactError>> {
    let mut reader = Reader::new(row);
    std::iter::from_fn(move || {
        if reader.is_empty() {
            return None;
        }
        let position = Position::new(seq, row.len() - reader.len());
        let entry = LogEntry::read(&mut reader);
        if entry.is_err() {
            reader = Reader::new(&[]);
        }
        Some(entry.map(|entry| (position, entry)))
    })
}

/// What is found at a position: `None` where the row is gone, because everything in it is folded, or is not there yet in
/// what the connection sees.
pub(crate) fn at<T>(
    connection: &Connection,
    position: Position,
    look: impl FnOnce(&LogEntry<'_>) -> Read<T>,
) -> Read<Option<T>> {
    let mut statement = connection.prepare_cached(ROW)?;
    let mut rows = statement.query([position.seq().cast_signed()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let row = row.get_ref(0)?.as_blob().map_err(|error| damaged(position, &error))?;
    let mut reader = Reader::new(row.get(position.offset()..).unwrap_or_default());
    let entry = LogEntry::read(&mut reader).map_err(|error| damaged(position, &error))?;
    look(&entry).map(Some)
}

fn damaged(position: Position, error: &dyn std::fmt::Display) -> ReadError {
    ReadError::Undecodable(error::undecodable(&format_args!("entry {} of the log", position.0), error))
}

/// Looks at the entries of a monitor that are not in its row, newest first, until told that it is enough.
pub(crate) fn walk(
    connection: &Connection,
    id: &[u8; 16],
    newest: Position,
    folded: Position,
    mut look: impl FnMut(&LogEntry<'_>) -> Read<bool>,
) -> Read<()> {
    let mut next = Some(newest).filter(|position| *position > folded);
    while let Some(position) = next {
        let step = at(connection, position, |entry| {
            if entry.id != *id {
                return Err(damaged(position, &"it belongs to another monitor"));
            }
            let goes_on = look(entry)?;
            Ok(entry.previous.filter(|previous| goes_on && *previous > folded && *previous < position))
        })?;
        next = step.ok_or_else(|| damaged(position, &"it is missing"))?;
    }
    Ok(())
}

/// Looks at the newest entry of a monitor and says where it is, if it is behind a position. It reads from the end, because it is asked for what
/// was committed just now.
pub(crate) fn newest_behind<T>(
    connection: &Connection,
    id: &[u8; 16],
    position: Position,
    look: impl FnOnce(&LogEntry<'_>) -> Read<T>,
) -> Read<Option<(Position, T)>> {
    let mut statement = connection.prepare_cached(ROWS_BACKWARDS)?;
    let mut rows = statement.query([position.seq().cast_signed()])?;
    while let Some(row) = rows.next()? {
        let seq = row.get::<_, i64>(0)?.cast_unsigned();
        let bytes = row.get_ref(1)?.as_blob().unwrap_or_default();
        let found = entries(seq, bytes).map_while(Result::ok).filter(|(at, entry)| *at > position && entry.id == *id);
        if let Some((at, entry)) = found.last() {
            return Ok(Some((at, look(&entry)?)));
        }
    }
    Ok(None)
}

/// Appends entries within the writer's transaction.
pub(crate) struct LogWriter {
    /// The row that is being filled.
    seq: u64,
    row: Vec<u8>,
    /// Bytes that were appended since it was asked last.
    appended: u64,
}

impl LogWriter {
    /// Goes on behind the row `last`.
    pub(crate) const fn new(last: u64) -> Self {
        Self { seq: last + 1, row: Vec::new(), appended: 0 }
    }

    /// Where the next entry goes, or before that.
    pub(crate) const fn end(&self) -> Position {
        Position::new(self.seq, self.row.len())
    }

    /// Appends an entry; it is there once the row is written, at the latest by [`LogWriter::flush`].
    pub(crate) fn append(
        &mut self,
        connection: &Connection,
        previous: Option<Position>,
        body: &[u8],
    ) -> rusqlite::Result<Position> {
        const HEAD_BYTES: usize = 8 + 3;
        if self.row.len() + HEAD_BYTES + body.len() > ROW_BYTES {
            self.flush(connection)?;
        }
        let position = self.end();
        self.row.extend_from_slice(&previous.unwrap_or_default().0.to_le_bytes());
        heartbeat_engine::compact::write_bytes(&mut self.row, body);
        // The offset of a further entry would have no room in its position.
        if self.row.len() > ROW_BYTES {
            self.flush(connection)?;
        }
        Ok(position)
    }

    /// Writes what was appended, at the end of a batch.
    pub(crate) fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.row.is_empty() {
            return Ok(());
        }
        connection
            .prepare_cached("INSERT INTO log (seq, entries) VALUES (?1, ?2)")?
            .execute(params![self.seq.cast_signed(), self.row])?;
        self.seq += 1;
        self.appended += self.row.len() as u64;
        self.row.clear();
        Ok(())
    }

    /// How many bytes were appended since it was asked last.
    pub(crate) fn appended(&mut self) -> u64 {
        std::mem::take(&mut self.appended)
    }

    /// The last row that was written.
    pub(crate) const fn last(&self) -> u64 {
        self.seq - 1
    }

    /// The batch is rolled back. Its rows leave a gap, which means nothing.
    pub(crate) fn discard(&mut self) {
        self.seq += 1;
        self.row.clear();
    }
}

/// Deletes the rows of a removed monitor's entries that have a row of their own, which may be large. Where the log is damaged
/// it stops: the others are deleted when they are folded.
pub(crate) fn delete_large(connection: &Connection, id: &[u8; 16], newest: Position) -> rusqlite::Result<()> {
    let mut next = Some(newest);
    while let Some(position) = next.take() {
        let mut statement = connection.prepare_cached(HEAD)?;
        let seq = position.seq().cast_signed();
        let found: Option<(i64, Vec<u8>)> = statement
            .query_row([seq, position.offset() as i64 + 1], |row| {
                // Of no bytes a part is NULL.
                Ok((row.get(0)?, row.get_ref(1)?.as_bytes().unwrap_or_default().to_vec()))
            })
            .optional()?;
        let Some((bytes, head)) = found else { return Ok(()) };
        let Some(previous) = previous(&head, id) else { return Ok(()) };
        if bytes > ROW_BYTES as i64 {
            connection.prepare_cached("DELETE FROM log WHERE seq = ?1")?.execute([seq])?;
        }
        next = (previous != 0 && previous < position.0).then_some(Position(previous));
    }
    Ok(())
}

/// The place that the head of an entry names, if it is one of this monitor.
fn previous(head: &[u8], id: &[u8; 16]) -> Option<u64> {
    let mut reader = Reader::new(head);
    let previous = u64::from_le_bytes(reader.array().ok()?);
    reader.number().ok()?;
    (reader.array().ok()? == *id).then_some(previous)
}
