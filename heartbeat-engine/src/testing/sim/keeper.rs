//! What one of several nodes does for all partitions, as the runtime's keepers, listener and readers do it: leases and shares,
//! marks of life, news, and what is owed. It holds none of their rules.

mod news;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::mutant::Mutant;
use super::node::{Answer, Op};
use super::plan::Plan;
use super::world::{Life as Start, World};
use crate::absence::MARK_AGE_MAX;
use crate::evaluator::Touched;
use crate::life::{Life, LifeStep, READ_MAX};
use crate::outbox::Owed;
use crate::runtime::claims::Claims;
use crate::runtime::precedence::{Round, Rounds};
use crate::runtime::presence::{self, NodeInfo};
use crate::{
    Applied, Batch, Document, Epoch, Lease, News, Outage, Outcome, PartitionId, StorageError, Tenure, Timestamp,
    Version, WatchLog,
};

/// How often the leases are looked at, on full seconds of all nodes: rarer than the runtime does, which costs least here.
const LOOK_EVERY: i64 = 2;
const HURRY: Duration = Duration::from_millis(100);
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// What a node stores in a mark of life, and the first partition keeps.
const FIRST: PartitionId = PartitionId(0);
/// A node that was silent for so many lengths of a lease is forgotten.
const GONE_AFTER: u32 = 30;

/// The watcher was alive, as a node knows.
#[derive(Clone, Debug)]
pub(super) struct Lived {
    pub(super) mark: Timestamp,
    pub(super) monotonic: Duration,
    pub(super) outages: Arc<Vec<Outage>>,
}

/// See the module.
pub(super) struct Keeper {
    pub(super) name: String,
    pub(super) claims: Claims,
    ttl: Duration,
    life: Life,
    pub(super) lived: Option<Lived>,
    /// The version of this node's description, and when it was written last.
    described: Option<Version>,
    described_at: Option<Duration>,
    /// The epoch of the write with a mark or the description that is under way.
    marks_under: Epoch,
    /// Whether it has looked at the other nodes.
    knows_others: bool,
    /// Behind which what others write is news; `None` before that is known.
    position: Option<String>,
    /// Whether every monitor was read.
    pub(super) loaded: bool,
    errands: BTreeMap<u64, Errand>,
    /// When it loads, looks at leases, and at the watcher's life next.
    load_at: Timestamp,
    look_at: Timestamp,
    life_at: Timestamp,
    /// When it asks for news next.
    hears_at: Timestamp,
    /// The rounds of news, and the one that is under way.
    pub(super) rounds: Rounds,
    round: Option<Round>,
    /// When that began, and when news came last that took long.
    round_since: Timestamp,
    slow_until: Timestamp,
    /// Taken over, so that what is owed to its channels is to be read.
    unread: BTreeSet<u16>,
    unread_at: Timestamp,
}

/// An outage that is to be stored, and the mark that was stored before.
type StoredOutage = (Outage, Option<Timestamp>);

/// What a keeper asked the store for, and why.
pub(super) enum Errand {
    Position,
    Monitors,
    Look,
    Swap(usize),
    /// The watch log, with the epoch under which the first partition was held before, and when it was asked for.
    Log(Option<Epoch>, Duration),
    /// A mark with the outages that are stored then, the one that its batch stores, and what that owes.
    Mark(Lived, Option<StoredOutage>, Vec<crate::Notification>),
    Describe,
    News,
    /// Notifications that are news, with the rest.
    Told(Box<(News, Timestamp)>),
    Outbox(BTreeSet<u16>),
}

impl Errand {
    /// One look ends with the last of its swaps.
    const fn is_look(&self) -> bool {
        matches!(self, Self::Look | Self::Swap(_))
    }
}

