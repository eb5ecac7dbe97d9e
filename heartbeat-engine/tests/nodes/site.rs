//! What nodes share, and a node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use heartbeat_engine::schedule::Schedule;
use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{
    Attempt, ChannelKind, ChannelSpec, Clock, DeliveryError, Engine, FieldError, Grace, Grouping, Lease, MemoryStorage,
    MonitorSpec, Notification, NotificationKind, Notifier, PartitionId, Ping, PingReceipt, PutMode, Receipt, Signal,
    Storage, Tenure, Timestamp,
};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::Instant;

pub(crate) const TTL: Duration = Duration::from_secs(10);
/// What one node wrote is known to the others by then.
pub(crate) const SOON: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// What nodes share: a storage, a clock, and where messages arrive.
pub(crate) struct Site {
    pub(crate) storage: MemoryStorage,
    pub(crate) clock: TokioClock,
    told: Mailbox,
}

/// Messages with the time at which they arrived, whichever node brought them.
#[derive(Clone)]
struct Mailbox {
    clock: TokioClock,
    arrived: Arc<Mutex<Vec<(Timestamp, Notification)>>>,
    shut: Arc<AtomicBool>,
}

#[async_trait]
impl Notifier for Mailbox {
    async fn deliver(&self, notification: &Notification, _: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        if self.shut.load(Ordering::Relaxed) {
            return Err(DeliveryError::retry("the mailbox is shut"));
        }
        self.arrived.lock().unwrap().push((self.clock.now(), notification.clone()));
        Ok(Receipt::default())
    }
}

impl ChannelKind for Mailbox {
    fn name(&self) -> &'static str {
        "mailbox"
    }

    fn build(&self, _: &str, _: &Value) -> Result<Arc<dyn Notifier>, Vec<FieldError>> {
        Ok(Arc::new(self.clone()))
    }

    fn redacted(&self, settings: &Value) -> Value {
        settings.clone()
    }

    fn privileged_setting(&self, _: &Value) -> Option<&'static str> {
        None
    }
}

impl Site {
    pub(crate) fn new(partitions: u16) -> Self {
        let clock = TokioClock::new("2026-11-29T12:00:00Z".parse().unwrap());
        let told = Mailbox { clock: clock.clone(), arrived: Arc::default(), shut: Arc::default() };
        Self { storage: MemoryStorage::new().with_partitions(partitions), clock, told }
    }

    /// From now on every delivery fails, or none does.
    pub(crate) fn shut_mailbox(&self, shut: bool) {
        self.told.shut.store(shut, Ordering::Relaxed);
    }

    /// The leases, by partition.
    pub(crate) async fn leases(&self) -> Vec<Lease> {
        self.storage.leases().await.unwrap()
    }

    /// How many partitions each of these nodes holds.
    pub(crate) async fn shares<const N: usize>(&self, nodes: [&str; N]) -> [usize; N] {
        let leases = self.leases().await;
        let held = |name: &str| leases.iter().filter(|lease| is_of(lease, name)).count();
        nodes.map(held)
    }

    /// Messages that arrived, in order, without those of other kinds.
    pub(crate) fn told(&self, kind: NotificationKind) -> Vec<(Timestamp, Notification)> {
        let arrived = self.told.arrived.lock().unwrap();
        arrived.iter().filter(|(_, notification)| notification.kind == kind).cloned().collect()
    }

    /// The kinds of messages about a monitor that arrived, in order.
    pub(crate) fn told_about(&self, slug: &str) -> Vec<NotificationKind> {
        let is_about = |told: &Notification| told.monitor.as_ref().is_some_and(|about| about.slug == slug);
        let arrived = self.told.arrived.lock().unwrap();
        arrived.iter().filter(|(_, told)| is_about(told)).map(|(_, told)| told.kind).collect()
    }

