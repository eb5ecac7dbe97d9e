//! Messages that are held back for a digest and do not fit into memory whole: of these only what the digest needs is held.

use std::collections::BTreeSet;

use super::digest::Part;
use super::lane::Lane;
use super::{Outbox, Owed};
use crate::{Digest, NotificationId, Timestamp};

/// They came after everything that waits whole, and nothing enters in another way while there are some.
#[derive(Debug, Default)]
pub(super) struct Held {
    parts: Vec<Part>,
    ids: BTreeSet<NotificationId>,
}

impl Held {
    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    pub(super) fn contains(&self, id: NotificationId) -> bool {
        !self.ids.is_empty() && self.ids.contains(&id)
    }

    /// When the first of them came to be owed.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        self.parts.first().map(|part| part.created_at)
    }

    fn push(&mut self, owed: Owed) {
        // More than those are never listed.
        let listed = self.parts.len() < Digest::ITEMS_MAX;
        self.ids.insert(owed.notification.id);
        self.parts.push(Part::of(owed.notification, listed));
    }

    /// Lets go of those that a digest covers.
    pub(super) fn remove(&mut self, covered: &BTreeSet<NotificationId>) {
        self.parts.retain(|part| !covered.contains(&part.id));
        self.ids.retain(|id| !covered.contains(id));
    }

    pub(super) fn take(&mut self) -> Vec<Part> {
        self.ids.clear();
        std::mem::take(&mut self.parts)
    }
}

impl Outbox {
    /// Whether one more message that does not fit into memory whole can wait for a digest: what waits already uses up all
    /// that goes out one by one, and nothing is only in the store.
    pub(super) fn can_hold(&self) -> bool {
        let grouping = self.settings.grouping;
        let fits = self.held.len() < self.limits.held && !grouping.wait.is_zero() && !self.refill.overflows();
        fits && (!self.held.is_empty() || self.window.room(grouping) <= self.queue.count_not_admitted())
    }

    /// Holds a message for the next digest, and answers whether it could. One that was tried goes out by itself, and so
    /// does what came before one that waits behind such a message.
    pub(super) fn hold(&mut self, owed: Owed) -> bool {
        let lane = Lane::of(&owed.notification);
        let holds = self.can_hold() && owed.delivery.attempts == 0 && !self.queue.goes_on(lane);
        if holds {
            self.held.push(owed);
        }
        holds
    }

    /// What is held is only in the store from now on, to be read when there is room.
    pub(super) fn leave_held(&mut self) {
        if !self.held.is_empty() {
            self.held.take();
            self.refill.overflow();
        }
    }

    /// Leaves to the store what is held and would overtake an earlier message of the same monitor if it were told now.
    pub(super) fn leave_overtaking(&mut self) {
        let goes_on = |part: &&Part| self.queue.goes_on(Lane::of_monitor(part.monitor));
        let left: BTreeSet<NotificationId> = self.held.parts.iter().filter(goes_on).map(|part| part.id).collect();
        if !left.is_empty() {
            self.held.remove(&left);
            self.refill.overflow();
        }
    }
}
