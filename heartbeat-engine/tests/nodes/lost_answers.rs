//! Batches that are stored although nobody was told so, or late, and news that was missed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use heartbeat_engine::{
    Applied, Batch, Change, Document, HistoryItem, HistoryQuery, Lease, MemoryStorage, MonitorId, Name, News,
    NotificationKind, OutboxEntry, Page, PartitionId, Ping, Record, Signal, Storage, StorageError, Timestamp,
    Transition, WatchLog,
};

use crate::site::{MINUTE, Node, SOON, Site, TTL, is_of, mailbox, until};

/// Loses the answers to batches that owe something. Then another node writes the monitor at once. When it is told to, it has
/// forgotten what was news, stores nothing of monitors for now, or does not say who holds what.
struct Forgetful {
    inner: MemoryStorage,
    other: MemoryStorage,
    misses: Arc<AtomicBool>,
    hangs: Arc<AtomicBool>,
    hides_leases: Arc<AtomicBool>,
}

impl Forgetful {
    fn of(site: &Site) -> Self {
        let (inner, other) = (site.storage.another_handle(), site.storage.another_handle());
        Self { inner, other, misses: Arc::default(), hangs: Arc::default(), hides_leases: Arc::default() }
    }

    async fn write_again(&self, batch: &Batch, id: MonitorId) {
        let Some(record) = self.inner.load(&[id]).await.unwrap().remove(0) else { return };
        let next = Record { version: record.version.next(), ..record.clone() };
        let transition = Transition {
            monitor: id,
            expected: Some(record.version),
            change: Change::Put(Arc::new(next)),
            pings: Vec::new(),
            changes: Vec::new(),
            incidents: Vec::new(),
            notifications: Vec::new(),
        };
        let (partition, epoch) = (batch.partition, batch.epoch);
        let batch = Batch { partition, epoch, transitions: vec![transition], ..Batch::default() };
        self.other.commit(&batch).await.unwrap();
    }
}

#[async_trait]
impl Storage for Forgetful {
    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    async fn commit(&self, batch: &Batch) -> Result<Applied, StorageError> {
        while self.hangs.load(Ordering::Relaxed) && !batch.transitions.is_empty() {
            tokio::time::sleep(SOON / 10).await;
        }
        let applied = self.inner.commit(batch).await?;
        let owes = batch.transitions.iter().filter(|transition| !transition.notifications.is_empty());
        let monitors: Vec<MonitorId> = owes.map(|transition| transition.monitor).collect();
        if monitors.is_empty() && batch.outage.is_none() {
            return Ok(applied);
        }
        for id in monitors {
            self.write_again(batch, id).await;
        }
        Err(StorageError::Unknown("the answer was lost".to_owned()))
    }

