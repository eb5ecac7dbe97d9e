//! What is expected next (S2, S3.3).

use std::time::Duration;

use crate::schedule::Grace;
use crate::step::Draft;
use crate::step::silence::{INSTANT, Stretch};
use crate::{Expectation, OutageMoves, Timestamp};

/// No date lasts longer, whatever the clock changes in it.
const DATE_MAX: Duration = Duration::from_secs(2 * 86_400);

impl Draft<'_> {
    /// Begins to expect: `at` serves as the last heartbeat for the schedule; `heard` when it is one.
    pub(super) fn arm(&mut self, at: Timestamp, heard: bool) {
        self.let_go();
        let health = &mut self.health;
        health.armed = true;
        health.based_at = at;
        health.heard = heard;
        if health.moves != OutageMoves::default() {
            health.moves = OutageMoves { held: health.moves.held, ..OutageMoves::default() };
        }
        let before = health.expectation.take();
        let spec = &self.monitor.spec;
        let every = spec.schedule.is_every();
        // A heartbeat never moves the awaited occurrence (`at`, cron) or the deadline (`every`) back (S2.8).
        let occurrence = match before.filter(|_| !every).map(|before| before.occurrence) {
            // What it does not cover stays awaited (S2.5); there is nothing to look for.
            Some(awaited) if awaited > at + spec.early => awaited,
            Some(awaited) => spec.schedule.awaited_after(at, spec.early).max(awaited),
            None => spec.schedule.awaited_after(at, spec.early),
        };
        let since = if every { at } else { occurrence - spec.early };
        let deadline = spec.schedule.deadline(occurrence, spec.grace);
        self.set_expectation(occurrence, deadline, since);
        if let (Some(before), Some(awaited)) = (before, &mut self.health.expectation)
            && (every || before.occurrence == awaited.occurrence)
        {
            awaited.deadline = awaited.deadline.max(before.deadline);
        }
    }

    /// Awaits `occurrence`, and applies what ended after `since` of outages and windows as far as they were looked at.
    fn set_expectation(&mut self, occurrence: Timestamp, deadline: Timestamp, since: Timestamp) {
        self.health.expectation = Some(Expectation { occurrence, deadline, excused: false });
        let seen = self.health.outages_seen;
        let mut x = since;
        let mut count = 0;
        while let Some(stretch) = self.around.stretch_after(x, seen, seen)
            && stretch.span.to <= seen
            && self.health.expectation.is_some_and(|awaited| stretch.span.from <= awaited.deadline)
        {
            let stretch = stretch.bounded(count, seen);
            self.suffer(&stretch);
            x = stretch.span.to.max(self.window_start());
            count += 1;
        }
    }

    /// Goes on to the occurrence after the awaited one, whose silence was judged (S3.3).
    pub(super) fn expect_next(&mut self) {
        let Some(judged) = self.health.expectation else { return };
        if self.health.moves.extended > 0 {
            self.health.moves.extended = 0;
        }
        let spec = &self.monitor.spec;
        let Some(period) = spec.schedule.period() else {
            let next = self.past_unobserved(spec.schedule.next_after(judged.occurrence));
            let spec = &self.monitor.spec;
            let deadline = spec.schedule.deadline(next, spec.grace);
            let since = next - spec.early;
            return self.set_expectation(next, deadline, since);
        };
        let grace = spec.grace.length();
        let occurrence = judged.occurrence.max(judged.deadline - grace) + period;
        self.set_expectation(occurrence, occurrence + grace, judged.deadline);
    }

    /// The first fixed occurrence from `occurrence` on whose window does not lie in an outage as a whole and ended before
    /// it did; those before are unobserved (S6.2).
    fn past_unobserved(&mut self, mut occurrence: Timestamp) -> Timestamp {
        let spec = &self.monitor.spec;
        let seen = self.health.outages_seen;
        loop {
            let span = (occurrence - spec.early, spec.schedule.deadline(occurrence, spec.grace));
            let stretch = self.around.stretch_after(span.1, seen, seen);
            let Some(Stretch { span: silence, .. }) =
                stretch.filter(|stretch| stretch.span.to <= seen && stretch.span.covers(span))
            else {
                return occurrence;
            };
            self.health.moves.first.get_or_insert(span);
            // No deadline is further behind its occurrence, so those until then need no look.
            let longest = match spec.grace {
                Grace::Fixed(length) => length,
                Grace::EndOfDay => DATE_MAX,
            };
            occurrence = spec.schedule.next_after(occurrence.max(silence.to - INSTANT - longest));
        }
    }
}
