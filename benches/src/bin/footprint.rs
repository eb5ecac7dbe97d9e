//! How much memory a monitor takes: the engine loads monitors from a storage that keeps none, and the resident bytes are
//! counted.
//!
//! `cargo run --release -p heartbeat-benches --bin footprint -- [MONITORS]`, 1,000,000 unless told. With the name of a file
//! behind it, the monitors are loaded from that SQLite database, which is made if it does not exist, and it is told how long
//! that takes.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use heartbeat_benches::memory::resident_bytes;
use heartbeat_benches::{id, scheduled};
use heartbeat_engine::{
    Applied, Batch, Change, Document, Engine, Health, HistoryItem, HistoryQuery, Lease, Monitor, MonitorId,
    MonitorSpec, Name, News, OutboxEntry, Page, PartitionId, PingEntry, Record, Schedule, Storage, StorageError,
    Timestamp, Transition, WatchLog, Zone,
};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};

/// Makes its monitors when they are read.
struct Made {
    /// Their numbers, in the order of their ids.
    numbers: Vec<u64>,
    schedules: Vec<Schedule>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let monitors: u64 = std::env::args().nth(1).map_or(Ok(1_000_000), |told| told.parse())?;
    println!(
        "bytes: Record {}, Health {}, Monitor {}, MonitorSpec {}, Schedule {}, PingEntry {}",
        size_of::<Record>(),
        size_of::<Health>(),
        size_of::<Monitor>(),
        size_of::<MonitorSpec>(),
        size_of::<Schedule>(),
        size_of::<PingEntry>()
    );
    let zone = Zone::named("Europe/Berlin")?;
    let mixed = [
        Schedule::every(std::time::Duration::from_secs(3600))?,
        Schedule::cron("*/10 8-18 * * MON-FRI", zone.clone())?,
        Schedule::every(std::time::Duration::from_secs(300))?,
        Schedule::cron("30 2 * * *", zone)?,
    ];
    let mut numbers: Vec<u64> = (0..monitors).collect();
    numbers.sort_unstable_by_key(|number| id(*number));
    let storage = Made { numbers, schedules: mixed.to_vec() };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build()?;
    if let Some(file) = std::env::args().nth(2) {
        return runtime.block_on(from_database(&storage, Path::new(&file)));
    }
    let before = resident_bytes();
    let (engine, mut driver) = Engine::builder(storage).build();
    runtime.block_on(driver.load())?;
    let each = resident_bytes().saturating_sub(before) as f64 / monitors as f64;
    println!("{monitors} monitors in evaluator and directory: {each:.0} bytes each");
    drop((engine, driver));
    Ok(())
}

/// Loads the monitors from a database that has them.
#[allow(clippy::disallowed_methods, reason = "a measurement is what real clocks are for")]
async fn from_database(made: &Made, file: &Path) -> Result<(), Box<dyn std::error::Error>> {
    if !file.exists() {
        let storage = SqliteStorage::open(file, SqliteOptions::new())?;
        for numbers in made.numbers.chunks(4096) {
            let transitions = numbers.iter().map(|n| made.record(*n).map(created)).collect::<Result<_, _>>()?;
            storage.commit(&Batch { transitions, ..Batch::default() }).await?;
        }
        println!("made {}; run it again", file.display());
        return Ok(());
    }
    let (before, began) = (resident_bytes(), Instant::now());
    let storage = SqliteStorage::open(file, SqliteOptions::new())?;
    let opened = began.elapsed();
    let index = resident_bytes();
    let (engine, mut driver) = Engine::builder(storage).build();
    driver.load().await?;
    let loaded = began.elapsed();
    let each = |from: u64, to: u64| to.saturating_sub(from) as f64 / made.numbers.len() as f64;
    println!(
        "opened in {opened:.2?}, {:.0} bytes for each monitor; loaded after {loaded:.2?}, {:.0} bytes for each in all",
        each(before, index),
        each(before, resident_bytes()),
    );
    drop((engine, driver));
    Ok(())
}

fn created(record: Record) -> Transition {
    Transition {
        monitor: record.id(),
        expected: None,
        change: Change::Put(Arc::new(record)),
        pings: Vec::new(),
        changes: Vec::new(),
        incidents: Vec::new(),
        notifications: Vec::new(),
    }
}

impl Made {
    fn record(&self, n: u64) -> Result<Record, StorageError> {
        let schedule = &self.schedules[(n % self.schedules.len() as u64) as usize];
        scheduled(n, schedule.clone()).map_err(|error| StorageError::Corrupt(format!("{error:?}")))
    }
}

#[async_trait]
impl Storage for Made {
    fn partitions(&self) -> u16 {
        1
    }

    async fn commit(&self, _: &Batch) -> Result<Applied, StorageError> {
        Err(StorageError::Unavailable("nothing is kept".to_owned()))
    }

    async fn swap_lease(&self, _: &Lease, _: &Lease) -> Result<bool, StorageError> {
        Ok(true)
    }

    async fn leases(&self) -> Result<Vec<Lease>, StorageError> {
        Ok(Vec::new())
    }

    async fn load(&self, ids: &[MonitorId]) -> Result<Vec<Option<Record>>, StorageError> {
        Ok(vec![None; ids.len()])
    }

    async fn find(&self, _: &Name) -> Result<Option<MonitorId>, StorageError> {
        Ok(None)
    }

    async fn due(&self, _: PartitionId, _: Timestamp, _: usize) -> Result<Vec<(MonitorId, Timestamp)>, StorageError> {
        Ok(Vec::new())
    }

    async fn outbox(&self, _: u64, _: usize) -> Result<Page<OutboxEntry>, StorageError> {
        Ok(Page { items: Vec::new(), more: false })
    }

    async fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError> {
        let first = after.map_or(0, |after| self.numbers.partition_point(|number| id(*number) <= after));
        let end = self.numbers.len().min(first + limit);
        let items = self.numbers[first..end].iter().map(|n| self.record(*n)).collect::<Result<Vec<_>, _>>()?;
        Ok(Page { items, more: end < self.numbers.len() })
    }

    async fn history(&self, _: &HistoryQuery, _: usize) -> Result<Page<HistoryItem>, StorageError> {
        Ok(Page { items: Vec::new(), more: false })
    }

    async fn documents(&self, _: &str) -> Result<Vec<Document>, StorageError> {
        Ok(Vec::new())
    }

    async fn watch_log(&self) -> Result<WatchLog, StorageError> {
        Ok(WatchLog::default())
    }

    async fn news(&self, _: Option<&str>) -> Result<News, StorageError> {
        Ok(News::default())
    }
}