    async fn swap_lease(&self, expected: &Lease, next: &Lease) -> Result<bool, StorageError> {
        self.inner.swap_lease(expected, next).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StorageError> {
        if self.hides_leases.load(Ordering::Relaxed) {
            return Err(StorageError::Unavailable("nobody knows".to_owned()));
        }
        self.inner.leases().await
    }

    async fn load(&self, ids: &[MonitorId]) -> Result<Vec<Option<Record>>, StorageError> {
        self.inner.load(ids).await
    }

    async fn find(&self, name: &Name) -> Result<Option<MonitorId>, StorageError> {
        self.inner.find(name).await
    }

    async fn due(
        &self,
        partition: PartitionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(MonitorId, Timestamp)>, StorageError> {
        self.inner.due(partition, before, limit).await
    }

    async fn outbox(&self, after: u64, limit: usize) -> Result<Page<OutboxEntry>, StorageError> {
        self.inner.outbox(after, limit).await
    }

    async fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError> {
        self.inner.monitors(after, limit).await
    }

    async fn history(&self, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        self.inner.history(query, limit).await
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StorageError> {
        self.inner.documents(kind).await
    }

    async fn watch_log(&self) -> Result<WatchLog, StorageError> {
        self.inner.watch_log().await
    }

    async fn news(&self, after: Option<&str>) -> Result<News, StorageError> {
        if self.misses.swap(false, Ordering::Relaxed) {
            return Ok(News { missed: true, ..self.inner.news(None).await? });
        }
        self.inner.news(after).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_missed_news_reads_everything_anew() {
    let site = Site::new(4);
    let (storage, other) = (Forgetful::of(&site), Node::ready("b", &site).await);
    let misses = storage.misses.clone();
    let node = Node::start_on(storage, "a", &site).await;
    until(|| node.engine.readiness().ready).await;
    tokio::time::sleep(SOON * 2).await;
    other.put("job", MINUTE, MINUTE).await;
    misses.store(true, Ordering::Relaxed);
    until(|| !misses.load(Ordering::Relaxed)).await;
    until(|| node.engine.readiness().ready && node.engine.find("job").is_some()).await;
    assert_eq!((node.ping("job").await, other.ping("job").await), (1, 2));
    assert_eq!(site.shares(["a", "b"]).await, [2, 2], "it kept its share");
    // It hears, judges and delivers as before.
    tokio::time::sleep(3 * MINUTE).await;
    assert_eq!(site.told_counts(), [1, 0, 0, 0]);
    assert_eq!(node.engine.find("job"), other.engine.find("job"));
}

#[tokio::test(start_paused = true)]
async fn a_share_that_is_to_be_given_up_before_its_seat_looked_at_it_is_given_up() {
    let site = Site::new(2);
    let storage = Forgetful::of(&site);
    let hangs = storage.hangs.clone();
    let busy = Node::start_on(storage, "a", &site).await;
    until(|| busy.engine.readiness().ready).await;
    let other = Node::ready("b", &site).await;
    assert_eq!(site.shares(["a", "b"]).await, [1, 1]);
    let leases = site.leases().await;
    let of_b = leases.iter().find(|lease| is_of(lease, "b")).unwrap().partition;
    let mut slug = String::new();
    for job in 0.. {
        slug = format!("job-{job}");
        other.put(&slug, 60 * MINUTE, MINUTE).await;
        if other.partition_of(&slug, &site) == of_b {
            break;
        }
    }
    tokio::time::sleep(SOON).await;
    // A write of the one that takes over hangs until it has to give up again what it took.
    hangs.store(true, Ordering::Relaxed);
    let engine = busy.engine.clone();
    let call = tokio::spawn(async move { engine.ping(&*slug, Ping::new(Signal::Success)).await });
    tokio::time::sleep(SOON).await;
    other.crash();
    until(|| other.has_ended()).await;
    tokio::time::sleep(TTL + SOON * 2).await;
    assert_eq!(site.shares(["a"]).await, [2]);
    let joins = Node::start("c", &site).await;
    until(|| joins.engine.readiness().ready).await;
    // Then it knows that the one that crashed is dead.
    tokio::time::sleep(TTL + SOON * 2).await;
    assert_eq!(site.shares(["a", "c"]).await, [2, 0], "a seat has still to look");
    hangs.store(false, Ordering::Relaxed);
    call.await.unwrap().unwrap();
    tokio::time::sleep(SOON * 3).await;
    assert_eq!(site.shares(["a", "c"]).await, [1, 1]);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_refused_soon_and_not_written_later() {
    let site = Site::new(2);
    let storage = Forgetful::of(&site);
    let hides_leases = storage.hides_leases.clone();
    hides_leases.store(true, Ordering::Relaxed);
    let node = Node::start_on(storage, "a", &site).await;
    let refused = tokio::time::timeout(TTL, node.engine.put_channel("late", mailbox())).await;
    assert!(refused.expect("it is answered within 10 s").is_err());
    hides_leases.store(false, Ordering::Relaxed);
    until(|| node.engine.readiness().ready).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(site.storage.documents("channel").await.unwrap(), []);
    node.engine.put_channel("late", mailbox()).await.unwrap();
    assert_eq!(site.storage.documents("channel").await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_came_to_be_owed_unknown_is_told_once() {
    let site = Site::new(1);
    let node = Node::start_on(Forgetful::of(&site), "a", &site).await;
    until(|| node.engine.readiness().ready).await;
    node.put("job", 60 * MINUTE, MINUTE).await;
    let unknown = node.engine.ping("job", Ping::new(Signal::Fail)).await;
    assert!(unknown.is_err(), "{unknown:?}");
    tokio::time::sleep(MINUTE).await;
    assert_eq!(site.told_counts(), [1, 0, 0, 0]);
    assert_eq!(node.engine.find("job").unwrap().health.ping_count, 1);
    // Silence takes the same way.
    node.put("silent", MINUTE, MINUTE).await;
    tokio::time::sleep(3 * MINUTE).await;
    assert_eq!(site.told_counts(), [2, 0, 0, 0]);
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_was_stored_unknown_is_told_once() {
    let site = Site::new(1);
    let before = Node::ready("a", &site).await;
    before.put("job", 10 * MINUTE, MINUTE).await;
    before.crash();
    until(|| before.has_ended()).await;
    tokio::time::sleep(5 * MINUTE).await;
    let node = Node::start_on(Forgetful::of(&site), "b", &site).await;
    until(|| node.engine.readiness().ready).await;
    tokio::time::sleep(TTL + SOON).await;
    assert_eq!(site.outages().await, 1);
    assert_eq!(site.told(NotificationKind::WatcherOutage).len(), 1);
    assert_eq!(node.ping("job").await, 1);
}
