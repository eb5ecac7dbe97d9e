//! A seat of one of several nodes: it takes whatever is asked of a partition's monitors, knows what others wrote, and judges and
//! delivers while its node holds the lease. As the runtime's seats do it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::apart::{Apart, WriteApart};
use super::courier::Courier;
use super::coverage::Deed;
use super::mutant::Mutant;
use super::node::{Reply, Service};
use super::world::World;
use crate::evaluator::Evaluator;
use crate::news::Heard;
use crate::outbox::Owed;
use crate::runtime::precedence::Precedence;
use crate::{Epoch, MonitorId, MonitorNews, OutboxEntry, PartitionId, Record, StorageError, Timestamp, WatchLog};

/// How long calls wait at most while it is not known whether the watcher was away.
const UNSURE_MAX: Duration = Duration::from_secs(5);
/// How long attempts that are under way may take when a partition is given up.
const LEAVE_MAX: Duration = Duration::from_secs(5);

/// What a seat does beside taking calls.
pub(super) enum Role {
    /// Another node judges.
    StandsBy,
    /// It judges and delivers under this lease; while what is owed is being read, with what came to be owed meanwhile.
    Judges { epoch: Epoch, reads: Option<Vec<(Owed, bool)>> },
    /// What is under way ends, and nothing else begins.
    Leaves { until: Duration },
}

/// What a seat has because there are other nodes.
#[derive(Default)]
pub(super) struct Among {
    /// What others wrote, and was not taken yet.
    pub(super) news: Vec<MonitorNews>,
    /// What others came to owe, with the round that told it and when, and was not taken yet.
    pub(super) told: Vec<(OutboxEntry, u64, Timestamp)>,
    pub(super) precedence: Precedence,
    /// Up to when what others wrote is among the news, and up to when it was taken.
    pub(super) news_until: Timestamp,
    pub(super) knows_until: Timestamp,
    /// The epoch of the lease, as it was known at the last look.
    known: Option<Epoch>,
    /// When the watcher lived, as the evaluator was told last.
    heard_at: Option<Duration>,
    /// Since when it has been unknown whether the watcher was away.
    unsure_since: Option<Duration>,
    /// Since when documents have waited for the epoch of the lease to be known.
    shut_since: Option<Duration>,
    /// What outboxes of other seats want to be stored here, and what of it is in the batch under way.
    pub(super) apart: Vec<Apart>,
    pub(super) apart_under_way: Vec<Apart>,
    /// The writes of this seat's own outboxes that are under way.
    pub(super) writes: BTreeMap<usize, WriteApart>,
}

impl Among {
    /// Whether nothing waits to be taken or stored.
    pub(super) fn is_idle(&self) -> bool {
        self.news.is_empty() && self.told.is_empty() && self.apart.is_empty()
    }
}

impl World {
    pub(super) fn monotonic(&self, node: usize) -> Duration {
        self.nodes[node].clock.monotonic(self.now)
    }

    /// Has a seat looked at soon.
    pub(super) fn see_to(&mut self, node: usize, partition: u16) {
        if let Some(seat) = self.nodes[node].seats.get_mut(usize::from(partition)) {
            seat.due_at = seat.due_at.min(self.now);
        }
        self.plan_look(node);
    }

    pub(super) fn see_to_all(&mut self, node: usize) {
        let now = self.now;
        self.nodes[node].seats.iter_mut().for_each(|seat| seat.due_at = seat.due_at.min(now));
        self.plan_look(node);
    }

    /// Every monitor was read: calls are taken from now on.
    pub(super) fn loaded(&mut self, node: usize, records: Vec<Record>) {
        let now = self.now;
        self.note(Deed::Loaded);
        self.tell_node(node, || format!("has read {} monitors", records.len()));
        self.nodes[node].policies = self.policies.clone();
        for partition in 0..self.plan.partitions {
            let (batch_max, outages_max) = (self.plan.batch_max, self.plan.outages_max);
            let mut evaluator =
                Evaluator::new(PartitionId(partition), Epoch(0), WatchLog::default(), batch_max, outages_max);
            evaluator.leave_watch();
            evaluator.stand_by(Epoch(0));
            let mut service = Service::new(Role::StandsBy, evaluator, Courier::idle());
            service.tickets = self.numbers;
            service.among.news_until = now;
            self.nodes[node].seats[usize::from(partition)].service = Some(Box::new(service));
        }
        for record in records {
            let partition = self.partition_of(record.id());
            if let Some(service) = self.nodes[node].service(partition) {
                service.evaluator.handle_record(record.id(), Some(Arc::new(record)));
            }
        }
        if let Some(keeper) = self.nodes[node].keeper.as_deref_mut() {
            keeper.loaded = true;
        }
        // What was written meanwhile is news, or known already.
        self.hears_later(node, now + Duration::from_millis(1));
        self.see_to_all(node);
    }

