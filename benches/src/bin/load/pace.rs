//! When heartbeats are to be sent that come at a rate, whatever the server does.

/// An even rate: the `n`-th is due at `n / rate`. Times are nanoseconds since the start.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    per_second: f64,
    next: u64,
}

impl Pace {
    /// This many per second.
    pub(crate) fn new(per_second: f64) -> Self {
        Self { per_second, next: 0 }
    }

    /// When the next one is due.
    pub(crate) fn due(&self) -> u64 {
        (self.next as f64 * 1e9 / self.per_second) as u64
    }

    /// Takes the next one if it is due by `now`: the instant at which it should have gone.
    pub(crate) fn take(&mut self, now: u64) -> Option<u64> {
        let due = self.due();
        (due <= now).then(|| {
            self.next += 1;
            due
        })
    }

    /// How many are due by `now` and were not taken.
    pub(crate) fn behind(&self, now: u64) -> u64 {
        let due = (now as f64 * self.per_second / 1e9) as u64 + 1;
        due.saturating_sub(self.next)
    }

    /// How often to look, in nanoseconds: as often as one is due, within limits.
    pub(crate) fn tick(&self) -> u64 {
        ((1e9 / self.per_second) as u64).clamp(50_000, 10_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_due_at_its_own_time_however_late_it_is_taken() {
        let mut pace = Pace::new(1000.0);
        assert_eq!(pace.take(0), Some(0));
        assert_eq!(pace.take(999_999), None);
        assert_eq!(pace.due(), 1_000_000);
        // The server stood still for 3 ms: those that were due meanwhile keep their times.
        assert_eq!(pace.behind(4_000_000), 4);
        let late: Vec<_> = std::iter::from_fn(|| pace.take(4_000_000)).collect();
        assert_eq!(late, [1_000_000, 2_000_000, 3_000_000, 4_000_000]);
        assert_eq!(pace.behind(4_500_000), 0);
    }

    #[test]
    fn rates_that_divide_nothing_do_not_drift() {
        let mut pace = Pace::new(30_000.0);
        let mut taken = 0;
        let mut now = 0;
        while now <= 10_000_000_000 {
            while pace.take(now).is_some() {
                taken += 1;
            }
            now += 70_001;
        }
        assert!((299_990..=300_001).contains(&taken), "{taken}");
    }

    #[test]
    fn looks_neither_too_often_nor_too_seldom() {
        assert_eq!(Pace::new(10_000.0).tick(), 100_000);
        assert_eq!(Pace::new(1_000_000.0).tick(), 50_000);
        assert_eq!(Pace::new(1.0).tick(), 10_000_000);
    }
}
