//! One partition's work: requests and time in by `handle_*`, batches, answers and wishes out by `poll_*`.
//!
//! Pure: no clock, no I/O. At most one batch is under way; what arrives meanwhile waits and is decided from what was
//! committed, so a failed write leaves nothing to undo (architecture: group commit without a setting).

mod beforehand;
mod build;
mod depend;
mod few;
mod policies;
mod request;
mod settle;
mod shared;
mod watch;

use std::collections::{BTreeSet, VecDeque};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use beforehand::Beforehand;
use build::{DUE_FIRST, Group};
use depend::Dependencies;
#[cfg(feature = "runtime")]
pub(crate) use depend::{cycle, cycle_fault};
use policies::{WindowSet, Windows};
pub use request::{Done, Refusal, Request};
#[cfg(feature = "runtime")]
pub(crate) use watch::Touched;

use crate::absence::{Absence, Look, joined};
use crate::deadline::Deadlines;
use crate::slab::{IdMap, IdSet, OfMonitor, Slab};
use crate::step;
use crate::{
    Applied, Batch, Epoch, MonitorId, Notification, NotificationId, Outage, PartitionId, Record, Route, StateChange,
    StorageError, Timestamp, Version, WatchLog,
};

/// Names a request until it is answered.
pub type Ticket = u64;

/// A request is decided anew at most this often when somebody else writes the same monitor.
const TRIES_MAX: u8 = 5;

#[derive(Debug)]
struct Slot {
    record: Arc<Record>,
    /// The maintenance windows that cover it.
    windows: WindowSet,
    /// At this version of the record or before, incidents of the monitor were written last.
    rewritten: Version,
}

impl OfMonitor for Slot {
    fn monitor(&self) -> MonitorId {
        self.record.id()
    }
}

#[derive(Debug)]
struct Pending {
    ticket: Ticket,
    at: Timestamp,
    request: Request,
    tries: u8,
    /// It is decided apart from others, so that a taken name is told to the one who asked for it.
    alone: bool,
}

/// A monitor whose stored form is not known.
#[derive(Debug, Default)]
struct Stale {
    /// Requests that wait for it.
    waiting: Vec<Pending>,
    /// What may have been written.
    unsure: Option<Group>,
}

/// What was committed, for those who look on.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Committed {
    /// New forms of records; `None` for those that were removed.
    pub records: Vec<(MonitorId, Option<Arc<Record>>)>,
    /// Changes of state.
    pub changes: Vec<StateChange>,
    /// Messages that are owed now.
    pub owed: Vec<Notification>,
}

impl Committed {
    /// Takes when it was known to be durable: going down counts as detected then, and not when it was decided. What is stored
    /// has the time of the decision, which cannot be later.
    pub fn stamp(&mut self, durable_at: Timestamp) {
        for change in &mut self.changes {
            change.detected_at = change.detected_at.max(durable_at);
        }
        for notification in &mut self.owed {
            let decided_at = notification.created_at;
            // Others tell of what was detected earlier.
            if let Some(incident) = notification.incident.as_mut().filter(|told| told.detected_at >= decided_at) {
                incident.detected_at = incident.detected_at.max(durable_at);
            }
        }
    }
}

/// A batch that is under way.
#[derive(Debug, Default)]
struct UnderWay {
    groups: Vec<Group>,
    /// The mark in it, and the monotonic clock then.
    mark: Option<(Timestamp, Duration)>,
    outage: Option<Outage>,
    /// Outages that ended before are forgotten with it.
    forget_before: Option<Timestamp>,
    /// Outages that end later are forgotten with it.
    forget_after: Option<Timestamp>,
    /// Messages that belong to no monitor.
    owed: Vec<Notification>,
}

