//! From version 2 to 3: the monitors of the old tables are moved to the new ones.
//!
//! Each transaction moves some of them, with all that belongs to them, out of the old tables. What is left there is what is
//! to be done, so a process that was killed goes on where it was. The version in the header is the new one from the first
//! step on: an older program, which knows nothing of the new tables, refuses the file at any time.

use heartbeat_engine::{Health, MonitorId, PingEntry, StorageError, compact};
use rusqlite::{Connection, TransactionBehavior, params};

use super::has_table;
use crate::checkpoint::{self, WalGauge};
use crate::error;
use crate::fold::write_pings;
use crate::options::SqliteOptions;
use crate::pings::Stored;
use crate::readers::{Read, ReadError};
use crate::{counts, encode};

/// How many monitors one transaction moves.
const MONITORS: i64 = 256;
/// After how many it is told how far it is.
const TOLD_EVERY: u64 = 100_000;

pub(super) fn move_all(
    connection: &mut Connection,
    options: &SqliteOptions,
    wal: &WalGauge,
) -> Result<(), StorageError> {
    let work = |connection: &mut Connection| -> Read<()> {
        if !has_table(connection, "monitors_2")? {
            return Ok(());
        }
        let mut last_key = connection.query_row("SELECT coalesce(max(key), 0) FROM chunks", [], |row| row.get(0))?;
        let mut moved = 0;
        loop {
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let count = move_some(&transaction, options.pings_per_monitor.into(), &mut last_key)?;
            transaction.commit()?;
            // Nobody else copies it yet.
            if wal.pages() >= checkpoint::LOG_PAGES {
                checkpoint::passive(connection)?;
            }
            if moved / TOLD_EVERY != (moved + count) / TOLD_EVERY {
                tracing::info!(monitors = moved + count, "bringing the database to a newer version");
            }
            moved += count;
            if count == 0 {
                break;
            }
        }
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch("DROP TABLE monitors_2; DROP TABLE specs_2; DROP TABLE pings_2")?;
        Ok(transaction.commit()?)
    };
    work(connection).map_err(ReadError::meaning)
}

/// A monitor as it stands in the old tables.
struct Old {
    id: [u8; 16],
    partition: u16,
    version: i64,
    wake_at: i64,
    /// JSON, as far as it is not damaged.
    health: Vec<u8>,
}

fn move_some(connection: &Connection, keep: u64, last_key: &mut i64) -> Read<u64> {
    let mut statement = connection
        .prepare_cached("SELECT id, partition, version, wake_at, health FROM monitors_2 ORDER BY id LIMIT ?1")?;
    let old = statement.query_map([MONITORS], |row| {
        Ok(Old {
            id: row.get(0)?,
            partition: row.get(1)?,
            version: row.get(2)?,
            wake_at: row.get(3)?,
            health: row.get_ref(4)?.as_bytes()?.to_vec(),
        })
    })?;
    let old = old.collect::<Result<Vec<_>, _>>()?;
    for monitor in &old {
        move_one(connection, monitor, keep, last_key)?;
    }
    Ok(old.len() as u64)
}

fn move_one(connection: &Connection, old: &Old, keep: u64, last_key: &mut i64) -> Read<()> {
    // A state that cannot be read stays as it is: it is found when somebody asks for it.
    let mut health = Vec::new();
    let read = serde_json::from_slice::<Health>(&old.health).ok();
    if read.is_none_or(|read| compact::write_health(&mut health, &read).is_err()) {
        health.clone_from(&old.health);
    }
    connection
        .prepare_cached(
            "INSERT INTO monitors (id, partition, version, folded, wake_at, health) VALUES (?1, ?2, ?3, 0, ?4, ?5)",
        )?
        .execute(params![old.id, old.partition, old.version, old.wake_at, health])?;
    let pings = read_pings(connection, &old.id)?;
    if !pings.is_empty() {
        let mut frames = Vec::new();
        encode::pack(&mut frames, &mut Vec::new(), &pings);
        let folded = Stored::default().fold(&[&frames], keep, last_key).map_err(|error| damaged(&old.id, &error))?;
        // Older ones are gone, so their counts would be wrong.
        write_pings(connection, &old.id, &folded, &counts::Folded::default())?;
    }
    // Since which version it is wished so is not known; since this one at the latest.
    connection
        .prepare_cached("INSERT INTO wishes (id, version, monitor) SELECT id, ?2, monitor FROM specs_2 WHERE id = ?1")?
        .execute(params![old.id, old.version])?;
    for sql in [
        "DELETE FROM specs_2 WHERE id = ?1",
        "DELETE FROM pings_2 WHERE monitor = ?1",
        "DELETE FROM monitors_2 WHERE id = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([old.id])?;
    }
    Ok(())
}

/// Those that can be read. One that cannot is left behind: the database could never be opened again otherwise.
fn read_pings(connection: &Connection, id: &[u8; 16]) -> Read<Vec<PingEntry>> {
    let mut statement =
        connection.prepare_cached("SELECT entry, body, n FROM pings_2 WHERE monitor = ?1 ORDER BY n")?;
    let mut rows = statement.query([id])?;
    let mut pings = Vec::new();
    while let Some(row) = rows.next()? {
        match serde_json::from_slice::<PingEntry>(row.get_ref(0)?.as_bytes().unwrap_or_default()) {
            Ok(ping) => pings.push(PingEntry { body: row.get(1)?, ..ping }),
            Err(error) => {
                let (monitor, n) = (MonitorId::from_bytes(*id), row.get::<_, i64>(2)?);
                tracing::error!(%monitor, n, %error, "a heartbeat of an older database is damaged and lost");
            }
        }
    }
    Ok(pings)
}

fn damaged(id: &[u8; 16], error: &dyn std::fmt::Display) -> ReadError {
    let id = MonitorId::from_bytes(*id);
    ReadError::Undecodable(error::undecodable(&format_args!("history of monitor {id}"), error))
}
