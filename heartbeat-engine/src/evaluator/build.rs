//! Building a batch: requests and due deadlines, one transition per monitor.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::{Done, Evaluator, Pending, Refusal, Request, Ticket, UnderWay};
use crate::step::{Draft, Edit, Surroundings, Taken};
use crate::{Batch, Change, MonitorId, Notification, Record, StateChange, Timestamp, Transition};

/// What a request came to, if its batch is committed.
pub(super) type Answers = Vec<(Ticket, Result<Option<Taken>, Refusal>)>;

/// One monitor's share of a batch, and what follows when it is committed.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) monitor: MonitorId,
    /// The requests that it folds, in order of arrival.
    pub(super) requests: Vec<Pending>,
    /// What they are answered when it is committed. A refusal too waits for that: it may rest on a change before it.
    pub(super) answers: Answers,
    pub(super) record: Arc<Record>,
    pub(super) removed: bool,
    pub(super) changes: Vec<StateChange>,
    pub(super) owed: Vec<Notification>,
}

/// What deciding one monitor's requests came to.
struct Decided {
    transition: Option<Transition>,
    requests: Vec<Pending>,
    answers: Answers,
    /// Those that must wait until the others are committed.
    later: Vec<Pending>,
}

impl Evaluator {
    /// Decides what waits and what is due, and gives it as a batch.
    pub(super) fn work_batch(&mut self) -> Batch {
        let now = self.clocks.0;
        let mut batch = self.empty_batch();
        batch.forget_outages_after = self.forget_after;
        let mut groups = Vec::new();
        for (monitor, requests) in self.gather(now) {
            let decided = self.decide(monitor, requests, now);
            decided.later.into_iter().rev().for_each(|pending| self.pending.push_front(pending));
            let record = decided.transition.as_ref().and_then(|transition| self.record_after(transition));
            match (decided.transition, record) {
                (Some(transition), Some(record)) => {
                    groups.push(group(&transition, record, decided.requests, decided.answers));
                    batch.transitions.push(transition);
                }
                _ => self.answer_unchanged(monitor, decided.answers),
            }
        }
        let mark =
            if self.absence.mark_due() <= now || !batch.is_empty() { self.absence.mark_along(now) } else { None };
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

    /// The monitors of the next batch with their requests: those that wait longest, and then those that are due.
    fn gather(&mut self, now: Timestamp) -> Vec<(MonitorId, Vec<Pending>)> {
        let mut groups: Vec<(MonitorId, Vec<Pending>)> = Vec::new();
        let mut places: HashMap<MonitorId, usize> = HashMap::new();
        let mut waiting: HashSet<MonitorId> = HashSet::new();
        let mut later = VecDeque::new();
        for pending in self.pending.drain(..) {
            let id = pending.request.monitor();
            let place = places.get(&id).copied().filter(|_| !waiting.contains(&id));
            match place {
                Some(place) if !pending.alone && !groups[place].1[0].alone => groups[place].1.push(pending),
                None if groups.len() < self.batch_max && !waiting.contains(&id) => {
                    places.insert(id, groups.len());
                    groups.push((id, vec![pending]));
                }
                _ => {
                    waiting.insert(id);
                    later.push_back(pending);
                }
            }
        }
        self.pending = later;
        for id in self.due(now, &waiting) {
            places.entry(id).or_insert_with(|| {
                groups.push((id, Vec::new()));
                groups.len() - 1
            });
        }
        groups
    }

    /// Monitors to look at, at most as many as go into a batch. Those with requests that are left waiting are not among
    /// them: a heartbeat among these may be stamped before the deadline (S3.7).
    fn due(&mut self, now: Timestamp, waiting: &HashSet<MonitorId>) -> Vec<MonitorId> {
        let mut due = Vec::new();
        let mut put_back = Vec::new();
        while due.len() < self.batch_max
            && let Some((at, id)) = self.queue.pop_before(now)
        {
            let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.armed_at == at) else { continue };
            let wake_at = slot.record.health.wake_at();
            if wake_at > at {
                slot.armed_at = wake_at;
                self.queue.push(wake_at, id);
            } else if waiting.contains(&id) {
                put_back.push((at, id));
            } else {
                slot.armed_at = Timestamp::MAX;
                due.push(id);
            }
        }
        put_back.into_iter().for_each(|(at, id)| self.queue.push(at, id));
        while due.len() < self.batch_max
            && let Some(id) = self.ahead.pop()
        {
            if !waiting.contains(&id) {
                due.push(id);
            }
        }
        if self.must_save() {
            let room = self.batch_max.saturating_sub(due.len());
            due.extend(self.unsaved.iter().filter(|id| !waiting.contains(id)).take(room));
        }
        due
    }

