//! History of large batches: it is appended in one piece, and put into its tables later.
//!
//! A monitor that goes down writes a change of state, an incident and a notification into tables with nine indexes, most of
//! them in the order of ids: a page each, at random places. When a hundred thousand go down at one instant, nobody is told
//! before all that is done. So a large batch appends its lines, and is durable with that; the writer puts them into their
//! tables when no large batch has just come, a bounded number in each transaction, beside other writes. What is put is
//! deleted in the same transaction, so a crash at any moment loses nothing and puts nothing twice.
//!
//! A row is compressed: what an event writes of one monitor is much like what it writes of the others, and what has to be written,
//! synced and copied is what an event waits for.
//!
//! Lines keep their order: while any are deferred, those of every batch are. Whoever reads history has what was
//! committed before put into the tables first ([`crate::SqliteStorage`] asks the writer), so nobody sees the difference.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{Connection, params};

use crate::line::Line;
use crate::options::SqliteOptions;
use crate::retention::Retention;
use heartbeat_engine::compact::{CompactError, Reader, write_number};

/// How many bytes of lines a row holds before it is compressed, unless one monitor's are more.
const ROW_BYTES: usize = 16 << 10;
/// How many rows one transaction puts into the tables: a few hundred lines.
pub(crate) const SLICE_ROWS: u64 = 8;
/// How many rows may be deferred: from then on every batch waits until there are fewer. About 256 MiB of lines.
const ROWS_MAX: u64 = 16 << 10;
/// Rows of fewer bytes are written as they are.
const COMPRESSED_FROM: usize = 512;
/// No byte of compressed lines stands for more than so many.
const BYTES_OF_ONE: u64 = 255;
/// What a compressed row begins with, before its length and the compressed lines. No line does.
const COMPRESSED: u8 = 0;

pub(crate) const NEXT: &str = "SELECT seq, lines FROM deferred WHERE seq > ?1 ORDER BY seq LIMIT ?2";

/// How many rows wait, for those who look on.
#[derive(Debug, Default)]
pub(crate) struct Waiting(AtomicU64);

