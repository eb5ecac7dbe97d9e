//! What an outbox has stored: outcomes in bounded pages, digests before what they cover.

use std::collections::BTreeSet;

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

impl Outbox {
    /// What must be stored now, if something must. A write that fails is to be written again, before or with the next.
    ///
    /// A write has a bounded number of outcomes; while there are more, the next one waits until [`Outbox::handle_written`]
    /// says that it is stored. A digest is stored before the outcomes of what it covers, and its own outcome after them: so
    /// whoever finds it owed knows that what it covers is told with it.
    pub fn poll_write(&mut self) -> Option<OutboxWrite> {
        if self.settlements.is_empty() && self.digests.is_empty() && self.notifications.is_empty() {
            return None;
        }
        let most = self.limits.queue.saturating_mul(2);
        let closing = self.phase == Phase::Closing;
        if self.settlements.len() > most && self.settled.written() < self.writes && !closing {
            return None;
        }
        self.writes += 1;
        let mut settlements = Vec::new();
        while settlements.len() < most
            && let Some((id, delivery)) = self.settlements.pop_first()
        {
            settlements.push(Settlement { id, delivery });
        }
        if self.settlements.is_empty() {
            let digests = std::mem::take(&mut self.digests).into_iter();
            settlements.extend(digests.map(|(id, delivery)| Settlement { id, delivery }));
        }
        settlements.iter().for_each(|settlement| self.settled.goes_into(settlement.id, self.writes));
        let notifications = std::mem::take(&mut self.notifications);
        Some(OutboxWrite { number: self.writes, settlements, notifications })
    }

    /// Puts a delivery's new state into the next write.
    pub(super) fn settle(&mut self, id: NotificationId, delivery: Delivery) {
        self.settlements.insert(id, delivery);
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
