//! How many heartbeats of one monitor are taken.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use heartbeat_engine::MonitorId;
use tokio::time::Instant;

/// Parts that are locked apart from each other; a power of two.
const SHARDS: usize = 16;
const MINUTE: Duration = Duration::from_secs(60);
/// Monitors that a part remembers before it looks for those that it may forget.
const REMEMBERED_MIN: usize = 256;

/// The rates of all monitors, or nothing where there is no limit.
///
/// For each monitor it is remembered until when the heartbeats so far would have lasted at an even rate (the generic cell
/// rate algorithm). What lies in the past says nothing, so only monitors that were heard a moment ago take memory.
#[derive(Debug)]
pub(crate) struct PingRates {
    /// The time that one heartbeat lasts; `None` takes all.
    each: Option<Duration>,
    started: Instant,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    spent_until: HashMap<MonitorId, Duration, BuildHasherDefault<IdHasher>>,
    /// So many may be remembered until the next look.
    tidy_at: usize,
}

impl PingRates {
    pub(crate) fn new(per_minute: u32) -> Self {
        let each = (per_minute > 0).then(|| MINUTE / per_minute);
        Self { each, started: Instant::now(), shards: Default::default() }
    }

    /// Counts a heartbeat; where it is one too many, says how long to wait.
    pub(crate) fn take(&self, monitor: MonitorId) -> Result<(), Duration> {
        let Some(each) = self.each else { return Ok(()) };
        let now = self.started.elapsed();
        let mut shard = self.shard(monitor);
        let spent_until = shard.spent_until.get(&monitor).copied().unwrap_or_default().max(now) + each;
        if let Some(wait) = spent_until.checked_sub(now + MINUTE).filter(|wait| !wait.is_zero()) {
            return Err(wait);
        }
        shard.spent_until.insert(monitor, spent_until);
        shard.tidy(now);
        Ok(())
    }

    // A part is whole after every statement.
    fn shard(&self, monitor: MonitorId) -> MutexGuard<'_, Shard> {
        let shard = usize::from(monitor.as_bytes()[15]) % SHARDS;
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shard {
    /// Forgets those that are like new. It costs as much as there are, but only once so many were added.
    fn tidy(&mut self, now: Duration) {
        if self.spent_until.len() > self.tidy_at.max(REMEMBERED_MIN) {
            self.spent_until.retain(|_, spent_until| *spent_until > now);
            self.tidy_at = self.spent_until.len() * 2;
        }
    }
}

/// Takes the bytes of an id as they are: we made it at random, so nobody can choose where it lies.
#[derive(Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            self.0 = (self.0.rotate_left(5) ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
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

    #[tokio::test(start_paused = true)]
    async fn who_falls_silent_is_forgotten() {
        let rates = PingRates::new(60);
        let remembered = || rates.shards.iter().map(|shard| shard.lock().unwrap().spent_until.len()).sum::<usize>();
        for number in 0..200_000_u128 {
            tokio::time::advance(Duration::from_millis(10)).await;
            rates.take(MonitorId::from_bytes(number.to_le_bytes())).unwrap();
        }
        assert!(remembered() <= SHARDS * REMEMBERED_MIN + SHARDS, "{}", remembered());
    }

    #[tokio::test]
    async fn zero_takes_all() {
        let rates = PingRates::new(0);
        assert!((0..10_000).all(|_| rates.take(MonitorId::from_bytes([1; 16])).is_ok()));
    }
}
