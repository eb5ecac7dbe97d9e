//! How many heartbeats of one monitor are taken.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use heartbeat_engine::MonitorId;
use tokio::time::Instant;

/// Monitors that are not heard for a while are forgotten after this many heartbeats.
const TIDY_EVERY: u64 = 100_000;

type Limiter = RateLimiter<MonitorId, HashMapStateStore<MonitorId>, RuntimeClock, NoOpMiddleware<Duration>>;

/// The rates of all monitors, or nothing where there is no limit.
#[derive(Debug)]
pub(crate) struct PingRates {
    limiter: Option<Limiter>,
    taken: AtomicU64,
}

impl PingRates {
    pub(crate) fn new(per_minute: u32) -> Self {
        let quota = NonZeroU32::new(per_minute).map(Quota::per_minute);
        let clock = RuntimeClock { started: Instant::now() };
        Self { limiter: quota.map(|quota| RateLimiter::hashmap_with_clock(quota, clock)), taken: AtomicU64::new(0) }
    }

    /// Counts a heartbeat; where it is one too many, says how long to wait.
    pub(crate) fn take(&self, monitor: MonitorId) -> Result<(), Duration> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        if self.taken.fetch_add(1, Ordering::Relaxed) % TIDY_EVERY == TIDY_EVERY - 1 {
            limiter.retain_recent();
        }
        limiter.check_key(&monitor).map_err(|refused| refused.wait_time_from(limiter.clock().now()))
    }
}

/// The clock of the async runtime, which tests can stop.
#[derive(Clone, Debug)]
struct RuntimeClock {
    started: Instant,
}

impl Clock for RuntimeClock {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_burst_passes_and_then_an_even_rate() {
        let rates = PingRates::new(60);
        let (one, other) = (MonitorId::from_bytes([1; 16]), MonitorId::from_bytes([2; 16]));
        assert!((0..60).all(|_| rates.take(one).is_ok()));
        let wait = rates.take(one).unwrap_err();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1));
        assert!(rates.take(other).is_ok());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(rates.take(one).is_ok());
        assert!(rates.take(one).is_err());
    }

    #[tokio::test]
    async fn zero_takes_all() {
        let rates = PingRates::new(0);
        assert!((0..10_000).all(|_| rates.take(MonitorId::from_bytes([1; 16])).is_ok()));
    }
}