/// Decides for the monitors of one partition.
#[derive(Debug)]
pub struct Evaluator {
    partition: PartitionId,
    epoch: Epoch,
    batch_max: usize,
    outages_max: usize,
    watcher_channels: Vec<String>,
    slots: Slab<Slot>,
    /// When each is looked at next, by its number; never while it is in the batch under way because it was due.
    queue: Deadlines,
    /// Monitors that are due and were taken off the queue. Those of one instant are decided in the order of their ids, in which a
    /// storage writes neighbours at once.
    due: BTreeSet<MonitorId>,
    /// How many of them the next batch takes.
    due_most: usize,
    beforehand: Beforehand,
    /// Monitors to look at although nothing of theirs is due: their stored times lie in the future, or maintenance
    /// windows that hold their deadlines back have changed.
    ahead: Vec<MonitorId>,
    outages: Vec<Outage>,
    maintenance: Windows,
    routes: Vec<Route>,
    /// Stored outages that end later lie in the future and are to be forgotten (S6.7).
    forget_after: Option<Timestamp>,
    /// Monitors that outages moved in memory and not in the store.
    unsaved: IdSet,
    /// The number of the next monitor of which it is to be seen what outages moved; nothing is judged before all are.
    foreseeing: Option<u32>,
    absence: Absence,
    look: Look,
    /// Whether it looks after the monitors that are due, or leaves that to another node.
    judges: bool,
    /// Whether it stores marks of life and finds outages, or the host does.
    keeps_watch: bool,
    /// Notifications that may be stored although their monitor is known in another form.
    doubtful: Vec<NotificationId>,
    /// The outages that the host told of, when it told of the watcher's life.
    told_of_life: Option<Vec<Outage>>,
    clocks: (Timestamp, Duration),
    pending: VecDeque<Pending>,
    under_way: Option<UnderWay>,
    /// An outage that may have been written, with its mark: it is written again as it was.
    unsure: Option<(Outage, (Timestamp, Duration))>,
    answers: VecDeque<(Ticket, Result<Done, Refusal>)>,
    committed: Committed,
    stale: IdMap<Stale>,
    dependencies: Dependencies,
}

impl Evaluator {
    /// Takes over a partition under a lease, with what is known of the watcher's own life; `batch_max` monitors go into
    /// one batch, `outages_max` outages are remembered.
    #[must_use]
    pub fn new(partition: PartitionId, epoch: Epoch, log: WatchLog, batch_max: usize, outages_max: usize) -> Self {
        Self {
            partition,
            epoch,
            batch_max: batch_max.max(1),
            outages_max: outages_max.max(1),
            watcher_channels: Vec::new(),
            slots: Slab::default(),
            queue: Deadlines::starting_at(log.mark.unwrap_or(Timestamp::MIN)),
            due: BTreeSet::new(),
            due_most: DUE_FIRST,
            beforehand: Beforehand::default(),
            ahead: Vec::new(),
            outages: joined(log.outages),
            maintenance: Windows::default(),
            routes: Vec::new(),
            forget_after: None,
            unsaved: IdSet::default(),
            foreseeing: None,
            absence: Absence::since(log.mark),
            look: Look::Steady,
            judges: true,
            keeps_watch: true,
            doubtful: Vec::new(),
            told_of_life: None,
            clocks: (Timestamp::MIN, Duration::ZERO),
            pending: VecDeque::new(),
            under_way: None,
            unsure: None,
            answers: VecDeque::new(),
            committed: Committed::default(),
            stale: IdMap::default(),
            dependencies: Dependencies::default(),
        }
    }

    /// The channels that are told of the watcher's own outages (S6.3).
    pub fn tell_of_outages(&mut self, channels: Vec<String>) {
        self.watcher_channels = channels;
    }

    /// Says about how many monitors will be handed in while loading, so that memory is taken at once.
    pub fn expect(&mut self, monitors: usize) {
        self.slots.expect(monitors);
        self.queue.expect(monitors);
    }

    /// Reads ahead what [`Evaluator::handle_record`] needs of these monitors first; to be called for some 32 of them at once. It
    /// changes nothing but how long that takes: one read does not wait for the other, so memory answers them side by side.
    pub fn read_ahead(&self, monitors: impl IntoIterator<Item = MonitorId>) {
        black_box(monitors.into_iter().fold(0, |all, id| all ^ self.slots.read_ahead(&id)));
    }

