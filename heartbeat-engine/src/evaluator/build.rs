//! Building a batch: requests and due deadlines, one transition per monitor.

use std::collections::{HashSet, VecDeque};
use std::hint::black_box;
use std::sync::Arc;

use super::depend::{Planned, Verdict};
use super::few::Few;
use super::request::Reply;
use super::{Done, Evaluator, Pending, Refusal, Request, Slot, UnderWay};
use crate::deadline::MOVES_MAX;
use crate::slab::IdMap;
use crate::step::{CareError, Draft, Edit, Surroundings};
use crate::table::READ_AHEAD;
use crate::{
    Batch, Change, Incident, Maintenance, MonitorId, Notification, Record, StateChange, Timestamp, Transition,
};

/// How many monitors a batch takes at first because they are due. Each that is full lets the next one take twice as many: the first
/// message goes out soon, and an event of a hundred thousand is over soon.
pub(super) const DUE_FIRST: usize = 256;
/// How many it takes at most.
const DUE_MAX: usize = 2048;
/// The same beside heartbeats: going down costs far more than one does, and those that come meanwhile wait for two batches.
const DUE_BESIDE: usize = 512;
/// How many are taken off the queue at once, to be decided in the order of their ids.
const TAKEN_MAX: usize = 8192;

/// A request that was decided: what it comes to if its batch is committed. A refusal too waits for that: it may rest on a
/// change before it.
#[derive(Debug)]
pub(super) struct Decided {
    pub(super) pending: Pending,
    pub(super) answer: Result<Reply, Refusal>,
}

/// One monitor's share of a batch, and what follows when it is committed.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) monitor: MonitorId,
    /// The requests that it folds, in order of arrival.
    pub(super) requests: Few<Decided>,
    pub(super) record: Arc<Record>,
    pub(super) removed: bool,
    /// Whether it writes incidents.
    pub(super) rewrites: bool,
    /// What the batch held of it, once that came back.
    pub(super) changes: Vec<StateChange>,
    pub(super) owed: Vec<Notification>,
}

/// A monitor of the next batch, with its requests in order of arrival.
#[derive(Debug)]
pub(super) struct Gathered {
    pub(super) monitor: MonitorId,
    pub(super) requests: Few<Pending>,
}

/// What deciding one monitor's requests came to.
#[derive(Default)]
pub(super) struct Decision {
    pub(super) transition: Option<Transition>,
    requests: Few<Decided>,
    /// Those that must wait until the others are committed.
    later: Vec<Pending>,
}

impl Evaluator {
    /// Decides what waits and what is due, and gives it as a batch.
    pub(super) fn work_batch(&mut self) -> Batch {
        let now = self.clocks.0;
        self.check_beforehand();
        let mut batch = self.empty_batch();
        batch.forget_outages_after = self.forget_after;
        let gathered = self.gather(now);
        let mut groups = Vec::with_capacity(gathered.len());
        batch.transitions.reserve_exact(gathered.len());
        let mut planned = self.plan_ahead(&gathered);
        let mut gathered = gathered.into_iter();
        loop {
            let count = gathered.len().min(READ_AHEAD);
            if count == 0 {
                break;
            }
            self.fetch(&gathered.as_slice()[..count]);
            for Gathered { monitor, requests } in gathered.by_ref().take(count) {
                let rewired = planned.begin(monitor);
                let decision = match self.decided_beforehand(monitor, requests.first().is_none()) {
                    Some(transition) => Decision { transition: Some(transition), ..Decision::default() },
                    None => self.decide(monitor, requests, now, &planned),
                };
                decision.later.into_iter().rev().for_each(|pending| self.pending.push_front(pending));
                let record = decision.transition.as_ref().and_then(|transition| self.record_after(transition));
                match (decision.transition, record) {
                    (Some(transition), Some(record)) => {
                        self.plan(&mut planned, &record, rewired);
                        groups.push(group(&transition, record, decision.requests));
                        batch.transitions.push(transition);
                    }
                    _ => self.answer_unchanged(monitor, decision.requests),
                }
            }
        }
        let mark_due = self.keeps_watch && (self.absence.mark_due() <= now || !batch.is_empty());
        let mark = if mark_due { self.absence.mark_along(now) } else { None };
        batch.mark = mark;
        if !batch.is_empty() {
            self.under_way = Some(UnderWay {
                groups,
                mark: mark.map(|at| (at, self.clocks.1)),
                forget_after: batch.forget_outages_after,
                ..UnderWay::default()
            });
        }
        batch
    }

