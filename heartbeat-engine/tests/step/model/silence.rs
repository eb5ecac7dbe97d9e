//! What is awaited, and what outages make of it.

use super::quiet::Quiet;
use super::{Awaited, Model, Plan, Slack};

/// The silence since the last heartbeat or what serves as one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silence {
    pub(super) awaited: Awaited,
    /// The window of the first occurrence that an outage moved or excused.
    pub(super) first: Option<(i64, i64)>,
    /// How often this deadline was put behind an outage that it fell into.
    pub(super) pushed: u8,
    /// Where only creation, resume or an edit serves as last heartbeat: when that was.
    pub(super) silent_from: Option<i64>,
}

impl Model {
    pub(super) fn grace(&self) -> i64 {
        match self.wish.slack {
            Slack::Minutes(minutes) => minutes,
            Slack::EndOfDay => 60,
        }
    }

    pub(super) fn next_occurrence(&self, after: i64) -> i64 {
        match &self.wish.plan {
            Plan::Every(period) => after + period,
            Plan::Daily(times) => {
                let mut minute = after + 1;
                while !times.contains(&minute.rem_euclid(1440)) {
                    minute += 1;
                }
                minute
            }
        }
    }

    pub(super) fn plain_deadline(&self, occurrence: i64) -> i64 {
        match self.wish.slack {
            Slack::Minutes(minutes) => occurrence + minutes,
            Slack::EndOfDay => (occurrence.div_euclid(1440) + 1) * 1440,
        }
    }

    /// The first occurrence that a heartbeat at `t` does not cover (S2.1, S2.5).
    pub(super) fn uncovered(&self, t: i64) -> i64 {
        let fixed = matches!(self.wish.plan, Plan::Daily(_));
        self.next_occurrence(if fixed { t + self.wish.early } else { t })
    }

    pub(super) fn own_deadline(&self, t: i64) -> i64 {
        self.plain_deadline(self.uncovered(t))
    }

    /// A heartbeat at `t`, or something that serves as one.
    pub(super) fn begin(&mut self, t: i64, heard: bool) {
        let before = self.awaited();
        self.armed = true;
        let mut occurrence = self.uncovered(t);
        let every = matches!(self.wish.plan, Plan::Every(_));
        if let (false, Some(before)) = (every, before) {
            occurrence = occurrence.max(before.occurrence);
        }
        let deadline = self.plain_deadline(occurrence);
        self.silence = Some(Silence {
            awaited: Awaited { occurrence, deadline, excused: false },
            first: None,
            pushed: 0,
            silent_from: (!heard).then_some(t),
        });
        let since = if every { t } else { occurrence - self.wish.early };
        self.suffer_since(since);
        if let (Some(before), Some(silence)) = (before, &mut self.silence)
            && (every || before.occurrence == silence.awaited.occurrence)
        {
            silence.awaited.deadline = silence.awaited.deadline.max(before.deadline);
        }
    }

    /// What was looked at already counts for what is awaited newly.
    fn suffer_since(&mut self, since: i64) {
        for quiet in self.quiet.clone() {
            if quiet.to > since && quiet.to <= self.seen {
                self.suffer(quiet);
            }
        }
    }

    /// S6.2 and then S5.3, for what is awaited now.
    pub(super) fn suffer(&mut self, quiet: Quiet) {
        self.suffer_outage((quiet.from, quiet.to));
        let daily = matches!(self.wish.plan, Plan::Daily(_));
        let Some(mut silence) = self.silence else { return };
        let inside = |minute: i64| quiet.from <= minute && minute < quiet.to;
        silence.awaited.excused |=
            daily && inside(silence.awaited.occurrence) && self.in_window(silence.awaited.occurrence);
        while !silence.awaited.excused && inside(silence.awaited.deadline) && self.in_window(silence.awaited.deadline) {
            silence.awaited.deadline += 1;
        }
        self.silence = Some(silence);
    }

    fn suffer_outage(&mut self, (a, b): (i64, i64)) {
        let grace = self.grace();
        let Some(mut silence) = self.silence else { return };
        let Awaited { occurrence, deadline, .. } = silence.awaited;
        if deadline <= a {
            return;
        }
        let start = match (&self.wish.plan, silence.silent_from) {
            (Plan::Daily(_), _) => occurrence - self.wish.early,
            (Plan::Every(_), None) => occurrence - grace,
            (Plan::Every(_), Some(from)) => from,
        };
        let touches = b > start;
        let push = |silence: &mut Silence| {
            if deadline <= b && silence.pushed < 2 {
                silence.pushed += 1;
                silence.awaited.deadline = b + grace;
            }
        };
        match self.wish.plan {
            Plan::Every(period) => {
                let long = b - a >= period + grace;
                let moved_before = silence.first.is_some_and(|first| a > first.1);
                if long || (touches && !moved_before) {
                    silence.first = silence.first.or(Some((start, deadline)));
                    silence.awaited.deadline = deadline.max(b + period + grace);
                } else {
                    push(&mut silence);
                }
            }
            Plan::Daily(_) if touches => {
                let again = match silence.first {
                    None => true,
                    Some(first) => (a < first.1 && b > first.0) || (a <= start && deadline <= b),
                };
                if again || silence.awaited.excused {
                    silence.first = silence.first.or(Some((start, deadline)));
                    silence.awaited.excused = true;
                } else {
                    push(&mut silence);
                }
            }
            Plan::Daily(_) => push(&mut silence),
        }
        self.silence = Some(silence);
    }

    /// Goes on to the next occurrence after a miss or an unobserved one.
    pub(super) fn go_on(&mut self) {
        let Some(mut silence) = self.silence else { return };
        let judged = silence.awaited;
        silence.pushed = 0;
        let (occurrence, since) = match self.wish.plan {
            Plan::Every(period) => (judged.occurrence.max(judged.deadline - self.grace()) + period, judged.deadline),
            Plan::Daily(_) => {
                let next = self.next_occurrence(judged.occurrence);
                (next, next - self.wish.early)
            }
        };
        silence.awaited = Awaited { occurrence, deadline: self.plain_deadline(occurrence), excused: false };
        self.silence = Some(silence);
        self.suffer_since(since);
    }
}
