//! Building an engine.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{broadcast, watch};

use crate::outbox::Grouping;
use crate::runtime::channels::Channels;
use crate::runtime::directory::Directory;
use crate::runtime::driver::Driver;
use crate::runtime::engine::Engine;
use crate::runtime::error::StartError;
use crate::runtime::inbox::Inbox;
use crate::runtime::lease_keeper::LeaseKeeper;
use crate::runtime::life_keeper::LifeBoard;
use crate::runtime::limits::Limits;
use crate::runtime::listener::Awaited;
use crate::runtime::metrics::Counters;
use crate::runtime::outbox_reader::OutboxReader;
use crate::runtime::policies::Policies;
use crate::runtime::random;
use crate::runtime::shared::{Arrivals, Shared};
use crate::{ChannelKind, Clock, Notifier, Storage, SystemClock, Tenure};

/// Chooses the parts of an engine. Only the storage is needed.
#[derive(Debug)]
pub struct EngineBuilder {
    storage: Handle<dyn Storage>,
    clock: Handle<dyn Clock>,
    channels: Channels,
    watcher_channels: Vec<String>,
    node: String,
    tenure: Tenure,
    limits: Limits,
}

/// An `Arc` of a trait object that prints as nothing.
struct Handle<T: ?Sized>(Arc<T>);

impl<T: ?Sized> std::fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("_")
    }
}

impl EngineBuilder {
    pub(crate) fn new(storage: Arc<dyn Storage>) -> Self {
        Self {
            storage: Handle(storage),
            clock: Handle(Arc::new(SystemClock::new())),
            channels: Channels::default(),
            watcher_channels: Vec::new(),
            node: "heartbeat".to_owned(),
            tenure: Tenure::Exclusive,
            limits: Limits::default(),
        }
    }

    /// A channel with this name that this notifier serves.
    #[must_use]
    pub fn notifier(self, channel: &str, notifier: impl Notifier) -> Self {
        self.channels.add_fixed(channel, Arc::new(notifier));
        self
    }

    /// Groups the messages of a channel in another way than the default; the channel must have been given by
    /// [`EngineBuilder::notifier`] before, else nothing happens.
    #[must_use]
    pub fn grouping(self, channel: &str, grouping: Grouping) -> Self {
        self.channels.set_grouping(channel, grouping);
        self
    }

    /// A kind of channel that can be made while the engine runs; see [`Engine::put_channel`].
    #[must_use]
    pub fn channel_kind(mut self, kind: impl ChannelKind) -> Self {
        self.channels.add_kind(Arc::new(kind));
        self
    }

    /// The channels that are told about the watcher itself: its outages and failing channels (S6.3, S7.4).
    #[must_use]
    pub fn watcher_channels(mut self, channels: Vec<String>) -> Self {
        self.watcher_channels = channels;
        self
    }

    /// Where time comes from; the machine's clocks unless told.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Handle(Arc::new(clock));
        self
    }

    /// The name of this node; `heartbeat` unless told.
    #[must_use]
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = node.into();
        self
    }

    /// How it holds its work; [`Tenure::Exclusive`] unless told. With [`Tenure::Shared`] several engines may be built on one
    /// storage, each on a handle of its own: all take calls, and each judges silence and delivers for its share of the
    /// partitions. The share of one that stops is taken over at once, and of one that has not renewed its leases for `ttl`
    /// then.
    #[must_use]
    pub fn tenure(mut self, tenure: Tenure) -> Self {
        self.tenure = tenure;
        self
    }

    /// Limits other than the default ones; none may be 0, which counts as 1.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits.at_least_one();
        self
    }

    /// The engine and the driver that does its work. Calls answer `Loading` until the driver has loaded, and are
    /// answered while it runs.
    #[must_use]
    pub fn build(self) -> (Engine, Driver) {
        let id = match self.tenure {
            Tenure::Exclusive => self.node.clone(),
            Tenure::Shared { .. } => unique(&self.node),
        };
        let partitions = usize::from(self.storage.0.partitions().max(1));
        let lease = LeaseKeeper::new(self.storage.0.clone(), self.clock.0.clone(), &id, self.tenure);
        let shared = Arc::new(Shared {
            storage: self.storage.0,
            clock: self.clock.0,
            node: self.node,
            tenure: self.tenure,
            lease,
            life: LifeBoard::default(),
            reader: OutboxReader::default(),
            awaited: Awaited::default(),
            inboxes: (0..partitions).map(|_| Inbox::new(self.limits.inbox)).collect(),
            directory: Directory::default(),
            channels: self.channels,
            policies: Policies::default(),
            terms: Arc::default(),
            changes: broadcast::channel(self.limits.subscriber_queue.max(1)).0,
            limits: self.limits,
            watcher_channels: self.watcher_channels,
            counters: Counters::default(),
            loaded: AtomicBool::new(false),
            stopping: Arrivals::of(partitions),
            stopped: watch::channel(false).0,
        });
        (Engine::new(shared.clone()), Driver::new(shared))
    }

    /// Builds the engine, spawns its driver on the current tokio runtime and waits until it has loaded what is stored.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub async fn spawn(self) -> Result<Engine, StartError> {
        let (engine, mut driver) = self.build();
        driver.load().await?;
        tokio::spawn(driver.run());
        Ok(engine)
    }
}

/// A name that no other start of any node has.
fn unique(node: &str) -> String {
    // Without randomness nodes must be named differently by whoever starts them.
    random::uuid().map_or_else(|_| node.to_owned(), |uuid| format!("{node}.{}", &uuid[..8]))
}
