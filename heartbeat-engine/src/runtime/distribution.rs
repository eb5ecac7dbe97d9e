//! How measured values are distributed, counted without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How measured values are distributed: how many lie in each bucket, and their sum.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct Distribution {
    /// The upper bound of each bucket, which belongs to it, and how many values lie in it and in none before it. The last
    /// bound is infinite.
    pub buckets: Vec<(f64, u64)>,
    /// The sum of all values.
    pub sum: f64,
}

impl Distribution {
    /// How many values were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

/// Counts whole values.
#[derive(Debug)]
pub(crate) struct Tally {
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Tally {
    /// Bounds in ascending order.
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    pub(crate) fn count(&self, value: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Counts a duration in microseconds.
    pub(crate) fn count_us(&self, duration: Duration) {
        self.count(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// What was counted, in units of which one has `per_unit` of those that were counted.
    pub(crate) fn read(&self, per_unit: f64) -> Distribution {
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / per_unit).chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        Distribution { buckets: bounds.zip(counts).collect(), sum: self.sum.load(Ordering::Relaxed) as f64 / per_unit }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let tally = Tally::new(&[1_000, 5_000]);
        for us in [0, 1_000, 1_001, 5_000, 5_001, 900_000] {
            tally.count_us(Duration::from_micros(us));
        }
        let read = tally.read(1e6);
        assert_eq!(read.buckets, [(0.001, 2), (0.005, 2), (f64::INFINITY, 2)]);
        assert!((read.sum - 0.912_002).abs() < 1e-9, "{}", read.sum);
        assert_eq!(read.count(), 6);
    }
}
