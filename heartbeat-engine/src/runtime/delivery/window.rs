//! How many messages of a channel go out by themselves, and when the others are told together (S7.9).

use crate::Timestamp;
use crate::runtime::channels::Grouping;

/// The window of one channel.
#[derive(Debug, Default)]
pub(super) struct Window {
    ends_at: Option<Timestamp>,
    sent: u32,
}

impl Window {
    /// Whether one more message may go out by itself at `now`; the first one opens the window.
    pub(super) fn admit(&mut self, now: Timestamp, grouping: Grouping) -> bool {
        if grouping.wait.is_zero() {
            return true;
        }
        self.ends_at.get_or_insert(now + grouping.wait);
        let admitted = self.sent < grouping.burst;
        self.sent += u32::from(admitted);
        admitted
    }

    /// Whether the window has ended by `now`; then the next message opens another.
    pub(super) fn close(&mut self, now: Timestamp) -> bool {
        let ended = self.ends_at.is_some_and(|end| end <= now);
        if ended {
            *self = Self::default();
        }
        ended
    }

    /// When the open window ends.
    pub(super) fn ends_at(&self) -> Option<Timestamp> {
        self.ends_at
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
        assert!(!window.close(at(9)));
        assert_eq!(window.ends_at(), Some(at(10)));
        assert!(window.close(at(10)));
        assert!(window.admit(at(10), grouping), "a new window");
    }

    #[test]
    fn no_burst_groups_everything_and_no_wait_nothing() {
        let mut window = Window::default();
        assert!(!window.admit(at(0), Grouping { burst: 0, wait: WAIT }));
        assert_eq!(window.ends_at(), Some(at(10)));
        let mut window = Window::default();
        assert!((0..100).all(|s| window.admit(at(s), Grouping::NONE)));
        assert_eq!(window.ends_at(), None);
    }
}