    /// Reads a little of all that deciding these will need. One read does not wait for the other, so memory answers them
    /// side by side; what comes after finds it in the cache.
    pub(super) fn fetch(&self, block: &[Gathered]) {
        let mut found = [(0, None); READ_AHEAD];
        for (found, gathered) in found.iter_mut().zip(block) {
            let number = self.slots.find(&gathered.monitor).unwrap_or_default();
            *found = (number, self.slots.at(number).map(|slot| &slot.record));
        }
        let records = || found.iter().filter_map(|(_, record)| *record);
        black_box(records().map(|record| record.version.0 ^ record.health.ping_count).fold(0, |all, one| all ^ one));
        black_box(records().map(|record| record.spec().failure_threshold).fold(0, |all, one| all ^ one));
        black_box(found.iter().map(|(number, _)| self.queue.get(*number)).max());
    }

    /// The monitors of the next batch with their requests: those that wait longest, and then those that are due.
    fn gather(&mut self, now: Timestamp) -> Vec<Gathered> {
        let mut groups: Vec<Gathered> = Vec::with_capacity(self.pending.len().min(self.batch_max));
        let mut places: IdMap<usize> = IdMap::default();
        places.reserve(groups.capacity());
        let mut waiting: HashSet<MonitorId> = HashSet::new();
        let mut later = VecDeque::new();
        for pending in self.pending.drain(..) {
            let id = pending.request.monitor();
            let place = places.get(&id).copied().filter(|_| !waiting.contains(&id));
            match place {
                Some(place) if !pending.alone && !groups[place].requests.first().is_some_and(|first| first.alone) => {
                    groups[place].requests.push(pending);
                }
                None if groups.len() < self.batch_max && !waiting.contains(&id) => {
                    places.insert(id, groups.len());
                    groups.push(Gathered { monitor: id, requests: Few::one(pending) });
                }
                _ => {
                    waiting.insert(id);
                    later.push_back(pending);
                }
            }
        }
        self.pending.append(&mut later);
        for id in self.due(now, &waiting, groups.is_empty()) {
            places.entry(id).or_insert_with(|| {
                groups.push(Gathered { monitor: id, requests: Few::default() });
                groups.len() - 1
            });
        }
        self.parents_first(groups, now, &waiting)
    }

    /// Monitors to look at, at most as many as go into a batch. Those with requests that are left waiting are not among
    /// them: a heartbeat among these may be stamped before the deadline (S3.7).
    fn due(&mut self, now: Timestamp, waiting: &HashSet<MonitorId>, alone: bool) -> Vec<MonitorId> {
        if !self.judges || self.foreseeing.is_some() {
            return Vec::new();
        }
        let most = self.batch_max.min(if alone { self.due_most } else { DUE_BESIDE });
        if self.due.len() < most || self.due.iter().all(|id| waiting.contains(id)) {
            self.take_off_queue(now);
        }
        let mut due: Vec<MonitorId> = self.due.iter().filter(|id| !waiting.contains(id)).take(most).copied().collect();
        due.iter().for_each(|id| _ = self.due.remove(id));
        // Those whose requests wait stay on the list: these may yet be refused, and then nothing else would look at them.
        let mut later = Vec::new();
        while due.len() < most
            && let Some(id) = self.ahead.pop()
        {
            if waiting.contains(&id) { later.push(id) } else { due.push(id) }
        }
        self.ahead.append(&mut later);
        while due.len() < most
            && let Some(id) = self.pop_misheld()
        {
            if waiting.contains(&id) { later.push(id) } else { due.push(id) }
        }
        later.into_iter().for_each(|id| self.look_if_misheld(id));
        if self.must_save() {
            let room = most.saturating_sub(due.len());
            due.extend(self.unsaved.iter().filter(|id| !waiting.contains(id)).take(room));
        }
        self.due_most = if due.len() < most { DUE_FIRST } else { (self.due_most * 2).min(DUE_MAX) };
        due
    }

