//! A storage that appends every batch to a journal, and plays the journal back when it is opened.

use std::fmt::Display;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::Path;

use async_trait::async_trait;
use heartbeat_engine::*;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

/// A line of the journal: whatever changes a storage.
#[derive(Serialize, Deserialize)]
enum Line {
    Batch(Batch),
    Lease { expected: Lease, next: Lease },
}

pub struct Journal {
    tables: MemoryStorage,
    /// `None` once nobody knows what it holds.
    file: Mutex<Option<File>>,
}

fn unavailable(error: impl Display) -> StorageError {
    StorageError::Unavailable(error.to_string())
}

impl Journal {
    pub async fn open(path: &Path) -> Result<Self, StorageError> {
        let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).clone();
        let mut file = options.open(path).map_err(unavailable)?;
        file.try_lock().map_err(|_| unavailable("another process has the journal open"))?;
        let folder = File::open(path.parent().unwrap_or(Path::new("/"))).map_err(unavailable)?;
        folder.sync_all().map_err(unavailable)?;

        let tables = MemoryStorage::new();
        let (mut lines, mut text, mut end) = (BufReader::new(&file), Vec::new(), 0);
        while lines.read_until(b'\n', &mut text).map_err(unavailable)? > 0 && text.ends_with(b"\n") {
            let line = serde_json::from_slice(&text);
            match line.map_err(|error| StorageError::Corrupt(format!("the line at byte {end}: {error}")))? {
                Line::Batch(batch) => drop(tables.commit(&batch).await),
                Line::Lease { expected, next } => drop(tables.swap_lease(&expected, &next).await),
            }
            end += text.len() as u64;
            text.clear();
        }
        // A last line without its end was cut short by a crash, and nobody was told that it is written.
        file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).map_err(unavailable)?;
        Ok(Self { tables, file: Mutex::new(Some(file)) })
    }
}

/// Makes a line durable.
fn append(journal: &mut Option<File>, line: &Line) -> Result<(), StorageError> {
    let file = journal.as_mut().ok_or_else(|| unavailable("the journal failed before and must be opened again"))?;
    let mut text = serde_json::to_vec(line).map_err(unavailable)?;
    text.push(b'\n');
    let end = file.stream_position().map_err(unavailable)?;
    if let Err(error) = file.write_all(&text) {
        // What is there of the line goes; where it cannot, it has no end, and the next opening drops it.
        if file.set_len(end).and_then(|()| file.seek(SeekFrom::Start(end))).is_err() {
            *journal = None;
        }
        return Err(unavailable(error));
    }
    if let Err(error) = file.sync_data() {
        // The line may be on the disk or not. Whatever came behind it could not be trusted.
        *journal = None;
        return Err(StorageError::Unknown(error.to_string()));
    }
    Ok(())
}

#[async_trait]
impl Storage for Journal {
    fn partitions(&self) -> u16 {
        1
    }

    async fn commit(&self, batch: &Batch) -> Result<Applied, StorageError> {
        let mut journal = self.file.lock().await;
        append(&mut journal, &Line::Batch(batch.clone()))?;
        self.tables.commit(batch).await
    }

    async fn swap_lease(&self, expected: &Lease, next: &Lease) -> Result<bool, StorageError> {
        let mut journal = self.file.lock().await;
        append(&mut journal, &Line::Lease { expected: expected.clone(), next: next.clone() })?;
        self.tables.swap_lease(expected, next).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StorageError> {
        self.tables.leases().await
    }

    async fn load(&self, ids: &[MonitorId]) -> Result<Vec<Option<Record>>, StorageError> {
        self.tables.load(ids).await
    }

    async fn find(&self, name: &Name) -> Result<Option<MonitorId>, StorageError> {
        self.tables.find(name).await
    }

    async fn due(
        &self,
        partition: PartitionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(MonitorId, Timestamp)>, StorageError> {
        self.tables.due(partition, before, limit).await
    }

    async fn outbox(&self, after: u64, limit: usize) -> Result<Page<OutboxEntry>, StorageError> {
        self.tables.outbox(after, limit).await
    }

    async fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError> {
        self.tables.monitors(after, limit).await
    }

    async fn history(&self, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        self.tables.history(query, limit).await
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StorageError> {
        self.tables.documents(kind).await
    }

    async fn watch_log(&self) -> Result<WatchLog, StorageError> {
        self.tables.watch_log().await
    }

    // The file belongs to one process.
    async fn news(&self, _: Option<&str>) -> Result<News, StorageError> {
        Ok(News::default())
    }
}
