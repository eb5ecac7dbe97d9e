//! A node: its leases, the evaluators of the partitions that it holds, and its dealings with the store. It is the
//! driver's part, and decides as little.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::clock::NodeClock;
use super::courier::Courier;
use super::plan::Plan;
use super::policies::Policies;
use super::rng::Rng;
use super::storage::Snapshot;
use super::world::Life;
use crate::evaluator::{Evaluator, Request, Ticket};
use crate::step::Taken;
use crate::{
    Applied, Batch, Claim, DocumentWrite, Epoch, Lease, MonitorId, PartitionId, Record, StorageError, Tenure, Timestamp,
};

pub(super) struct Node {
    pub(super) life: u32,
    pub(super) up: bool,
    pub(super) naps_until: Timestamp,
    /// It does not reach the store until then.
    pub(super) cut_until: Timestamp,
    pub(super) clock: NodeClock,
    pub(super) seats: Vec<Seat>,
    pub(super) wakes_at: Option<Timestamp>,
    /// The latest that the wall clock showed.
    pub(super) shown: Timestamp,
    /// The windows and routes that it has heard of.
    pub(super) policies: Arc<Policies>,
}

/// A node's place at a partition.
pub(super) struct Seat {
    pub(super) claim: Claim,
    pub(super) lease_op: Option<u64>,
    /// The reading that is under way, and for which epoch.
    pub(super) load_op: Option<(u64, Epoch)>,
    pub(super) load_at: Timestamp,
    pub(super) service: Option<Box<Service>>,
    /// When it is looked at next.
    pub(super) due_at: Timestamp,
}

/// What a node does for a partition that it holds.
pub(super) struct Service {
    pub(super) epoch: Epoch,
    pub(super) evaluator: Evaluator,
    /// What arrived and was not handed to the evaluator yet, stamped.
    pub(super) inbox: Vec<(Timestamp, u64, Request)>,
    /// The calls that wait for an answer.
    pub(super) waiting: HashMap<Ticket, u64>,
    pub(super) tickets: Ticket,
    /// The operation under way, with the batch that it writes.
    pub(super) op: Option<(u64, Option<Box<Batch>>)>,
    pub(super) rests_until: Timestamp,
    pub(super) failed: u32,
    pub(super) courier: Courier,
    /// The windows and routes that its evaluator was given.
    pub(super) generation: u64,
    /// Documents that are to be written, each with the act of whom.
    pub(super) aside: Vec<(usize, DocumentWrite)>,
}

/// A request from outside on its way to a node.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) number: u64,
    pub(super) request: Request,
    /// The mark of the heartbeat in it.
    pub(super) mark: Option<u64>,
}

/// What a caller is told.
#[derive(Clone, Debug)]
pub(super) enum Reply {
    Done(Option<Taken>),
    Refused(crate::evaluator::Refusal),
    /// This node does not have the partition, or no time.
    Elsewhere,
}

/// What a node asks of the store.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Commit(Box<Batch>),
    Load(Vec<MonitorId>),
    TakeOver,
    ReadLease,
    SwapLease(Box<(Lease, Lease)>),
}

#[derive(Clone, Debug)]
pub(super) enum Answer {
    Committed(Result<Applied, StorageError>),
    Loaded(Result<Vec<(MonitorId, Option<Record>)>, StorageError>),
    TakenOver(Result<Box<Snapshot>, StorageError>),
    Lease(Result<Option<Lease>, StorageError>),
    Swapped(Result<bool, StorageError>),
}

impl Answer {
    pub(super) fn failed(op: &Op, error: StorageError) -> Self {
        match op {
            Op::Commit(_) => Self::Committed(Err(error)),
            Op::Load(_) => Self::Loaded(Err(error)),
            Op::TakeOver => Self::TakenOver(Err(error)),
            Op::ReadLease => Self::Lease(Err(error)),
            Op::SwapLease(_) => Self::Swapped(Err(error)),
        }
    }
}

/// An operation on its way to the store.
pub(super) struct Travel {
    pub(super) life: Life,
    pub(super) partition: u16,
    pub(super) number: u64,
    pub(super) op: Op,
    /// What becomes of the answer.
    pub(super) answer: AnswerFate,
    pub(super) sent_at: Timestamp,
}

/// What becomes of the store's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AnswerFate {
    After(Duration),
    /// The node hears that nobody knows, after so long.
    Unknown(Duration),
    /// Nobody waits for it: the node was answered before.
    Nobody,
}

impl Node {
    pub(super) fn new(number: usize, plan: &Plan, rng: &mut Rng) -> Self {
        let half = plan.skew / 2;
        let offset = rng.between(-half, half);
        let seconds = i64::try_from((plan.faulty + plan.calm).as_secs()).unwrap_or(i64::MAX);
        // The drift stays within the other half.
        let drift_ppm = rng.between(-1, 1) * half.saturating_mul(1000) / seconds.max(1);
        let mut node = Self {
            life: 0,
            up: false,
            naps_until: Timestamp::MIN,
            cut_until: Timestamp::MIN,
            clock: NodeClock::new(plan.start, offset, drift_ppm),
            seats: Vec::new(),
            wakes_at: None,
            shown: Timestamp::MIN,
            policies: Arc::default(),
        };
        node.sit_down(number, plan);
        node
    }

    /// Takes its places anew, as at a start.
    pub(super) fn sit_down(&mut self, number: usize, plan: &Plan) {
        let name = format!("node-{number}.{}", self.life);
        // One node alone has its storage to itself.
        let tenure = if plan.nodes == 1 { Tenure::Exclusive } else { Tenure::Shared { ttl: plan.ttl } };
        self.seats = (0..plan.partitions)
            .map(|partition| Seat {
                claim: Claim::new(PartitionId(partition), name.as_str(), tenure),
                lease_op: None,
                load_op: None,
                load_at: Timestamp::MIN,
                service: None,
                due_at: Timestamp::MIN,
            })
            .collect();
        self.wakes_at = None;
        self.naps_until = Timestamp::MIN;
    }

    pub(super) fn service(&mut self, partition: u16) -> Option<&mut Service> {
        self.seats[usize::from(partition)].service.as_deref_mut()
    }
}

impl Service {
    pub(super) fn new(epoch: Epoch, evaluator: Evaluator, courier: Courier) -> Self {
        Self {
            epoch,
            evaluator,
            inbox: Vec::new(),
            waiting: HashMap::new(),
            tickets: 0,
            op: None,
            rests_until: Timestamp::MIN,
            failed: 0,
            courier,
            generation: 0,
            aside: Vec::new(),
        }
    }
}
