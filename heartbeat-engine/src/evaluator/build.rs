//! Building a batch: requests and due deadlines, one transition per monitor.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Edit, Evaluator, Pending, Refusal, Request, Taken, Ticket, UnderWay};
use crate::step::Draft;
use crate::{Batch, Change, MonitorId, Notification, Outage, Record, StateChange, Timestamp, Transition};

/// One monitor's share of a batch, and what follows when it is committed.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) monitor: MonitorId,
    /// The requests that it folds, in order of arrival.
    pub(super) requests: Vec<Pending>,
    /// Those of them that are answered when it is committed.
    pub(super) answers: Vec<(Ticket, Option<Taken>)>,
    pub(super) record: Arc<Record>,
    pub(super) removed: bool,
    pub(super) changes: Vec<StateChange>,
    pub(super) owed: Vec<Notification>,
}

/// What deciding one monitor's requests came to.
struct Decided {
    transition: Option<Transition>,
    answers: Vec<(Ticket, Option<Taken>)>,
    refusals: Vec<(Ticket, Refusal)>,
}

impl Evaluator {
    /// Decides what waits and what is due, and gives it as a batch.
    pub(super) fn work_batch(&mut self) -> Batch {
        let now = self.clocks.0;
        let mut batch = self.empty_batch();
        let mut groups = Vec::new();
        for (monitor, requests) in self.gather(now) {
            let decided = self.decide(monitor, &requests, now);
            self.answers.extend(decided.refusals.into_iter().map(|(ticket, refusal)| (ticket, Err(refusal))));
            let record = decided.transition.as_ref().and_then(|transition| self.record_after(transition));
            match (decided.transition, record) {
                (Some(transition), Some(record)) => {
                    groups.push(group(&transition, record, requests, decided.answers));
                    batch.transitions.push(transition);
                }
                _ => self.answer_unchanged(monitor, decided.answers),
            }
        }
        let mark =
            if self.absence.mark_due() <= now || !batch.is_empty() { self.absence.mark_along(now) } else { None };
        batch.mark = mark;
        if !batch.is_empty() {
            self.under_way =
                Some(UnderWay { groups, mark: mark.map(|at| (at, self.clocks.1)), outage: None, owed: Vec::new() });
        }
        batch
    }

    /// The monitors of the next batch with their requests: those that wait longest, and then those that are due.
    fn gather(&mut self, now: Timestamp) -> Vec<(MonitorId, Vec<Pending>)> {
        let mut groups: Vec<(MonitorId, Vec<Pending>)> = Vec::new();
        let mut places: HashMap<MonitorId, usize> = HashMap::new();
        let mut later = std::collections::VecDeque::new();
        for pending in self.pending.drain(..) {
            let id = pending.request.monitor();
            match places.get(&id) {
                Some(place) => groups[*place].1.push(pending),
                None if groups.len() < self.batch_max => {
                    places.insert(id, groups.len());
                    groups.push((id, vec![pending]));
                }
                None => later.push_back(pending),
            }
        }
        self.pending = later;
        let mut room = self.batch_max;
        let mut due = Vec::new();
        while room > 0
            && let Some((at, id)) = self.queue.pop_before(now)
        {
            let Some(slot) = self.slots.get_mut(&id).filter(|slot| slot.armed_at == at) else { continue };
            let wake_at = slot.record.health.wake_at();
            if wake_at > at {
                slot.armed_at = wake_at;
                self.queue.push(wake_at, id);
                continue;
            }
            slot.armed_at = Timestamp::MAX;
            room -= 1;
            due.push(id);
        }
        due.append(&mut self.ahead);
        for id in due {
            places.entry(id).or_insert_with(|| {
                groups.push((id, Vec::new()));
                groups.len() - 1
            });
        }
        groups
    }

    fn decide(&self, monitor: MonitorId, requests: &[Pending], now: Timestamp) -> Decided {
        let mut answers = Vec::new();
        let mut refusals = Vec::new();
        let mut draft = self.slots.get(&monitor).map(|slot| Draft::of(&slot.record, &self.outages));
        for pending in requests {
            // A clock that was set back must not judge by what it showed before.
            let at = pending.at.min(now);
            match apply(&mut draft, &pending.request, at, &self.outages) {
                Ok(taken) => answers.push((pending.ticket, taken)),
                Err(refusal) => refusals.push((pending.ticket, refusal)),
            }
        }
        let transition = draft.and_then(|mut draft| {
            if !draft.is_removed() {
                draft.advance(now);
            }
            draft.finish()
        });
        Decided { transition, answers, refusals }
    }

    /// The record that a transition leaves; for a removal, the last one.
    fn record_after(&self, transition: &Transition) -> Option<Arc<Record>> {
        match &transition.change {
            Change::Put(record) => Some(Arc::new((**record).clone())),
            Change::Remove => self.slots.get(&transition.monitor).map(|slot| slot.record.clone()),
        }
    }

    /// Requests that change nothing are answered at once with what is committed.
    fn answer_unchanged(&mut self, monitor: MonitorId, answers: Vec<(Ticket, Option<Taken>)>) {
        self.rearm(monitor);
        for (ticket, ping) in answers {
            let answer = match self.slots.get(&monitor) {
                Some(slot) => Ok(super::Done { record: slot.record.clone(), ping }),
                None => Err(Refusal::NotFound),
            };
            self.answers.push((ticket, answer));
        }
    }
}

fn group(
    transition: &Transition,
    record: Arc<Record>,
    requests: Vec<Pending>,
    answers: Vec<(Ticket, Option<Taken>)>,
) -> Group {
    let answered = |pending: &Pending| answers.iter().any(|(ticket, _)| *ticket == pending.ticket);
    Group {
        monitor: transition.monitor,
        requests: requests.into_iter().filter(answered).collect(),
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
    outages: &'a [Outage],
) -> Result<Option<Taken>, Refusal> {
    if let Request::Create(monitor) = request {
        if draft.is_some() {
            return Err(Refusal::Taken("id"));
        }
        *draft = Some(Draft::create(Arc::new((**monitor).clone()), at, outages));
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
