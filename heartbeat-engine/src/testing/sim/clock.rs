//! What a node believes about the time.

use std::time::Duration;

use crate::Timestamp;

/// `at` and so many milliseconds, which may be negative.
pub(super) fn shift(at: Timestamp, millis: i64) -> Timestamp {
    Timestamp::from_millis(at.as_millis().saturating_add(millis))
}

/// How many milliseconds `later` lies after `earlier`; negative when it does not.
pub(super) fn span(earlier: Timestamp, later: Timestamp) -> i64 {
    later.as_millis().saturating_sub(earlier.as_millis())
}

/// The clocks of one machine: one that is set, drifts and steps, and one that is never set.
#[derive(Clone, Debug)]
pub(super) struct NodeClock {
    offset: i64,
    drift_ppm: i64,
    since: Timestamp,
    /// How long the clock that is never set stood still, while the machine was suspended.
    stood_still: Duration,
    /// From when until when it stands still, if nobody wakes the machine before.
    suspended: Option<(Timestamp, Timestamp)>,
}

impl NodeClock {
    pub(super) fn new(now: Timestamp, offset: i64, drift_ppm: i64) -> Self {
        Self { offset, drift_ppm, since: now, stood_still: Duration::ZERO, suspended: None }
    }

    pub(super) fn wall(&self, now: Timestamp) -> Timestamp {
        shift(now, self.error(now))
    }

    /// How far the wall clock is ahead of the true time, in milliseconds.
    pub(super) fn error(&self, now: Timestamp) -> i64 {
        self.offset + span(self.since, now) * self.drift_ppm / 1_000_000
    }

    pub(super) fn monotonic(&self, now: Timestamp) -> Duration {
        now.since(self.since).saturating_sub(self.stood_still + self.standing_still(now))
    }

    fn standing_still(&self, now: Timestamp) -> Duration {
        self.suspended.map(|(from, to)| now.min(to).since(from)).unwrap_or_default()
    }

    /// Sets the wall clock to be ahead by so much from now on, without a drift.
    pub(super) fn set(&mut self, error: i64) {
        self.offset = error;
        self.drift_ppm = 0;
    }

    pub(super) fn suspend(&mut self, now: Timestamp, length: Duration) {
        self.wake(now);
        self.suspended = Some((now, now + length));
    }

    /// The machine goes on, or starts again.
    pub(super) fn wake(&mut self, now: Timestamp) {
        self.stood_still += self.standing_still(now);
        self.suspended = None;
    }

    /// The true time at which the wall clock shows `wall`, not before the next millisecond.
    pub(super) fn true_time(&self, wall: Timestamp, now: Timestamp) -> Timestamp {
        let at = shift(now, span(self.wall(now), wall));
        at.max(shift(now, 1))
    }

    /// The true time at which the other clock shows `monotonic`, not before the next millisecond.
    pub(super) fn true_time_of(&self, monotonic: Duration, now: Timestamp) -> Timestamp {
        now + monotonic.saturating_sub(self.monotonic(now)).max(Duration::from_millis(1))
    }
}