    /// Some of what others wrote is not known: all is read anew, and until then nothing is taken.
    pub(super) fn begin_anew(&mut self, node: usize) {
        self.tell_node(node, || "missed what others wrote, and reads everything anew".to_owned());
        for partition in 0..self.plan.partitions {
            let Some(service) = self.nodes[node].seats[usize::from(partition)].service.take() else { continue };
            let mut calls: Vec<u64> = service.waiting.into_values().collect();
            calls.sort_unstable();
            calls.extend(service.inbox.into_iter().map(|(_, call, _)| call));
            calls.into_iter().for_each(|call| self.reply(node, call, Reply::Elsewhere));
        }
        if let Some(keeper) = self.nodes[node].keeper.as_deref_mut() {
            keeper.loaded = false;
        }
        self.plan_look(node);
    }

    /// Does what the lease says now.
    pub(super) fn mind_lease(&mut self, node: usize, partition: u16) {
        let (now, wall, monotonic) = (self.now, self.wall(node), self.monotonic(node));
        let (place, number) = (PartitionId(partition), self.number());
        let judges_always = self.is_mutant(Mutant::StrangersJudge);
        let seat = &mut self.nodes[node];
        let Some(keeper) = seat.keeper.as_deref_mut() else { return };
        let Some(service) = seat.seats[usize::from(partition)].service.as_deref_mut() else { return };
        let (held, known) = (keeper.claims.epoch(place, monotonic), keeper.claims.known_epoch(place));
        let is_leaving = keeper.claims.is_leaving(place, monotonic);
        service.among.known = known;
        let (mut deed, mut text) = (None, "");
        match &service.role {
            Role::Judges { epoch, .. } if held == Some(*epoch) => {}
            Role::Judges { .. } if is_leaving => {
                service.courier.close();
                service.role = Role::Leaves { until: monotonic + LEAVE_MAX };
                (deed, text) = (Some(Deed::Leaves), "gives up");
            }
            Role::Judges { .. } => {
                service.stand_by();
                (deed, text) = (Some(Deed::LeaseLost), "steps down from");
            }
            Role::Leaves { until } => {
                let under_way = !service.courier.is_closed(wall) || !service.among.writes.is_empty();
                if !(under_way && is_leaving && monotonic < *until) {
                    service.stand_by();
                    if is_leaving {
                        keeper.left(place, now);
                    }
                }
            }
            Role::StandsBy => {
                if let Some(epoch) = held {
                    service.courier = Courier::new(number, place, &self.plan);
                    service.role = Role::Judges { epoch, reads: Some(Vec::new()) };
                    service.evaluator.judge(epoch);
                    keeper.read_outbox(partition);
                    (deed, text) = (Some(Deed::TakeOver), "takes over");
                } else if is_leaving {
                    keeper.left(place, now);
                }
            }
        }
        if !matches!(service.role, Role::Judges { .. })
            && let Some(epoch) = known
        {
            if judges_always { service.evaluator.judge(epoch) } else { service.evaluator.stand_by(epoch) }
        }
        if let Some(deed) = deed {
            self.note(deed);
            self.tell_node(node, || format!("{text} partition {partition}; {held:?} is held, {known:?} is known"));
        }
    }

    /// Whether a seat does something else than its lease says, or waited for that.
    pub(super) fn is_misplaced(&self, node: usize, partition: u16) -> bool {
        let (place, monotonic) = (PartitionId(partition), self.monotonic(node));
        let node = &self.nodes[node];
        let service = node.seats.get(usize::from(partition)).and_then(|seat| seat.service.as_deref());
        let (Some(keeper), Some(service)) = (node.keeper.as_deref(), service) else { return false };
        let (held, known) = (keeper.claims.epoch(place, monotonic), keeper.claims.known_epoch(place));
        match &service.role {
            Role::Judges { epoch, .. } => held != Some(*epoch),
            Role::StandsBy => {
                held.is_some() || known != service.among.known || keeper.claims.is_leaving(place, monotonic)
            }
            Role::Leaves { .. } => true,
        }
    }

    /// Whether requests may be decided and written now.
    pub(super) fn may_decide(&self, node: usize, partition: u16) -> bool {
        let keeper = self.nodes[node].keeper.as_deref();
        keeper.is_none_or(|keeper| keeper.claims.known_epoch(PartitionId(partition)).is_some())
    }

    /// What was owed when a partition was taken over; the channels begin.
    pub(super) fn restore(&mut self, node: usize, partition: u16, owed: Vec<Owed>) {
        let Some(service) = self.nodes[node].service(partition) else { return };
        let Role::Judges { reads, .. } = &mut service.role else { return };
        let late = reads.take().unwrap_or_default();
        if !self.is_mutant(Mutant::OutboxNotLoaded) {
            owed.into_iter().for_each(|owed| self.hand_to(node, partition, owed, false));
        }
        let Some(service) = self.nodes[node].service(partition) else { return };
        service.courier.loaded();
        late.into_iter().for_each(|(owed, again)| self.hand_to(node, partition, owed, again));
        self.see_to(node, partition);
    }

