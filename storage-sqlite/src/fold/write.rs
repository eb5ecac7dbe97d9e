//! Writes a slice within the writer's transaction.

use rusqlite::{Connection, params};

use super::prepare::Item;
use crate::counts;
use crate::damage;
use crate::pings;
use crate::staged::Staged;

/// Puts monitors' states and histories into their rows. A monitor that was removed meanwhile is passed over.
pub(crate) fn write_slice(connection: &Connection, slice: &[Item], staged: &mut Staged) -> rusqlite::Result<()> {
    for item in slice {
        let changed = connection
            .prepare_cached(
                "UPDATE monitors SET partition = ?3, version = ?4, folded = ?5, wake_at = ?6, health = ?7
                 WHERE id = ?1 AND folded = ?2",
            )?
            .execute(params![
                item.id,
                item.from.column(),
                item.partition,
                item.version.cast_signed(),
                item.to.column(),
                item.wake_at,
                item.health
            ])?;
        if changed == 0 {
            continue;
        }
        if let Some((pings, counts)) = &item.pings {
            write_pings(connection, &item.id, pings, counts)?;
        }
        staged.set_folded(item.id, item.to);
    }
    Ok(())
}

pub(crate) fn write_pings(
    connection: &Connection,
    id: &[u8; 16],
    pings: &pings::Folded,
    counts: &counts::Folded,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO recent (monitor, kept, chunks, pings, counts) VALUES (?1, ?2, ?3, ?4, ?5)",
        )?
        .execute(params![id, pings.kept.cast_signed(), pings.chunks, pings.recent, counts.open])?;
    counts::write(connection, id, counts)?;
    for (key, bytes) in &pings.added {
        connection.prepare_cached("INSERT INTO chunks (key, pings) VALUES (?1, ?2)")?.execute(params![key, bytes])?;
    }
    for key in &pings.dropped {
        connection.prepare_cached("DELETE FROM chunks WHERE key = ?1")?.execute([key])?;
    }
    Ok(())
}

/// What is not needed any more.
#[derive(Default)]
pub(crate) struct Trim {
    /// The last row of the log that is folded.
    pub(super) up_to: u64,
    /// Rows of the log that could not be read to their end.
    pub(super) damaged: Vec<u64>,
    /// Counts of spans before this one are old enough to be forgotten.
    pub(super) counts_below: Option<i64>,
}

/// Deletes rows of the log that are folded, or some counts that are old.
pub(crate) fn write_trim(connection: &Connection, trim: &Trim) -> rusqlite::Result<()> {
    damage::keep(connection, &trim.damaged)?;
    connection.prepare_cached("DELETE FROM log WHERE seq <= ?1")?.execute([trim.up_to.cast_signed()])?;
    if let Some(below) = trim.counts_below {
        counts::forget(connection, below)?;
    }
    Ok(())
}
