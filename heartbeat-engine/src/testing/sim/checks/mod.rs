//! The promises, each with its own checker, which sees what happens and says when the promise is broken.

mod alerts;
mod delivery;
mod flapping;
mod heartbeats;
mod held;
mod incidents;
mod missed;
mod promptness;
mod pursuit;
mod records;
mod watcher;
mod windows;

use super::clock::NodeClock;
use super::coverage::Coverage;
use super::jobs::Job;
use super::node::Node;
use super::plan::{Climate, Plan};
use super::policies::Policies;
use super::receiver::FarEnd;
use super::storage::Store;
use super::world::Life;
use crate::{
    Applied, Batch, Epoch, Incident, NotificationId, Outcome, PartitionId, Record, State, StateChange, Timestamp,
    Transition,
};

/// What happened.
pub(super) enum Seen<'a> {
    /// A batch was written.
    Applied {
        batch: &'a Batch,
        applied: &'a Applied,
        before: &'a [Option<Record>],
        /// The epoch of the partition's lease.
        epoch: Epoch,
        /// Who wrote it.
        by: Life,
    },
    /// A heartbeat reached a node whose wall clock showed this.
    Stamped { monitor: usize, mark: u64, wall: Timestamp, by: Life },
    /// A node answered a heartbeat.
    Answered { monitor: usize, mark: u64, done: bool },
    /// An attempt to deliver reached the far end.
    Arrived { partition: PartitionId, channel: usize, id: NotificationId, took: bool },
    /// A minute is over.
    LookOver,
    /// The world is over.
    End,
}

/// What a checker may look at.
pub(super) struct View<'a> {
    pub(super) now: Timestamp,
    pub(super) plan: &'a Plan,
    pub(super) store: &'a Store,
    pub(super) jobs: &'a [Job],
    pub(super) nodes: &'a [Node],
    pub(super) far_ends: &'a [FarEnd],
    pub(super) calm: bool,
    pub(super) policies: &'a Policies,
}

/// A promise that was broken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Broken {
    pub(super) promise: &'static str,
    pub(super) what: String,
    pub(super) monitor: Option<usize>,
}

/// What a checker found wrong, and with which monitor.
pub(super) struct Fault(Option<usize>, String);

type Verdict = Result<(), Fault>;

pub(super) trait Checker {
    /// The rule, and what it promises.
    fn promise(&self) -> &'static str;

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, coverage: &mut Coverage) -> Verdict;
}

pub(super) struct Checks(Vec<Box<dyn Checker>>);

impl Checks {
    pub(super) fn new(plan: &Plan) -> Self {
        Self(vec![
            Box::new(records::StaleEpochNeverWrites),
            Box::new(records::OnlyTheHolderJudges),
            Box::new(records::VersionsGrow),
            Box::new(heartbeats::AcknowledgedIsStored::default()),
            Box::new(heartbeats::StampedOnArrival::default()),
            Box::new(heartbeats::InTime::default()),
            Box::new(windows::NothingInWindow),
            Box::new(pursuit::Reminders::default()),
            Box::new(pursuit::Escalations::default()),
            Box::new(held::HeldTellsNobody),
            Box::new(held::NothingHeldForEver),
            Box::new(flapping::FlappingSettles),
            Box::new(alerts::NoFalseAlert),
            Box::new(missed::NoMissedAlert::new(plan)),
            Box::new(incidents::OneIncident),
            Box::new(incidents::OneStep),
            Box::new(incidents::ToldToTheSame),
            Box::new(records::NeverBack),
            Box::new(records::NothingInTheFuture),
            Box::new(watcher::OutageStored),
            Box::new(watcher::OutageTold::default()),
            Box::new(delivery::NothingUnstored),
            Box::new(delivery::InOrder),
            Box::new(delivery::DeliveredOrDead),
            Box::new(delivery::NoDelay::default()),
            Box::new(promptness::Prompt),
            Box::new(promptness::NothingDueWaits),
            Box::new(promptness::Heals),
        ])
    }

