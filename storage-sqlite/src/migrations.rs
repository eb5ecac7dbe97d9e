//! Brings a database to the version that this program works with, forward only.

mod to_log;

use heartbeat_engine::StorageError;
use rusqlite::{Connection, TransactionBehavior};

use crate::checkpoint::WalGauge;
use crate::error;
use crate::options::SqliteOptions;

/// Marks a file as ours in its header.
pub(crate) const APPLICATION_ID: i32 = 0x4842_4541;

/// The version that this program works with.
pub(crate) const VERSION: i32 = MIGRATIONS.len() as i32;

/// The migration at index `i` makes version `i + 1`. What was released is never edited.
const MIGRATIONS: [&str; 6] = [
    include_str!("migrations/001_initial.sql"),
    include_str!("migrations/002_feed.sql"),
    include_str!("migrations/003_log.sql"),
    include_str!("migrations/004_counts.sql"),
    include_str!("migrations/005_deferred.sql"),
    include_str!("migrations/006_short_wishes.sql"),
];

/// Runs what is missing, each step all or nothing, and moves what is still in the tables of an earlier version, a little at
/// a time; says from which version it came.
///
/// The connection tells the gauge how long its write-ahead log is.
pub(crate) fn migrate(
    connection: &mut Connection,
    options: &SqliteOptions,
    wal: &WalGauge,
) -> Result<i32, StorageError> {
    let found = step(connection).map_err(|error| error::rolled_back(&error))?;
    to_log::move_all(connection, options, wal)?;
    Ok(found)
}

fn step(connection: &mut Connection) -> rusqlite::Result<i32> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    if found < VERSION {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    transaction.commit()?;
    Ok(found)
}

/// The version of a database; 0 when it is empty.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Whether a table is there.
pub(crate) fn has_table(connection: &Connection, name: &str) -> rusqlite::Result<bool> {
    connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = ?1)",
        [name],
        |row| row.get(0),
    )
}
