//! What the engine's handles, its driver and its seats share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::{broadcast, watch};

use crate::outbox::Owed;
use crate::runtime::channels::Channels;
use crate::runtime::directory::Directory;
use crate::runtime::inbox::{Inbox, Work};
use crate::runtime::lease_keeper::LeaseKeeper;
use crate::runtime::life_keeper::LifeBoard;
use crate::runtime::limits::Limits;
use crate::runtime::listener::Awaited;
use crate::runtime::metrics::Counters;
use crate::runtime::outbox_reader::OutboxReader;
use crate::runtime::policies::Policies;
use crate::{Clock, CommonTerms, MonitorId, PartitionId, StateChange, Storage, Tenure};

pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) node: String,
    pub(crate) tenure: Tenure,
    pub(crate) lease: LeaseKeeper,
    pub(crate) life: LifeBoard,
    pub(crate) reader: OutboxReader,
    pub(crate) awaited: Awaited,
    pub(crate) limits: Limits,
    /// Who is told about the watcher itself.
    pub(crate) watcher_channels: Vec<String>,
    /// One for each partition.
    pub(crate) inboxes: Vec<Inbox>,
    pub(crate) directory: Directory,
    pub(crate) channels: Channels,
    pub(crate) policies: Policies,
    pub(crate) terms: Arc<CommonTerms>,
    pub(crate) changes: broadcast::Sender<StateChange>,
    pub(crate) counters: Counters,
    pub(crate) loaded: AtomicBool,
    /// The seats that have nothing more to be delivered, at the end.
    pub(crate) stopping: Arrivals,
    /// Becomes true when the driver has ended.
    pub(crate) stopped: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// How many partitions there are, at least 1.
    pub(crate) fn partitions(&self) -> u16 {
        u16::try_from(self.inboxes.len()).unwrap_or(u16::MAX)
    }

    pub(crate) fn all_partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.partitions()).map(PartitionId)
    }

    pub(crate) fn inbox(&self, partition: PartitionId) -> &Inbox {
        // A partition is a remainder by their number, so there is one.
        &self.inboxes[usize::from(partition.0) % self.inboxes.len()]
    }

    /// Where what is asked of a monitor waits.
    pub(crate) fn inbox_of(&self, monitor: MonitorId) -> &Inbox {
        self.inbox(PartitionId::of(monitor, self.partitions()))
    }

    /// Where what belongs to no monitor waits.
    pub(crate) fn first_inbox(&self) -> &Inbox {
        self.inbox(PartitionId(0))
    }

    /// Whose owner has this channel's notifications delivered.
    pub(crate) fn partition_of_channel(&self, channel: &str) -> PartitionId {
        PartitionId::of_channel(channel, self.partitions())
    }

    /// Hands what is stored and owed to the seat that has it delivered.
    pub(crate) fn owe(&self, owed: Owed) {
        let partition = self.partition_of_channel(&owed.notification.channel);
        self.inbox(partition).push_inner(&*self.clock, Work::Owed(Box::new(owed)));
    }

    /// Lets every seat look again.
    pub(crate) fn nudge_all(&self) {
        self.inboxes.iter().for_each(Inbox::nudge);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.inboxes.iter().all(Inbox::is_closed)
    }
}

/// Counts who has come so far.
#[derive(Debug)]
pub(crate) struct Arrivals {
    missing: AtomicUsize,
}

impl Arrivals {
    pub(crate) fn of(count: usize) -> Self {
        Self { missing: AtomicUsize::new(count) }
    }

    pub(crate) fn arrive(&self) {
        self.missing.fetch_sub(1, Ordering::AcqRel);
    }

    pub(crate) fn all_arrived(&self) -> bool {
        self.missing.load(Ordering::Acquire) == 0
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("node", &self.node).field("limits", &self.limits).finish_non_exhaustive()
    }
}