impl Keeper {
    pub(super) fn new(name: &str, tenure: Tenure, plan: &Plan) -> Self {
        Self {
            name: name.to_owned(),
            claims: Claims::new(name, tenure, plan.partitions),
            ttl: plan.ttl,
            life: Life::new(plan.ttl),
            lived: None,
            described: None,
            described_at: None,
            marks_under: Epoch(0),
            knows_others: false,
            position: None,
            loaded: false,
            errands: BTreeMap::new(),
            load_at: Timestamp::MIN,
            look_at: Timestamp::MIN,
            life_at: Timestamp::MIN,
            hears_at: Timestamp::MAX,
            rounds: Rounds::default(),
            round: None,
            round_since: Timestamp::MIN,
            slow_until: Timestamp::MIN,
            unread: BTreeSet::new(),
            unread_at: Timestamp::MIN,
        }
    }

    fn is_on(&self, is: impl Fn(&Errand) -> bool) -> bool {
        self.errands.values().any(is)
    }

    /// How often marks and descriptions are written.
    fn beat(&self) -> Duration {
        Duration::from_secs(3).min(self.ttl / 3)
    }

    /// Whether it is known that the watcher is alive.
    fn knows_life(&self, wall: Timestamp) -> bool {
        self.lived.as_ref().is_some_and(|lived| wall.since(lived.mark) <= MARK_AGE_MAX)
    }

    /// When it has something to do next.
    pub(super) fn due_at(&self) -> Timestamp {
        if !self.loaded {
            let loads = self.is_on(|errand| matches!(errand, Errand::Position | Errand::Monitors));
            return if loads { Timestamp::MAX } else { self.load_at };
        }
        let mut due = Timestamp::MAX;
        let mut add = |at: Timestamp, busy: bool| due = if busy { due } else { due.min(at) };
        add(self.look_at, self.is_on(Errand::is_look));
        add(self.life_at, self.is_on(|e| matches!(e, Errand::Log(..) | Errand::Mark(..) | Errand::Describe)));
        add(self.unread_at, self.unread.is_empty() || self.is_on(|errand| matches!(errand, Errand::Outbox(_))));
        due
    }

    /// Reads what is owed to the channels of a partition that was taken over.
    pub(super) fn read_outbox(&mut self, partition: u16) {
        self.unread.insert(partition);
    }

    /// A write under an epoch was fenced.
    pub(super) fn fenced(&mut self, partition: PartitionId, under: Epoch, monotonic: Duration, now: Timestamp) {
        self.claims.handle_fenced(partition, under, monotonic);
        self.look_at = self.look_at.min(now + HURRY);
    }

    /// The work on a partition that is given up has ended.
    pub(super) fn left(&mut self, partition: PartitionId, now: Timestamp) {
        self.claims.let_go(partition);
        self.look_at = self.look_at.min(now + HURRY);
    }
}

impl World {
    fn keeper(&mut self, node: usize) -> Option<&mut Keeper> {
        self.nodes[node].keeper.as_deref_mut()
    }

    /// Does what is due for all partitions.
    pub(super) fn tend_keeper(&mut self, node: usize) {
        let now = self.now;
        let is_due = |keeper: &mut Keeper| keeper.due_at() <= now;
        if !self.nodes[node].up || !self.keeper(node).is_some_and(is_due) {
            return;
        }
        let Some(keeper) = self.keeper(node) else { return };
        if !keeper.loaded {
            return self.run_errand(node, Errand::Position, Op::ReadNews(None));
        }
        if keeper.look_at <= now && !keeper.is_on(Errand::is_look) {
            let seconds = now.as_secs();
            keeper.look_at = Timestamp::from_secs(seconds + LOOK_EVERY - seconds.rem_euclid(LOOK_EVERY));
            self.run_errand(node, Errand::Look, Op::ReadNodes);
        }
        self.tend_life(node);
        let Some(keeper) = self.keeper(node) else { return };
        if keeper.unread_at <= now && !keeper.unread.is_empty() && !keeper.is_on(|e| matches!(e, Errand::Outbox(_))) {
            let partitions = std::mem::take(&mut keeper.unread);
            self.run_errand(node, Errand::Outbox(partitions), Op::ReadOutbox);
        }
    }

