//! The storage itself: it hands writes to the writer and reads to the readers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use heartbeat_engine::{
    Applied, Batch, Document, HistoryItem, HistoryQuery, Lease, MonitorId, Name, OutboxEntry, Page, PartitionId,
    Record, Storage, StorageError, Timestamp, WatchLog,
};
use tokio::sync::oneshot;

use crate::open::{self, OpenError};
use crate::options::{Counters, SqliteOptions, SqliteStats};
use crate::readers::Readers;
use crate::writer::{Write, Writer};
use crate::{encode, history, read};

/// Keeps everything in one SQLite file.
///
/// It needs no runtime of any kind: it has threads of its own, and its futures may be awaited anywhere. A write is answered
/// once it is durable, see [`crate::Synchronous`]; everything that waits meanwhile shares the next transaction.
/// Dropping it finishes what waits, folds the log into the file and closes it, which may take a moment.
///
/// # Errors
///
/// [`StorageError::Unavailable`] while the disk is full or cannot be written, or when more than 4096 calls wait; it
/// works again as soon as the disk does. [`StorageError::Unknown`] when the disk failed within a commit.
/// [`StorageError::Corrupt`] when the file is damaged.
pub struct SqliteStorage {
    // Dropped before the writer, so that the writer's connection is the last and folds the log.
    readers: Readers,
    writer: Writer,
    counters: Arc<Counters>,
    path: PathBuf,
}

impl SqliteStorage {
    /// Opens a database, or makes it when there is no such file; its directory must exist. Beside it stand its log
    /// (`-wal`, `-shm`) and the file `.lock`, by which a second process is kept out. On Unix a new file can be read by its
    /// owner only, since it holds ping tokens and signing secrets.
    ///
    /// An older database is brought to the present version, which older programs cannot read.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, OpenError> {
        let opened = open::open(path.as_ref(), &options)?;
        let path = opened.path.clone();
        let reader_count = options.readers;
        let counters = Arc::new(Counters::default());
        let failed = |error: std::io::Error| OpenError::Failed { path: path.clone(), detail: error.to_string() };
        let writer = Writer::start(opened, options, Arc::clone(&counters)).map_err(failed)?;
        let readers = Readers::start(&path, reader_count).map_err(failed)?;
        Ok(Self { readers, writer, counters, path })
    }

    /// The file, by its full name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> SqliteStats {
        self.counters.snapshot()
    }
}

impl fmt::Debug for SqliteStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStorage").field("path", &self.path).finish_non_exhaustive()
    }
}

/// The writer ended while it had the write.
fn lost<T>(_: oneshot::error::RecvError) -> Result<T, StorageError> {
    Err(StorageError::Unknown("the writer of the database has ended".to_owned()))
}

#[async_trait]
impl Storage for SqliteStorage {
    async fn commit(&self, batch: &Batch) -> Result<Applied, StorageError> {
        let encoded = Box::new(encode::encode(batch)?);
        let (reply, answer) = oneshot::channel();
        self.writer.send(Write::Batch(encoded, reply))?;
        answer.await.unwrap_or_else(lost)
    }

    async fn swap_lease(&self, expected: &Lease, next: &Lease) -> Result<bool, StorageError> {
        let (reply, answer) = oneshot::channel();
        self.writer.send(Write::Lease(Box::new((expected.clone(), next.clone())), reply))?;
        answer.await.unwrap_or_else(lost)
    }

    async fn leases(&self) -> Result<Vec<Lease>, StorageError> {
        self.readers.read(read::leases).await
    }

    async fn load(&self, ids: &[MonitorId]) -> Result<Vec<Option<Record>>, StorageError> {
        let ids = ids.to_vec();
        self.readers.read(move |connection| read::load(connection, &ids)).await
    }

    async fn find(&self, name: &Name) -> Result<Option<MonitorId>, StorageError> {
        let name = name.clone();
        self.readers.read(move |connection| read::find(connection, &name)).await
    }

    async fn due(
        &self,
        partition: PartitionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(MonitorId, Timestamp)>, StorageError> {
        self.readers.read(move |connection| read::due(connection, partition, before, limit)).await
    }

    async fn outbox(&self, after: u64, limit: usize) -> Result<Page<OutboxEntry>, StorageError> {
        self.readers.read(move |connection| read::outbox(connection, after, limit)).await
    }

    async fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError> {
        self.readers.read(move |connection| read::monitors(connection, after, limit)).await
    }

    async fn history(&self, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        let query = query.clone();
        self.readers.read(move |connection| history::history(connection, &query, limit)).await
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StorageError> {
        let kind = kind.to_owned();
        self.readers.read(move |connection| read::documents(connection, &kind)).await
    }

    async fn watch_log(&self) -> Result<WatchLog, StorageError> {
        self.readers.read(read::watch_log).await
    }
}
