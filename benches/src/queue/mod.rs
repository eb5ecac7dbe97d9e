//! Priority queues of deadlines, to be compared: the one that the engine has, and others.

mod baselines;
mod heap;
mod radix;
pub mod workload;

pub use baselines::{Delay, EagerHeap, Flat, LazyHeap};
pub use heap::QuaternaryHeap;
pub use radix::RadixHeap;

use heartbeat_engine::Timestamp;

use crate::deadline::{Deadlines, MOVES_MAX};

/// Never, as a deadline.
pub const NEVER: i64 = i64::MAX;

/// When which of many things must be looked at next; deadlines are milliseconds.
pub trait Queue {
    /// Sets the deadline of a thing.
    fn set(&mut self, index: u32, deadline: i64);

    /// Takes deadlines before `now` and gives each to `due`, soonest first, to the millisecond. A look is short: it says whether
    /// there is more to do.
    fn look(&mut self, now: i64, due: &mut dyn FnMut(i64, u32)) -> bool;
}

/// How many deadlines one look takes.
pub const BATCH: usize = 4_096;

/// The queue of the engine: a timing wheel, re-armed lazily.
#[derive(Debug, Default)]
pub struct Wheel(Deadlines);

impl Queue for Wheel {
    fn set(&mut self, index: u32, deadline: i64) {
        self.0.set(index, Timestamp::from_millis(deadline));
    }

    fn look(&mut self, now: i64, due: &mut dyn FnMut(i64, u32)) -> bool {
        let now = Timestamp::from_millis(now);
        let mut moves = MOVES_MAX;
        for _ in 0..BATCH {
            let Some((at, index)) = self.0.pop_before(now, &mut moves) else {
                return moves == 0 && self.0.next().is_some_and(|next| next < now);
            };
            due(at.as_millis(), index);
        }
        true
    }
}

/// The deadlines by index, and the instant of each one's entry; common to all that are re-armed lazily.
#[derive(Debug, Default)]
pub(crate) struct Armed {
    deadlines: Vec<i64>,
    armed: Vec<i64>,
}

impl Armed {
    /// Sets a deadline; true when an entry is needed for it.
    pub(crate) fn set(&mut self, index: u32, deadline: i64) -> bool {
        let at = index as usize;
        if at >= self.deadlines.len() {
            self.deadlines.resize(at + 1, NEVER);
            self.armed.resize(at + 1, NEVER);
        }
        let before = std::mem::replace(&mut self.deadlines[at], deadline);
        // The entry lies at the deadline or before, so most calls touch nothing else.
        if deadline >= before || deadline >= self.armed[at] {
            return false;
        }
        self.armed[at] = deadline;
        true
    }

    /// What becomes of an entry at the front: due, to be put back with another instant, or nothing.
    pub(crate) fn judge(&mut self, at: i64, index: u32) -> Verdict {
        let place = index as usize;
        if self.armed[place] != at {
            return Verdict::Stale;
        }
        let deadline = self.deadlines[place];
        if deadline <= at {
            self.deadlines[place] = NEVER;
            self.armed[place] = NEVER;
            return Verdict::Due;
        }
        self.armed[place] = deadline;
        if deadline == NEVER { Verdict::Stale } else { Verdict::Later(deadline) }
    }
}

/// See [`Armed::judge`].
pub(crate) enum Verdict {
    Due,
    Later(i64),
    Stale,
}

/// Entries in one word: the instant above the index.
pub(crate) mod packed {
    const INDEX_BITS: u32 = 24;
    /// Forty bits of milliseconds reach 34 years on from there.
    const ORIGIN: i64 = 1_700_000_000_000;

    pub(crate) fn entry(at: i64, index: u32) -> u64 {
        ((at - ORIGIN).cast_unsigned() << INDEX_BITS) | u64::from(index)
    }

    pub(crate) fn at(entry: u64) -> i64 {
        (entry >> INDEX_BITS).cast_signed() + ORIGIN
    }

    pub(crate) fn index(entry: u64) -> u32 {
        (entry & ((1 << INDEX_BITS) - 1)) as u32
    }
}