    /// Takes a stored record: while loading, and when [`Evaluator::poll_reload`] asked for it.
    pub fn handle_record(&mut self, id: MonitorId, record: Option<Arc<Record>>) {
        let Stale { waiting, unsure } = self.stale.remove(&id).unwrap_or_default();
        if let Some(group) = unsure {
            let written = if group.removed { record.is_none() } else { record.as_ref() == Some(&group.record) };
            if written {
                self.tell(id, record.clone(), group.changes, group.owed);
            } else {
                self.doubtful.extend(group.owed.iter().map(|owed| owed.id));
            }
        }
        match record {
            Some(record) => {
                if self.clocks.0 > Timestamp::MIN && step::is_ahead(&record, self.clocks.0) {
                    self.ahead.push(id);
                }
                let version = record.version;
                self.keep(record);
                self.rewritten(id, version);
                if self.clocks.0 > Timestamp::MIN {
                    self.look_if_misheld(id);
                }
            }
            None => {
                self.forget(id);
                self.unsaved.remove(&id);
            }
        }
        // They came before those that arrived meanwhile.
        waiting.into_iter().rev().for_each(|pending| self.pending.push_front(pending));
    }

    /// Takes a request that arrived at `at`; it is answered under its ticket by [`Evaluator::poll_answer`].
    pub fn handle_request(&mut self, ticket: Ticket, at: Timestamp, request: Request) {
        self.pending.push_back(Pending { ticket, at, request, tries: 0, alone: false });
    }

    /// Takes the time: by the wall clock and by one that is never set. Every heartbeat that is stamped before `now` must
    /// have been handed in (S3.7).
    pub fn handle_time(&mut self, now: Timestamp, monotonic: Duration) {
        let first = self.clocks.0 == Timestamp::MIN;
        self.clocks = (now, monotonic);
        self.look_again();
        self.foresee_some(now);
        if first {
            self.come_back(now);
            self.foresee_before_forgetting(now);
            self.look_for_held();
            self.look_for_misheld();
        }
    }

    /// What must be written now; `None` when there is nothing, or a batch is under way. Then
    /// [`Evaluator::handle_applied`] must tell how it went.
    pub fn poll_batch(&mut self) -> Option<Batch> {
        if self.under_way.is_some() || !self.stale.is_empty() || self.awaits_life() {
            return None;
        }
        loop {
            let batch = match (self.unsure, self.look) {
                (Some((outage, mark)), _) => self.outage_batch(outage, mark),
                (None, Look::Away(outage)) => self.outage_batch(outage, self.clocks),
                (None, Look::Steady | Look::SetBack) => self.work_batch(),
            };
            if !batch.is_empty() {
                return Some(batch);
            }
            // Those that came first change nothing and are answered; others may wait behind them.
            if self.pending.is_empty() {
                return None;
            }
        }
    }

    /// A batch of this partition without content, for what the host has to write; it needs no
    /// [`Evaluator::handle_applied`].
    #[must_use]
    pub fn empty_batch(&self) -> Batch {
        Batch { partition: self.partition, epoch: self.epoch, ..Batch::default() }
    }

    /// Takes the batch under way back, and how it went. Whatever the host added to it makes no difference.
    pub fn handle_applied(&mut self, batch: Batch, result: &Result<Applied, StorageError>) {
        let Some(mut under_way) = self.under_way.take() else { return };
        for (group, transition) in under_way.groups.iter_mut().zip(batch.transitions) {
            (group.changes, group.owed) = (transition.changes, transition.notifications);
        }
        match result {
            Ok(applied) => {
                self.forget_after = self.forget_after.filter(|after| Some(*after) != under_way.forget_after);
                self.adopt_watch(&mut under_way);
                let mut outcomes = applied.transitions.iter();
                self.committed.records.reserve(under_way.groups.len());
                for group in under_way.groups {
                    match outcomes.next() {
                        Some(outcome) => self.settle(group, outcome),
                        None => self.give_up(group, &StorageError::Unknown("an outcome is missing".to_owned())),
                    }
                }
            }
            Err(error) => {
                for group in under_way.groups {
                    self.give_up(group, error);
                }
                if let Some(outage) = under_way.outage {
                    if matches!(error, StorageError::Unknown(_)) {
                        self.unsure = under_way.mark.map(|mark| (outage, mark));
                    }
                    self.refuse_pending(error);
                }
            }
        }
    }

