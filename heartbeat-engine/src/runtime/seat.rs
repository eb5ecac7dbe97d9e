//! A node's place at a partition: takes calls to the evaluator, batches to the storage, and owed notifications to their
//! channels. It decides nothing about monitors.
//!
//! Every node has a seat at every partition and takes whatever is asked of its monitors. The one that holds the lease judges
//! silence too, and has the notifications delivered of the channels that belong to the partition.

mod apart;
mod commit;
mod hear;
mod role;
mod stop;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use self::apart::WritesApart;
use self::role::Role;
use crate::evaluator::Evaluator;
use crate::outbox::{OutboxWrite, Owed};
use crate::runtime::delivery::Deliveries;
use crate::runtime::inbox::{Apart, Inbox, Work};
use crate::runtime::listener;
use crate::runtime::precedence::Precedence;
use crate::runtime::shared::Shared;
use crate::runtime::waiting::Waiting;
use crate::{
    DocumentWrite, Epoch, MonitorId, OutboxEntry, Outcome, PartitionId, State, StateChange, StorageError, Target,
    Tenure, Timestamp, WatchLog,
};

/// The pause after the first failed commit; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
pub(super) const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How many changes of state of one batch are logged one by one: a line takes longer than to judge a monitor.
const LOGGED_MAX: usize = 64;

/// What is written along with the evaluator's share of a batch.
#[derive(Debug, Default)]
struct Aside {
    documents: Vec<(DocumentWrite, oneshot::Sender<Result<Outcome, StorageError>>)>,
    /// What the channels' outboxes want to be stored.
    writes: BTreeMap<String, OutboxWrite>,
    /// What the outboxes of other partitions' channels want to be stored here.
    apart: Vec<Apart>,
    retries: Vec<OutboxEntry>,
}

impl Aside {
    fn is_empty(&self) -> bool {
        self.documents.is_empty() && self.writes.is_empty() && self.apart.is_empty() && self.retries.is_empty()
    }
}

/// Does a node's work on one partition while it runs.
#[derive(Debug)]
pub(crate) struct Seat {
    shared: Arc<Shared>,
    partition: PartitionId,
    role: Role,
    evaluator: Evaluator,
    deliveries: Deliveries,
    waiting: Waiting,
    aside: Aside,
    writes_apart: WritesApart,
    precedence: Precedence,
    failed: u32,
    /// Of the policies that the evaluator knows.
    generation: u64,
    /// When the watcher lived, as the evaluator was told last.
    heard_at: Option<Duration>,
    /// The kinds of documents that other nodes wrote.
    rereads: BTreeSet<String>,
    /// Since when it has been unknown whether the watcher was away, by the clock that is never set.
    unsure_since: Option<Duration>,
    /// Since when documents have waited for the epoch of the lease to be known.
    shut_since: Option<Duration>,
}

impl Seat {
    /// A seat that judges from the beginning and for good, on a storage of one process.
    pub(super) fn alone(shared: Arc<Shared>, epoch: Epoch, log: WatchLog) -> Self {
        Self::new(shared, PartitionId(0), epoch, log, Role::Judges { epoch, reads: None })
    }

    /// A seat that stands by until its node holds the lease.
    pub(super) fn among_others(shared: Arc<Shared>, partition: PartitionId) -> Self {
        let mut seat = Self::new(shared, partition, Epoch(0), WatchLog::default(), Role::StandsBy);
        seat.evaluator.leave_watch();
        seat.evaluator.stand_by(Epoch(0));
        seat
    }

    fn new(shared: Arc<Shared>, partition: PartitionId, epoch: Epoch, log: WatchLog, role: Role) -> Self {
        let limits = &shared.limits;
        let mut evaluator = Evaluator::new(partition, epoch, log, limits.batch, limits.outages);
        evaluator.tell_of_outages(shared.watcher_channels.clone());
        let mut seat = Self {
            deliveries: Deliveries::new(shared.clone()),
            shared,
            partition,
            role,
            evaluator,
            waiting: Waiting::default(),
            aside: Aside::default(),
            writes_apart: WritesApart::default(),
            precedence: Precedence::default(),
            failed: 0,
            generation: 0,
            heard_at: None,
            rereads: BTreeSet::new(),
            unsure_since: None,
            shut_since: None,
        };
        seat.hand_over_policies();
        seat
    }