    fn tend_life(&mut self, node: usize) {
        let (now, monotonic) = (self.now, self.monotonic(node));
        let Some(keeper) = self.keeper(node) else { return };
        let busy = |errand: &Errand| matches!(errand, Errand::Log(..) | Errand::Mark(..) | Errand::Describe);
        if keeper.life_at <= now && !keeper.is_on(busy) {
            keeper.life_at = now + AGAIN_AFTER;
            let held = keeper.claims.epoch(FIRST, monotonic);
            self.run_errand(node, Errand::Log(held, monotonic), Op::ReadLog);
        }
    }

    fn run_errand(&mut self, node: usize, errand: Errand, op: Op) {
        match self.send(node, FIRST.0, op) {
            Ok(answer) => self.errand_done(node, errand, answer),
            Err(number) => {
                if let Some(keeper) = self.keeper(node) {
                    keeper.errands.insert(number, errand);
                }
            }
        }
    }

    /// An answer for a keeper; says whether it was one.
    pub(super) fn answered_keeper(&mut self, node: usize, number: u64, answer: &mut Option<Answer>) -> bool {
        let Some(errand) = self.keeper(node).and_then(|keeper| keeper.errands.remove(&number)) else { return false };
        let Some(answer) = answer.take() else { return false };
        self.errand_done(node, errand, answer);
        self.plan_look(node);
        true
    }

    fn errand_done(&mut self, node: usize, errand: Errand, answer: Answer) {
        match (errand, answer) {
            (Errand::Position, Answer::News(Ok(news))) => {
                if let Some(keeper) = self.keeper(node) {
                    keeper.position = Some(news.0.position);
                }
                self.run_errand(node, Errand::Monitors, Op::ReadMonitors);
            }
            (Errand::Monitors, Answer::Monitors(Ok(records))) => self.loaded(node, records),
            (Errand::Position | Errand::Monitors, _) => {
                let again_at = self.now + AGAIN_AFTER;
                if let Some(keeper) = self.keeper(node) {
                    keeper.load_at = again_at;
                }
            }
            (Errand::Look, Answer::Nodes(found)) => self.looked(node, found.ok().map(|found| *found)),
            (Errand::Swap(number), Answer::Swapped(result)) => {
                let monotonic = self.monotonic(node);
                if let Some(keeper) = self.keeper(node) {
                    keeper.claims.handle_swapped(number, &result, monotonic);
                }
                self.see_to(node, u16::try_from(number).unwrap_or(0));
            }
            (Errand::Log(held, asked), Answer::Log(Ok(log)))
                if self.monotonic(node).saturating_sub(asked) <= READ_MAX =>
            {
                self.look_at_life(node, log, held);
            }
            (Errand::Log(..), _) => {}
            (Errand::Mark(lived, outage, owed), Answer::Committed(result)) => {
                if let (Err(StorageError::Unknown(_)), Some((outage, before))) = (&result, outage)
                    && let Some(keeper) = self.keeper(node)
                {
                    keeper.life.doubted(outage, lived.monotonic, before);
                    self.look_for(node, owed.iter().map(|notification| notification.id).collect());
                }
                if self.described(node, &result) {
                    self.marked(node, lived, owed);
                }
            }
            (Errand::Describe, Answer::Committed(result)) => _ = self.described(node, &result),
            (Errand::News, Answer::News(news)) => self.told(node, news.map(|news| *news)),
            (Errand::Told(news), Answer::Owed(owed)) => match owed {
                Ok(owed) => {
                    self.hand_over_found(node, owed);
                    self.tell_seats(node, *news);
                }
                Err(_) => self.hears_later(node, self.now + HURRY),
            },
            (Errand::Outbox(partitions), Answer::Owed(found)) => self.outbox_read(node, partitions, found),
            _ => {}
        }
    }

