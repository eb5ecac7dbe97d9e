//! Keeps the leases of the partitions that this node should hold: takes those that are free, renews them beside everything
//! else, and gives up what others should have.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::runtime::claims::Claims;
use crate::runtime::cluster::PartitionShare;
use crate::runtime::presence::{self, NodeInfo};
use crate::{Claim, Clock, Epoch, PartitionId, Storage, StorageError, Tenure, Version};

/// How often the leases and nodes are looked at, at least.
const LOOK_EVERY_MAX: Duration = Duration::from_millis(500);
const LOOK_EVERY_MIN: Duration = Duration::from_millis(50);
/// A node that was silent for so many lengths of a lease is forgotten.
const GONE_AFTER: u32 = 30;

/// One node's claims, which its keeper works on and everybody may ask.
pub(crate) struct LeaseKeeper {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    node: String,
    tenure: Tenure,
    state: Mutex<State>,
    /// There is a reason to look at once.
    hurry: Notify,
}

struct State {
    claims: Claims,
    /// The nodes as they were read last; `None` before.
    nodes: Option<Vec<NodeInfo>>,
}

impl LeaseKeeper {
    pub(crate) fn new(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>, node: &str, tenure: Tenure) -> Self {
        let partitions = storage.partitions().max(1);
        let state = State { claims: Claims::new(node, tenure, partitions), nodes: None };
        Self { storage, clock, node: node.to_owned(), tenure, state: Mutex::new(state), hurry: Notify::new() }
    }

    /// The name of this start of this node.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// The epoch under which the node may judge what is in the partition now; `None` when it must not.
    pub(crate) fn epoch(&self, partition: PartitionId) -> Option<Epoch> {
        self.state().claims.epoch(partition, self.clock.monotonic())
    }

    /// Whether the partition is to be given up, and its seat has to end its work first and say so.
    pub(crate) fn is_leaving(&self, partition: PartitionId) -> bool {
        self.state().claims.is_leaving(partition, self.clock.monotonic())
    }

    /// The epoch under which writes to the partition are taken, as far as is known.
    pub(crate) fn known_epoch(&self, partition: PartitionId) -> Option<Epoch> {
        self.state().claims.known_epoch(partition)
    }

    /// The partitions that this node holds.
    pub(crate) fn held(&self) -> Vec<PartitionId> {
        self.state().claims.held(self.clock.monotonic())
    }

    /// The nodes that described themselves, and the ids of those that may be alive.
    pub(crate) fn nodes(&self) -> (Vec<NodeInfo>, Vec<String>) {
        let state = self.state();
        let others = state.claims.neighbours().alive(self.ttl(), self.clock.monotonic());
        let mut alive: Vec<String> = others.into_iter().map(str::to_owned).chain([self.node.clone()]).collect();
        alive.sort_unstable();
        (state.nodes.clone().unwrap_or_default(), alive)
    }

    /// Who holds which partition, as far as is known; what is not about leases is left out.
    pub(crate) fn shares(&self) -> Vec<PartitionShare> {
        let (monotonic, state) = (self.clock.monotonic(), self.state());
        let share = |(claim, partition): (&Claim, u16)| {
            let held = claim.epoch(monotonic).is_some();
            let other = || claim.holder().filter(|_| !claim.is_free(monotonic)).map(str::to_owned);
            PartitionShare {
                partition: PartitionId(partition),
                epoch: claim.known_epoch().unwrap_or_default(),
                holder: if held { Some(self.node.clone()) } else { other() },
                held,
                monitors: 0,
                overdue: 0,
                inbox: 0,
            }
        };
        state.claims.all().iter().zip(0..).map(share).collect()
    }

    /// Whether other nodes may be alive; `None` before they were looked at.
    pub(crate) fn others_may_live(&self) -> Option<bool> {
        let state = self.state();
        let may_live = !state.claims.neighbours().alive(self.ttl(), self.clock.monotonic()).is_empty();
        state.nodes.is_some().then_some(may_live)
    }

    /// Nodes that have been dead for long, each with the version of its description.
    pub(crate) fn gone(&self) -> Vec<(String, Version)> {
        let gone = self.state().claims.neighbours().gone(self.ttl() * GONE_AFTER, self.clock.monotonic());
        gone.into_iter().map(|(node, beat)| (node, Version(beat))).collect()
    }