    /// Where what is stored is handed in while loading.
    pub(super) fn evaluator(&mut self) -> &mut Evaluator {
        &mut self.evaluator
    }

    /// Takes what is stored and owed, on a storage of one process, before it runs; then [`Seat::restored`].
    pub(super) fn restore(&mut self, owed: Owed) {
        self.deliveries.hand_over(owed);
    }

    /// Everything that is stored and owed was handed in; the channels begin.
    pub(super) fn restored(&mut self) {
        self.deliveries.loaded();
        self.forget_expired_policies();
    }

    /// Works until the engine is shut down; `Err` when the storage, which belongs to one process, was taken over by another.
    pub(super) async fn run(mut self) -> Result<(), ()> {
        loop {
            self.mind_lease();
            self.receive();
            if !self.rereads.is_empty() {
                self.reread().await;
            }
            self.turn().await?;
            let done = self.inbox().is_done(self.evaluator.pending_len());
            // At the end nobody waits for what cannot be decided.
            let undecidable = !self.may_decide() || self.evaluator.awaits_life();
            if done && self.aside.is_empty() && (!self.evaluator.has_pending() || undecidable) {
                self.stop().await;
                return Ok(());
            }
        }
    }

    fn inbox(&self) -> &Inbox {
        self.shared.inbox(self.partition)
    }

    /// One look at what must be done: a batch, a reload, or rest.
    async fn turn(&mut self) -> Result<(), ()> {
        let stale = self.evaluator.poll_reload();
        if !stale.is_empty() {
            self.publish();
            self.reload(&stale).await;
            return Ok(());
        }
        if !self.may_decide() {
            self.rest().await;
            return Ok(());
        }
        let decided = self.evaluator.poll_batch();
        let (batch, replies) = self.aside.add_to(decided.unwrap_or_else(|| self.evaluator.empty_batch()));
        if batch.is_empty() {
            self.publish();
            self.rest().await;
            return Ok(());
        }
        if self.evaluator.has_answers() {
            self.publish();
        }
        self.commit(batch, replies).await
    }

    /// Takes what waits in the inbox, and the time.
    fn receive(&mut self) {
        let now = self.take_work();
        self.hand_over_policies();
        self.hear_of_life();
        self.refuse_documents();
        self.evaluator.handle_time(now, self.shared.clock.monotonic());
    }

    fn take_work(&mut self) -> Timestamp {
        // Read first: what these rounds told waits in the inbox.
        let told = self.shared.awaited.rounds().told();
        let (now, work) = self.inbox().take(&*self.shared.clock);
        for (at, work) in work {
            match work {
                Work::Request(request, answer) => {
                    self.evaluator.handle_request(self.waiting.admit(answer), at, request);
                }
                Work::Document(write, answer) => self.aside.documents.push((write, answer)),
                Work::Outbox(channel, write) if self.shared.partitions() > 1 => self.write_apart(channel, write),
                Work::Outbox(channel, write) => match self.aside.writes.entry(channel) {
                    Entry::Vacant(place) => drop(place.insert(write)),
                    Entry::Occupied(earlier) => earlier.into_mut().absorb(write),
                },
                Work::Retry(entry) => self.aside.retries.push(*entry),
                Work::Apart(apart) => self.aside.apart.push(apart),
                Work::Written(channel, number) => self.written_apart(&channel, number),
                Work::Owed(owed) => self.hand_over(*owed, false),
                Work::Again(entry) => self.hand_over((*entry).into(), true),
                Work::Told(entry, round) => self.told(*entry, round),
                Work::Stored(owed) => self.hand_over_stored(*owed),
                Work::OutboxRead => self.outbox_read(),
                Work::News(news) => self.hear(news),
                Work::Parent(id, slug, down) => self.evaluator.handle_parent(id, &slug, down),
                Work::Reread(kind) => _ = self.rereads.insert(kind),
            }
        }
        self.precedence.told(told);
        now
    }