    /// Takes what others wrote, and that the watcher lives.
    pub(super) fn hear(&mut self, node: usize, partition: u16) {
        self.take_told(node, partition);
        let (monotonic, ignores) = (self.monotonic(node), self.is_mutant(Mutant::NewsIgnored));
        let may_decide = self.may_decide(node, partition);
        let node = &mut self.nodes[node];
        let Some(keeper) = node.keeper.as_deref() else { return };
        let Some(service) = node.seats[usize::from(partition)].service.as_deref_mut() else { return };
        let Service { evaluator, among, aside, .. } = service;
        if may_decide || aside.is_empty() {
            among.shut_since = None;
        } else if monotonic.saturating_sub(*among.shut_since.get_or_insert(monotonic)) > UNSURE_MAX {
            aside.clear();
        }
        for news in std::mem::take(&mut among.news) {
            let monitor = news.monitor;
            let known = evaluator.record(monitor).cloned();
            match news.told_to(known.as_deref()) {
                _ if ignores => {}
                Heard::Known => {}
                Heard::Now(record) => evaluator.handle_record(monitor, record.map(Arc::new)),
                Heard::Unknown => evaluator.handle_outdated(monitor),
            }
        }
        among.knows_until = among.news_until;
        if let Some(lived) = keeper.lived.as_ref().filter(|lived| among.heard_at != Some(lived.monotonic)) {
            among.heard_at = Some(lived.monotonic);
            evaluator.handle_life(lived.mark, lived.monotonic, &lived.outages);
        }
        if !evaluator.awaits_life() || !evaluator.has_pending() {
            among.unsure_since = None;
        } else if monotonic.saturating_sub(*among.unsure_since.get_or_insert(monotonic)) > UNSURE_MAX {
            let why = "it is not known yet whether the watcher was away";
            evaluator.refuse_waiting(&StorageError::Unavailable(why.to_owned()));
        }
    }

    /// Nothing was written, because the lease has another epoch: everything is decided anew under that one.
    pub(super) fn fenced(&mut self, node: usize, partition: u16, under: Epoch) {
        let (now, monotonic) = (self.now, self.monotonic(node));
        let seat = &mut self.nodes[node];
        let Some(keeper) = seat.keeper.as_deref_mut() else { return };
        let Some(service) = seat.seats[usize::from(partition)].service.as_deref_mut() else { return };
        service.evaluator.handle_fenced();
        service.among.put_back();
        keeper.fenced(PartitionId(partition), under, monotonic, now);
        self.note(Deed::FencedDecidedAnew);
        self.tell_node(node, || format!("is fenced off from partition {partition}, and decides anew"));
    }

    /// What became doubtful is looked for in the store.
    pub(super) fn look_for_doubtful(&mut self, node: usize, partition: u16) {
        let Some(service) = self.nodes[node].service(partition) else { return };
        let doubtful = service.evaluator.poll_doubtful();
        if doubtful.is_empty() {
            return;
        }
        self.look_for(node, doubtful);
    }

    /// Hands over what this node came to owe, unless something may have to go before it.
    pub(super) fn owe(&mut self, node: usize, partition: u16, owed: Owed) {
        let seat = &mut self.nodes[node];
        if let (Some(keeper), Some(service)) =
            (seat.keeper.as_deref_mut(), seat.seats[usize::from(partition)].service.as_deref_mut())
            && service.among.precedence.holds_own(&owed.notification, &mut keeper.rounds)
        {
            return self.held_back(node);
        }
        self.hand_over(node, partition, owed);
    }

    /// Takes what rounds of news told.
    fn take_told(&mut self, node: usize, partition: u16) {
        let now = self.now;
        let seat = &mut self.nodes[node];
        let Some(keeper) = seat.keeper.as_deref_mut() else { return };
        let Some(service) = seat.seats[usize::from(partition)].service.as_deref_mut() else { return };
        let Among { told, precedence, .. } = &mut service.among;
        let (mut held, mut passed) = (false, Vec::new());
        for (entry, round, at) in std::mem::take(told) {
            keeper.took(at, now);
            if precedence.holds_told(&entry.notification, round, &mut keeper.rounds) {
                held = true;
            } else {
                passed.push(entry);
            }
        }
        precedence.told(keeper.rounds.told());
        if held {
            self.held_back(node);
        }
        for entry in passed {
            let home = self.plan.home_of_channel(&entry.notification.channel).0;
            self.hand_to(node, home, entry.into(), true);
        }
    }

    /// A monitor was read from the store, where others may have written it.
    pub(super) fn read_anew(&mut self, node: usize, partition: u16, monitor: MonitorId) {
        let seat = &mut self.nodes[node];
        let Some(keeper) = seat.keeper.as_deref() else { return };
        let Some(service) = seat.seats[usize::from(partition)].service.as_deref_mut() else { return };
        service.among.precedence.read(monitor, keeper.rounds.begun());
    }

    /// Something waits for the next round of news.
    fn held_back(&mut self, node: usize) {
        self.note(Deed::HeldBack);
        self.hears_soon(node);
    }
}

impl Service {
    fn stand_by(&mut self) {
        self.courier = Courier::idle();
        self.role = Role::StandsBy;
    }
}