    pub(super) fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, coverage: &mut Coverage) -> Result<(), Broken> {
        for checker in &mut self.0 {
            if let Err(Fault(monitor, what)) = checker.see(seen, view, coverage) {
                return Err(Broken { promise: checker.promise(), what, monitor });
            }
        }
        Ok(())
    }

    /// What is promised, in the order in which it is looked at.
    pub(super) fn promises(plan: &Plan) -> Vec<&'static str> {
        Self::new(plan).0.iter().map(|checker| checker.promise()).collect()
    }
}

fn fault<T>(monitor: usize, what: impl Into<String>) -> Result<T, Fault> {
    Err(Fault(Some(monitor), what.into()))
}

/// One monitor's share of a batch that was written.
struct Share<'a> {
    monitor: usize,
    transition: &'a Transition,
    before: Option<&'a Record>,
    /// The record that it leaves; `None` for a removal.
    after: Option<&'a Record>,
}

impl Share<'_> {
    fn opened(&self) -> impl Iterator<Item = &Incident> {
        let went_down = |change: &StateChange| change.to == State::Down && change.from != State::Down;
        let any = self.transition.changes.iter().any(went_down);
        let known = self.before.and_then(|before| before.health.incident.as_ref()).map(|incident| incident.id);
        self.transition.incidents.iter().filter(move |incident| any && Some(incident.id) != known)
    }
}

/// The shares of a batch that were written.
fn shares<'a>(seen: &Seen<'a>) -> impl Iterator<Item = Share<'a>> {
    let parts = match seen {
        Seen::Applied { batch, applied, before, .. } => Some((*batch, *applied, *before)),
        _ => None,
    };
    parts.into_iter().flat_map(|(batch, applied, before)| {
        let all = batch.transitions.iter().zip(&applied.transitions).zip(before);
        let written = all.filter(|((_, outcome), _)| **outcome == Outcome::Committed);
        written.map(|((transition, _), before)| Share {
            monitor: Plan::index_of(transition.monitor),
            transition,
            before: before.as_ref(),
            after: super::jobs::left(&transition.change),
        })
    })
}

impl View<'_> {
    fn partitions(&self) -> impl Iterator<Item = PartitionId> {
        (0..self.plan.partitions).map(PartitionId)
    }

    /// Whether the lease of a partition is that of this start of a node.
    fn judges(&self, by: Life, partition: PartitionId) -> bool {
        let name = super::node::name(by);
        !self.plan.is_shared() || self.store.lease(partition).is_some_and(|lease| lease.node == name)
    }

    /// One partition of each state of the store.
    fn states(&self) -> impl Iterator<Item = PartitionId> {
        (0..if self.plan.is_shared() { 1 } else { self.plan.partitions }).map(PartitionId)
    }

    fn partition(&self, monitor: usize) -> PartitionId {
        PartitionId(self.plan.monitors[monitor].partition)
    }

    /// The record of a plan's monitor, whichever was made last.
    fn record(&self, monitor: usize) -> Option<&Record> {
        self.store.record(self.partition(monitor), self.jobs[monitor].id?)
    }

    /// Whether the partition has been watched without a gap for so many seconds.
    fn is_steady_for(&self, partition: PartitionId, seconds: u64) -> bool {
        let truth = self.store.truth(partition);
        let marked = truth.last_mark().is_some_and(|at| self.now.since(at).as_secs() < 10);
        marked && self.now.since(truth.steady_since).as_secs() >= seconds
    }

    /// Whether no window and no route has changed for so long.
    fn policies_known_for(&self, time: std::time::Duration) -> bool {
        self.now.since(self.policies.since) >= time
    }

    fn steps(&self) -> bool {
        self.plan.climate == Climate::Steps
    }

    fn skew(&self) -> std::time::Duration {
        std::time::Duration::from_millis(self.plan.skew.unsigned_abs())
    }

    fn clocks(&self) -> impl Iterator<Item = &NodeClock> {
        self.nodes.iter().map(|node| &node.clock)
    }
}