    /// Takes what is due off the queue, so much at a time.
    pub(super) fn take_off_queue(&mut self, now: Timestamp) {
        let (mut moves, most) = (MOVES_MAX, self.due.len() + TAKEN_MAX);
        while self.due.len() < most
            && let Some((_, number)) = self.queue.pop_before(now, &mut moves)
        {
            self.due.extend(self.slots.at(number).map(|slot| slot.record.id()));
        }
    }

    pub(super) fn decide(
        &self,
        monitor: MonitorId,
        requests: Few<Pending>,
        now: Timestamp,
        planned: &Planned,
    ) -> Decision {
        let slot = self.slots.get(&monitor);
        let down_parents = self.down_parents(slot, &requests, planned);
        let of_made = if slot.is_none() { self.windows_of_made(&requests) } else { Vec::new() };
        let around = self.around(slot.map_or(&of_made, |slot| &slot.windows), &down_parents);
        let mut draft = slot.map(|slot| Draft::of(&slot.record, around).on_clock(now));
        let mut decided = Decision::default();
        for pending in requests {
            // What comes after an edit of slug or tags may lie in other maintenance windows than what came before.
            let covered_anew = draft.as_ref().is_some_and(|draft| {
                let edited = slot.is_none_or(|slot| !Arc::ptr_eq(draft.monitor(), &slot.record.monitor));
                edited && !self.are_windows_of(draft.monitor(), around.maintenance)
            });
            // What is made and removed at once would leave nothing to answer with.
            let unmade = slot.is_none() && draft.is_some() && matches!(pending.request, Request::Edit(_, Edit::Remove));
            if unmade || covered_anew || !decided.later.is_empty() || draft.as_ref().is_some_and(Draft::is_removed) {
                decided.later.push(pending);
                continue;
            }
            let verdict = self.verdict(draft.as_ref(), &pending.request, planned);
            if matches!(verdict, Verdict::Later) {
                decided.later.push(pending);
                continue;
            }
            // A clock that was set back must not judge by what it showed before.
            let at = pending.at.min(now);
            let answer = match verdict {
                Verdict::Refused(refusal) => Err(refusal),
                Verdict::Fine | Verdict::Later => apply(&mut draft, slot, &pending.request, at, around),
            };
            decided.requests.push(Decided { pending, answer });
        }
        decided.transition = draft.and_then(|mut draft| {
            match decided.later.first() {
                _ if draft.is_removed() => {}
                // What waits may be a heartbeat that is in time (S3.7).
                Some(pending) => draft.advance(pending.at.min(now)),
                None => {
                    draft.advance(now);
                    draft.pursue(now);
                }
            }
            if self.must_save() && self.unsaved.contains(&monitor) {
                draft.keep();
            }
            draft.finish()
        });
        decided
    }

    /// The windows that cover a monitor which is to be made.
    fn windows_of_made(&self, requests: &Few<Pending>) -> Vec<Arc<Maintenance>> {
        let made = requests.iter().find_map(|pending| match &pending.request {
            Request::Create(monitor) => Some(monitor),
            _ => None,
        });
        made.map_or_else(Vec::new, |monitor| self.windows_of(monitor))
    }

