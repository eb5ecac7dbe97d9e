//! Simulated worlds that run on a Redis: nodes, faults and checkers of the simulator, with what the scripts really do. Everything is
//! done on the simulator's model as well, and both must answer alike.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use heartbeat_engine::testing::sim::{self, Coverage, Deed, Ending, Options};
use heartbeat_engine::{
    Applied, Batch, Document, HistoryItem, HistoryQuery, Lease, MonitorId, Name, News, OutboxEntry, Outcome, Page,
    PartitionId, Record, Storage, StorageError, Timestamp, WatchLog,
};
use heartbeat_storage_redis::{RedisOptions, RedisStorage};
use tokio::runtime::Runtime;

use self::support::{Server, prefix};

/// How many worlds run.
const WORLDS: usize = 24;

/// It ends with the process.
static REDIS: LazyLock<Server> = LazyLock::new(Server::start);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// Runs the world of a seed on a store of its own.
fn run<S: Storage>(seed: u64, runtime: &Runtime, wrap: impl Fn(RedisStorage) -> S + 'static) -> Ending {
    let (handle, prefix) = (runtime.handle().clone(), prefix());
    sim::run_on(seed, &Options::default().briefly(), runtime.handle(), move |partitions| {
        let url = format!("{}?prefix={prefix}&partitions={partitions}", REDIS.url());
        let options = RedisOptions::parse(&url).unwrap();
        Arc::new(wrap(handle.block_on(RedisStorage::open(options)).unwrap()))
    })
}

/// Seeds whose worlds fit on one storage; those of several nodes come first, with one of a single node for each five.
fn seeds() -> impl Iterator<Item = u64> {
    let shape = |seed: &u64| sim::shape(*seed, &Options::default().briefly());
    let shared = (0..).filter(move |seed| shape(seed).nodes > 1);
    let single = (0..).filter(move |seed| shape(seed).nodes == 1 && shape(seed).partitions == 1);
    let mut single = single.into_iter();
    shared.enumerate().flat_map(move |(n, seed)| {
        let also = if n % 5 == 4 { single.next() } else { None };
        std::iter::once(seed).chain(also)
    })
}

#[test]
fn worlds_run_on_redis_as_they_do_on_the_model() {
    let (runtime, mut coverage) = (runtime(), Coverage::default());
    for seed in seeds().take(WORLDS) {
        let ending = run(seed, &runtime, |storage| storage);
        assert!(ending.broken.is_none(), "seed {seed}: {:?}\n{}", ending.broken, ending.story);
        coverage.add(&ending.coverage);
    }
    // What a world of some minutes can bring about, and a storage must bear.
    for deed in [
        Deed::Fenced,
        Deed::Conflict,
        Deed::StrangersHeartbeat,
        Deed::StrangersOwed,
        Deed::UnknownWritten,
        Deed::Repeated,
        Deed::Outage,
        Deed::NewsLate,
        Deed::TakeOver,
        Deed::Delivered,
        Deed::Edit,
    ] {
        assert!(coverage.count(deed) > 0, "this never happened: {}", deed.name());
    }
}

/// A way in which a storage may be wrong.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    /// Every so manyth commit is said to be written, and is not.
    Loses(u64),
    /// Writes are taken under whatever epoch.
    TakesAnyEpoch,
    /// Others are told nothing.
    TellsNoNews,
}

/// A storage that is wrong.
struct Broken {
    storage: RedisStorage,
    wrong: Wrong,
    commits: AtomicU64,
}

#[async_trait]
impl Storage for Broken {
    fn partitions(&self) -> u16 {
        self.storage.partitions()
    }

    async fn commit(&self, batch: &Batch) -> Result<Applied, StorageError> {
        let number = self.commits.fetch_add(1, Ordering::Relaxed) + 1;
        match self.wrong {
            Wrong::Loses(every) if number.is_multiple_of(every) => Ok(Applied {
                transitions: batch.transitions.iter().map(|_| Outcome::Committed).collect(),
                documents: batch.documents.iter().map(|_| Outcome::Committed).collect(),
            }),
            Wrong::TakesAnyEpoch => {
                let lease = self.storage.leases().await?.into_iter().find(|lease| lease.partition == batch.partition);
                let epoch = lease.map_or(batch.epoch, |lease| lease.epoch);
                self.storage.commit(&Batch { epoch, ..batch.clone() }).await
            }
            _ => self.storage.commit(batch).await,
        }
    }

    async fn swap_lease(&self, expected: &Lease, next: &Lease) -> Result<bool, StorageError> {
        self.storage.swap_lease(expected, next).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StorageError> {
        self.storage.leases().await
    }

    async fn load(&self, ids: &[MonitorId]) -> Result<Vec<Option<Record>>, StorageError> {
        self.storage.load(ids).await
    }

    async fn find(&self, name: &Name) -> Result<Option<MonitorId>, StorageError> {
        self.storage.find(name).await
    }

    async fn due(
        &self,
        partition: PartitionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(MonitorId, Timestamp)>, StorageError> {
        self.storage.due(partition, before, limit).await
    }

    async fn outbox(&self, after: u64, limit: usize) -> Result<Page<OutboxEntry>, StorageError> {
        self.storage.outbox(after, limit).await
    }

    async fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError> {
        self.storage.monitors(after, limit).await
    }

    async fn history(&self, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        self.storage.history(query, limit).await
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StorageError> {
        self.storage.documents(kind).await
    }

    async fn watch_log(&self) -> Result<WatchLog, StorageError> {
        self.storage.watch_log().await
    }

    async fn news(&self, after: Option<&str>) -> Result<News, StorageError> {
        let news = self.storage.news(after).await?;
        let silent = matches!(self.wrong, Wrong::TellsNoNews);
        Ok(if silent { News { position: news.position, more: news.more, ..News::default() } } else { news })
    }
}

#[test]
fn a_storage_that_is_wrong_is_found() {
    let runtime = runtime();
    for wrong in [Wrong::Loses(40), Wrong::TakesAnyEpoch, Wrong::TellsNoNews] {
        let found = seeds().take(WORLDS).find_map(|seed| {
            let wrap = move |storage| Broken { storage, wrong, commits: AtomicU64::default() };
            run(seed, &runtime, wrap).broken
        });
        let broken = found.unwrap_or_else(|| panic!("nobody noticed {wrong:?}"));
        assert_eq!(broken.promise, "the storage does what its model does", "{wrong:?}: {}", broken.what);
    }
}
