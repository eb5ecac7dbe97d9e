//! What the watcher's own outages make of what is expected (S6.2), and a wall clock that was set back (S6.7).

use crate::absence::Outage;
use crate::step::advance::{AHEAD_MAX, Due};
use crate::step::{Draft, Surroundings};
use crate::{Expectation, Health, MonitorSpec, Record, Timestamp};

/// How often a deadline that falls inside an outage is put behind it, at most (S6.2).
const EXTENSIONS_MAX: u8 = 2;

/// The record as the outages leave it that the next step applies first, where they change more than that they were
/// looked at. Nothing is judged and nothing needs to be stored: the next step comes to the same by itself.
pub(crate) fn foreseen(record: &Record, outages: &[Outage], now: Timestamp) -> Option<Record> {
    let latest = outages.last()?;
    let health = &record.health;
    // Most monitors have nothing to do with most outages; this keeps a restart cheap.
    let concerned = health.expectation.is_some_and(|awaited| awaited.deadline > latest.from)
        || health.runs.iter().any(|run| run.limit_at.is_some());
    if !concerned {
        return None;
    }
    let mut draft = Draft::of(record, outages.into()).on_clock(now);
    while let Some((_, Due::Outage)) = draft.next_due(now) {
        draft.pass_outage(now);
    }
    let changed = draft.health.expectation != health.expectation || draft.health.runs.len() != health.runs.len();
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
    let may_be = health.based_at > horizon
        || health.latest_at > horizon
        || health.moves.seen > horizon
        || health.last_ping.as_ref().is_some_and(|last| last.arrived_at > horizon)
        || health.runs.iter().any(|run| run.began_at > horizon)
        || health.incident.as_ref().is_some_and(|incident| incident.detected_at > horizon)
        || health.flaps.downs.iter().any(|at| *at > horizon)
        || health.flaps.flapping.is_some();
    if !may_be {
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
    /// How many of the outages, which are in the order of their ends, were looked at.
    pub(super) fn outages_seen(&self) -> usize {
        let seen = self.health.moves.seen;
        self.around.outages.partition_point(|outage| outage.to <= seen)
    }

    /// The next outage that began before `now` and was not looked at.
    pub(super) fn unseen_outage(&self, now: Timestamp) -> Option<Outage> {
        // One that ends in the future was stored before the clock was set back (S6.7).
        let horizon = now.max(self.clock) + AHEAD_MAX;
        let next = self.around.outages.get(self.outages_seen())?;
        (next.from < now && next.to <= horizon).then_some(*next)
    }

    /// Applies the next outage that was not looked at.
    pub(super) fn pass_outage(&mut self, now: Timestamp) {
        let Some(outage) = self.unseen_outage(now) else { return };
        self.suffer(&outage);
        self.forget_runs_in(&outage);
        self.health.moves.seen = outage.to;
    }

    /// Applies one outage to what is awaited (S6.2).
    pub(super) fn suffer(&mut self, outage: &Outage) {
        let spec = &self.monitor.spec;
        let Some(awaited) = self.health.expectation.filter(|awaited| awaited.deadline > outage.from) else { return };
        let window = window(spec, &self.health, &awaited);
        let touches = outage.touches(window);
        let length = spec.grace.length();
        let moves = &mut self.health.moves;
        let Some(expectation) = &mut self.health.expectation else { return };
        if let Some(period) = spec.schedule.period() {
            let whole = outage.length() >= period + length;
            if whole || (touches && moves.first.is_none_or(|first| outage.from <= first.1)) {
                moves.first.get_or_insert(window);
                expectation.deadline = awaited.deadline.max(outage.to + period + length);
                return;
            }
        } else if touches {
            let excused = moves.first.is_none_or(|first| outage.touches(first) || outage.covers(window));
            if excused || awaited.excused {
                moves.first.get_or_insert(window);
                expectation.excused = true;
                return;
            }
        }
        if awaited.deadline <= outage.to && moves.extended < EXTENSIONS_MAX {
            moves.extended += 1;
            expectation.deadline = outage.to + length;
        }
    }

    /// Lets no stored time stay in the future when the wall clock was set back (S6.7).
    pub(super) fn come_back_to(&mut self, now: Timestamp) {
        let now = now.max(self.clock);
        let horizon = now + AHEAD_MAX;
        self.bring_pursuit_back(now, horizon);
        let health = &mut self.health;
        let moved = health.moves.first.is_some() || health.moves.extended > 0;
        let ahead = health.based_at > horizon || (moved && health.moves.seen > horizon);
        let heard_ahead = health.last_ping.as_ref().is_some_and(|last| last.arrived_at > horizon);
        for run in &mut health.runs {
            if ahead || heard_ahead || run.began_at > horizon {
                let length = self.monitor.spec.max_runtime;
                run.limit_at = run.limit_at.map(|at| at.min(now + length.unwrap_or_else(|| at.since(run.began_at))));
                run.began_at = run.began_at.min(now);
            }
        }
        if health.latest_at > horizon {
            health.latest_at = now;
        }
        if health.moves.seen > horizon {
            health.moves.seen = now;
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
