//! The storage itself: it hands writes to the writer and reads to the readers.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use heartbeat_engine::{
    Applied, Batch, Document, HistoryItem, HistoryQuery, Import, Imported, Lease, MonitorId, Name, News, OutboxEntry,
    Page, PartitionId, Record, Storage, StorageError, Timestamp, WatchLog,
};
use tokio::sync::oneshot;

use crate::checkpoint::{Checkpointer, WalGauge};
use crate::deferred::{Deferred, Waiting};
use crate::encode::Content;
use crate::fold::{Folder, Gauge};
use crate::import::EncodedImport;
use crate::index::Index;
use crate::open::{self, OpenError};
use crate::options::{Counters, Kept, SqliteOptions, SqliteStats};
use crate::read::Loaded;
use crate::readers::Readers;
use crate::replay::replay;
use crate::writer::{Write, Writer};
use crate::{history, read};

/// Keeps everything in one SQLite file.
///
/// It needs no runtime of any kind: it has threads of its own, and its futures may be awaited anywhere. A write is answered
/// once it is durable, see [`crate::Synchronous`]; everything that waits meanwhile shares the next transaction.
/// Dropping it finishes what waits, copies the write-ahead log into the file and closes it, which may take a moment.
///
/// # Errors
///
/// [`StorageError::Unavailable`] while the disk is full or cannot be written, or when more than 4096 calls wait; it
/// works again as soon as the disk does, but for one case, of which an error is logged: when the database file itself could
/// not be synced, its write-ahead log takes 1 GiB more, and then it must be opened anew. [`StorageError::Unknown`] when the disk failed within a commit.
/// [`StorageError::Corrupt`] when the file is damaged.
pub struct SqliteStorage {
    // Dropped before the writer, so that the writer's connection is the last and empties the write-ahead log.
    readers: Readers,
    _folder: Folder,
    _checkpointer: Checkpointer,
    writer: Writer,
    index: Arc<Index>,
    gauge: Arc<Gauge>,
    wal: Arc<WalGauge>,
    kept: Kept,
    deferred: Arc<Waiting>,
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
        let replayed = replay(&opened.connection).map_err(|error| open::from_storage(&path, &error))?;
        let deferred = Deferred::open(&opened.connection).map_err(|error| open::from_sqlite(&path, &error))?;
        let waiting = deferred.waiting();
        let (reader_count, kept) = (options.readers, options.kept());
        let index = Arc::new(Index::new(replayed.table));
        let gauge = Arc::new(Gauge::new(replayed.log_bytes, replayed.last_seq, options.log_bytes_max()));
        let wal = Arc::clone(&opened.wal);
        let counters = Arc::new(Counters::default());
        let failed = |error: std::io::Error| OpenError::Failed { path: path.clone(), detail: error.to_string() };
        let shared = (Arc::clone(&index), Arc::clone(&gauge));
        let writer = Writer::start(opened, options, Arc::clone(&counters), shared, (replayed.last_seq, deferred))
            .map_err(failed)?;
        let readers = Readers::start(&path, reader_count).map_err(failed)?;
        let checkpointer = Checkpointer::start(&path, Arc::clone(&wal)).map_err(failed)?;
        let folder =
            Folder::start(&path, Arc::clone(&index), Arc::clone(&gauge), writer.queue(), kept, replayed.last_chunk)
                .map_err(failed)?;
        Ok(Self {
            readers,
            _folder: folder,
            _checkpointer: checkpointer,
            writer,
            index,
            gauge,
            wal,
            kept,
            deferred: waiting,
            counters,
            path,
        })
    }

    /// Has everything that is committed put into the tables of history: nobody sees that a large batch leaves that to later.
    async fn put_deferred(&self) -> Result<(), StorageError> {
        if self.deferred.rows() == 0 {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.writer.send(Write::PutDeferred(reply))?;
        answer.await.unwrap_or_else(lost)
    }

    async fn write(&self, batch: Content) -> Result<Applied, StorageError> {
        let (reply, answer) = oneshot::channel();
        self.writer.send(Write::Batch(batch, reply))?;
        answer.await.unwrap_or_else(lost)
    }

    /// The file, by its full name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it has done since it was opened.
    #[must_use]
    pub fn stats(&self) -> SqliteStats {
        SqliteStats {
            log_bytes: self.gauge.bytes(),
            deferred_rows: self.deferred.rows(),
            wal_pages: self.wal.pages(),
            ..self.counters.snapshot()
        }
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
    fn partitions(&self) -> u16 {
        1
    }

    async fn commit(&self, batch: &Batch) -> Result<Applied, StorageError> {
        self.write(Content::encoded(batch)?).await
    }

    async fn commit_shared(&self, batch: Arc<Batch>) -> Result<Applied, StorageError> {
        self.write(Content::new(batch)?).await
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
        let (ids, index) = (ids.to_vec(), Arc::clone(&self.index));
        self.readers.read(move |connection| read::load(connection, &index, &ids)).await
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
        let index = Arc::clone(&self.index);
        self.readers.read(move |_| Ok(index.due(partition, before, limit))).await
    }

    async fn outbox(&self, after: u64, limit: usize) -> Result<Page<OutboxEntry>, StorageError> {
        self.put_deferred().await?;
        self.readers.read(move |connection| read::outbox(connection, after, limit)).await
    }

    async fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError> {
        let index = Arc::clone(&self.index);
        let page = self.readers.read(move |connection| read::monitors(connection, &index, after, limit)).await?;
        let missing: Vec<_> = page.items.iter().filter(|(_, record)| record.is_none()).map(|(id, _)| *id).collect();
        let mut found = if missing.is_empty() { Vec::new() } else { self.load(&missing).await? }.into_iter();
        let complete = |(_, record): Loaded| record.or_else(|| found.next().flatten());
        Ok(Page { items: page.items.into_iter().filter_map(complete).collect(), more: page.more })
    }

    async fn history(&self, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        if !matches!(query, HistoryQuery::Pings { .. } | HistoryQuery::Counts { .. }) {
            self.put_deferred().await?;
        }
        let (query, index, kept) = (query.clone(), Arc::clone(&self.index), self.kept);
        self.readers.read(move |connection| history::history(connection, &index, kept, &query, limit)).await
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StorageError> {
        let kind = kind.to_owned();
        self.readers.read(move |connection| read::documents(connection, &kind)).await
    }

    async fn watch_log(&self) -> Result<WatchLog, StorageError> {
        self.readers.read(read::watch_log).await
    }

    /// One process at a time has the file, so nobody else writes.
    async fn news(&self, _: Option<&str>) -> Result<News, StorageError> {
        Ok(News::default())
    }
}

#[async_trait]
impl Import for SqliteStorage {
    async fn import(&self, imported: &Imported) -> Result<(), StorageError> {
        let encoded = Box::new(EncodedImport::new(imported)?);
        let (reply, answer) = oneshot::channel();
        self.writer.send(Write::Import(encoded, reply))?;
        answer.await.unwrap_or_else(lost)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use heartbeat_engine::testing::fixtures::{batch, create, next, ping, record, replace};
    use heartbeat_engine::testing::run;
    use heartbeat_engine::{PingEntry, Transition};

    use super::*;
    use crate::readers::ReadError;

    /// The check is given up when that takes for ever.
    async fn settle(storage: &SqliteStorage) {
        while storage.stats().log_bytes > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn a_page_does_not_hold_the_state_before_one_that_was_folded_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heartbeat.db");
        let storage = SqliteStorage::open(&path, SqliteOptions::new().log_bytes(1)).unwrap();
        run(async {
            let beaten = |now: &Record| {
                let after = next(now, |_, health| health.ping_count += 1);
                let pings: Vec<PingEntry> = vec![ping(after.health.ping_count)];
                (Transition { pings, ..replace(&after) }, after)
            };
            storage.commit(&batch([create(&record(1)), create(&record(2))])).await.unwrap();
            let (beat, first) = beaten(&record(1));
            storage.commit(&batch([beat])).await.unwrap();
            settle(&storage).await;
            // It looks from here on; nothing is read yet by `monitors`.
            let connection = open::reader(storage.path()).unwrap();
            let snapshot = connection.unchecked_transaction().unwrap();
            let page = || read::monitors(&snapshot, &storage.index, None, 10).map_err(ReadError::meaning).unwrap();
            assert_eq!(page().items, [(first.id(), Some(first.clone())), (record(2).id(), Some(record(2)))]);
            let (beat, second) = beaten(&first);
            storage.commit(&batch([beat])).await.unwrap();
            settle(&storage).await;
            assert_eq!(page().items, [(first.id(), None), (record(2).id(), Some(record(2)))]);
            assert_eq!(storage.monitors(None, 10).await.unwrap().items, [second, record(2)]);
        });
    }
}