    /// A write under an epoch was fenced: another node has the partition, or this one has it under a later epoch.
    pub(crate) fn fenced(&self, partition: PartitionId, under: Epoch) {
        let monotonic = self.clock.monotonic();
        self.state().claims.handle_fenced(partition, under, monotonic);
        self.hurry.notify_one();
    }

    /// The seat of a partition that is given up has ended its work on it.
    pub(crate) fn left(&self, partition: PartitionId) {
        self.state().claims.let_go(partition);
        self.hurry.notify_one();
    }

    /// Takes the lease of the only partition, where the storage belongs to one process.
    ///
    /// # Errors
    /// When the storage cannot be asked.
    pub(crate) async fn take(&self) -> Result<Epoch, StorageError> {
        loop {
            if let Some(epoch) = self.epoch(PartitionId(0)) {
                return Ok(epoch);
            }
            let leases = self.storage.leases().await?;
            self.state().claims.handle_leases(&leases, self.clock.monotonic());
            self.swap().await?;
        }
    }

    /// Looks after the leases as long as it is polled; `woken` is told of every round. Before it `knows_life`, the node takes
    /// nothing but the first partition, whose holder finds out: it could not judge yet. One that is exclusive lasts without.
    pub(crate) async fn attend(&self, knows_life: impl Fn() -> bool, woken: impl Fn()) {
        let Tenure::Shared { ttl } = self.tenure else { return std::future::pending().await };
        let pause = (ttl / 10).clamp(LOOK_EVERY_MIN, LOOK_EVERY_MAX);
        let mut failing = false;
        loop {
            let looked = self.round(knows_life()).await;
            if let Err(error) = &looked
                && !failing
            {
                tracing::warn!(%error, "the leases could not be looked at, taken or renewed; it is tried again");
            }
            failing = looked.is_err();
            woken();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Even what is urgent leaves the storage time to breathe.
                () = async { tokio::join!(self.hurry.notified(), tokio::time::sleep(pause / 10)); } => {}
            }
        }
    }

    /// Gives up all leases, so that other nodes may take them at once.
    pub(crate) async fn resign(&self) {
        if self.tenure == Tenure::Exclusive {
            return;
        }
        self.state().claims.let_go_of_all();
        // What fails is no loss: a lease lapses.
        let _ = self.swap().await;
    }

    /// One look at everything, and what it asks for.
    async fn round(&self, knows_life: bool) -> Result<(), StorageError> {
        let leases = self.storage.leases().await;
        let nodes = match &leases {
            Ok(_) => presence::read(&*self.storage).await,
            Err(error) => Err(error.clone()),
        };
        let monotonic = self.clock.monotonic();
        let found = match (leases, nodes) {
            (Ok(leases), Ok(nodes)) => {
                let others = nodes.iter().filter(|node| node.id != self.node);
                let others = others.map(|node| (node.id.clone(), node.beat));
                let mut state = self.state();
                state.claims.handle_found(&self.node, others, &leases, (self.ttl(), monotonic), knows_life);
                state.nodes = Some(nodes);
                Ok(())
            }
            (Err(error), _) | (_, Err(error)) => Err(error),
        };
        self.swap().await.and(found)
    }

    /// Takes, renews and gives up what is due, all at the same time.
    async fn swap(&self) -> Result<(), StorageError> {
        let (now, monotonic) = (self.clock.now(), self.clock.monotonic());
        let mut swaps = JoinSet::new();
        for (number, expected, next) in self.state().claims.poll_swaps(now, monotonic) {
            let storage = self.storage.clone();
            swaps.spawn(async move { (number, storage.swap_lease(&expected, &next).await) });
        }
        let mut result = Ok(());
        while let Some(done) = swaps.join_next().await {
            let Ok((number, swapped)) = done else { continue };
            let monotonic = self.clock.monotonic();
            self.state().claims.handle_swapped(number, &swapped, monotonic);
            result = result.and(swapped.map(drop));
        }
        result
    }

    fn ttl(&self) -> Duration {
        match self.tenure {
            Tenure::Exclusive => Duration::ZERO,
            Tenure::Shared { ttl } => ttl,
        }
    }

    // The claims are whole after every call, so a panicking caller leaves nothing half done.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LeaseKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseKeeper").field("node", &self.node).field("held", &self.held()).finish_non_exhaustive()
    }
}
