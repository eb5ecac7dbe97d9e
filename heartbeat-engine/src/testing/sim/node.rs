//! A node: its leases, its evaluators, and its dealings with the store. It is the driver's part, and decides as little.
//!
//! A node that has the store to itself has an evaluator of each partition whose lease it holds; one of several has evaluators of
//! all, see [`super::among`] and [`super::keeper`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::among::{Among, Role};
use super::clock::NodeClock;
use super::courier::Courier;
use super::keeper::Keeper;
use super::plan::Plan;
use super::policies::Policies;
use super::rng::Rng;
use super::storage::Snapshot;
use super::world::Life;
use crate::evaluator::{Evaluator, Request, Ticket};
use crate::step::Taken;
use crate::{
    Applied, Batch, Claim, Document, DocumentWrite, Epoch, Lease, MonitorId, News, NotificationId, OutboxEntry,
    PartitionId, Record, StorageError, Tenure, Timestamp, WatchLog,
};

pub(super) struct Node {
    pub(super) life: u32,
    pub(super) up: bool,
    pub(super) naps_until: Timestamp,
    /// It does not reach the store until then.
    pub(super) cut_until: Timestamp,
    pub(super) clock: NodeClock,
    pub(super) seats: Vec<Seat>,
    /// What it does for all partitions, while it is one of several nodes.
    pub(super) keeper: Option<Box<Keeper>>,
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

/// What a node does for a partition that it holds, or knows.
pub(super) struct Service {
    pub(super) role: Role,
    pub(super) among: Among,
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
    /// This node does not know the partition, or has no time.
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
    /// All leases, and the descriptions of all nodes.
    ReadNodes,
    ReadLog,
    /// Every monitor of all partitions.
    ReadMonitors,
    /// Everything that is owed.
    ReadOutbox,
    /// Notifications, as they stand.
    ReadOwed(Vec<NotificationId>),
    /// What others wrote behind a position.
    ReadNews(Option<String>),
}

/// All leases, and the descriptions of all nodes.
pub(super) type Nodes = (Vec<Lease>, Vec<Document>);

#[derive(Clone, Debug)]
pub(super) enum Answer {
    Committed(Result<Applied, StorageError>),
    Loaded(Result<Vec<(MonitorId, Option<Record>)>, StorageError>),
    TakenOver(Result<Box<Snapshot>, StorageError>),
    Lease(Result<Option<Lease>, StorageError>),
    Swapped(Result<bool, StorageError>),
    Nodes(Result<Box<Nodes>, StorageError>),
    Log(Result<WatchLog, StorageError>),
    Monitors(Result<Vec<Record>, StorageError>),
    /// What is owed, or some notifications as they stand.
    Owed(Result<Vec<OutboxEntry>, StorageError>),
    /// News, and the true time at which they were read.
    News(Result<Box<(News, Timestamp)>, StorageError>),
}

impl Answer {
    pub(super) fn failed(op: &Op, error: StorageError) -> Self {
        match op {
            Op::Commit(_) => Self::Committed(Err(error)),
            Op::Load(_) => Self::Loaded(Err(error)),
            Op::TakeOver => Self::TakenOver(Err(error)),
            Op::ReadLease => Self::Lease(Err(error)),
            Op::SwapLease(_) => Self::Swapped(Err(error)),
            Op::ReadNodes => Self::Nodes(Err(error)),
            Op::ReadLog => Self::Log(Err(error)),
            Op::ReadMonitors => Self::Monitors(Err(error)),
            Op::ReadOutbox | Op::ReadOwed(_) => Self::Owed(Err(error)),
            Op::ReadNews(_) => Self::News(Err(error)),
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
            keeper: None,
            wakes_at: None,
            shown: Timestamp::MIN,
            policies: Arc::default(),
        };
        node.sit_down(number, plan);
        node
    }

    /// Takes its places anew, as at a start.
    pub(super) fn sit_down(&mut self, number: usize, plan: &Plan) {
        let name = name(Life { node: number, life: self.life });
        // One node alone has its storage to itself.
        let tenure = if plan.is_shared() { Tenure::Shared { ttl: plan.ttl } } else { Tenure::Exclusive };
        self.keeper = plan.is_shared().then(|| Box::new(Keeper::new(&name, tenure, plan)));
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

/// The name of one start of a node.
pub(super) fn name(life: Life) -> String {
    format!("node-{}.{}", life.node, life.life)
}

impl Service {
    pub(super) fn new(role: Role, evaluator: Evaluator, courier: Courier) -> Self {
        Self {
            role,
            among: Among::default(),
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
