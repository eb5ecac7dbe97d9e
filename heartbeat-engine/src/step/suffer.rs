//! What the watcher's own outages (S6.2) and maintenance windows (S5.3) make of what is expected, and a wall clock that was set back (S6.7).

#[cfg(feature = "runtime")]
use std::sync::Arc;

#[cfg(feature = "runtime")]
use crate::Maintenance;
use crate::absence::Outage;
use crate::step::advance::{AHEAD_MAX, Due};
use crate::step::silence::Stretch;
use crate::step::{Draft, Surroundings};
use crate::{Expectation, Health, MonitorSpec, Record, Timestamp};

/// How often a deadline that falls inside an outage is put behind it, at most (S6.2).
const EXTENSIONS_MAX: u8 = 2;

/// The record as the outages leave it that the next step applies first, where they change more than that they were
/// looked at. Nothing is judged and nothing needs to be stored: the next step comes to the same by itself.
pub(crate) fn foreseen(record: &Record, around: Surroundings<'_>, now: Timestamp) -> Option<Record> {
    let latest = around.outages.last()?;
    let health = &record.health;
    // Most monitors have nothing to do with most outages; this keeps a restart cheap.
    let concerned = health.expectation.is_some_and(|awaited| awaited.deadline > latest.from)
        || health.runs.iter().any(|run| run.limit_at.is_some());
    if concerned { passed(record, around, now) } else { None }
}

/// Whether the window changes what is awaited still, so that it must not be forgotten.
#[cfg(feature = "runtime")]
pub(crate) fn explains(record: &Record, window: &Arc<Maintenance>, now: Timestamp) -> bool {
    let around = Surroundings { maintenance: std::slice::from_ref(window), ..Surroundings::default() };
    passed(record, around, now).is_some()
}

/// The record as the stretches of silence leave it that the next step applies first.
fn passed(record: &Record, around: Surroundings<'_>, now: Timestamp) -> Option<Record> {
    let mut draft = Draft::of(record, around).on_clock(now);
    draft.let_go();
    while let Some((_, Due::Window | Due::Outage)) = draft.next_due(now) {
        draft.pass_stretch(now);
    }
    draft.hold(now);
    let (before, after) = (&record.health, &draft.health);
    let changed = after.expectation != before.expectation || after.runs.len() != before.runs.len();
    draft.health.settle();
    changed.then(|| Record { health: draft.health, ..record.clone() })
}

/// Whether the outage touches the window of what is awaited (S6.3).
pub(crate) fn touched(record: &Record, outage: &Outage) -> bool {
    let health = &record.health;
    health.expectation.is_some_and(|awaited| outage.touches(window(record.spec(), health, &awaited)))
}

/// Whether times of the record lie in the future, because the wall clock was set back (S6.7).
pub(crate) fn is_ahead(record: &Record, now: Timestamp) -> bool {
    let health = &record.health;
    let horizon = now + AHEAD_MAX;
    let flaps = &health.flaps;
    let mut times = [health.based_at, health.latest_at, health.outages_seen]
        .into_iter()
        .chain(health.last_ping.as_ref().map(|last| last.arrived_at))
        .chain(health.runs.iter().map(|run| run.began_at))
        .chain(health.pursuit.remind_at)
        .chain(health.pursuit.escalations.iter().map(|escalation| escalation.due_at))
        .chain(flaps.downs.iter().copied())
        .chain(flaps.flapping.as_ref().map(|flapping| flapping.settles_at));
    // Most records have none; this keeps them from being copied.
    if !times.any(|at| at > horizon) {
        return false;
    }
    let mut draft = Draft::of(record, Surroundings::default());
    draft.come_back_to(now);
    draft.health != *health
}

/// The window of an awaited occurrence (S6.2): a heartbeat in it would have been for this occurrence.
fn window(spec: &MonitorSpec, health: &Health, expectation: &Expectation) -> (Timestamp, Timestamp) {
    let start = if !spec.schedule.is_every() {
        expectation.occurrence - spec.early
    } else if health.heard {
        expectation.occurrence - spec.grace.length()
    } else {
        health.based_at
    };
    (start, expectation.deadline)
}

