//! Rows of the log that cannot be read to their end. What is in front of the damage counts, the rest is passed over: one
//! such row must neither keep the database from being opened nor stop folding for all.

use std::collections::BTreeSet;
use std::fmt::Display;

use rusqlite::Connection;

/// The damaged rows that were met and are not deleted yet.
#[derive(Default)]
pub(crate) struct Damage {
    rows: BTreeSet<u64>,
}

impl Damage {
    /// A row that ends in damage, which is told once.
    pub(crate) fn found(&mut self, seq: u64, error: &dyn Display) {
        if self.rows.insert(seq) {
            tracing::error!(
                seq,
                %error,
                "a row of the log is damaged: monitors lost their newest state and heartbeats, and it is not known which; \
                 the row is kept in the table log_damaged"
            );
        }
    }

    /// A row of which something is lost that was told already.
    pub(crate) fn note(&mut self, seq: u64) {
        self.rows.insert(seq);
    }

    /// Those up to a row, in order.
    pub(crate) fn up_to(&self, last: u64) -> Vec<u64> {
        self.rows.range(..=last).copied().collect()
    }

    /// Those up to a row are deleted.
    pub(crate) fn forget(&mut self, last: u64) {
        self.rows.retain(|seq| *seq > last);
    }
}

/// Copies rows to where they are kept as evidence, once.
pub(crate) fn keep(connection: &Connection, rows: &[u64]) -> rusqlite::Result<()> {
    for seq in rows {
        connection
            .prepare_cached(
                "INSERT OR IGNORE INTO log_damaged (seq, entries) SELECT seq, entries FROM log WHERE seq = ?1",
            )?
            .execute([seq.cast_signed()])?;
    }
    Ok(())
}
