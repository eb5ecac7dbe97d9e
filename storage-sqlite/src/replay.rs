//! Fills the index at opening: from the monitors' rows, then from what the log has beyond them.

use std::panic::resume_unwind;
use std::sync::Weak;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use heartbeat_engine::StorageError;
use rusqlite::Connection;

use crate::damage::{self, Damage};
use crate::index::{Entry, Newest, Table};
use crate::log::{self, LogEntry, Position};
use crate::readers::{Read, ReadError};

/// What a database holds.
pub(crate) struct Replayed {
    pub(crate) table: Table,
    /// The last row of the log that ever was, as far as anything tells of it.
    pub(crate) last_seq: u64,
    /// How many bytes the log has.
    pub(crate) log_bytes: u64,
    /// The largest key of a chunk of history.
    pub(crate) last_chunk: i64,
}

/// How many rows are handed over at once.
const PORTION: usize = 4096;
/// How many portions may wait.
const PORTIONS_AHEAD: usize = 4;

pub(crate) const ROWS: &str = "SELECT id, partition, version, folded, wake_at FROM monitors";
pub(crate) const LOG: &str = "SELECT seq, entries FROM log ORDER BY seq";

pub(crate) fn replay(connection: &Connection) -> Result<Replayed, StorageError> {
    let mut damage = Damage::default();
    let replayed = read(connection, &mut damage).map_err(ReadError::meaning)?;
    // All rows went through the cache of the connection, which is of no use to the writer.
    connection.execute_batch("PRAGMA shrink_memory").map_err(|error| ReadError::from(error).meaning())?;
    let rows = damage.up_to(u64::MAX);
    if !rows.is_empty() {
        let kept = connection.unchecked_transaction().and_then(|transaction| {
            damage::keep(&transaction, &rows)?;
            transaction.commit()
        });
        // Only evidence is missing then.
        if let Err(error) = kept {
            tracing::warn!(%error, "damaged rows of the log could not be copied");
        }
    }
    Ok(replayed)
}

fn read(connection: &Connection, damage: &mut Damage) -> Read<Replayed> {
    let (mut table, last) = read_rows(connection)?;
    let (last_logged, log_bytes) = read_log(connection, &mut table, damage)?;
    let last_chunk = connection.query_row("SELECT coalesce(max(key), 0) FROM chunks", [], |row| row.get(0))?;
    Ok(Replayed { table, last_seq: last.seq().max(last_logged), log_bytes, last_chunk })
}

/// The monitors' rows, and the last position in the log that one of them has taken. A second thread puts what is read into
/// the table: for a million of them that takes as long as reading.
fn read_rows(connection: &Connection) -> Read<(Table, Position)> {
    let count: i64 = connection.query_row("SELECT count(*) FROM monitors", [], |row| row.get(0))?;
    let mut table = Table::with_capacity(usize::try_from(count).unwrap_or(0));
    thread::scope(|scope| {
        let (sender, entries) = sync_channel::<Vec<(Entry, u16)>>(PORTIONS_AHEAD);
        let filled = scope.spawn(move || {
            entries.iter().flatten().for_each(|(entry, partition)| table.put(entry, partition));
            table
        });
        let last = send_rows(connection, &sender);
        drop(sender);
        let table = filled.join().unwrap_or_else(|panic| resume_unwind(panic));
        Ok((table, last?))
    })
}

/// Reads all rows, a portion at a time.
fn send_rows(connection: &Connection, sender: &SyncSender<Vec<(Entry, u16)>>) -> Read<Position> {
    let mut last = Position::default();
    let mut portion = Vec::with_capacity(PORTION);
    let mut statement = connection.prepare(ROWS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let folded = Position::from_column(row.get(3)?);
        last = last.max(folded);
        let version = row.get::<_, i64>(2)?.cast_unsigned();
        let newest = Newest::folded(folded);
        let entry = Entry { id: row.get(0)?, version, wake_at: row.get(4)?, monitor: Weak::new(), newest };
        portion.push((entry, row.get(1)?));
        if portion.len() == PORTION {
            // Nobody takes it where the other thread has come to an end by a panic, which is seen when it is joined.
            let _ = sender.send(std::mem::replace(&mut portion, Vec::with_capacity(PORTION)));
        }
    }
    let _ = sender.send(portion);
    Ok(last)
}

fn read_log(connection: &Connection, table: &mut Table, damage: &mut Damage) -> Read<(u64, u64)> {
    let (mut last, mut bytes) = (0, 0);
    let mut statement = connection.prepare(LOG)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        last = row.get::<_, i64>(0)?.cast_unsigned();
        let Ok(entries) = row.get_ref(1)?.as_bytes() else {
            damage.found(last, &"it holds no bytes");
            continue;
        };
        bytes += entries.len() as u64;
        for entry in log::entries(last, entries) {
            match entry {
                Ok((position, found)) => take(table, position, &found),
                Err(error) => damage.found(last, &error),
            }
        }
    }
    Ok((last, bytes))
}

fn take(table: &mut Table, position: Position, found: &LogEntry<'_>) {
    if let Some((entry, partition)) = table.find_mut(&found.id)
        && position > entry.newest.position()
    {
        entry.version = found.version;
        entry.wake_at = found.wake_at;
        entry.newest = Newest::tail(position);
        *partition = found.partition;
    }
}