impl Draft<'_> {
    /// Up to which instant stored times are believed (S6.7).
    pub(super) fn horizon(&self, now: Timestamp) -> Timestamp {
        now.max(self.clock) + AHEAD_MAX
    }

    /// The next stretch of silence that began before `now` and was not looked at.
    pub(super) fn unseen_stretch(&self, now: Timestamp) -> Option<Stretch> {
        let stretch = self.stretch_after(self.health.outages_seen, now)?;
        (stretch.announced || stretch.span.to <= self.horizon(now)).then_some(stretch)
    }

    /// Applies the next stretch of silence that was not looked at.
    pub(super) fn pass_stretch(&mut self, now: Timestamp) {
        let Some(stretch) = self.unseen_stretch(now) else { return };
        let stretch = stretch.bounded(self.passed, now);
        self.passed += 1;
        self.suffer(&stretch);
        self.forget_runs_in(&stretch, now);
        self.health.outages_seen = self.quiet_until(stretch.span.to, now);
    }

    /// The end of a stretch, or how far behind it no other one can change anything: a job that reports once a year does not
    /// heed the windows of every night.
    fn quiet_until(&self, end: Timestamp, now: Timestamp) -> Timestamp {
        let followed = self.health.runs.iter().any(|run| run.limit_at.is_some());
        if self.around.maintenance.is_empty() || followed {
            return end;
        }
        let quiet = match self.health.expectation {
            None => now,
            // One that covers the last heartbeat may last a period and a grace.
            Some(_) if self.monitor.spec.schedule.is_every() && end < self.health.based_at => end,
            Some(_) => self.window_start(),
        };
        end.max(quiet.min(now))
    }

    /// Where the window of what is awaited begins.
    pub(super) fn window_start(&self) -> Timestamp {
        let window = self.health.expectation.map(|awaited| window(&self.monitor.spec, &self.health, &awaited));
        window.map_or(Timestamp::MIN, |(start, _)| start)
    }

    /// Keeps silence from being judged in a maintenance window in force: its deadline waits for the end. The end that is
    /// known now may change, so nothing else follows from it yet.
    pub(super) fn hold(&mut self, now: Timestamp) -> bool {
        let due = self.health.expectation.map(|awaited| awaited.deadline).filter(|deadline| *deadline < now);
        let may_wait = self.judges_silence() && !self.around.maintenance.is_empty();
        let Some(deadline) = due.filter(|_| may_wait) else { return false };
        let stretch = self.stretch_after(deadline, now).filter(|stretch| stretch.hides(deadline));
        let Some(stretch) = stretch.filter(|stretch| !stretch.is_over(now)) else { return false };
        self.health.moves.held = Some(deadline);
        if let Some(awaited) = &mut self.health.expectation {
            awaited.deadline = stretch.span.to;
        }
        true
    }

    /// Takes back what [`Draft::hold`] did: the windows may have changed since.
    pub(super) fn let_go(&mut self) {
        let Some(deadline) = self.health.moves.held else { return };
        self.health.moves.held = None;
        if let Some(awaited) = &mut self.health.expectation {
            awaited.deadline = deadline;
        }
    }

    /// Applies a stretch of silence to what is awaited.
    pub(super) fn suffer(&mut self, stretch: &Stretch) {
        self.suffer_outage(&stretch.span);
        if stretch.announced {
            self.suffer_windows(stretch);
        }
    }

    /// For `at` and cron an occurrence in a window is always excused, and no deadline in one is judged before its end (S5.3).
    fn suffer_windows(&mut self, stretch: &Stretch) {
        let Some(awaited) = self.health.expectation else { return };
        let inside = |at: Timestamp| stretch.span.from <= at && at < stretch.span.to;
        let window_end = |at: Timestamp| self.in_maintenance(at).filter(|_| inside(at));
        let fixed = !self.monitor.spec.schedule.is_every();
        let excused = awaited.excused || (fixed && window_end(awaited.occurrence).is_some());
        // What counts no failure need not wait.
        let waits = window_end(awaited.deadline).filter(|_| !excused);
        let deadline = waits.unwrap_or(awaited.deadline);
        self.health.expectation = Some(Expectation { deadline, excused, ..awaited });
    }

    /// Applies an outage to what is awaited (S6.2).
    fn suffer_outage(&mut self, outage: &Outage) {
        let spec = &self.monitor.spec;
        let Some(awaited) = self.health.expectation.filter(|awaited| awaited.deadline > outage.from) else { return };
        let window = window(spec, &self.health, &awaited);
        let touches = outage.touches(window);
        let length = spec.grace.length();
        let (mut moves, mut expectation) = (self.health.moves, awaited);
        let period = spec.schedule.period();
        let whole = period.is_some_and(|period| outage.length() >= period + length);
        let excused = moves.first.is_none_or(|first| outage.touches(first) || outage.covers(window));
        match period {
            Some(period) if whole || (touches && moves.first.is_none_or(|first| outage.from <= first.1)) => {
                moves.first.get_or_insert(window);
                expectation.deadline = awaited.deadline.max(outage.to + period + length);
            }
            None if touches && (excused || awaited.excused) => {
                moves.first.get_or_insert(window);
                expectation.excused = true;
            }
            _ if awaited.deadline <= outage.to && moves.extended < EXTENSIONS_MAX => {
                moves.extended += 1;
                expectation.deadline = outage.to + length;
            }
            _ => return,
        }
        self.health.moves = moves;
        self.health.expectation = Some(expectation);
    }

    /// Lets no stored time stay in the future when the wall clock was set back (S6.7).
    pub(super) fn come_back_to(&mut self, now: Timestamp) {
        let now = now.max(self.clock);
        let horizon = now + AHEAD_MAX;
        self.bring_pursuit_back(now, horizon);
        let health = &mut self.health;
        let moved = health.moves.first.is_some();
        let ahead = health.based_at > horizon || (moved && health.outages_seen > horizon);
        let heard_ahead = health.last_ping.as_ref().is_some_and(|last| last.arrived_at > horizon);
        // Without runs nothing is to be written.
        let runs = if health.runs.is_empty() { &mut Vec::new() } else { &mut health.runs };
        for run in runs {
            if ahead || heard_ahead || run.began_at > horizon {
                let length = self.monitor.spec.max_runtime;
                run.limit_at = run.limit_at.map(|at| at.min(now + length.unwrap_or_else(|| at.since(run.began_at))));
                run.began_at = run.began_at.min(now);
            }
        }
        if health.latest_at > horizon {
            health.latest_at = now;
        }
        if health.outages_seen > horizon {
            health.outages_seen = now;
        }
        if ahead {
            health.based_at = now;
            let heard = health.heard;
            if health.expectation.take().is_some() {
                self.arm(now, heard);
            }
        }
    }
}

#[cfg(test)]
mod tests;
