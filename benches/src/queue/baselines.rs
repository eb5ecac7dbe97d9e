//! What is at hand without building anything.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use super::{Armed, BATCH, NEVER, Queue, Verdict};

/// No queue at all: the deadlines in an array. The limit of what setting one can cost.
#[derive(Debug, Default)]
pub struct Flat(Vec<i64>);

impl Queue for Flat {
    fn set(&mut self, index: u32, deadline: i64) {
        let at = index as usize;
        if at >= self.0.len() {
            self.0.resize(at + 1, NEVER);
        }
        self.0[at] = deadline;
    }

    fn look(&mut self, _: i64, _: &mut dyn FnMut(i64, u32)) -> bool {
        false
    }
}

fn pop_before(heap: &mut BinaryHeap<Reverse<(i64, u32)>>, now: i64) -> Option<(i64, u32)> {
    heap.peek().filter(|first| first.0.0 < now)?;
    heap.pop().map(|first| first.0)
}

/// The standard library's heap, re-armed lazily.
#[derive(Debug, Default)]
pub struct LazyHeap {
    armed: Armed,
    heap: BinaryHeap<Reverse<(i64, u32)>>,
}

impl Queue for LazyHeap {
    fn set(&mut self, index: u32, deadline: i64) {
        if self.armed.set(index, deadline) {
            self.heap.push(Reverse((deadline, index)));
        }
    }

    fn look(&mut self, now: i64, due: &mut dyn FnMut(i64, u32)) -> bool {
        for _ in 0..BATCH {
            let Some((at, index)) = pop_before(&mut self.heap, now) else { return false };
            match self.armed.judge(at, index) {
                Verdict::Due => due(at, index),
                Verdict::Later(deadline) => self.heap.push(Reverse((deadline, index))),
                Verdict::Stale => {}
            }
        }
        true
    }
}

/// The standard library's heap with a new entry for each deadline that is set.
#[derive(Debug, Default)]
pub struct EagerHeap {
    deadlines: Vec<i64>,
    heap: BinaryHeap<Reverse<(i64, u32)>>,
}

impl Queue for EagerHeap {
    fn set(&mut self, index: u32, deadline: i64) {
        let at = index as usize;
        if at >= self.deadlines.len() {
            self.deadlines.resize(at + 1, NEVER);
        }
        if std::mem::replace(&mut self.deadlines[at], deadline) != deadline && deadline < NEVER {
            self.heap.push(Reverse((deadline, index)));
        }
    }

    fn look(&mut self, now: i64, due: &mut dyn FnMut(i64, u32)) -> bool {
        for _ in 0..BATCH {
            let Some((at, index)) = pop_before(&mut self.heap, now) else { return false };
            if self.deadlines[index as usize] == at {
                self.deadlines[index as usize] = NEVER;
                due(at, index);
            }
        }
        true
    }
}

/// The delay queue of tokio-util, on the paused clock of a runtime that must be entered.
#[derive(Debug)]
pub struct Delay {
    queue: DelayQueue<(i64, u32)>,
    keys: Vec<Option<Key>>,
    /// What the paused clock shows, in the milliseconds of the deadlines.
    now: i64,
    start: tokio::time::Instant,
}

impl Delay {
    /// An empty one at this instant.
    #[must_use]
    pub fn new(now: i64) -> Self {
        Self { queue: DelayQueue::new(), keys: Vec::new(), now, start: tokio::time::Instant::now() }
    }
}

impl Queue for Delay {
    fn set(&mut self, index: u32, deadline: i64) {
        let at = index as usize;
        if at >= self.keys.len() {
            self.keys.resize(at + 1, None);
        }
        // One millisecond on: what is due at an instant has not passed yet.
        let ahead = Duration::from_millis(u64::try_from(deadline.saturating_sub(self.now)).unwrap_or(0) + 1);
        let when = self.start + ahead;
        match &self.keys[at] {
            Some(key) if deadline < NEVER => self.queue.reset_at(key, when),
            Some(_) => {
                if let Some(key) = self.keys[at].take() {
                    self.queue.remove(&key);
                }
            }
            None if deadline < NEVER => self.keys[at] = Some(self.queue.insert_at((deadline, index), when)),
            None => {}
        }
    }

    fn look(&mut self, _: i64, due: &mut dyn FnMut(i64, u32)) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..BATCH {
            let Poll::Ready(Some(expired)) = self.queue.poll_expired(&mut context) else { return false };
            let (at, index) = expired.into_inner();
            self.keys[index as usize] = None;
            due(at, index);
        }
        true
    }
}