    /// Lets the evaluator know of policies that changed.
    fn hand_over_policies(&mut self) {
        let policies = &self.shared.policies;
        let generation = policies.generation();
        if std::mem::replace(&mut self.generation, generation) != generation {
            self.evaluator.handle_policies(policies.maintenance(), policies.routes());
        }
    }

    /// Lets the committed state be seen, and then answers: who asks again after an answer sees it.
    fn publish(&mut self) {
        let mut committed = self.evaluator.poll_committed();
        committed.stamp(self.shared.clock.now());
        self.shared.directory.update(committed.records);
        let mut logged = 0;
        for change in committed.changes {
            if change.from != change.to {
                self.shared.counters.count_change(change.to);
                logged += 1;
                if logged <= LOGGED_MAX {
                    self.log(&change);
                }
                if State::Down == change.from || State::Down == change.to {
                    self.tell_others(change.monitor, change.to == State::Down);
                }
            }
            // Nobody may be listening.
            let _ = self.shared.changes.send(change);
        }
        if logged > LOGGED_MAX {
            tracing::info!(monitors = logged - LOGGED_MAX, "more changes of state at the same time: see the events");
        }
        for notification in committed.owed {
            self.owe(Owed::fresh(notification));
        }
        listener::look_for(&self.shared, self.evaluator.poll_doubtful());
        while let Some((ticket, answer)) = self.evaluator.poll_answer() {
            self.waiting.answer(ticket, answer);
        }
    }

    /// Hands what this seat stored as owed to the one that has it delivered, which may be this one, unless something may have to
    /// go before it.
    fn owe(&mut self, owed: Owed) {
        if self.precedence.holds_own(&owed.notification, &mut self.shared.awaited.rounds()) {
            self.shared.awaited.ask();
        } else if self.shared.partition_of_channel(&owed.notification.channel) == self.partition {
            self.hand_over(owed, false);
        } else {
            self.shared.owe(owed);
        }
    }

    fn log(&self, change: &StateChange) {
        if !tracing::enabled!(tracing::Level::INFO) {
            return;
        }
        let record = self.shared.directory.find(&Target::Id(change.monitor), change.at);
        let slug = record.as_ref().map_or("", |record| record.spec().slug.as_str());
        let StateChange { monitor, from, to, at, reason, .. } = change;
        // The reason quotes what a job sent: quoted, it can neither begin a line of its own nor steer a terminal.
        tracing::info!(slug, %monitor, ?from, ?to, %at, ?reason, "state changed");
    }

    async fn reload(&mut self, stale: &[MonitorId]) {
        match self.shared.storage.load(stale).await {
            Ok(records) => {
                let begun = self.shared.awaited.rounds().begun();
                for (id, record) in stale.iter().zip(records) {
                    if self.shared.tenure != Tenure::Exclusive {
                        self.precedence.read(*id, begun);
                    }
                    self.adopt(*id, record);
                }
            }
            Err(error) => {
                self.evaluator.handle_reload_failed(&error);
                self.commit_failed(&error);
                self.publish();
                self.pause().await;
            }
        }
    }

    /// Waits for work or for the next deadline.
    async fn rest(&self) {
        let now = self.shared.clock.now();
        let until = self.evaluator.poll_wake().since(now).min(self.role.rest_max());
        if until.is_zero() {
            // A timer of no time would still cost a millisecond.
            return tokio::task::yield_now().await;
        }
        tokio::select! {
            // The first call of many: those that are about to be made go into the same batch.
            () = self.inbox().filled() => tokio::task::yield_now().await,
            () = tokio::time::sleep(until) => {}
        }
    }

    async fn pause(&self) {
        let pause = PAUSE_MIN.saturating_mul(2u32.saturating_pow(self.failed.saturating_sub(1))).min(PAUSE_MAX);
        tokio::time::sleep(pause).await;
    }
}

/// What waits for the outcome of a batch's documents.
type Replies = Vec<oneshot::Sender<Result<Outcome, StorageError>>>;
