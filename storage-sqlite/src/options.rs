//! What a host chooses, and what it can read off.

use std::sync::atomic::{AtomicU64, Ordering};

/// When a commit counts as durable.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Synchronous {
    /// When the disk says so: it survives the loss of power (S8.3).
    #[default]
    Full,
    /// When the operating system has it: it survives `kill -9`, but the last seconds may be lost with the power. Faster.
    Normal,
}

/// Settings of a [`crate::SqliteStorage`].
///
/// ```
/// use heartbeat_storage_sqlite::{SqliteOptions, Synchronous};
///
/// let options = SqliteOptions::new().synchronous(Synchronous::Normal).pings_per_monitor(1000);
/// ```
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    pub(crate) synchronous: Synchronous,
    pub(crate) readers: usize,
    pub(crate) max_file_bytes: Option<u64>,
    pub(crate) pings_per_monitor: u32,
    pub(crate) changes_per_monitor: u32,
    pub(crate) incidents_per_monitor: u32,
    pub(crate) incidents_closed: u32,
    pub(crate) notifications_settled: u32,
}

impl SqliteOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            synchronous: Synchronous::Full,
            readers: 2,
            max_file_bytes: None,
            pings_per_monitor: 100,
            changes_per_monitor: 1000,
            incidents_per_monitor: 1000,
            incidents_closed: 100_000,
            notifications_settled: 100_000,
        }
    }

    /// When a commit counts as durable; [`Synchronous::Full`] unless told.
    #[must_use]
    pub fn synchronous(self, synchronous: Synchronous) -> Self {
        Self { synchronous, ..self }
    }

    /// How many reads run at once, 2 unless told, at least 1. Reads never wait for the writer.
    #[must_use]
    pub fn readers(self, readers: usize) -> Self {
        Self { readers: readers.max(1), ..self }
    }

    /// How large the database file may grow, in bytes; without a limit unless told. What does not fit is answered with
    /// [`heartbeat_engine::StorageError::Unavailable`]. The write-ahead log beside the file is some 16 MB more.
    #[must_use]
    pub fn max_file_bytes(self, bytes: u64) -> Self {
        Self { max_file_bytes: Some(bytes), ..self }
    }

    /// How many heartbeats are kept of each monitor, 100 unless told. A few more are kept at times.
    #[must_use]
    pub fn pings_per_monitor(self, pings: u32) -> Self {
        Self { pings_per_monitor: pings.max(1), ..self }
    }

    /// How many changes of state are kept of each monitor, 1000 unless told. A few more are kept at times.
    #[must_use]
    pub fn changes_per_monitor(self, changes: u32) -> Self {
        Self { changes_per_monitor: changes.max(1), ..self }
    }

    /// How many of the newest incidents are kept of each monitor, 1000 unless told, beside open ones. A few more are
    /// kept at times.
    #[must_use]
    pub fn incidents_per_monitor(self, incidents: u32) -> Self {
        Self { incidents_per_monitor: incidents.max(1), ..self }
    }

    /// How many closed incidents are kept of all monitors together, also of removed ones, 100,000 unless told. A few
    /// hundred more are kept at times.
    #[must_use]
    pub fn incidents_closed(self, incidents: u32) -> Self {
        Self { incidents_closed: incidents.max(1), ..self }
    }

    /// How many notifications are kept that were delivered or given up, 100,000 unless told. A few hundred more are kept
    /// at times.
    #[must_use]
    pub fn notifications_settled(self, notifications: u32) -> Self {
        Self { notifications_settled: notifications.max(1), ..self }
    }
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// What a [`crate::SqliteStorage`] has done since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct SqliteStats {
    /// Batches and lease swaps that were answered.
    pub writes: u64,
    /// Transactions that were committed; many writes share one.
    pub transactions: u64,
    /// Transactions that failed.
    pub failed_transactions: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) writes: AtomicU64,
    pub(crate) transactions: AtomicU64,
    pub(crate) failed_transactions: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, by: usize) {
        counter.fetch_add(by as u64, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> SqliteStats {
        SqliteStats {
            writes: self.writes.load(Ordering::Relaxed),
            transactions: self.transactions.load(Ordering::Relaxed),
            failed_transactions: self.failed_transactions.load(Ordering::Relaxed),
        }
    }
}
