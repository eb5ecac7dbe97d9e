//! What is expected next, and what the watcher's outages make of it (S2, S3.3, S6.2).

use crate::absence::Outage;
use crate::schedule::Grace;
use crate::step::Draft;
use crate::{Expectation, Health, MonitorSpec, OutageMoves, Record, State, Timestamp};

use super::advance::AHEAD_MAX;

/// How often a deadline that falls inside an outage is put behind it, at most (S6.2).
const EXTENSIONS_MAX: u8 = 2;

/// The health of a monitor that is made at `now`, before anything is expected.
pub(super) fn newborn(now: Timestamp) -> Health {
    Health {
        state: State::New,
        manual_resume: false,
        armed: false,
        failures: 0,
        successes: 0,
        based_at: now,
        heard: false,
        latest_at: now,
        expectation: None,
        moves: OutageMoves { first: None, extended: 0, seen: now },
        runs: Vec::new(),
        ended_runs: Vec::new(),
        incident: None,
        ping_count: 0,
        last_ping: None,
    }
}

/// The record with its expectation as the outages leave it, where they move it; nothing is judged and nothing needs
/// to be stored, for the next step comes to the same by itself. Says also whether `outage`, the latest one, touched
/// the window of what is awaited (S6.3).
#[must_use]
pub fn excused(record: &Record, outages: &[Outage], outage: &Outage) -> (Option<Record>, bool) {
    let Some(expectation) = record.health.expectation else { return (None, false) };
    let touched = outage.touches(window(record.spec(), &record.health, &expectation));
    if !touched || expectation.deadline <= outage.from {
        return (None, touched);
    }
    let mut draft = Draft::of(record, outages);
    draft.suffer(outage);
    let moved = draft.health.expectation != record.health.expectation;
    (moved.then(|| Record { health: draft.health, ..record.clone() }), true)
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
    /// Begins to expect: `at` serves as the last heartbeat for the schedule; `heard` when it is one.
    pub(super) fn arm(&mut self, at: Timestamp, heard: bool) {
        self.health.armed = true;
        self.health.based_at = at;
        self.health.heard = heard;
        self.health.moves = OutageMoves { first: None, extended: 0, ..self.health.moves };
        let before = self.health.expectation;
        let spec = &self.monitor.spec;
        let occurrence = spec.schedule.awaited_after(at, spec.early);
        // A heartbeat never moves the awaited occurrence (`at`, cron) or the deadline (`every`) back (S2.8).
        let occurrence = match before {
            Some(before) if !spec.schedule.is_every() => occurrence.max(before.occurrence),
            _ => occurrence,
        };
        self.expect(occurrence);
        if let (Some(before), Some(now)) = (before, &mut self.health.expectation)
            && (self.monitor.spec.schedule.is_every() || before.occurrence == now.occurrence)
        {
            now.deadline = now.deadline.max(before.deadline);
        }
        if self.monitor.spec.schedule.is_every() {
            self.suffer_all_after(at);
        }
    }

    /// Awaits `occurrence`, and applies every outage that touches the window of a fixed one.
    fn expect(&mut self, occurrence: Timestamp) {
        let spec = &self.monitor.spec;
        let deadline = spec.schedule.deadline(occurrence, spec.grace);
        self.health.expectation = Some(Expectation { occurrence, deadline, excused: false });
        if !spec.schedule.is_every() {
            self.suffer_all_after(occurrence - spec.early);
        }
    }

    /// Goes on to the occurrence after the awaited one, whose silence was judged (S3.3).
    pub(super) fn expect_next(&mut self) {
        let Some(judged) = self.health.expectation else { return };
        let spec = &self.monitor.spec;
        let Some(period) = spec.schedule.period() else {
            let next = spec.schedule.next_after(judged.occurrence);
            self.expect_fixed(next);
            return;
        };
        let grace = spec.grace.length();
        let served = if self.health.moves.first.is_some() { judged.deadline - grace } else { judged.occurrence };
        let occurrence = served + period;
        self.health.expectation = Some(Expectation { occurrence, deadline: occurrence + grace, excused: false });
        self.suffer_all_after(judged.deadline);
    }

    /// Awaits a fixed occurrence, passing over those whose whole window lies in an outage: they are unobserved.
    fn expect_fixed(&mut self, mut occurrence: Timestamp) {
        loop {
            let spec = &self.monitor.spec;
            let span = (occurrence - spec.early, spec.schedule.deadline(occurrence, spec.grace));
            let from = self.outages.partition_point(|outage| outage.to < span.1);
            let Some(outage) = self.outages.get(from).filter(|outage| outage.covers(span)) else { break };
            if self.health.moves.first.is_none() {
                self.health.moves.first = Some(span);
            }
            let last_covered = match spec.grace {
                Grace::Fixed(_) => outage.to - spec.grace.length(),
                Grace::EndOfDay => start_of_day(spec, outage.to) - std::time::Duration::from_millis(1),
            };
            occurrence = spec.schedule.next_after(occurrence.max(last_covered));
        }
        self.expect(occurrence);
    }

    fn suffer_all_after(&mut self, start: Timestamp) {
        let from = self.outages.partition_point(|outage| outage.to <= start);
        let outages = self.outages;
        for outage in &outages[from..] {
            self.suffer(outage);
        }
    }

    /// Applies one outage to what is awaited (S6.2).
    pub(super) fn suffer(&mut self, outage: &Outage) {
        let Some(awaited) = self.health.expectation else { return };
        if awaited.deadline <= outage.from {
            return;
        }
        let spec = &self.monitor.spec;
        let window = window(spec, &self.health, &awaited);
        let length = spec.grace.length();
        let moves = &mut self.health.moves;
        let Some(now_awaited) = &mut self.health.expectation else { return };
        let inside = outage.from < awaited.deadline && awaited.deadline <= outage.to;
        if let Some(period) = spec.schedule.period() {
            let whole = outage.length() >= period + length;
            let first_touch = outage.touches(window) && moves.first.is_none_or(|first| outage.from <= first.1);
            if whole || first_touch {
                moves.first.get_or_insert(window);
                now_awaited.deadline = awaited.deadline.max(outage.to + period + length);
                return;
            }
        } else if outage.touches(window) {
            let excused = match moves.first {
                None => true,
                Some(first) => outage.touches(first) || outage.covers(window),
            };
            if excused || awaited.excused {
                moves.first.get_or_insert(window);
                now_awaited.excused = true;
                return;
            }
        }
        if inside && moves.extended < EXTENSIONS_MAX {
            moves.extended += 1;
            now_awaited.deadline = outage.to + length;
        }
    }

    /// Lets no stored time stay in the future when the wall clock was set back (S6.7).
    pub(super) fn come_back_to(&mut self, now: Timestamp) {
        let horizon = now + AHEAD_MAX;
        let ahead = self.health.based_at > horizon;
        if self.health.latest_at > horizon {
            self.health.latest_at = now;
        }
        if self.health.moves.seen > horizon {
            self.health.moves.seen = now;
        }
        for run in &mut self.health.runs {
            if ahead || run.began_at > horizon {
                run.began_at = run.began_at.min(now);
                run.limit_at = run.limit_at.and(self.monitor.spec.max_runtime).map(|limit| now + limit);
            }
        }
        if ahead {
            self.health.based_at = now;
            if self.health.expectation.take().is_some() {
                let heard = self.health.heard;
                self.arm(now, heard);
            }
        } else if let Some(awaited) = &mut self.health.expectation {
            let spec = &self.monitor.spec;
            let length = spec.grace.length();
            let latest = match spec.schedule.period() {
                Some(period) => horizon + period + length,
                None => spec.schedule.deadline(awaited.occurrence, spec.grace).max(horizon + length),
            };
            awaited.deadline = awaited.deadline.min(latest);
        }
    }
}

/// The first instant of the local date that `at` falls on, in the zone of a fixed schedule.
fn start_of_day(spec: &MonitorSpec, at: Timestamp) -> Timestamp {
    let end_of_day = |t: Timestamp| spec.schedule.deadline(t, Grace::EndOfDay);
    let mut start = end_of_day(at - std::time::Duration::from_secs(3 * 86_400));
    loop {
        let next = end_of_day(start);
        if next > at || next <= start {
            return start;
        }
        start = next;
    }
}
