//! Keeps the leases of the partitions that this node should hold: takes those that are free, renews them beside everything
//! else, and gives up what others should have.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::runtime::cluster::PartitionShare;
use crate::runtime::presence::{self, NodeInfo};
use crate::shares::{self, Neighbours};
use crate::{Claim, Clock, Epoch, Lease, LeaseStep, PartitionId, Storage, StorageError, Tenure, Version};

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
    claims: Vec<Claim>,
    /// Partitions that are held and that others should have: their seats end their work on them first.
    leaving: Vec<bool>,
    neighbours: Neighbours,
    /// The nodes as they were read last; `None` before.
    nodes: Option<Vec<NodeInfo>>,
}

impl LeaseKeeper {
    pub(crate) fn new(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>, node: &str, tenure: Tenure) -> Self {
        let partitions = storage.partitions().max(1);
        let claims: Vec<Claim> = (0..partitions).map(|p| Claim::new(PartitionId(p), node, tenure)).collect();
        let leaving = vec![false; claims.len()];
        let state = State { claims, leaving, neighbours: Neighbours::default(), nodes: None };
        Self { storage, clock, node: node.to_owned(), tenure, state: Mutex::new(state), hurry: Notify::new() }
    }

    /// The name of this start of this node.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// The epoch under which the node may judge what is in the partition now; `None` when it must not.
    pub(crate) fn epoch(&self, partition: PartitionId) -> Option<Epoch> {
        let state = self.state();
        let (claim, leaving) = state.of(partition)?;
        if leaving { None } else { claim.epoch(self.clock.monotonic()) }
    }

    /// Whether the partition is to be given up, and its seat has to end its work first and say so.
    pub(crate) fn is_leaving(&self, partition: PartitionId) -> bool {
        let state = self.state();
        state.of(partition).is_some_and(|(claim, leaving)| leaving && claim.epoch(self.clock.monotonic()).is_some())
    }

    /// The epoch under which writes to the partition are taken, as far as is known.
    pub(crate) fn known_epoch(&self, partition: PartitionId) -> Option<Epoch> {
        self.state().of(partition)?.0.known_epoch()
    }

    /// The partitions that this node holds.
    pub(crate) fn held(&self) -> Vec<PartitionId> {
        let (monotonic, state) = (self.clock.monotonic(), self.state());
        let held = state.claims.iter().enumerate().filter(|(_, claim)| claim.epoch(monotonic).is_some());
        held.filter_map(|(number, _)| u16::try_from(number).ok()).map(PartitionId).collect()
    }

    /// The nodes that described themselves, and the ids of those that may be alive.
    pub(crate) fn nodes(&self) -> (Vec<NodeInfo>, Vec<String>) {
        let state = self.state();
        let others = state.neighbours.alive(self.ttl(), self.clock.monotonic());
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
        state.claims.iter().zip(0..).map(share).collect()
    }

    /// Whether other nodes may be alive; `None` before they were looked at.
    pub(crate) fn others_may_live(&self) -> Option<bool> {
        let state = self.state();
        let may_live = !state.neighbours.alive(self.ttl(), self.clock.monotonic()).is_empty();
        state.nodes.is_some().then_some(may_live)
    }

    /// Nodes that have been dead for long, each with the version of its description.
    pub(crate) fn gone(&self) -> Vec<(String, Version)> {
        let gone = self.state().neighbours.gone(self.ttl() * GONE_AFTER, self.clock.monotonic());
        gone.into_iter().map(|(node, beat)| (node, Version(beat))).collect()
    }

    /// A write was fenced: another node has the partition, or it has another epoch.
    pub(crate) fn fenced(&self, partition: PartitionId) {
        let monotonic = self.clock.monotonic();
        if let Some(claim) = self.state().claims.get_mut(usize::from(partition.0)) {
            claim.handle_fenced(monotonic);
        }
        self.hurry.notify_one();
    }

    /// The seat of a partition that is given up has ended its work on it.
    pub(crate) fn left(&self, partition: PartitionId) {
        self.state().let_go(usize::from(partition.0));
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
            self.state().handle_found(&leases, self.clock.monotonic());
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
        {
            let mut state = self.state();
            (0..state.claims.len()).for_each(|number| state.let_go(number));
        }
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
                let mut state = self.state();
                state.neighbours.handle_found(others.map(|node| (node.id.clone(), node.beat)), monotonic);
                state.nodes = Some(nodes);
                state.handle_found(&leases, monotonic);
                state.share_out(&self.node, self.ttl(), monotonic, knows_life);
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
        for (number, claim) in self.state().claims.iter_mut().enumerate() {
            match claim.poll(now, monotonic) {
                Some(LeaseStep::Swap { expected, next }) => {
                    let storage = self.storage.clone();
                    swaps.spawn(async move { (number, storage.swap_lease(&expected, &next).await) });
                }
                // It is read with the others in the next round.
                Some(LeaseStep::Read) => claim.handle_unread(monotonic),
                None => {}
            }
        }
        let mut result = Ok(());
        while let Some(done) = swaps.join_next().await {
            let Ok((number, swapped)) = done else { continue };
            let monotonic = self.clock.monotonic();
            if let Some(claim) = self.state().claims.get_mut(number) {
                claim.handle_swapped(&swapped, monotonic);
            }
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

impl State {
    fn of(&self, partition: PartitionId) -> Option<(&Claim, bool)> {
        let number = usize::from(partition.0);
        Some((self.claims.get(number)?, *self.leaving.get(number)?))
    }

    fn let_go(&mut self, number: usize) {
        self.claims[number].let_go();
        self.leaving[number] = false;
    }

    /// Takes the leases as they are stored.
    fn handle_found(&mut self, leases: &[Lease], monotonic: Duration) {
        for (number, claim) in self.claims.iter_mut().enumerate() {
            let found = leases.iter().find(|lease| usize::from(lease.partition.0) == number);
            match claim.epoch(monotonic) {
                None => claim.handle_found(found.cloned(), monotonic),
                Some(held) if found.is_none_or(|lease| lease.epoch != held) => claim.handle_fenced(monotonic),
                Some(_) => {}
            }
        }
    }

    /// Decides which partitions are taken when they are free, and which are given up.
    fn share_out(&mut self, node: &str, ttl: Duration, monotonic: Duration, knows_life: bool) {
        let holders: Vec<Option<&str>> = self
            .claims
            .iter()
            .map(|claim| match claim.epoch(monotonic) {
                Some(_) => Some(node),
                None => claim.holder().filter(|_| !claim.is_free(monotonic)),
            })
            .collect();
        let wanted = shares::wanted(node, &self.neighbours.alive(ttl, monotonic), &holders);
        for (number, claim) in self.claims.iter_mut().enumerate() {
            let wants = wanted.iter().any(|partition| usize::from(partition.0) == number);
            let held = claim.epoch(monotonic).is_some();
            self.leaving[number] = held && !wants;
            claim.want(wants && (knows_life || number == 0));
        }
    }
}

impl fmt::Debug for LeaseKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseKeeper").field("node", &self.node).field("held", &self.held()).finish_non_exhaustive()
    }
}