    /// Whether there are answers.
    #[must_use]
    pub fn has_answers(&self) -> bool {
        !self.answers.is_empty()
    }

    /// The next answer.
    pub fn poll_answer(&mut self) -> Option<(Ticket, Result<Done, Refusal>)> {
        self.answers.pop_front()
    }

    /// What became committed since the last call.
    pub fn poll_committed(&mut self) -> Committed {
        std::mem::take(&mut self.committed)
    }

    /// Monitors whose stored form must be read and handed in by [`Evaluator::handle_record`] before work goes on.
    #[must_use]
    pub fn poll_reload(&self) -> Vec<MonitorId> {
        self.stale.keys().copied().collect()
    }

    /// When [`Evaluator::handle_time`] is of use next, requests aside.
    #[must_use]
    pub fn poll_wake(&self) -> Timestamp {
        if self.foreseeing.is_some() {
            return self.clocks.0;
        }
        if !self.judges || self.awaits_life() {
            return if self.keeps_watch { self.absence.mark_due() } else { Timestamp::MAX };
        }
        if !self.due.is_empty() || !self.ahead.is_empty() || self.dependencies.must_look() {
            return self.clocks.0;
        }
        // A deadline is judged once it has passed, not in its own millisecond (S3.7).
        let judged = self.queue.next().map_or(Timestamp::MAX, |at| at + Duration::from_millis(1));
        if self.keeps_watch { judged.min(self.absence.mark_due()) } else { judged }
    }

    /// How many requests wait to be decided.
    #[must_use]
    pub fn pending_len(&self) -> usize {
        self.pending.len() + self.stale.values().map(|stale| stale.waiting.len()).sum::<usize>()
    }

    /// Whether requests wait to be decided, or monitors to be read again.
    #[must_use]
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty() || !self.stale.is_empty()
    }

    /// A monitor's record as it is committed.
    #[must_use]
    pub fn record(&self, id: MonitorId) -> Option<&Arc<Record>> {
        self.slots.get(&id).map(|slot| &slot.record)
    }

    /// Every monitor's record as it is committed.
    pub fn records(&self) -> impl Iterator<Item = &Arc<Record>> {
        self.slots.values().map(|slot| &slot.record)
    }

    /// Takes that monitors could not be read again: every request is refused, and they are asked for again.
    pub fn handle_reload_failed(&mut self, error: &StorageError) {
        let waiting: Vec<Pending> =
            self.stale.values_mut().flat_map(|stale| std::mem::take(&mut stale.waiting)).collect();
        self.pending.extend(waiting);
        self.refuse_pending(error);
    }

    /// Keeps a committed record and arms its deadline.
    fn keep(&mut self, record: Arc<Record>) {
        let id = record.id();
        let wake_at = record.health.wake_at();
        let found = self.slots.find(&id).and_then(|number| Some((number, self.slots.at_mut(number)?)));
        let Some((number, slot)) = found else {
            let windows = self.maintenance.set_for(&record.monitor);
            let rewritten = record.version;
            let number = self.slots.insert(Slot { record: record.clone(), windows, rewritten });
            self.queue.set(number, wake_at);
            return self.adopt_dependencies(id, None, Some(&record));
        };
        let before = std::mem::replace(&mut slot.record, record);
        self.queue.set(number, wake_at);
        let same = Arc::ptr_eq(&before.monitor, &slot.record.monitor);
        // Nearly always nothing has changed that others depend on.
        if !same || before.health.state != slot.record.health.state {
            let after = slot.record.clone();
            if !same {
                self.cover_again(id);
            }
            self.adopt_dependencies(id, Some(&before), Some(&after));
        }
    }

    /// Drops a monitor that is not stored any more.
    fn forget(&mut self, id: MonitorId) {
        if let Some((number, slot)) = self.slots.remove(&id) {
            self.queue.set(number, Timestamp::MAX);
            self.adopt_dependencies(id, Some(&slot.record), None);
        }
    }
}
