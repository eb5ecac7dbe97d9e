//! What an outbox has stored: outcomes in bounded pages, digests before what they cover.

use std::collections::{BTreeMap, BTreeSet};

use super::{Outbox, Phase};
use crate::{Delivery, Notification, NotificationId, Settlement};

/// What must be stored in one atomic step.
#[derive(Clone, PartialEq, Debug)]
pub struct OutboxWrite {
    /// Counts an outbox's writes; when it is stored, [`Outbox::handle_written`] is told so.
    pub number: u64,
    /// Outcomes, no two of one notification. None of the notifications below is among them.
    pub settlements: Vec<Settlement>,
    /// New messages, each of which is handed to its channel's outbox when it is stored: a digest comes back to this one.
    pub notifications: Vec<Notification>,
}

impl OutboxWrite {
    /// Takes in a later write of the same outbox, so that both are stored as one.
    pub fn absorb(&mut self, later: Self) {
        let newer: BTreeSet<_> = later.settlements.iter().map(|settlement| settlement.id).collect();
        self.settlements.retain(|settlement| !newer.contains(&settlement.id));
        self.settlements.extend(later.settlements);
        self.notifications.extend(later.notifications);
        self.number = self.number.max(later.number);
    }
}

/// What is to be stored, in the order in which it came about.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    changes: BTreeMap<u64, Change>,
    /// Where each outcome stands; of one notification only the last is kept.
    places: BTreeMap<NotificationId, u64>,
    last: u64,
}

#[derive(Debug)]
enum Change {
    Settled(Settlement),
    Owed(Box<Notification>),
}

impl Unwritten {
    pub(super) fn owe(&mut self, notification: Notification) {
        self.push(Change::Owed(Box::new(notification)));
    }

    fn settle(&mut self, settlement: Settlement) {
        self.forget(settlement.id);
        self.places.insert(settlement.id, self.last + 1);
        self.push(Change::Settled(settlement));
    }

    /// Lets go of an outcome that is no longer true.
    pub(super) fn forget(&mut self, id: NotificationId) {
        if let Some(place) = self.places.remove(&id) {
            self.changes.remove(&place);
        }
    }

    fn push(&mut self, change: Change) {
        self.last += 1;
        self.changes.insert(self.last, change);
    }

    /// How many outcomes there are.
    fn outcomes(&self) -> usize {
        self.places.len()
    }

    fn next(&self) -> Option<&Change> {
        self.changes.values().next()
    }

    fn begins_with_digest(&self) -> bool {
        matches!(self.next(), Some(Change::Owed(notification)) if notification.digest.is_some())
    }

    /// Takes the next outcomes, `most` at the most, and what is owed between them and right after; with `digests`, also
    /// digests that do not come first.
    fn take(&mut self, most: usize, digests: bool) -> (Vec<Settlement>, Vec<Notification>) {
        let (mut settlements, mut notifications) = (Vec::new(), Vec::new());
        while let Some(next) = self.next() {
            let is_first = settlements.is_empty() && notifications.is_empty();
            let fits = match next {
                Change::Settled(_) => settlements.len() < most,
                Change::Owed(notification) => notification.digest.is_none() || is_first || digests,
            };
            if !fits {
                break;
            }
            match self.changes.pop_first() {
                Some((_, Change::Settled(settlement))) => {
                    self.places.remove(&settlement.id);
                    settlements.push(settlement);
                }
                Some((_, Change::Owed(notification))) => notifications.push(*notification),
                None => break,
            }
        }
        (settlements, notifications)
    }
}

impl Outbox {
    /// What must be stored now, if something must. A write that fails is to be written again, before or with the next.
    ///
    /// A write has a bounded number of outcomes; while there are more, the next one waits until [`Outbox::handle_written`]
    /// says that it is stored. A digest is stored before the outcomes of what it covers, and its own outcome after them: so
    /// whoever finds it owed knows that what it covers is told with it. And it is stored after every outcome that came before
    /// it: so whoever finds it owed may tell it before all else that is owed of the same monitors (S7.3).
    pub fn poll_write(&mut self) -> Option<OutboxWrite> {
        self.unwritten.next()?;
        let most = self.limits.queue.saturating_mul(2);
        let closing = self.phase == Phase::Closing;
        // A write is not one step where its parts are kept in several places, so a digest waits until all before it is
        // stored. At the end nobody may ask again.
        let must_wait = self.unwritten.outcomes() > most || self.unwritten.begins_with_digest();
        if must_wait && self.settled.written() < self.writes && !closing {
            return None;
        }
        self.writes += 1;
        let (settlements, notifications) = self.unwritten.take(most, closing);
        settlements.iter().for_each(|settlement| self.settled.goes_into(settlement.id, self.writes));
        Some(OutboxWrite { number: self.writes, settlements, notifications })
    }

    /// Puts a delivery's new state into the next write.
    pub(super) fn settle(&mut self, id: NotificationId, delivery: Delivery) {
        self.unwritten.settle(Settlement { id, delivery });
    }

    /// A notification that a digest covers shares its fate.
    pub(super) fn settle_covered(&mut self, id: NotificationId, delivery: &Delivery) {
        self.remember(id, delivery.clone());
        self.settle(id, delivery.clone());
    }

    pub(super) fn remember(&mut self, id: NotificationId, delivery: Delivery) {
        let kept = if self.refill.is_reading() { usize::MAX } else { self.limits.queue.saturating_mul(2) };
        self.settled.remember(id, delivery, kept);
    }
}
