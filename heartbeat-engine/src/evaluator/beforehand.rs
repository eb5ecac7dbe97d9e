//! Decisions made beforehand: while a batch is being written, the next monitors that are due are decided already, so that an
//! event of a hundred thousand keeps the storage and the evaluator busy at the same time.
//!
//! Nothing rests on them. The monitors stay due, and a decision is used only where all that it was made from is still so, and else
//! made anew: the record is the same one, no request has come for the monitor, and outages, windows and routes have not changed.
//! That time has passed makes no difference, as none of what arrived meanwhile is about the monitor.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use super::build::Gathered;
use super::depend::Planned;
use super::few::Few;
use super::{Evaluator, Slot};
use crate::absence::Look;
use crate::slab::IdMap;
use crate::{MonitorId, Record, Timestamp, Transition};

/// What was decided beforehand.
#[derive(Debug, Default)]
pub(super) struct Beforehand {
    decisions: IdMap<Decision>,
    /// The last monitor that was looked at, in the order of ids.
    last: Option<MonitorId>,
    /// When they were made.
    at: Timestamp,
}

#[derive(Debug)]
struct Decision {
    /// The record that it was made from.
    base: Arc<Record>,
    transition: Transition,
}

impl Beforehand {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn has(&self, slot: &Slot) -> bool {
        self.decisions.get(&slot.record.id()).is_some_and(|decision| Arc::ptr_eq(&decision.base, &slot.record))
    }
}

impl Evaluator {
    /// Decides up to `count` monitors that are due while a batch is under way, for the next one; says whether there may be more
    /// to decide. Whether it is called, and how often, changes nothing but how soon the next batch is there.
    pub fn decide_beforehand(&mut self, count: usize) -> bool {
        let now = self.clocks.0;
        let seen = self.unsaved.is_empty() && self.foreseeing.is_none();
        let steady = self.look == Look::Steady && self.unsure.is_none() && seen;
        if self.under_way.is_none() || !self.judges || self.awaits_life() || !self.stale.is_empty() || !steady {
            return false;
        }
        if self.beforehand.last.is_none() && self.due.len() < self.due_most {
            self.take_off_queue(now);
        }
        let after = self.beforehand.last.map_or(Unbounded, Excluded);
        let room = self.due_most.saturating_sub(self.beforehand.decisions.len());
        let alone = |id: &MonitorId| Gathered { monitor: *id, requests: Few::default() };
        let next: Vec<Gathered> = self.due.range((after, Unbounded)).take(count.min(room)).map(alone).collect();
        self.fetch(&next);
        let (planned, more) = (Planned::default(), !next.is_empty());
        self.beforehand.at = now;
        for Gathered { monitor, requests } in next {
            self.beforehand.last = Some(monitor);
            let Some(slot) = self.slots.get(&monitor) else { continue };
            // What others that the same batch decides come to may decide about those that depend on them.
            if !slot.record.spec().depends_on.is_empty() || self.beforehand.has(slot) {
                continue;
            }
            let base = slot.record.clone();
            if let Some(transition) = self.decide(monitor, requests, now, &planned).transition {
                self.beforehand.decisions.insert(monitor, Decision { base, transition });
            }
        }
        more
    }

    /// Whether the next batch was begun with beforehand.
    #[must_use]
    pub fn has_decided_beforehand(&self) -> bool {
        !self.beforehand.decisions.is_empty()
    }

    /// Takes what was decided beforehand about a monitor that goes into a batch, and gives it where it holds: with requests, or with
    /// another record, it is decided anew.
    pub(super) fn decided_beforehand(&mut self, monitor: MonitorId, alone: bool) -> Option<Transition> {
        if self.beforehand.decisions.is_empty() {
            return None;
        }
        let decision = self.beforehand.decisions.remove(&monitor)?;
        let holds = alone && Arc::ptr_eq(&decision.base, &self.slots.get(&monitor)?.record);
        holds.then_some(decision.transition)
    }

    /// Before a batch is made: forgets what was decided by a clock that shows an earlier time now.
    pub(super) fn check_beforehand(&mut self) {
        self.beforehand.last = None;
        if self.clocks.0 < self.beforehand.at {
            self.beforehand.clear();
        }
    }
}
