//! What will happen, in order: by time, and at one instant in the order in which it was planned.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use crate::Timestamp;

#[derive(Debug)]
struct Planned<T> {
    at: Timestamp,
    number: u64,
    what: T,
}

impl<T> PartialEq for Planned<T> {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl<T> Eq for Planned<T> {}

impl<T> PartialOrd for Planned<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Planned<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The one queue of a simulated world.
#[derive(Debug)]
pub(super) struct Queue<T> {
    heap: BinaryHeap<Reverse<Planned<T>>>,
    count: u64,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), count: 0 }
    }

    pub(super) fn push(&mut self, at: Timestamp, what: T) {
        self.count += 1;
        self.heap.push(Reverse(Planned { at, number: self.count, what }));
    }

    pub(super) fn pop(&mut self) -> Option<(Timestamp, T)> {
        self.heap.pop().map(|Reverse(planned)| (planned.at, planned.what))
    }
}
