//! The watcher's own absences (S6).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A stretch of time in which the watcher may have missed heartbeats: from the last mark of its life to its return.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outage {
    /// The last mark of life before it.
    pub from: Timestamp,
    /// When the watcher was back.
    pub to: Timestamp,
}

impl Outage {
    /// How long it lasted.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to.since(self.from)
    }

    /// Whether it touches the window from `start` to `deadline`. A deadline at or before the outage's start counted
    /// already, and what ended before the window began took nothing from it.
    #[must_use]
    pub fn touches(&self, (start, deadline): (Timestamp, Timestamp)) -> bool {
        self.from < deadline && self.to > start
    }

    /// Whether the whole window lies in it.
    #[must_use]
    pub fn covers(&self, (start, deadline): (Timestamp, Timestamp)) -> bool {
        self.from <= start && deadline <= self.to
    }
}

/// The same stretches of time in order, those that overlap as one.
pub(crate) fn joined(mut outages: Vec<Outage>) -> Vec<Outage> {
    outages.sort_unstable_by_key(|outage| (outage.from, outage.to));
    let mut joined: Vec<Outage> = Vec::with_capacity(outages.len());
    for outage in outages {
        match joined.last_mut() {
            Some(last) if outage.from < last.to => last.to = last.to.max(outage.to),
            _ => joined.push(outage),
        }
    }
    joined
}

/// How old the stored mark of life may be before the time since counts as an outage (S6.1).
pub(crate) const MARK_AGE_MAX: Duration = Duration::from_secs(15);
/// How often a mark is stored when nothing else is written: at least every 5 s (S6.1), with a margin for slow writes.
const MARK_EVERY: Duration = Duration::from_secs(4);
/// How old the mark may be when something else is written anyway.
const MARK_ALONG: Duration = Duration::from_secs(1);
/// A step of the wall clock against the monotonic one that is no step but the cost of reading both.
const STEP_MIN: Duration = Duration::from_secs(1);

/// What a look at the clocks found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Look {
    /// Time went on as it should.
    Steady,
    /// The watcher was away; nothing may be judged or taken before this is stored (S6.6).
    Away(Outage),
    /// The wall clock was set back (S6.7).
    SetBack,
}

/// Watches the watcher: by the marks that it stores and by the clocks.
#[derive(Clone, Debug)]
pub(crate) struct Absence {
    /// The last stored mark.
    mark: Option<Timestamp>,
    /// The clocks at the last look.
    seen: Option<(Timestamp, Duration)>,
    just_started: bool,
}

impl Absence {
    /// Starts with the mark that is stored.
    pub(crate) fn since(mark: Option<Timestamp>) -> Self {
        Self { mark, seen: None, just_started: true }
    }

    /// Compares the clocks with what they showed before. An outage is found again until [`Absence::marked`] tells that it
    /// is stored.
    pub(crate) fn look(&mut self, now: Timestamp, monotonic: Duration) -> Look {
        let seen = self.seen;
        if self.mark.is_some_and(|mark| mark > now + STEP_MIN) {
            // It was stored before the clock was set back. From now on it is watched as if it had just been written, and
            // the next one is due.
            self.mark = Some(now - MARK_EVERY);
            self.just_started = false;
            self.seen = Some((now, monotonic));
            return Look::SetBack;
        }
        let mark = self.mark.filter(|mark| *mark < now);
        if let Some(from) = mark
            && (self.just_started || now.since(from) > MARK_AGE_MAX)
        {
            self.seen = Some((now, monotonic));
            return Look::Away(Outage { from, to: now });
        }
        if let Some((wall, then)) = seen {
            let due = wall + monotonic.saturating_sub(then);
            if now.since(due) > STEP_MIN {
                // The clocks of the last look stay until the outage is stored.
                return Look::Away(Outage { from: due, to: now });
            }
            if due.since(now) > STEP_MIN {
                self.seen = Some((now, monotonic));
                return Look::SetBack;
            }
        }
        self.seen = Some((now, monotonic));
        Look::Steady
    }

    /// A mark was stored; with an outage, that too.
    pub(crate) fn marked(&mut self, mark: Timestamp, monotonic: Duration, with_outage: bool) {
        self.mark = Some(mark);
        self.just_started = false;
        if with_outage {
            self.seen = Some((mark, monotonic));
        }
    }

    /// The mark to store along with something that is written at `now`.
    pub(crate) fn mark_along(&self, now: Timestamp) -> Option<Timestamp> {
        let due = self.mark.is_none_or(|mark| mark > now || now.since(mark) >= MARK_ALONG);
        due.then_some(now)
    }

    /// When a mark is due although nothing else is written.
    pub(crate) fn mark_due(&self) -> Timestamp {
        self.mark.map_or(Timestamp::MIN, |mark| mark + MARK_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_time_between_the_last_mark_and_a_start_is_an_outage() {
        let mut absence = Absence::since(Some(at(100)));
        let outage = Outage { from: at(100), to: at(101) };
        assert_eq!(absence.look(at(101), secs(0)), Look::Away(outage));
        assert_eq!(absence.look(at(102), secs(1)), Look::Away(Outage { to: at(102), ..outage }), "not stored yet");
        absence.marked(at(102), secs(1), true);
        assert_eq!(absence.look(at(103), secs(2)), Look::Steady);
        assert_eq!(Absence::since(None).look(at(5), secs(0)), Look::Steady, "the first start ever");
    }

    #[test]
    fn more_than_15_s_between_marks_is_an_outage_whatever_the_reason() {
        let mut absence = Absence::since(None);
        absence.look(at(0), secs(0));
        absence.marked(at(0), secs(0), false);
        assert_eq!(absence.look(at(15), secs(15)), Look::Steady);
        assert_eq!(absence.look(at(16), secs(16)), Look::Away(Outage { from: at(0), to: at(16) }));
    }

    #[test]
    fn a_forward_step_of_over_a_second_is_an_outage_and_a_step_back_is_told() {
        let mut absence = Absence::since(None);
        absence.look(at(0), secs(0));
        absence.marked(at(0), secs(0), false);
        assert_eq!(absence.look(at(3), secs(2)), Look::Steady);
        assert_eq!(absence.look(at(10), secs(4)), Look::Away(Outage { from: at(5), to: at(10) }));
        absence.marked(at(10), secs(4), true);
        assert_eq!(absence.look(at(11), secs(5)), Look::Steady);
        assert_eq!(absence.look(at(2), secs(6)), Look::SetBack);
        assert_eq!(absence.look(at(3), secs(7)), Look::Steady);
    }

    #[test]
    fn a_mark_of_the_future_is_a_clock_that_was_set_back_and_the_next_mark_is_due_at_once() {
        let mut absence = Absence::since(Some(at(1000)));
        assert_eq!(absence.look(at(10), secs(0)), Look::SetBack);
        assert!(absence.mark_due() <= at(10));
        assert_eq!(absence.mark_along(at(10)), Some(at(10)));
        absence.marked(at(10), secs(0), false);
        assert_eq!(absence.look(at(11), secs(1)), Look::Steady);
    }

    #[test]
    fn outages_that_overlap_are_one_and_those_that_touch_are_not() {
        let outage = |from, to| Outage { from: at(from), to: at(to) };
        let found = joined(vec![outage(9, 10), outage(1, 3), outage(0, 2), outage(3, 5), outage(6, 20)]);
        assert_eq!(found, [outage(0, 3), outage(3, 5), outage(6, 20)]);
    }
}
