//! What was counted and timed.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::failure::{Failure, Outcome};

/// The longest latency that is told apart, in microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;
const DIGITS: u8 = 3;

/// Requests of one kind.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Answered with success.
    pub(crate) answered: u64,
    /// Answered otherwise, by status.
    pub(crate) refused: BTreeMap<u16, u64>,
    /// Sent and not answered.
    pub(crate) lost: u64,
    /// Due and not sent, because no connection was free.
    pub(crate) unsent: u64,
    /// How long it took, from the first request to the last answer.
    pub(crate) elapsed: Duration,
    latency: Histogram<u64>,
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new() -> Outcome<Self> {
        let latency = Histogram::new_with_bounds(1, LATENCY_US_MAX, DIGITS);
        Ok(Self {
            answered: 0,
            refused: BTreeMap::new(),
            lost: 0,
            unsent: 0,
            elapsed: Duration::ZERO,
            latency: latency.map_err(Failure::of("a histogram"))?,
        })
    }

    /// Counts an answer with success that came after so many nanoseconds.
    pub(crate) fn answer(&mut self, nanoseconds: u64) {
        self.answered += 1;
        self.latency.saturating_record(nanoseconds.div_ceil(1000));
    }

    /// Counts an answer without success.
    pub(crate) fn refuse(&mut self, status: u16) {
        *self.refused.entry(status).or_default() += 1;
    }

    /// Adds what was counted at another time.
    pub(crate) fn add(&mut self, other: &Self) -> Outcome<()> {
        self.answered += other.answered;
        for (status, count) in &other.refused {
            *self.refused.entry(*status).or_default() += count;
        }
        self.lost += other.lost;
        self.unsent += other.unsent;
        self.elapsed += other.elapsed;
        self.latency.add(&other.latency).map_err(Failure::of("a histogram"))
    }

    /// Answers with success per second.
    pub(crate) fn per_second(&self) -> f64 {
        if self.elapsed.is_zero() { 0.0 } else { self.answered as f64 / self.elapsed.as_secs_f64() }
    }

    /// The latency that this part of the answers (0.5, 0.99) did not exceed, in milliseconds; `None` without answers.
    pub(crate) fn latency_ms(&self, part: f64) -> Option<f64> {
        (self.answered > 0).then(|| self.latency.value_at_quantile(part) as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_the_whole() {
        let (mut one, mut other) = (Tally::new().unwrap(), Tally::new().unwrap());
        for n in 1..=99 {
            one.answer(n * 10_000);
        }
        one.elapsed = Duration::from_secs(1);
        other.answer(50_000_000);
        other.refuse(503);
        other.elapsed = Duration::from_secs(3);
        one.add(&other).unwrap();
        assert_eq!((one.answered, one.refused[&503], one.per_second()), (100, 1, 25.0));
        assert_eq!(one.latency_ms(0.5), Some(0.5));
        assert_eq!(one.latency_ms(0.99), Some(0.99));
        let longest = one.latency_ms(1.0).unwrap();
        assert!((49.9..=50.1).contains(&longest), "{longest}");
    }

    #[test]
    fn nothing_has_no_latency_and_what_is_longer_than_all_counts() {
        let mut tally = Tally::new().unwrap();
        assert_eq!((tally.latency_ms(0.5), tally.per_second()), (None, 0.0));
        tally.answer(u64::MAX / 2);
        assert!(tally.latency_ms(0.5).unwrap() >= 59_000.0);
    }
}
