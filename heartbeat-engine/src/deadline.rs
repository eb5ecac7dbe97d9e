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