    /// Those that the monitor depends on and that are down.
    fn down_parents(&self, slot: Option<&Slot>, requests: &Few<Pending>, planned: &Planned) -> Vec<String> {
        let created = || requests.iter().find_map(|pending| pending.request.wish());
        let spec = slot.map(|slot| slot.record.spec()).or_else(created);
        spec.map(|spec| self.down_among(&spec.depends_on, planned)).unwrap_or_default()
    }

    /// What is to be said to the dependencies in a request.
    fn verdict(&self, draft: Option<&Draft<'_>>, request: &Request, planned: &Planned) -> Verdict {
        let Some(wish) = request.wish() else { return Verdict::Fine };
        let before = draft.map_or(&[][..], |draft| &draft.monitor().spec.depends_on);
        self.may_depend((request.monitor(), &wish.slug), before, &wish.depends_on, planned)
    }

    /// The record that a transition leaves; for a removal, the last one.
    fn record_after(&self, transition: &Transition) -> Option<Arc<Record>> {
        match &transition.change {
            Change::Put(record) => Some(record.clone()),
            Change::Remove => self.slots.get(&transition.monitor).map(|slot| slot.record.clone()),
        }
    }

    /// Requests that change nothing are answered at once with what is committed.
    fn answer_unchanged(&mut self, monitor: MonitorId, requests: Few<Decided>) {
        self.rearm(monitor);
        let record = self.slots.get(&monitor).map(|slot| slot.record.clone());
        for Decided { pending, answer } in requests {
            let record = record.clone().ok_or(Refusal::NotFound);
            self.answers.push_back((pending.ticket, answer.and_then(|reply| Ok(Done::new(record?, reply)))));
        }
    }
}

fn group(transition: &Transition, record: Arc<Record>, requests: Few<Decided>) -> Group {
    Group {
        monitor: transition.monitor,
        requests,
        record,
        removed: matches!(transition.change, Change::Remove),
        rewrites: !transition.incidents.is_empty(),
        changes: Vec::new(),
        owed: Vec::new(),
    }
}

fn apply<'a>(
    draft: &mut Option<Draft<'a>>,
    slot: Option<&Slot>,
    request: &Request,
    at: Timestamp,
    around: Surroundings<'a>,
) -> Result<Reply, Refusal> {
    if let Request::Create(monitor) = request {
        if draft.is_some() {
            return Err(Refusal::Taken("id"));
        }
        *draft = Some(Draft::create(Arc::new((**monitor).clone()), at, around));
        return Ok(Reply::Nothing);
    }
    let Some(draft) = draft.as_mut().filter(|draft| !draft.is_removed()) else { return Err(Refusal::NotFound) };
    match request {
        Request::Ping(_, ping) => draft.ping(ping, at).map(Reply::Ping).map_err(|_| Refusal::ClaimedTime(at)),
        Request::Edit(_, Edit::Acknowledge { incident, by }) => about(draft.acknowledge(*incident, by, at)),
        Request::Edit(_, Edit::Note(new)) => {
            let seen = new.stored.as_ref().map(|stored| stored.1);
            if seen.is_some_and(|seen| slot.is_none_or(|slot| seen < slot.rewritten)) {
                return Err(Refusal::Reread);
            }
            about(draft.annotate(new, at))
        }
        Request::Edit(_, edit) => {
            if let Edit::Spec { expected: Some(expected), .. } = edit
                && draft.monitor().revision != *expected
            {
                return Err(Refusal::Revision(draft.monitor().revision));
            }
            draft.edit(edit, at);
            Ok(Reply::Nothing)
        }
        Request::Create(_) => Ok(Reply::Nothing),
    }
}

fn about(outcome: Result<Incident, CareError>) -> Result<Reply, Refusal> {
    outcome.map(|incident| Reply::Incident(Box::new(incident))).map_err(Refusal::Incident)
}
