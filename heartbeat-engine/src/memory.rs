//! A storage in the process's memory.

mod history;
mod import;
pub(crate) mod news;
pub(crate) mod state;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use self::news::NewsLog;
use self::state::State;
use crate::{
    Applied, Batch, Document, HistoryItem, HistoryQuery, Import, Imported, Lease, MonitorId, Name, News, OutboxEntry,
    Page, PartitionId, Record, Storage, StorageError, Timestamp, WatchLog,
};

/// How much history a [`MemoryStorage`] keeps. What is beyond a limit is forgotten, the oldest first; open
/// incidents and pending notifications are never forgotten.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct MemoryLimits {
    /// Heartbeats of each monitor, 100 unless told.
    pub pings_per_monitor: usize,
    /// Hours of each monitor in which heartbeats arrived and are counted, 1000 unless told.
    pub hours_per_monitor: usize,
    /// Changes of state of each monitor, 1000 unless told.
    pub changes_per_monitor: usize,
    /// Closed incidents of each monitor, 1000 unless told.
    pub incidents_per_monitor: usize,
    /// Closed incidents of all monitors, also of removed ones, 10,000 unless told.
    pub incidents_closed: usize,
    /// Notifications that were delivered or given up, 10,000 unless told.
    pub notifications_settled: usize,
}

impl Default for MemoryLimits {
    fn default() -> Self {
        Self {
            pings_per_monitor: 100,
            hours_per_monitor: 1000,
            changes_per_monitor: 1000,
            incidents_per_monitor: 1000,
            incidents_closed: 10_000,
            notifications_settled: 10_000,
        }
    }
}

/// Keeps everything in memory: it is gone with the process. For tests, and for programs that monitor only themselves.
///
/// It keeps every promise of [`Storage`] but that of surviving the process, and never fails. Its histories are bounded
/// by [`MemoryLimits`].
///
/// ```
/// use heartbeat_engine::{Batch, MemoryStorage, Storage, Timestamp};
///
/// # #[cfg(feature = "runtime")]
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let storage = MemoryStorage::new();
/// storage.commit(&Batch { mark: Some(Timestamp::from_secs(5)), ..Batch::default() }).await?;
/// assert_eq!(storage.watch_log().await?.mark, Some(Timestamp::from_secs(5)));
/// # Ok::<(), heartbeat_engine::StorageError>(())
/// # }).unwrap();
/// ```
pub struct MemoryStorage {
    kept: Arc<Mutex<Kept>>,
    handle: u64,
    partitions: u16,
}

/// What all handles share.
struct Kept {
    state: State,
    news: NewsLog,
    handles: u64,
}

impl MemoryStorage {
    /// An empty storage with the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::with_limits(MemoryLimits::default())
    }

    /// An empty storage that keeps this much history.
    #[must_use]
    pub fn with_limits(limits: MemoryLimits) -> Self {
        let kept = Kept { state: State::new(limits), news: NewsLog::default(), handles: 1 };
        Self { kept: Arc::new(Mutex::new(kept)), handle: 0, partitions: 1 }
    }

    /// Another handle to what this one keeps, as another process would have one: each is told what the others write
    /// ([`Storage::news`]) from now on.
    #[must_use]
    pub fn another_handle(&self) -> Self {
        let mut kept = self.kept();
        let handle = kept.handles;
        kept.handles += 1;
        kept.news.told = true;
        Self { kept: self.kept.clone(), handle, partitions: self.partitions }
    }

    /// The same with so many partitions, at least 1; it has 1 unless told.
    #[must_use]
    pub fn with_partitions(self, partitions: u16) -> Self {
        Self { partitions: partitions.max(1), ..self }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStorage").field("monitors", &self.kept().state.monitor_count()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Storage for MemoryStorage {
    fn partitions(&self) -> u16 {
        self.partitions
    }

    async fn commit(&self, batch: &Batch) -> Result<Applied, StorageError> {
        let mut kept = self.kept();
        let applied = kept.state.commit(batch)?;
        let owed = kept.state.take_owed();
        kept.news.note(self.handle, batch, &applied, owed);
        Ok(applied)
    }

    async fn swap_lease(&self, expected: &Lease, next: &Lease) -> Result<bool, StorageError> {
        Ok(self.kept().state.swap_lease(expected, next))
    }

    async fn leases(&self) -> Result<Vec<Lease>, StorageError> {
        Ok(self.kept().state.leases())
    }

    async fn load(&self, ids: &[MonitorId]) -> Result<Vec<Option<Record>>, StorageError> {
        let kept = self.kept();
        Ok(ids.iter().map(|id| kept.state.record(*id).cloned()).collect())
    }

    async fn find(&self, name: &Name) -> Result<Option<MonitorId>, StorageError> {
        Ok(self.kept().state.find(name))
    }

    async fn due(
        &self,
        partition: PartitionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(MonitorId, Timestamp)>, StorageError> {
        Ok(self.kept().state.due(partition, before, limit))
    }

    async fn outbox(&self, after: u64, limit: usize) -> Result<Page<OutboxEntry>, StorageError> {
        Ok(self.kept().state.outbox(after, limit))
    }

    async fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError> {
        Ok(self.kept().state.monitors(after, limit))
    }

    async fn history(&self, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        Ok(self.kept().state.history(query, limit))
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StorageError> {
        Ok(self.kept().state.documents(kind))
    }

    async fn watch_log(&self) -> Result<WatchLog, StorageError> {
        Ok(self.kept().state.watch_log())
    }

    async fn news(&self, after: Option<&str>) -> Result<News, StorageError> {
        Ok(self.kept().news.read(self.handle, after))
    }
}

#[async_trait]
impl Import for MemoryStorage {
    async fn import(&self, imported: &Imported) -> Result<(), StorageError> {
        self.kept().state.import(imported)
    }
}
