//! What was settled lately.

use std::collections::{BTreeMap, VecDeque};

use crate::{Delivery, NotificationId};

/// It is in no write yet.
const UNWRITTEN: u64 = u64::MAX;

/// What was settled or grouped, until that is surely stored and a while longer: the store may still show it as owed, and
/// who hands it over may be late.
#[derive(Debug, Default)]
pub(super) struct Settled {
    by_id: BTreeMap<NotificationId, (Delivery, u64)>,
    order: VecDeque<NotificationId>,
    written: u64,
}

impl Settled {
    /// Remembers what is to be written; of those that are stored, `kept` are remembered.
    pub(super) fn remember(&mut self, id: NotificationId, delivery: Delivery, kept: usize) {
        if self.by_id.insert(id, (delivery, UNWRITTEN)).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > kept
            && let Some(oldest) = self.order.front()
            && self.by_id.get(oldest).is_none_or(|(_, write)| *write <= self.written)
        {
            self.by_id.remove(oldest);
            self.order.pop_front();
        }
    }

    /// The `write`-th write says what is remembered of this one.
    pub(super) fn goes_into(&mut self, id: NotificationId, write: u64) {
        if let Some((_, number)) = self.by_id.get_mut(&id) {
            *number = write;
        }
    }

    pub(super) fn find(&self, id: NotificationId) -> Option<&Delivery> {
        self.by_id.get(&id).map(|(delivery, _)| delivery)
    }

    pub(super) fn forget(&mut self, id: NotificationId) {
        if self.by_id.remove(&id).is_some() {
            self.order.retain(|other| *other != id);
        }
    }

    /// The last write that is stored.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// All writes up to this one are stored.
    pub(super) fn handle_written(&mut self, write: u64) {
        self.written = self.written.max(write);
    }

    /// How many are not surely stored.
    pub(super) fn unwritten(&self) -> usize {
        self.by_id.values().filter(|(_, write)| *write > self.written).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    #[test]
    fn what_is_not_stored_yet_is_never_forgotten() {
        let id = |n: u8| NotificationId::named(&[&[n]]);
        let delivery = Delivery::pending(Timestamp::EPOCH);
        let mut settled = Settled::default();
        for n in 0..5 {
            settled.remember(id(n), delivery.clone(), 2);
            settled.goes_into(id(n), u64::from(n));
        }
        assert_eq!((settled.order.len(), settled.unwritten()), (4, 4), "the write 0 counts as stored");
        settled.handle_written(3);
        settled.remember(id(5), delivery.clone(), 2);
        assert_eq!((settled.order.len(), settled.unwritten()), (2, 2));
        assert!(settled.find(id(3)).is_none() && settled.find(id(4)).is_some());
        settled.forget(id(4));
        assert_eq!(settled.order.len(), 1);
    }
}
