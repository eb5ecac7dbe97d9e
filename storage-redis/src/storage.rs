//! The storage itself.

use std::fmt;

use async_trait::async_trait;
use heartbeat_engine::{
    Applied, Batch, Document, HistoryItem, HistoryQuery, Import, Imported, Lease, MonitorId, Name, News, OutboxEntry,
    Page, PartitionId, Record, Storage, StorageError, Timestamp, WatchLog,
};

use crate::durability::Durability;
use crate::store::Store;
use crate::{commit, documents, history, import, leases, names, news, notifications, records, watch};

/// Keeps everything in a Redis, a set of them that sentinels watch, or a Redis Cluster. Made by [`RedisStorage::open`].
///
/// What survives a crash of Redis is what Redis is set to keep, see [`RedisStorage::durability`].
pub struct RedisStorage {
    store: Store,
    durability: Durability,
}

impl RedisStorage {
    pub(crate) const fn new(store: Store, durability: Durability) -> Self {
        Self { store, durability }
    }

    #[cfg(feature = "bench")]
    pub(crate) const fn store(&self) -> &Store {
        &self.store
    }

    /// What an acknowledgement means, as the Redis was set when the store was opened.
    #[must_use]
    pub const fn durability(&self) -> &Durability {
        &self.durability
    }
}

impl fmt::Debug for RedisStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStorage").field("options", &self.store.options).finish_non_exhaustive()
    }
}

#[async_trait]
impl Storage for RedisStorage {
    fn partitions(&self) -> u16 {
        self.store.partitions
    }

    async fn commit(&self, batch: &Batch) -> Result<Applied, StorageError> {
        commit::commit(&self.store, batch).await
    }

    async fn swap_lease(&self, expected: &Lease, next: &Lease) -> Result<bool, StorageError> {
        leases::swap(&self.store, expected, next).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StorageError> {
        leases::all(&self.store).await
    }

    async fn load(&self, ids: &[MonitorId]) -> Result<Vec<Option<Record>>, StorageError> {
        records::load(&self.store, ids).await
    }

    async fn find(&self, name: &Name) -> Result<Option<MonitorId>, StorageError> {
        names::find(&self.store, name).await
    }

    async fn due(
        &self,
        partition: PartitionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(MonitorId, Timestamp)>, StorageError> {
        records::due(&self.store, partition, before, limit).await
    }

    async fn outbox(&self, after: u64, limit: usize) -> Result<Page<OutboxEntry>, StorageError> {
        notifications::outbox(&self.store, after, limit).await
    }

    async fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError> {
        records::page(&self.store, after, limit).await
    }

    async fn history(&self, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        history::page(&self.store, query, limit).await
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StorageError> {
        documents::read(&self.store, kind).await
    }

    async fn watch_log(&self) -> Result<WatchLog, StorageError> {
        watch::read(&self.store).await
    }

    async fn news(&self, after: Option<&str>) -> Result<News, StorageError> {
        news::read(&self.store, after).await
    }
}

#[async_trait]
impl Import for RedisStorage {
    async fn import(&self, imported: &Imported) -> Result<(), StorageError> {
        import::import(&self.store, imported).await
    }
}
