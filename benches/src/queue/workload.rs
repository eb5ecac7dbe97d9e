//! What is asked of a queue, made beforehand so that only the queue is measured.

use std::time::Duration;

use super::Queue;
use crate::cpu::timed;

/// When it begins, in milliseconds.
pub const START: i64 = 1_795_000_000_000;
const SECOND: i64 = 1_000;
const HOUR: i64 = 3_600 * SECOND;
/// Time passes in steps of 100 ms.
const STEP: i64 = 100;
/// How long it is before the measurement begins, and how long that lasts.
const WARM_UP: i64 = HOUR / 4;
const MEASURED: i64 = HOUR / 2;

/// A sequence of numbers that looks random and is always the same.
#[derive(Debug)]
pub struct Numbers(u64);

impl Numbers {
    /// The sequence of this seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((u128::from(mixed ^ (mixed >> 31)) * u128::from(end)) >> 64) as u64
    }

    fn time(&mut self, from: i64, to: i64) -> i64 {
        from + self.below((to - from).cast_unsigned()).cast_signed()
    }
}

/// How long something took on the processor.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// All of it.
    pub total: Duration,
    /// How many operations that were.
    pub operations: usize,
    /// The longest single look, or the longest run of 256 deadlines that were set.
    pub longest: Duration,
}

impl Measured {
    /// Nanoseconds for each operation.
    #[must_use]
    pub fn ns(&self) -> f64 {
        self.total.as_secs_f64() * 1e9 / self.operations.max(1) as f64
    }

    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (result, took) = timed(work);
        self.total += took;
        self.longest = self.longest.max(took);
        result
    }
}

/// Sets the deadline of each of `count` things within the hour after the start.
pub fn fill(queue: &mut impl Queue, count: u32) {
    let mut numbers = Numbers::new(1);
    for index in 0..count {
        queue.set(index, START + numbers.time(60 * SECOND, HOUR));
    }
}

/// *Ping*: deadlines of filled things are set later, in random order.
pub fn ping(queue: &mut impl Queue, count: u32) -> Measured {
    let mut numbers = Numbers::new(2);
    let mut measured = Measured::default();
    for round in 1..=4 {
        let pings: Vec<(u32, i64)> = (0..count)
            .map(|_| (numbers.below(count.into()) as u32, START + round * HOUR + numbers.time(0, HOUR)))
            .collect();
        for part in pings.chunks(256) {
            measured.time(|| part.iter().for_each(|(index, deadline)| queue.set(*index, *deadline)));
        }
        measured.operations += pings.len();
    }
    measured
}

/// *Expire*: everything that was filled is drained. `pass` lets a clock of the queue's own follow.
pub fn expire(queue: &mut impl Queue, count: u32, mut pass: impl FnMut(i64)) -> Measured {
    let mut measured = Measured::default();
    let mut now = START;
    while measured.operations < count as usize && now < START + 2 * HOUR {
        now += STEP;
        pass(STEP);
        drain(queue, now, &mut measured);
    }
    measured
}

/// *Steady*: each thing is pinged once in its period of 1 min to 1 h, which leaves its deadline a fifth of a period behind the
/// next ping; of a thousand pings one is left out, and the thing expires. Everything that this asks of the queue counts.
pub fn steady(queue: &mut impl Queue, count: u32, mut pass: impl FnMut(i64)) -> Measured {
    let (mut measured, mut ignored) = (Measured::default(), Measured::default());
    let mut numbers = Numbers::new(3);
    let periods: Vec<i64> = (0..count).map(|_| numbers.time(60 * SECOND, HOUR)).collect();
    let mut steps: Vec<Vec<u32>> = vec![Vec::new(); ((WARM_UP + MEASURED) / STEP) as usize];
    for (index, period) in (0..).zip(&periods) {
        let first = numbers.time(0, *period);
        queue.set(index, START + first + period / 5);
        let mut at = first;
        while at < WARM_UP + MEASURED {
            if numbers.below(1_000) > 0 {
                steps[(at / STEP) as usize].push(index);
            }
            at += period;
        }
    }
    let mut now = START;
    for (step, indices) in (0..).zip(steps) {
        now += STEP;
        pass(STEP);
        let pings: Vec<(u32, i64)> =
            indices.iter().map(|index| (*index, now + periods[*index as usize] * 6 / 5)).collect();
        let measured = if step * STEP < WARM_UP { &mut ignored } else { &mut measured };
        for part in pings.chunks(256) {
            measured.time(|| part.iter().for_each(|(index, deadline)| queue.set(*index, *deadline)));
        }
        let operations = measured.operations;
        drain(queue, now, measured);
        measured.operations = operations + pings.len();
    }
    measured
}

fn drain(queue: &mut impl Queue, now: i64, measured: &mut Measured) {
    let mut found = 0;
    let mut last = 0;
    while measured.time(|| {
        queue.look(now, &mut |at, _| {
            debug_assert!(at >= last && at < now);
            last = at;
            found += 1;
        })
    }) {}
    measured.operations += found;
}