    /// One look at the leases and nodes, and what it asks for.
    fn looked(&mut self, node: usize, found: Option<(Vec<Lease>, Vec<Document>)>) {
        let (wall, monotonic) = (self.wall(node), self.monotonic(node));
        let Some(keeper) = self.keeper(node) else { return };
        if let Some((leases, nodes)) = found {
            let others = nodes.into_iter().filter(|other| other.id != keeper.name);
            let others: Vec<(String, u64)> = others.map(|other| (other.id, other.version.0)).collect();
            let (name, knows_life) = (keeper.name.clone(), keeper.knows_life(wall));
            keeper.claims.handle_found(&name, others, &leases, (keeper.ttl, monotonic), knows_life);
            keeper.knows_others = true;
        }
        let swaps = keeper.claims.poll_swaps(wall, monotonic);
        for (number, expected, next) in swaps {
            self.run_errand(node, Errand::Swap(number), Op::SwapLease(Box::new((expected, next))));
        }
        for partition in 0..self.plan.partitions {
            if self.is_misplaced(node, partition) {
                self.see_to(node, partition);
            }
        }
    }

    /// Finds out whether there was an outage, by what is stored.
    fn look_at_life(&mut self, node: usize, log: WatchLog, held_before: Option<Epoch>) {
        let (wall, monotonic, ttl) = (self.wall(node), self.monotonic(node), self.plan.ttl);
        let Some(keeper) = self.keeper(node).filter(|keeper| keeper.knows_others) else { return };
        let others_may_live = !keeper.claims.neighbours().alive(ttl, monotonic).is_empty();
        let step = keeper.life.look(&log, others_may_live, wall, monotonic);
        let (known, held) = (keeper.claims.known_epoch(FIRST), keeper.claims.epoch(FIRST, monotonic));
        match (step, known, held) {
            (LifeStep::Mark, Some(epoch), held) => {
                let gone = keeper.claims.neighbours().gone(ttl * GONE_AFTER, monotonic);
                let mut batch = self.mark_batch(node, epoch, wall);
                if held.is_some() {
                    let removed = gone.into_iter().map(|(node, beat)| presence::removal(&node, Some(Version(beat))));
                    batch.documents.extend(removed);
                } else if self.is_mutant(Mutant::MarksByHolderAlone) {
                    batch.mark = None;
                }
                let lived = Lived { mark: wall, monotonic, outages: Arc::new(log.outages) };
                self.store_mark(node, batch, lived, None);
            }
            (LifeStep::Outage(outage, ended), _, Some(epoch)) if held_before == held => {
                self.store_outage(node, (outage, ended), epoch, log);
            }
            // Whoever holds the first partition does it.
            (LifeStep::Outage(..) | LifeStep::Wait, Some(epoch), _) => self.describe(node, epoch, wall),
            (_, None, _) => {}
        }
    }

    fn store_outage(&mut self, node: usize, (outage, ended): (Outage, Duration), epoch: Epoch, log: WatchLog) {
        let WatchLog { mark, mut outages } = log;
        let mut batch = self.mark_batch(node, epoch, outage.to);
        batch.outage = Some(outage);
        let mut touched = Touched::by(outage);
        let services = self.nodes[node].seats.iter().filter_map(|seat| seat.service.as_deref());
        services.for_each(|service| service.evaluator.records().for_each(|record| touched.look_at(record)));
        batch.notifications = touched.notifications(&self.plan.watcher_channels);
        if outages.len() >= self.plan.outages_max.saturating_mul(2) {
            batch.forget_outages_before = outages.get(outages.len() / 2).map(|oldest_kept| oldest_kept.to);
            outages.retain(|known| Some(known.to) >= batch.forget_outages_before);
        }
        outages.push(outage);
        let lived = Lived { mark: outage.to, monotonic: ended, outages: Arc::new(outages) };
        self.store_mark(node, batch, lived, Some((outage, mark)));
    }

