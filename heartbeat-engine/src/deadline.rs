//! The priority queue of deadlines, re-armed lazily.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::{MonitorId, Timestamp};

/// When which monitor must be looked at next, soonest first.
///
/// A heartbeat nearly always moves a deadline *later*. The entry then stays where it is: when it reaches the front,
/// its owner compares it with the monitor's true deadline and puts it back with that one. Only an *earlier* deadline
/// needs a new entry, and the old one is recognised as stale by its instant. The work so grows with the deadlines that
/// pass, not with the heartbeats.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    heap: BinaryHeap<Reverse<(Timestamp, MonitorId)>>,
}

impl Deadlines {
    pub(crate) fn push(&mut self, at: Timestamp, monitor: MonitorId) {
        if at < Timestamp::MAX {
            self.heap.push(Reverse((at, monitor)));
        }
    }

    /// The instant of the first entry, which may be stale.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes the first entry if it lies before `now`.
    pub(crate) fn pop_before(&mut self, now: Timestamp) -> Option<(Timestamp, MonitorId)> {
        if self.next()? >= now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeSet, HashMap};

    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    /// What an owner does: an earlier deadline is pushed, a later one only noted.
    #[derive(Default)]
    struct Owner {
        queue: Deadlines,
        armed: HashMap<MonitorId, Timestamp>,
        real: HashMap<MonitorId, Timestamp>,
    }

    impl Owner {
        fn set(&mut self, id: MonitorId, deadline: Timestamp) {
            self.real.insert(id, deadline);
            let armed = self.armed.entry(id).or_insert(Timestamp::MAX);
            if deadline < *armed {
                *armed = deadline;
                self.queue.push(deadline, id);
            }
        }

        fn passed(&mut self, now: Timestamp) -> Vec<(Timestamp, MonitorId)> {
            let mut found = Vec::new();
            while let Some((at, id)) = self.queue.pop_before(now) {
                if self.armed.get(&id) != Some(&at) {
                    continue;
                }
                let real = self.real[&id];
                self.armed.insert(id, Timestamp::MAX);
                if real > at {
                    self.set(id, real);
                } else {
                    self.real.insert(id, Timestamp::MAX);
                    found.push((at, id));
                }
            }
            found
        }
    }

    proptest! {
        #[test]
        fn passed_deadlines_come_as_from_a_sorted_set(
            deeds in prop::collection::vec((0_u8..6, 1_i64..100, 0_i64..20), 1..200),
        ) {
            let mut owner = Owner::default();
            let mut set: BTreeSet<(Timestamp, MonitorId)> = BTreeSet::new();
            let mut now = 0;
            for (monitor, ahead, gap) in deeds {
                now += gap;
                let passed: Vec<_> = set.iter().copied().take_while(|(deadline, _)| *deadline < at(now)).collect();
                set.retain(|(deadline, _)| *deadline >= at(now));
                prop_assert_eq!(owner.passed(at(now)), passed);
                prop_assert!(owner.queue.next().is_none_or(|next| set.first().is_none_or(|(first, _)| next <= *first)));
                let id = MonitorId::from_bytes([monitor; 16]);
                set.retain(|(_, other)| *other != id);
                set.insert((at(now + ahead), id));
                owner.set(id, at(now + ahead));
            }
        }
    }

    #[test]
    fn never_is_not_queued_and_a_deadline_has_not_passed_in_its_own_instant() {
        let id = MonitorId::from_bytes([1; 16]);
        let mut queue = Deadlines::default();
        queue.push(Timestamp::MAX, id);
        assert_eq!(queue.next(), None);
        queue.push(at(5), id);
        assert_eq!(queue.pop_before(at(5)), None);
        assert_eq!(queue.pop_before(at(6)), Some((at(5), id)));
    }
}
