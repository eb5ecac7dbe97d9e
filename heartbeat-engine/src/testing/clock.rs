//! A clock for tests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Clock, Timestamp};

/// A clock that stands still until it is moved. Clones show the same time.
///
/// ```
/// use heartbeat_engine::{Clock, Timestamp, testing::ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::new(Timestamp::from_secs(100));
/// clock.advance(Duration::from_secs(5));
/// clock.step_wall(Timestamp::from_secs(50)); // somebody sets the machine's clock back
/// assert_eq!((clock.now(), clock.monotonic()), (Timestamp::from_secs(50), Duration::from_secs(5)));
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<Times>>);

#[derive(Debug)]
struct Times {
    wall: Timestamp,
    monotonic: Duration,
}

impl ManualClock {
    /// A clock that shows `now`; its monotonic time is zero.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self(Arc::new(Mutex::new(Times { wall: now, monotonic: Duration::ZERO })))
    }

    /// Lets time pass: both clocks move.
    pub fn advance(&self, by: Duration) {
        let mut times = self.times();
        times.wall = times.wall + by;
        times.monotonic += by;
    }

    /// Lets time pass until the wall clock shows `to`; nothing happens when it shows a later time already.
    pub fn advance_to(&self, to: Timestamp) {
        let left = to.since(self.times().wall);
        self.advance(left);
    }

    /// Sets the wall clock, forward or back, while no time passes.
    pub fn step_wall(&self, to: Timestamp) {
        self.times().wall = to;
    }

    /// Lets only the monotonic clock move, as when the wall clock is held back.
    pub fn advance_monotonic(&self, by: Duration) {
        self.times().monotonic += by;
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.times().wall
    }

    fn monotonic(&self) -> Duration {
        self.times().monotonic
    }
}

/// A clock that follows tokio's: under paused time (`#[tokio::test(start_paused = true)]`) both its hands move only when
/// every task waits, so that a test of hours takes milliseconds and its instants are exact.
#[derive(Clone, Debug)]
pub struct TokioClock {
    origin: Timestamp,
    started: tokio::time::Instant,
}

impl TokioClock {
    /// A clock that shows `origin` now. Must be made inside a tokio runtime.
    #[must_use]
    pub fn new(origin: Timestamp) -> Self {
        Self { origin, started: tokio::time::Instant::now() }
    }
}

impl Clock for TokioClock {
    fn now(&self) -> Timestamp {
        self.origin + self.started.elapsed()
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}
