//! How many messages of a channel go out by themselves, and when the others are told together (S7.9).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::time::duration_ms;

/// How a channel's messages are grouped: up to `burst` go out one by one, each at once, within `wait` from the first
/// of them; what comes beyond is told in one digest when that time ends (S7.9).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Grouping {
    /// How many messages go out by themselves; 0 groups everything. Default 5.
    pub burst: u32,
    /// The length of the window; zero groups nothing. Default 10 s.
    #[serde(with = "duration_ms")]
    pub wait: Duration,
}

impl Grouping {
    /// Every message by itself, at once.
    pub const NONE: Self = Self { burst: 5, wait: Duration::ZERO };
}

impl Default for Grouping {
    fn default() -> Self {
        Self { burst: 5, wait: Duration::from_secs(10) }
    }
}

/// The window of one channel.
#[derive(Debug, Default)]
pub(super) struct Window {
    opened_at: Option<Timestamp>,
    sent: u32,
}

impl Window {
    /// Whether one more message may go out by itself at `now`; the first one opens the window.
    pub(super) fn admit(&mut self, now: Timestamp, grouping: Grouping) -> bool {
        if grouping.wait.is_zero() {
            return true;
        }
        self.opened_at.get_or_insert(now);
        let admitted = self.sent < grouping.burst;
        self.sent += u32::from(admitted);
        admitted
    }

    /// Something is held back: its window is open.
    pub(super) fn open(&mut self, now: Timestamp) {
        self.opened_at.get_or_insert(now);
    }

    /// How many messages may still go out by themselves within it.
    pub(super) fn room(&self, grouping: Grouping) -> usize {
        usize::try_from(grouping.burst.saturating_sub(self.sent)).unwrap_or(usize::MAX)
    }

    /// Whether the window has ended by `now`; then the next message opens another. One that was opened in the future,
    /// before the clock was set back, has ended too.
    pub(super) fn close(&mut self, now: Timestamp, grouping: Grouping) -> bool {
        let ended = self.opened_at.is_some_and(|at| at + grouping.wait <= now || at > now);
        if ended {
            *self = Self::default();
        }
        ended
    }

    /// When the open window ends.
    pub(super) fn ends_at(&self, grouping: Grouping) -> Option<Timestamp> {
        self.opened_at.map(|at| at + grouping.wait)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const WAIT: Duration = Duration::from_secs(10);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    #[test]
    fn a_burst_goes_out_by_itself_and_the_rest_waits_for_the_end() {
        let mut window = Window::default();
        let grouping = Grouping { burst: 2, wait: WAIT };
        assert_eq!([0, 1, 2, 9].map(|s| window.admit(at(s), grouping)), [true, true, false, false]);
        assert!(!window.close(at(9), grouping));
        assert_eq!(window.ends_at(grouping), Some(at(10)));
        assert!(window.close(at(10), grouping));
        assert!(window.admit(at(10), grouping), "a new window");
    }

    #[test]
    fn no_burst_groups_everything_and_no_wait_nothing() {
        let mut window = Window::default();
        let all = Grouping { burst: 0, wait: WAIT };
        assert!(!window.admit(at(0), all));
        assert_eq!(window.ends_at(all), Some(at(10)));
        let mut window = Window::default();
        assert!((0..100).all(|s| window.admit(at(s), Grouping::NONE)));
        assert_eq!(window.ends_at(Grouping::NONE), None);
        let mut ahead = Window::default();
        assert!(!ahead.admit(at(7200), all));
        assert!(ahead.close(at(0), all), "the clock was set back");
    }
}