    fn store_mark(&mut self, node: usize, batch: Batch, lived: Lived, outage: Option<StoredOutage>) {
        let owed = batch.notifications.clone();
        self.run_errand(node, Errand::Mark(lived, outage, owed), Op::Commit(Box::new(batch)));
    }

    fn describe(&mut self, node: usize, epoch: Epoch, wall: Timestamp) {
        let monotonic = self.monotonic(node);
        let mut batch = self.mark_batch(node, epoch, wall);
        batch.mark = None;
        let Some(keeper) = self.keeper(node) else { return };
        if keeper.described_at.is_none_or(|at| monotonic >= at + keeper.beat()) {
            self.run_errand(node, Errand::Describe, Op::Commit(Box::new(batch)));
        }
    }

    fn marked(&mut self, node: usize, lived: Lived, owed: Vec<crate::Notification>) {
        let now = self.now;
        let Some(keeper) = self.keeper(node) else { return };
        keeper.life.marked(lived.mark, lived.monotonic);
        keeper.lived = Some(lived);
        keeper.life_at = now + keeper.beat();
        owed.into_iter().for_each(|notification| self.hand_over(node, FIRST.0, Owed::fresh(notification)));
        // The others take it when they look.
        for partition in 0..self.plan.partitions {
            let waits = self.nodes[node].service(partition).is_some_and(|service| service.evaluator.awaits_life());
            if waits {
                self.see_to(node, partition);
            }
        }
    }

    /// Takes how a batch with this node's description went; says whether it was written.
    fn described(&mut self, node: usize, result: &Result<Applied, StorageError>) -> bool {
        let (now, monotonic) = (self.now, self.monotonic(node));
        let Some(keeper) = self.keeper(node) else { return false };
        match result {
            Ok(applied) => {
                keeper.described = match applied.documents.first() {
                    Some(Outcome::Conflict { found }) => *found,
                    _ => Some(keeper.described.map_or(Version::FIRST, Version::next)),
                };
                keeper.described_at = Some(monotonic);
            }
            Err(StorageError::Fenced) => keeper.fenced(FIRST, keeper.marks_under, monotonic, now),
            Err(_) => {}
        }
        result.is_ok()
    }

    /// A batch with a mark of life and this node's description.
    pub(super) fn mark_batch(&mut self, node: usize, epoch: Epoch, now: Timestamp) -> Batch {
        let started_at = self.plan.start;
        let Some(keeper) = self.keeper(node) else { return Batch::default() };
        let id = keeper.name.clone();
        let info = NodeInfo { name: id.clone(), id, started_at, seen_at: now, beat: 0 };
        let documents = vec![info.write(keeper.described)];
        keeper.marks_under = epoch;
        Batch { partition: FIRST, epoch, mark: Some(now), documents, ..Batch::default() }
    }

    /// A last mark of life, and this node's leave; then all its leases are free.
    pub(super) fn leave(&mut self, node: usize) {
        let (wall, monotonic) = (self.wall(node), self.monotonic(node));
        let by = Start { node, life: self.nodes[node].life };
        let Some(epoch) = self.keeper(node).filter(|keeper| keeper.loaded).and_then(|k| k.claims.known_epoch(FIRST))
        else {
            return;
        };
        let mut last = self.mark_batch(node, epoch, wall);
        let Some(keeper) = self.keeper(node) else { return };
        last.mark = last.mark.filter(|_| keeper.knows_life(wall));
        last.documents = vec![presence::removal(&keeper.name, keeper.described)];
        keeper.claims.let_go_of_all();
        let swaps = keeper.claims.poll_swaps(wall, monotonic);
        self.carry_out(by, FIRST.0, Op::Commit(Box::new(last)), self.now);
        for (_, expected, next) in swaps {
            self.carry_out(by, FIRST.0, Op::SwapLease(Box::new((expected, next))), self.now);
        }
    }
}