    fn decide(&self, monitor: MonitorId, requests: Vec<Pending>, now: Timestamp) -> Decided {
        let slot = self.slots.get(&monitor);
        let around = Surroundings { outages: &self.outages, ..Surroundings::default() };
        let mut draft = slot.map(|slot| Draft::of(&slot.record, around).on_clock(now));
        let mut decided = Decided { transition: None, requests: Vec::new(), answers: Vec::new(), later: Vec::new() };
        for pending in requests {
            // What is made and removed at once would leave nothing to answer with.
            let unmade = slot.is_none() && draft.is_some() && matches!(pending.request, Request::Edit(_, Edit::Remove));
            if unmade || !decided.later.is_empty() || draft.as_ref().is_some_and(Draft::is_removed) {
                decided.later.push(pending);
                continue;
            }
            // A clock that was set back must not judge by what it showed before.
            let at = pending.at.min(now);
            decided.answers.push((pending.ticket, apply(&mut draft, &pending.request, at, around)));
            decided.requests.push(pending);
        }
        decided.transition = draft.and_then(|mut draft| {
            if !draft.is_removed() {
                draft.advance(now);
            }
            if self.must_save() && self.unsaved.contains(&monitor) {
                draft.keep();
            }
            draft.finish()
        });
        decided
    }

    /// The record that a transition leaves; for a removal, the last one.
    fn record_after(&self, transition: &Transition) -> Option<Arc<Record>> {
        match &transition.change {
            Change::Put(record) => Some(Arc::new((**record).clone())),
            Change::Remove => self.slots.get(&transition.monitor).map(|slot| slot.record.clone()),
        }
    }

    /// Requests that change nothing are answered at once with what is committed.
    fn answer_unchanged(&mut self, monitor: MonitorId, answers: Answers) {
        self.rearm(monitor);
        let record = self.slots.get(&monitor).map(|slot| slot.record.clone());
        for (ticket, answer) in answers {
            let record = record.clone().ok_or(Refusal::NotFound);
            self.answers.push_back((ticket, answer.and_then(|ping| Ok(Done { record: record?, ping }))));
        }
    }
}

fn group(transition: &Transition, record: Arc<Record>, requests: Vec<Pending>, answers: Answers) -> Group {
    Group {
        monitor: transition.monitor,
        requests,
        record,
        removed: matches!(transition.change, Change::Remove),
        changes: transition.changes.clone(),
        owed: transition.notifications.clone(),
        answers,
    }
}

fn apply<'a>(
    draft: &mut Option<Draft<'a>>,
    request: &Request,
    at: Timestamp,
    around: Surroundings<'a>,
) -> Result<Option<Taken>, Refusal> {
    if let Request::Create(monitor) = request {
        if draft.is_some() {
            return Err(Refusal::Taken("id"));
        }
        *draft = Some(Draft::create(Arc::new((**monitor).clone()), at, around));
        return Ok(None);
    }
    let Some(draft) = draft.as_mut().filter(|draft| !draft.is_removed()) else { return Err(Refusal::NotFound) };
    match request {
        Request::Ping(_, ping) => draft.ping(ping, at).map(Some).map_err(|_| Refusal::ClaimedTime(at)),
        Request::Edit(_, edit) => {
            if let Edit::Spec { expected: Some(expected), .. } = edit
                && draft.monitor().revision != *expected
            {
                return Err(Refusal::Revision(draft.monitor().revision));
            }
            draft.edit(edit, at);
            Ok(None)
        }
        Request::Create(_) => Ok(None),
    }
}
