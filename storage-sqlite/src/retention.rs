//! Forgets old history, a little at a time.

use rusqlite::{Connection, OptionalExtension, params};

use crate::options::SqliteOptions;

/// A monitor's own history is cut once for so many new entries.
const CUT_EVERY: i64 = 16;
/// What is bounded over all monitors is swept after so many new entries at least, and after one for so many that are kept: finding
/// the first one to go walks over all that stay…
const SWEEP_EVERY: u32 = 512;
const KEPT_FOR_EACH: u32 = 16;
/// …and at most so much is deleted at a time, so that a smaller limit does not stop the writer for long.
const SWEEP_ROWS_MAX: i64 = 2000;

pub(crate) struct Retention {
    changes: i64,
    incidents_per_monitor: i64,
    incidents_closed: i64,
    notifications_settled: i64,
    unswept: u32,
    sweep_every: u32,
}

impl Retention {
    pub(crate) fn new(options: &SqliteOptions) -> Self {
        Self {
            changes: options.changes_per_monitor.into(),
            incidents_per_monitor: options.incidents_per_monitor.into(),
            incidents_closed: options.incidents_closed.into(),
            notifications_settled: options.notifications_settled.into(),
            // A process that never lives long must sweep too.
            unswept: u32::MAX,
            sweep_every: (options.incidents_closed.min(options.notifications_settled) / KEPT_FOR_EACH).max(SWEEP_EVERY),
        }
    }

    /// After the `k`-th was written.
    pub(crate) fn changes(&self, connection: &Connection, id: &[u8; 16], k: i64) -> rusqlite::Result<()> {
        if k % CUT_EVERY == 0 {
            connection
                .prepare_cached("DELETE FROM changes WHERE monitor = ?1 AND k <= ?2")?
                .execute(params![id, k - self.changes])?;
        }
        Ok(())
    }

    /// After the `k`-th was written.
    pub(crate) fn incidents(&mut self, connection: &Connection, monitor: &[u8; 16], k: i64) -> rusqlite::Result<()> {
        self.unswept = self.unswept.saturating_add(1);
        if k % CUT_EVERY == 0 {
            connection
                .prepare_cached("DELETE FROM incidents WHERE monitor = ?1 AND k <= ?2 AND open = 0")?
                .execute(params![monitor, k - self.incidents_per_monitor])?;
        }
        Ok(())
    }

    /// After a notification was settled.
    pub(crate) fn settled(&mut self) {
        self.unswept = self.unswept.saturating_add(1);
    }

    /// Deletes what is beyond the limits over all monitors, if it is time.
    pub(crate) fn sweep(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        if self.unswept < self.sweep_every {
            return Ok(());
        }
        let last: Option<i64> = connection
            .prepare_cached(SETTLED_BEYOND)?
            .query_row([self.notifications_settled], |row| row.get(0))
            .optional()?;
        let mut deleted = 0;
        if let Some(last) = last {
            deleted += connection.prepare_cached(DELETE_SETTLED)?.execute([last, SWEEP_ROWS_MAX])?;
        }
        let last: Option<(i64, [u8; 16])> = connection
            .prepare_cached(CLOSED_BEYOND)?
            .query_row([self.incidents_closed], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        if let Some((opened_at, id)) = last {
            deleted += connection.prepare_cached(DELETE_CLOSED)?.execute(params![opened_at, id, SWEEP_ROWS_MAX])?;
        }
        // As long as there is much to delete, the next transaction goes on.
        if i64::try_from(deleted).unwrap_or(i64::MAX) < SWEEP_ROWS_MAX {
            self.unswept = 0;
        }
        Ok(())
    }
}

const SETTLED_BEYOND: &str = "SELECT seq FROM notifications WHERE state > 0 ORDER BY seq DESC LIMIT 1 OFFSET ?1";
const DELETE_SETTLED: &str = "DELETE FROM notifications WHERE seq IN
    (SELECT seq FROM notifications WHERE state > 0 AND seq <= ?1 ORDER BY seq LIMIT ?2)";
const CLOSED_BEYOND: &str =
    "SELECT opened_at, id FROM incidents WHERE open = 0 ORDER BY opened_at DESC, id DESC LIMIT 1 OFFSET ?1";
const DELETE_CLOSED: &str = "DELETE FROM incidents WHERE id IN
    (SELECT id FROM incidents WHERE open = 0 AND (opened_at, id) <= (?1, ?2) ORDER BY opened_at, id LIMIT ?3)";

/// Each query with the index that it must use.
#[cfg(test)]
pub(crate) const QUERIES: [(&str, &str); 3] = [
    (SETTLED_BEYOND, "notifications_settled"),
    (DELETE_SETTLED, "notifications_settled"),
    (CLOSED_BEYOND, "incidents_in_order"),
];
