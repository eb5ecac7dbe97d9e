//! A radix heap of packed entries, re-armed lazily: buckets by the highest bit in which an instant differs from the front.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Armed, BATCH, Queue, Verdict, packed};

const BUCKETS: usize = 65;

/// See the module.
#[derive(Debug)]
pub struct RadixHeap {
    armed: Armed,
    buckets: Vec<Vec<u64>>,
    /// The instant that the buckets are counted from.
    front: i64,
    /// What lay before the front when it was put in.
    behind: BinaryHeap<Reverse<u64>>,
}

impl Default for RadixHeap {
    fn default() -> Self {
        Self { armed: Armed::default(), buckets: vec![Vec::new(); BUCKETS], front: 0, behind: BinaryHeap::new() }
    }
}

impl Queue for RadixHeap {
    fn set(&mut self, index: u32, deadline: i64) {
        if self.armed.set(index, deadline) {
            self.put(deadline, index);
        }
    }

    fn look(&mut self, now: i64, due: &mut dyn FnMut(i64, u32)) -> bool {
        for _ in 0..BATCH {
            let Some(entry) = self.pop(now) else { return false };
            let (at, index) = (packed::at(entry), packed::index(entry));
            match self.armed.judge(at, index) {
                Verdict::Due => due(at, index),
                Verdict::Later(deadline) => self.put(deadline, index),
                Verdict::Stale => {}
            }
        }
        true
    }
}

impl RadixHeap {
    fn put(&mut self, at: i64, index: u32) {
        if at < self.front {
            self.behind.push(Reverse(packed::entry(at, index)));
        } else {
            self.buckets[bucket(at, self.front)].push(packed::entry(at, index));
        }
    }

    fn pop(&mut self, now: i64) -> Option<u64> {
        if let Some(Reverse(first)) = self.behind.peek() {
            return if packed::at(*first) < now { self.behind.pop().map(|first| first.0) } else { None };
        }
        // Of those that move down, all may belong to later deadlines.
        while self.buckets[0].is_empty() {
            let next = self.buckets.iter().position(|bucket| !bucket.is_empty())?;
            let front = self.buckets[next].iter().copied().map(packed::at).min()?;
            if front >= now {
                return None;
            }
            self.front = front;
            let mut moved = std::mem::take(&mut self.buckets[next]);
            for entry in moved.drain(..) {
                // On its way down an entry goes to where its deadline of now belongs, if it is the one that counts.
                let index = packed::index(entry);
                match self.armed.judge_ahead(packed::at(entry), index) {
                    Some(at) => self.put(at, index),
                    None => continue,
                }
            }
            self.buckets[next] = moved;
        }
        if self.front >= now { None } else { self.buckets[0].pop() }
    }
}

impl Armed {
    /// The instant with which an entry that is not at the front yet goes on; `None` where it is stale.
    fn judge_ahead(&mut self, at: i64, index: u32) -> Option<i64> {
        let place = index as usize;
        if self.armed[place] != at {
            return None;
        }
        self.armed[place] = self.deadlines[place];
        (self.deadlines[place] < super::NEVER).then_some(self.deadlines[place])
    }
}

fn bucket(at: i64, front: i64) -> usize {
    (i64::BITS - (at ^ front).leading_zeros()) as usize
}
