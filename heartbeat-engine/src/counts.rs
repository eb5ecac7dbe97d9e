//! Heartbeats counted by the hour and by the day, which are kept longer than the heartbeats themselves.

use std::time::Duration;

use crate::{PingEntry, Signal, Timestamp};

/// What heartbeats are counted by: hours and days of UTC.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CountsPer {
    /// Hours.
    Hour,
    /// Days: the sum of their hours.
    Day,
}

impl CountsPer {
    /// How many milliseconds it has.
    #[must_use]
    pub const fn millis(self) -> i64 {
        match self {
            Self::Hour => 3_600_000,
            Self::Day => 86_400_000,
        }
    }

    /// When the hour or the day began in which an instant lies.
    #[must_use]
    pub const fn begin(self, at: Timestamp) -> Timestamp {
        Timestamp::from_millis(at.as_millis().div_euclid(self.millis()).saturating_mul(self.millis()))
    }

    /// Sums up counts that come in order, newest first or oldest first.
    pub fn gather(self, counts: impl Iterator<Item = Counts>) -> impl Iterator<Item = Counts> {
        let mut rest = counts.peekable();
        std::iter::from_fn(move || {
            let begins_at = self.begin(rest.peek()?.begins_at);
            let mut sum = Counts::new(begins_at);
            while let Some(counts) = rest.next_if(|counts| self.begin(counts.begins_at) == begins_at) {
                sum.merge(&counts);
            }
            Some(sum)
        })
    }
}

/// The heartbeats of a monitor that arrived within an hour or a day.
///
/// ```
/// use std::time::Duration;
/// use heartbeat_engine::{Counts, CountsPer, Signal, Timestamp};
///
/// let mut counts = Counts::new(CountsPer::Hour.begin("2026-11-20T08:05:00Z".parse()?));
/// counts.add(Signal::Success, Some(Duration::from_secs(2)));
/// counts.add(Signal::Fail, None);
/// assert_eq!((counts.total(), counts.of(Signal::Fail), counts.durations.max_ms), (2, 1, 2000));
/// assert_eq!(counts.begins_at.to_string(), "2026-11-20T08:00:00Z");
/// # Ok::<(), heartbeat_engine::ParseTimestampError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Counts {
    /// When the hour or the day began.
    pub begins_at: Timestamp,
    /// In the order of [`Signal::ALL`].
    by_signal: [u64; Signal::ALL.len()],
    /// How long the runs lasted that ended in it, as far as that is known, see [`PingEntry::took`].
    pub durations: Durations,
}

/// What is kept of some durations; all 0 when there were none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Durations {
    /// How many there were.
    pub count: u64,
    /// Their sum in milliseconds, saturating.
    pub sum_ms: u64,
    /// The shortest in milliseconds.
    pub min_ms: u64,
    /// The longest in milliseconds.
    pub max_ms: u64,
}

impl Counts {
    /// No heartbeats in the hour or the day that began then.
    #[must_use]
    pub const fn new(begins_at: Timestamp) -> Self {
        let durations = Durations { count: 0, sum_ms: 0, min_ms: 0, max_ms: 0 };
        Self { begins_at, by_signal: [0; Signal::ALL.len()], durations }
    }

    /// How many heartbeats had this signal, as they are kept, see [`PingEntry::signal`].
    #[must_use]
    pub const fn of(&self, signal: Signal) -> u64 {
        self.by_signal[signal as usize]
    }

    /// How many heartbeats there were.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_signal.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Counts one more heartbeat; `took` is [`PingEntry::took`], of which whole milliseconds count.
    pub fn add(&mut self, signal: Signal, took: Option<Duration>) {
        self.add_many(signal, 1);
        if let Some(took) = took {
            let ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
            self.durations.merge(&Durations { count: 1, sum_ms: ms, min_ms: ms, max_ms: ms });
        }
    }

    /// Counts so many more heartbeats with a signal.
    pub fn add_many(&mut self, signal: Signal, count: u64) {
        let sum = &mut self.by_signal[signal as usize];
        *sum = sum.saturating_add(count);
    }

    /// Adds others; when these began stays.
    pub fn merge(&mut self, other: &Self) {
        for signal in Signal::ALL {
            self.add_many(signal, other.of(signal));
        }
        self.durations.merge(&other.durations);
    }
}

impl Durations {
    fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        self.min_ms = if self.count == 0 { other.min_ms } else { self.min_ms.min(other.min_ms) };
        self.max_ms = self.max_ms.max(other.max_ms);
        self.sum_ms = self.sum_ms.saturating_add(other.sum_ms);
        self.count = self.count.saturating_add(other.count);
    }
}

impl PingEntry {
    /// How long the run lasted that it ended: as the monitor measured it, else as the job said.
    #[must_use]
    pub fn took(&self) -> Option<Duration> {
        self.run_duration.or(self.duration)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(n: i64, ms: u64) -> Counts {
        let mut counts = Counts::new(Timestamp::from_millis(n * 3_600_000));
        counts.add(Signal::Success, Some(Duration::from_millis(ms)));
        counts
    }

    #[test]
    fn hours_and_days_begin_where_utc_says_so() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let time = at("1969-12-31T23:59:59.999Z");
        assert_eq!(CountsPer::Hour.begin(time), at("1969-12-31T23:00:00Z"));
        assert_eq!(CountsPer::Day.begin(time), at("1969-12-31T00:00:00Z"));
        assert_eq!(CountsPer::Day.begin(Timestamp::EPOCH), Timestamp::EPOCH);
        assert_eq!(CountsPer::Day.begin(Timestamp::MIN), Timestamp::MIN);
    }

    #[test]
    fn days_are_the_sums_of_their_hours_in_either_order() {
        let hours = [hour(-1, 9), hour(0, 7), hour(23, 5), hour(24, 0)];
        let forwards: Vec<_> = CountsPer::Day.gather(hours.into_iter()).collect();
        let mut backwards: Vec<_> = CountsPer::Day.gather(hours.into_iter().rev()).collect();
        backwards.reverse();
        assert_eq!(forwards, backwards);
        let totals: Vec<_> = forwards.iter().map(Counts::total).collect();
        assert_eq!(totals, [1, 2, 1]);
        assert_eq!(forwards[1].durations, Durations { count: 2, sum_ms: 12, min_ms: 5, max_ms: 7 });
        assert_eq!(forwards[2].durations, Durations { count: 1, ..Durations::default() }, "0 is a duration");
        assert_eq!(CountsPer::Hour.gather(hours.into_iter()).collect::<Vec<_>>(), hours);
    }

    #[test]
    fn sums_saturate() {
        let mut counts = hour(0, u64::MAX);
        counts.add(Signal::Success, Some(Duration::MAX));
        counts.add_many(Signal::Success, u64::MAX);
        counts.add(Signal::Log, None);
        assert_eq!((counts.of(Signal::Success), counts.total()), (u64::MAX, u64::MAX));
        assert_eq!((counts.durations.sum_ms, counts.durations.count), (u64::MAX, 2));
    }
}