impl Waiting {
    pub(crate) fn rows(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// The writer's side.
pub(crate) struct Deferred {
    /// The last row that was written, be it committed or not.
    last: u64,
    /// The last row that is put into the tables.
    put: u64,
    /// The same, by the transaction that is under way.
    putting: u64,
    /// The row that is being filled.
    lines: Vec<u8>,
    waiting: Arc<Waiting>,
}

impl Deferred {
    /// Goes on behind the rows that are there.
    pub(crate) fn open(connection: &Connection) -> rusqlite::Result<Self> {
        let (first, last): (i64, i64) =
            connection.query_row("SELECT coalesce(min(seq), 1), coalesce(max(seq), 0) FROM deferred", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let (last, put) = (last.cast_unsigned(), (first - 1).cast_unsigned());
        let deferred = Self { last, put, putting: put, lines: Vec::new(), waiting: Arc::default() };
        deferred.show();
        Ok(deferred)
    }

    pub(crate) fn waiting(&self) -> Arc<Waiting> {
        Arc::clone(&self.waiting)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.putting >= self.last && self.lines.is_empty()
    }

    pub(crate) const fn is_full(&self) -> bool {
        self.last.saturating_sub(self.put) > ROWS_MAX
    }

    /// The last row that was written.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// Whether everything up to this row is in the tables.
    pub(crate) const fn has_put(&self, row: u64) -> bool {
        self.put >= row
    }

    /// Appends packed lines; they are there once the row is written.
    pub(crate) fn push(&mut self, packed: &[u8]) {
        self.lines.extend_from_slice(packed);
    }

    /// Where a line is packed that is appended alone.
    pub(crate) const fn row(&mut self) -> &mut Vec<u8> {
        &mut self.lines
    }

    /// The lines of one monitor end, which stay together.
    pub(crate) fn end_of_share(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.lines.len() >= ROW_BYTES { self.flush(connection) } else { Ok(()) }
    }

    /// Writes what was appended, at the end of a batch.
    pub(crate) fn flush(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.lines.is_empty() {
            return Ok(());
        }
        self.last += 1;
        let row = if self.lines.len() < COMPRESSED_FROM { &self.lines } else { &compressed(&self.lines) };
        connection
            .prepare_cached("INSERT INTO deferred (seq, lines) VALUES (?1, ?2)")?
            .execute(params![self.last.cast_signed(), row])?;
        self.lines.clear();
        Ok(())
    }

    /// A batch is rolled back. The numbers of its rows are not used again.
    pub(crate) fn discard(&mut self) {
        self.lines.clear();
    }

    /// The transaction is committed.
    pub(crate) fn publish(&mut self) {
        self.put = self.putting;
        self.show();
    }

    /// The transaction is rolled back.
    pub(crate) fn forget(&mut self) {
        self.lines.clear();
        self.putting = self.put;
    }

    /// Puts the next rows into the tables.
    pub(crate) fn put(&mut self, connection: &Connection, retention: &mut Retention) -> rusqlite::Result<()> {
        let mut rows: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut statement = connection.prepare_cached(NEXT)?;
        let mut found = statement.query(params![self.put.cast_signed(), SLICE_ROWS.cast_signed()])?;
        while let Some(row) = found.next()? {
            rows.push((row.get::<_, i64>(0)?.cast_unsigned(), row.get(1)?));
        }
        for (seq, lines) in &rows {
            put_row(connection, *seq, lines, retention)?;
        }
        if let Some((seq, _)) = rows.last() {
            connection.prepare_cached("DELETE FROM deferred WHERE seq <= ?1")?.execute([seq.cast_signed()])?;
        }
        let more = rows.len() as u64 == SLICE_ROWS;
        self.putting = rows.last().filter(|_| more).map_or(self.last, |(seq, _)| *seq);
        Ok(())
    }

    fn show(&self) {
        self.waiting.0.store(self.last.saturating_sub(self.put), Ordering::Release);
    }
}

fn compressed(lines: &[u8]) -> Vec<u8> {
    let mut row = vec![COMPRESSED];
    write_number(&mut row, lines.len() as u64);
    row.extend(lz4_flex::block::compress(lines));
    row
}

/// The lines of a row.
fn lines_of(row: &[u8]) -> Result<Cow<'_, [u8]>, CompactError> {
    let mut reader = Reader::new(row);
    if row.first() != Some(&COMPRESSED) {
        return Ok(Cow::Borrowed(row));
    }
    reader.byte()?;
    let length = reader.number()?;
    let packed = reader.take(reader.len())?;
    // Whatever a damaged length says, no more memory is taken than the bytes may need.
    let length = usize::try_from(length).ok().filter(|_| length <= packed.len() as u64 * BYTES_OF_ONE);
    let length = length.ok_or_else(|| CompactError::new("its length cannot be"))?;
    let lines = lz4_flex::block::decompress(packed, length).map_err(|error| CompactError::new(&error.to_string()))?;
    if lines.len() == length { Ok(Cow::Owned(lines)) } else { Err(CompactError::new("it ends too soon")) }
}

/// Of a row that is not compressed, what is in front of damage counts; a damaged row is kept as evidence.
fn put_row(connection: &Connection, seq: u64, row: &[u8], retention: &mut Retention) -> rusqlite::Result<()> {
    let lines = match lines_of(row) {
        Ok(lines) => lines,
        Err(error) => return keep_damaged(connection, seq, &error),
    };
    let mut reader = Reader::new(&lines);
    while !reader.is_empty() {
        match Line::unpack(&mut reader) {
            Ok(line) => line.write(connection, retention)?,
            Err(error) => return keep_damaged(connection, seq, &error),
        }
    }
    Ok(())
}

fn keep_damaged(connection: &Connection, seq: u64, error: &CompactError) -> rusqlite::Result<()> {
    tracing::error!(
        seq,
        %error,
        "a row of deferred history is damaged: some incidents, changes of state or notifications are lost; \
         the row is kept in the table deferred_damaged"
    );
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO deferred_damaged (seq, lines) SELECT seq, lines FROM deferred WHERE seq = ?1",
        )?
        .execute([seq.cast_signed()])
        .map(drop)
}

/// Puts everything into the tables, in a database that nobody else works on; it keeps all of it.
pub(crate) fn put_all(connection: &Connection) -> rusqlite::Result<()> {
    let mut deferred = Deferred::open(connection)?;
    if deferred.is_empty() {
        return Ok(());
    }
    let all = SqliteOptions::new().changes_per_monitor(u32::MAX).incidents_per_monitor(u32::MAX);
    let mut retention = Retention::new(&all);
    let transaction = connection.unchecked_transaction()?;
    while !deferred.is_empty() {
        deferred.put(&transaction, &mut retention)?;
        deferred.publish();
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_hold_the_lines_that_were_put_into_them() {
        let lines: Vec<u8> = (1..=200_u8).cycle().take(5000).collect();
        let row = compressed(&lines);
        assert!(row.len() < lines.len() / 4, "{} bytes", row.len());
        assert_eq!(lines_of(&row).unwrap(), lines);
        assert_eq!(lines_of(&lines).unwrap(), lines, "rows of before are not compressed");
        for end in 1..row.len() {
            assert!(lines_of(&row[..end]).is_err(), "cut at {end}");
        }
        let mut immense = vec![COMPRESSED];
        write_number(&mut immense, u64::MAX);
        assert!(lines_of(&immense).is_err());
    }
}
