//! How long to wait before a failed delivery is tried again (S7.4).

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);

/// The pause after the `failed`-th failure in a row, from 1: 1 s doubled each time, at most 5 min; `jitter` from 0 to 1
/// lengthens it by up to a quarter, so that many retries do not coincide.
#[must_use]
pub fn pause_after(failed: u32, jitter: f64) -> Duration {
    let doubled = FIRST.saturating_mul(2u32.saturating_pow(failed.saturating_sub(1)));
    doubled.min(LONGEST).mul_f64(1.0 + 0.25 * jitter.clamp(0.0, 1.0)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_five_minutes() {
        assert_eq!(pause_after(1, 0.0), Duration::from_secs(1));
        assert_eq!(pause_after(2, 0.0), Duration::from_secs(2));
        assert_eq!(pause_after(4, 1.0), Duration::from_secs(10));
        assert_eq!(pause_after(u32::MAX, 1.0), Duration::from_secs(300));
    }
}
