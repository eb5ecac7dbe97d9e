//! Engines that share a storage: one works, the others stand by. Time is virtual.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use heartbeat_engine::schedule::Schedule;
use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{
    Engine, Epoch, Lease, MemoryStorage, MonitorSpec, PartitionId, Ping, PingError, PingReceipt, PutMode, Signal,
    Storage, Tenure, Timestamp, Unavailable,
};
use tokio::task::JoinHandle;
use tokio::time::Instant;

const TTL: Duration = Duration::from_secs(10);

/// What nodes share.
struct Site {
    storage: Arc<MemoryStorage>,
    clock: TokioClock,
}

impl Site {
    fn new() -> Self {
        let clock = TokioClock::new("2026-11-29T12:00:00Z".parse().unwrap());
        Self { storage: Arc::new(MemoryStorage::new()), clock }
    }

    async fn lease(&self) -> Lease {
        self.storage.leases().await.unwrap().pop().unwrap()
    }
}

/// A node, which crashes when its driver is aborted.
struct Node {
    engine: Engine,
    driver: JoinHandle<()>,
}

impl Node {
    fn start(name: &str, site: &Site) -> Self {
        let builder = Engine::builder(site.storage.clone()).clock(site.clock.clone());
        let (engine, driver) = builder.node(name).tenure(Tenure::Shared { ttl: TTL }).build();
        Self { engine, driver: tokio::spawn(driver.run()) }
    }

    async fn working(name: &str, site: &Site) -> Self {
        let node = Self::start(name, site);
        node.until_it_works().await;
        node
    }

    async fn until_it_works(&self) {
        until(|| self.engine.is_loaded()).await;
    }

    async fn ping(&self) -> Result<PingReceipt, PingError> {
        self.engine.ping("job", Ping::new(Signal::Success)).await
    }

    async fn put(&self) {
        let spec = MonitorSpec::new("job", Schedule::every(Duration::from_secs(7200)).unwrap());
        self.engine.put(spec, PutMode::Upsert).await.unwrap();
    }
}

async fn until(mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < TTL * 5, "it does not come to be so");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_works_and_another_takes_over_at_once_when_it_stops() {
    let site = Site::new();
    let first = Node::working("a", &site).await;
    first.put().await;
    assert_eq!(first.ping().await.unwrap().n, 1);
    let second = Node::start("b", &site);
    // However long: the lease is renewed.
    tokio::time::sleep(TTL * 5).await;
    assert!(first.engine.is_loaded() && !second.engine.is_loaded());
    assert_eq!(second.ping().await, Err(PingError::Unavailable(Unavailable::Loading)));
    let standing_by = second.engine.readiness().standing_by.expect("it knows who works");
    assert!(standing_by.starts_with("a."), "{standing_by}");
    assert_eq!(first.engine.readiness().standing_by, None);

    let stopped = Instant::now();
    first.engine.shutdown(TTL).await.unwrap();
    second.until_it_works().await;
    // It looks at the lease three times in its length.
    assert!(stopped.elapsed() <= TTL / 2, "{:?}", stopped.elapsed());
    assert_eq!(second.ping().await.unwrap().n, 2);
}

#[tokio::test(start_paused = true)]
async fn the_work_of_one_that_crashed_is_taken_over_when_its_lease_has_lapsed() {
    let site = Site::new();
    let first = Node::working("a", &site).await;
    first.put().await;
    let (second, third) = (Node::start("b", &site), Node::start("c", &site));
    tokio::time::sleep(TTL).await;
    first.ping().await.unwrap();
    first.driver.abort();
    let crashed = Instant::now();
    until(|| second.engine.is_loaded() || third.engine.is_loaded()).await;
    assert!(crashed.elapsed() <= TTL + TTL / 3 + Duration::from_secs(1), "{:?}", crashed.elapsed());
    let (working, other) = if second.engine.is_loaded() { (&second, &third) } else { (&third, &second) };
    assert_eq!(working.ping().await.unwrap().n, 2);
    assert_eq!(other.ping().await, Err(PingError::Unavailable(Unavailable::Loading)));
}

#[tokio::test(start_paused = true)]
async fn one_that_lost_its_lease_stands_by_and_may_work_again() {
    let site = Site::new();
    let node = Node::working("a", &site).await;
    node.put().await;
    node.ping().await.unwrap();
    // Somebody took the lease while the node was frozen; it finds that out when it writes.
    let held = site.lease().await;
    let stolen = Lease { epoch: Epoch(held.epoch.0 + 1), node: "thief".to_owned(), ..held.clone() };
    assert!(site.storage.swap_lease(&held, &stolen).await.unwrap());
    let refused = node.ping().await;
    assert!(matches!(refused, Err(PingError::Unavailable(_))), "{refused:?}");
    until(|| !node.engine.is_loaded()).await;
    until(|| node.engine.readiness().standing_by.as_deref() == Some("thief")).await;
    // Nobody renews what was stolen.
    node.until_it_works().await;
    assert_eq!(node.ping().await.unwrap().n, 2, "nothing was written without the lease");
    assert!(site.lease().await.epoch > stolen.epoch);
    assert_eq!(node.engine.readiness().standing_by, None);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_stands_by_can_be_stopped() {
    let site = Site::new();
    let free = Lease { partition: PartitionId(0), epoch: Epoch(0), node: String::new(), expires_at: Timestamp::MIN };
    let taken = Lease { epoch: Epoch(1), node: "other".to_owned(), expires_at: Timestamp::MAX, ..free.clone() };
    assert!(site.storage.swap_lease(&free, &taken).await.unwrap());
    let node = Node::start("a", &site);
    until(|| node.engine.readiness().standing_by.as_deref() == Some("other")).await;
    node.engine.shutdown(TTL).await.unwrap();
    assert!(matches!(node.ping().await, Err(PingError::Unavailable(_))));
    node.driver.await.unwrap();
    assert_eq!(site.lease().await, taken, "it took nothing");
}
