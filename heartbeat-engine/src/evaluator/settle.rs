//! What becomes of a batch that was written, in part or not at all.

use std::sync::Arc;

use super::build::{Decided, Group};
use super::{Done, Evaluator, Pending, Refusal, Request, TRIES_MAX};
use crate::{MonitorId, Notification, Outcome, Record, StateChange, StorageError, Timestamp, Version, step};

impl Evaluator {
    /// The committed outcome of one monitor's transition.
    pub(super) fn settle(&mut self, group: Group, outcome: &Outcome) {
        match outcome {
            Outcome::Committed => self.commit(group),
            Outcome::NameTaken { field } => {
                self.put_back(group.monitor);
                self.answer_named(group, field);
            }
            // A storage says so of documents only.
            Outcome::TooLarge { .. } => self.set_aside(group),
            Outcome::Conflict { found } => {
                let creates =
                    group.requests.iter().any(|decided| matches!(decided.pending.request, Request::Create(_)));
                if creates && found.is_some() {
                    self.answer_named(group, "id");
                } else {
                    self.set_aside(group);
                }
            }
        }
    }

    fn commit(&mut self, group: Group) {
        let Group { monitor, requests, record, changes, owed, removed, rewrites } = group;
        if !self.unsaved.is_empty() {
            self.unsaved.remove(&monitor);
        }
        for Decided { pending, answer } in requests {
            self.answers.push_back((pending.ticket, answer.map(|reply| Done::new(record.clone(), reply))));
        }
        if removed {
            self.forget(monitor);
            self.tell(monitor, None, changes, owed);
        } else {
            self.keep(record.clone());
            if rewrites {
                self.rewritten(monitor, record.version);
            }
            if record.health.incident.is_some() {
                self.look_if_misheld(monitor);
            }
            self.tell(monitor, Some(record), changes, owed);
        }
    }

    /// Incidents of a monitor may have been written with this version of its record.
    pub(super) fn rewritten(&mut self, id: MonitorId, version: Version) {
        if let Some(slot) = self.slots.get_mut(&id) {
            slot.rewritten = version;
        }
    }

    /// Lets others see what was committed.
    pub(super) fn tell(
        &mut self,
        id: MonitorId,
        record: Option<Arc<Record>>,
        changes: Vec<StateChange>,
        owed: Vec<Notification>,
    ) {
        self.committed.records.push((id, record));
        self.committed.changes.extend(changes);
        self.committed.owed.extend(owed);
    }

    /// A name is taken: the one who asked for it is told so. Several requests are decided anew, each apart.
    fn answer_named(&mut self, group: Group, field: &'static str) {
        let several = group.requests.len() > 1;
        for Decided { pending, .. } in group.requests.into_iter().rev() {
            if several {
                self.pending.push_front(Pending { alone: true, ..pending });
                continue;
            }
            match pending.request {
                Request::Ping(..) => self.again(pending),
                Request::Create(_) | Request::Edit(..) => {
                    self.answers.push_back((pending.ticket, Err(Refusal::Taken(field))));
                }
            }
        }
    }

    pub(super) fn again(&mut self, pending: Pending) {
        if pending.tries >= TRIES_MAX {
            let error = StorageError::Unavailable("the monitor is written by too many at once".to_owned());
            self.answers.push_back((pending.ticket, Err(Refusal::Storage(error))));
        } else {
            self.pending.push_front(Pending { tries: pending.tries + 1, ..pending });
        }
    }

    /// Somebody else wrote the monitor: it is read again before its requests are decided anew.
    fn set_aside(&mut self, group: Group) {
        self.put_back(group.monitor);
        let waiting = &mut self.stale.entry(group.monitor).or_default().waiting;
        let mut exhausted = Vec::new();
        for Decided { pending, .. } in group.requests {
            if pending.tries >= TRIES_MAX {
                exhausted.push(pending);
            } else {
                waiting.push(Pending { tries: pending.tries + 1, ..pending });
            }
        }
        for pending in exhausted {
            self.again(pending);
        }
    }

    /// A batch failed: its requests are refused, its deadlines stay due.
    pub(super) fn give_up(&mut self, mut group: Group, error: &StorageError) {
        self.put_back(group.monitor);
        for Decided { pending, .. } in std::mem::take(&mut group.requests) {
            self.answers.push_back((pending.ticket, Err(Refusal::Storage(error.clone()))));
        }
        if matches!(error, StorageError::Unknown(_)) {
            let stale = self.stale.entry(group.monitor).or_default();
            stale.unsure = Some(group);
        }
    }

    pub(super) fn refuse_pending(&mut self, error: &StorageError) {
        for pending in std::mem::take(&mut self.pending) {
            self.answers.push_back((pending.ticket, Err(Refusal::Storage(error.clone()))));
        }
    }

    /// Nothing of a monitor was written: what was to be done about it is still to be done.
    pub(super) fn put_back(&mut self, id: MonitorId) {
        self.rearm(id);
        let now = self.clocks.0;
        if self.slots.get(&id).is_some_and(|slot| slot.is_held() || step::is_ahead(&slot.record, now)) {
            self.ahead.push(id);
        }
        self.look_if_misheld(id);
    }

    /// Puts a monitor whose entry was taken off the queue back into it.
    pub(super) fn rearm(&mut self, id: MonitorId) {
        if let Some(number) = self.slots.find(&id)
            && self.queue.get(number) == Timestamp::MAX
            && let Some(slot) = self.slots.at(number)
        {
            self.queue.set(number, slot.record.health.wake_at());
        }
    }
}
