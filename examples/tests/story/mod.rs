//! Time that passes only when a story says so, while files, sockets and servers are real.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{
    Attempt, Clock, DeliveryError, Engine, Filter, Notification, Notifier, Receipt, Record, Timestamp,
};
use tokio::sync::oneshot;

/// How far time goes at most at once: less than the 5 s between two marks of the watcher's life (S6.1).
const STRIDE: Duration = Duration::from_secs(4);

/// How many turns of the runtime a task needs at most from being woken to doing what it was woken for.
const TURNS: u32 = 20;

/// The virtual time of a story. Paused tokio time runs ahead whenever every task waits, be it for a disk or a socket;
/// here it stands still until [`Story::pass_until`] moves it.
pub(crate) struct Story {
    pub(crate) clock: TokioClock,
    /// How many deliveries are under way.
    deliveries: Arc<AtomicUsize>,
    /// While a blocking task runs tokio leaves its clock alone.
    _held: oneshot::Sender<()>,
}

impl Story {
    /// Begins at an instant, in a runtime whose time is paused.
    pub(crate) fn begin(at: &str) -> Self {
        let (held, ended) = oneshot::channel::<()>();
        tokio::task::spawn_blocking(move || ended.blocking_recv());
        Self { clock: TokioClock::new(at.parse().expect("an instant")), deliveries: Arc::default(), _held: held }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A channel for whose deliveries time stands still: they go to a real far end.
    pub(crate) fn channel<N>(&self, notifier: N) -> Watched<N> {
        Watched { notifier, deliveries: self.deliveries.clone() }
    }

    /// Lets time pass while no engine runs.
    pub(crate) async fn nobody_watches(&self, length: Duration) {
        tokio::time::advance(length).await;
    }

    /// Lets time pass: from deadline to deadline, in small strides, and no further before the engine has decided what is
    /// due.
    pub(crate) async fn pass_until(&self, engine: &Engine, until: Timestamp) {
        self.settle(engine).await;
        while self.now() < until {
            let now = self.now();
            let deadlines = records(engine).into_iter().map(|record| record.health.wake_at());
            // A deadline is judged when it has passed.
            let judged = deadlines.filter(|at| *at >= now).min().map(|at| at + Duration::from_millis(1));
            let next = judged.unwrap_or(until).min(until).min(now + STRIDE);
            tokio::time::advance(next.since(now)).await;
            self.settle(engine).await;
        }
    }

    /// Waits, while time stands still, until the engine has decided and stored what is due.
    pub(crate) async fn settle(&self, engine: &Engine) {
        let mut calm = 0;
        self.until("the engine settles", || {
            let metrics = engine.metrics();
            let marked = metrics.last_commit_age.is_none_or(|age| age < Duration::from_secs(5));
            let idle = metrics.inbox == 0 && metrics.overdue == 0 && self.deliveries.load(Ordering::Acquire) == 0;
            // Every task that time has woken gets its turn.
            calm = if marked && idle { calm + 1 } else { 0 };
            calm > TURNS
        })
        .await;
    }

    /// Waits, while time stands still, until something holds.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for turn in 0_u64.. {
            if holds() {
                return;
            }
            assert!(turn < 10_000_000, "waited in vain: {what}");
            // The disk and the far ends work in threads of their own.
            std::thread::yield_now();
            tokio::task::yield_now().await;
        }
    }
}

/// A notifier whose deliveries are counted while they last.
pub(crate) struct Watched<N> {
    notifier: N,
    deliveries: Arc<AtomicUsize>,
}

#[async_trait]
impl<N: Notifier> Notifier for Watched<N> {
    async fn deliver(&self, notification: &Notification, attempt: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        self.deliveries.fetch_add(1, Ordering::AcqRel);
        let outcome = self.notifier.deliver(notification, attempt).await;
        self.deliveries.fetch_sub(1, Ordering::AcqRel);
        outcome
    }
}

pub(crate) fn records(engine: &Engine) -> Vec<Arc<Record>> {
    engine.list(&Filter::default(), usize::MAX).items
}