    /// How many messages of each kind arrived: going down, recovery, digest, outage of the watcher.
    pub(crate) fn told_counts(&self) -> [usize; 4] {
        let kinds = [
            NotificationKind::Down,
            NotificationKind::Recovered,
            NotificationKind::Digest,
            NotificationKind::WatcherOutage,
        ];
        kinds.map(|kind| self.told(kind).len())
    }

    /// How many messages all digests stand for.
    pub(crate) fn grouped(&self) -> usize {
        self.told(NotificationKind::Digest).iter().map(|(_, told)| told.digest.as_ref().unwrap().total()).sum()
    }

    pub(crate) async fn outages(&self) -> usize {
        self.storage.watch_log().await.unwrap().outages.len()
    }
}

pub(crate) fn is_of(lease: &Lease, name: &str) -> bool {
    lease.expires_at > Timestamp::MIN && lease.node.starts_with(&format!("{name}."))
}

/// A node, which crashes when its driver is aborted.
pub(crate) struct Node {
    pub(crate) engine: Engine,
    driver: JoinHandle<()>,
}

impl Node {
    /// Starts a node that tells the channel `ops`.
    pub(crate) async fn start(name: &str, site: &Site) -> Self {
        Self::start_on(site.storage.another_handle(), name, site).await
    }

    /// The same on a storage of its own choice.
    pub(crate) async fn start_on(storage: impl Storage, name: &str, site: &Site) -> Self {
        Self::start_with(storage, site.clock.clone(), name, site).await
    }

    /// The same with a clock of its own.
    pub(crate) async fn start_with(storage: impl Storage, clock: TokioClock, name: &str, site: &Site) -> Self {
        let builder = Engine::builder(storage).clock(clock);
        let builder = builder.node(name).channel_kind(site.told.clone()).notifier("ops", site.told.clone());
        let (engine, mut driver) = builder.tenure(Tenure::Shared { ttl: TTL }).build();
        driver.load().await.unwrap();
        Self { engine, driver: tokio::spawn(driver.run()) }
    }

    /// The same, when it is known that the watcher is alive, and all nodes have their shares.
    pub(crate) async fn ready(name: &str, site: &Site) -> Self {
        let node = Self::start(name, site).await;
        until(|| node.engine.readiness().ready).await;
        tokio::time::sleep(SOON * 2).await;
        node
    }

    pub(crate) fn crash(&self) {
        self.driver.abort();
    }

    pub(crate) async fn stop(&self) {
        self.engine.shutdown(TTL).await.unwrap();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.driver.is_finished()
    }

    /// Makes a monitor that tells `ops`.
    pub(crate) async fn put(&self, slug: &str, every: Duration, grace: Duration) {
        self.engine.put(spec(slug, every, grace), PutMode::Upsert).await.unwrap();
    }

    pub(crate) async fn send(&self, slug: &str, signal: Signal) -> PingReceipt {
        self.engine.ping(slug, Ping::new(signal)).await.unwrap()
    }

    pub(crate) async fn ping(&self, slug: &str) -> u64 {
        self.send(slug, Signal::Success).await.n
    }

    /// The partition of a monitor.
    pub(crate) fn partition_of(&self, slug: &str, site: &Site) -> PartitionId {
        PartitionId::of(self.engine.find(slug).unwrap().id(), site.storage.partitions())
    }
}

pub(crate) fn spec(slug: &str, every: Duration, grace: Duration) -> MonitorSpec {
    let mut spec = MonitorSpec::new(slug, Schedule::every(every).unwrap());
    spec.grace = Grace::Fixed(grace);
    spec.channels = vec!["ops".to_owned()];
    spec
}

pub(crate) fn mailbox() -> ChannelSpec {
    ChannelSpec {
        kind: "mailbox".to_owned(),
        settings: Value::Null,
        grouping: Grouping::NONE,
        fallback: None,
        declared_in: None,
    }
}

pub(crate) async fn until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < TTL * 6, "it does not come to be so");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
