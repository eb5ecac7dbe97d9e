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

/// What part of the limit on the size of the file the log may have before it is folded.
const LOG_PART: u64 = 16;

/// What of a monitor's heartbeats is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kept {
    /// How many.
    pub(crate) pings: u64,
    /// For how many days they stay counted.
    pub(crate) counts_days: u32,
}

impl Kept {
    /// Whether they are counted at all.
    pub(crate) const fn counts(self) -> bool {
        self.counts_days > 0
    }
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
    pub(crate) log_bytes: u64,
    pub(crate) large_batch: u32,
    pub(crate) pings_per_monitor: u32,
    pub(crate) counts_days: u32,
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
            log_bytes: 128 << 20,
            large_batch: 256,
            pings_per_monitor: 100,
            counts_days: 366,
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
    /// [`heartbeat_engine::StorageError::Unavailable`]. An eighth of it is left for putting the log into the rows, and the
    /// log has at most a sixteenth of it, whatever [`SqliteOptions::log_bytes`] says.
    ///
    /// The write-ahead log beside the file is not counted. It is copied into the file at every 16 MiB and then written
    /// from its beginning again, so it has some 16 MiB more than that; but while somebody reads for long, such as a
    /// backup, or while the disk refuses to take the copy, it grows by all that is written.
    #[must_use]
    pub fn max_file_bytes(self, bytes: u64) -> Self {
        Self { max_file_bytes: Some(bytes), ..self }
    }

    /// How many bytes of new states and heartbeats may lie in the log within the database, 128 MiB unless told, before they
    /// are put into the rows of their monitors in the background. When they come faster than that, the log grows further,
    /// and from twice as much on every commit waits up to 20 ms for it; while the log cannot be put into the rows, because
    /// the disk fails, it grows without a limit of its own.
    /// The more, the fewer pages are written for each heartbeat of many monitors, and the longer the next opening takes:
    /// about half a second for 128 MiB.
    #[must_use]
    pub fn log_bytes(self, bytes: u64) -> Self {
        Self { log_bytes: bytes, ..self }
    }

    /// How many bytes the log may have before it is folded, under the limit on the size of the file.
    pub(crate) fn log_bytes_max(&self) -> u64 {
        self.max_file_bytes.map_or(self.log_bytes, |bytes| self.log_bytes.min(bytes / LOG_PART))
    }

    /// From how many lines of history on (changes of state, incidents, notifications and their outcomes) a batch is large,
    /// 256 unless told. The lines of a large batch are appended in one piece and put into their tables in the background,
    /// soon after, at the latest when history is read: reading waits for that. So many monitors can go down at one instant
    /// without making anybody wait. Under [`SqliteOptions::max_file_bytes`] no batch is large, for this takes room twice.
    #[must_use]
    pub fn large_batch(self, lines: u32) -> Self {
        Self { large_batch: lines, ..self }
    }

    /// The number of lines from which on a batch leaves them to later.
    pub(crate) fn defer_from(&self) -> usize {
        let lines = usize::try_from(self.large_batch).unwrap_or(usize::MAX);
        if self.max_file_bytes.is_some() { usize::MAX } else { lines.max(1) }
    }

    /// How many heartbeats are kept of each monitor, 100 unless told. A few more are kept at times.
    #[must_use]
    pub fn pings_per_monitor(self, pings: u32) -> Self {
        Self { pings_per_monitor: pings.max(1), ..self }
    }

    /// For how many days it stays known how many heartbeats of which signal a monitor had in which hour and day, and how long
    /// its runs took ([`heartbeat_engine::HistoryQuery::Counts`]): 366 unless told; with 0 nothing is counted. Reckoned from
    /// the latest mark of life ([`heartbeat_engine::Batch::mark`]); up to 30 days more are kept, and more at times, as they are
    /// forgotten a little at a time whenever the log was put into the rows.
    ///
    /// Only hours with heartbeats take room: about 6 bytes each where heartbeats say how long they took, about
    /// 3 where none does. When it is made smaller, what is older is forgotten; with 0, all of it, and what was not counted
    /// meanwhile stays uncounted.
    #[must_use]
    pub fn counts_days(self, days: u32) -> Self {
        Self { counts_days: days, ..self }
    }

    pub(crate) fn kept(&self) -> Kept {
        Kept { pings: self.pings_per_monitor.into(), counts_days: self.counts_days }
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

    /// How many closed incidents are kept of all monitors together, also of removed ones, 100,000 unless told. Some
    /// are kept for longer, a sixteenth more or a few hundred.
    #[must_use]
    pub fn incidents_closed(self, incidents: u32) -> Self {
        Self { incidents_closed: incidents.max(1), ..self }
    }

    /// How many notifications are kept that were delivered or given up, 100,000 unless told. Some are kept for
    /// longer, a sixteenth more or a few hundred.
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
    /// Monitors whose rows took what the log had of them.
    pub folded: u64,
    /// The most monitors of which one transaction did that.
    pub folded_at_once_max: u64,
    /// Bytes that lie in the log within the database, waiting for that.
    pub log_bytes: u64,
    /// Rows of history of large batches that wait to be put into their tables.
    pub deferred_rows: u64,
    /// Pages of 4 KiB that SQLite's write-ahead log has.
    pub wal_pages: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) writes: AtomicU64,
    pub(crate) transactions: AtomicU64,
    pub(crate) failed_transactions: AtomicU64,
    pub(crate) folded: AtomicU64,
    pub(crate) folded_at_once_max: AtomicU64,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64, by: usize) {
        counter.fetch_add(by as u64, Ordering::Relaxed);
    }

    /// One transaction folded so many monitors.
    pub(crate) fn folded(&self, monitors: usize) {
        Self::add(&self.folded, monitors);
        self.folded_at_once_max.fetch_max(monitors as u64, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> SqliteStats {
        SqliteStats {
            writes: self.writes.load(Ordering::Relaxed),
            transactions: self.transactions.load(Ordering::Relaxed),
            failed_transactions: self.failed_transactions.load(Ordering::Relaxed),
            folded: self.folded.load(Ordering::Relaxed),
            folded_at_once_max: self.folded_at_once_max.load(Ordering::Relaxed),
            ..SqliteStats::default()
        }
    }
}
