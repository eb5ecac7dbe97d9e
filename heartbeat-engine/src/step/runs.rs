//! Runs of a job: start, end, overrun (S4.2, S4.6).

use std::time::Duration;

use crate::step::Draft;
use crate::step::advance::{Failure, IN_WINDOW};
use crate::step::silence::Stretch;
use crate::{Cause, EndedRun, Ping, Run, RunId, Timestamp, describe_duration, routing};

/// How many runs may be open, and how many ended ones are remembered.
const RUNS_MAX: usize = 32;

/// What a heartbeat's end of runs came to.
#[derive(Default)]
pub(super) struct Ended {
    /// How long the run lasted that it ended; of several, the longest.
    pub(super) duration: Option<Duration>,
    /// It belongs to a run that counted as an overrun already.
    pub(super) counted_already: bool,
}

impl Draft<'_> {
    /// Whether a run of this name is open, or has ended and is remembered.
    pub(super) fn knows_run(&self, id: Option<RunId>) -> bool {
        let health = &self.health;
        id.is_some() && (health.runs.iter().any(|run| run.id == id) || health.ended_runs.iter().any(|run| run.id == id))
    }

    /// Opens a run that is not known.
    pub(super) fn start_run(&mut self, id: Option<RunId>, began_at: Timestamp, now: Timestamp) {
        let health = &mut *self.health;
        let limit_at = self.monitor.spec.max_runtime.map(|limit| now + limit);
        if id.is_none()
            && let Some(at) = health.runs.iter().position(|run| run.id.is_none())
        {
            let replaced = health.runs.remove(at);
            let reason = format!("a new run replaces the one that began at {} and did not end", replaced.began_at);
            self.note(self.health.state, now, now, reason);
        } else if health.runs.len() >= RUNS_MAX {
            if limit_at.is_some() {
                let reason = format!("{RUNS_MAX} runs are open; the one that begins now is not followed");
                self.note(self.health.state, now, now, reason);
                return;
            }
            health.runs.remove(0);
        }
        self.health.runs.push(Run { id, began_at, limit_at });
    }

    /// Ends the run that a success or fail at `at` belongs to (S4.6).
    pub(super) fn end_run(&mut self, ping: &Ping, at: Timestamp) -> Ended {
        let runs = &self.health.runs;
        let open = |run: &&Run| run.began_at <= at;
        let ends: Vec<Run> = match ping.run {
            Some(_) => runs.iter().filter(|run| run.id == ping.run).copied().collect(),
            None if ping.ends_all_runs => runs.iter().filter(open).copied().collect(),
            None => {
                let nameless = runs.iter().filter(open).find(|run| run.id.is_none());
                nameless
                    .or_else(|| runs.iter().filter(open).max_by_key(|run| run.began_at))
                    .copied()
                    .into_iter()
                    .collect()
            }
        };
        let duration = ends.iter().map(|run| at.since(run.began_at)).max();
        for run in &ends {
            self.health.runs.retain(|other| other != run);
            self.remember(EndedRun { id: run.id, overran: false });
        }
        let counted_already = ends.is_empty() && self.take_overrun(ping.run);
        if ends.is_empty() && ping.run.is_some() && !self.knows_run(ping.run) {
            // Its start may still be on the way, and must then begin nothing (S4.2).
            self.remember(EndedRun { id: ping.run, overran: false });
        }
        Ended { duration, counted_already }
    }

    /// A run is open at its limit: one failure, and it is closed (S4.2).
    pub(super) fn overrun(&mut self, limit: Timestamp, now: Timestamp) {
        let Some(index) = self.health.runs.iter().position(|run| run.limit_at == Some(limit)) else { return };
        let run = self.health.runs.remove(index);
        let in_window = self.in_maintenance(limit).is_some();
        let lasting = self.stretch_after(limit, now).filter(|stretch| !stretch.is_over(now));
        if in_window || lasting.is_some_and(|stretch| stretch.hides(limit)) {
            self.close_unobserved(run, limit, now);
            return;
        }
        self.remember(EndedRun { id: run.id, overran: true });
        let detail = overrun_detail(&run, limit);
        let lasted = describe_duration(limit.since(run.began_at));
        let message = routing::sentence(
            &self.monitor,
            format_args!("is down: a run that began at {} has not ended after {lasted}", run.began_at),
        );
        self.fail(Failure { cause: Cause::Overrun, at: limit, detail, message: &message, ping: None }, now);
    }

    /// Closes the runs whose end the watcher may have missed (S6.2).
    pub(super) fn forget_runs_in(&mut self, stretch: &Stretch, now: Timestamp) {
        let span = stretch.span;
        // At the first instant of an outage it was judged before (S3.7); at that of a window it is not (S5.3).
        let touched = |limit: Timestamp| limit >= span.from;
        let unobserved = |run: &Run| run.began_at < span.to && run.limit_at.is_some_and(touched);
        if !self.health.runs.iter().any(unobserved) {
            return;
        }
        let (mut gone, kept): (Vec<Run>, Vec<Run>) = self.health.runs.iter().partition(|run| unobserved(run));
        self.health.runs = kept;
        gone.sort_by_key(|run| run.limit_at);
        for run in gone {
            // What would have been found only later is found by nobody.
            let limit = run.limit_at.filter(|limit| *limit < span.to).unwrap_or(Timestamp::MAX);
            self.close_unobserved(run, limit, now);
        }
    }

    /// Closes a run without a failure; that its limit passed in a maintenance window is recorded (S5.3).
    fn close_unobserved(&mut self, run: Run, limit: Timestamp, now: Timestamp) {
        self.remember(EndedRun { id: run.id, overran: false });
        if self.in_maintenance(limit).is_some() {
            let reason = format!("{}: {} ({IN_WINDOW})", Cause::Overrun, overrun_detail(&run, limit));
            self.note(self.health.state, limit, now, reason);
        }
    }

    fn remember(&mut self, run: EndedRun) {
        if run.id.is_none() && !run.overran && self.health.ended_runs.is_empty() {
            return;
        }
        let ended = &mut self.health.ended_runs;
        if run.id.is_none() {
            ended.retain(|other| other.id.is_some());
            if !run.overran {
                return;
            }
        }
        if ended.len() >= RUNS_MAX {
            ended.remove(0);
        }
        ended.push(run);
    }

    /// Whether the run of this heartbeat overran. Of those without an id the next heartbeat counts again.
    fn take_overrun(&mut self, id: Option<RunId>) -> bool {
        if self.health.ended_runs.is_empty() {
            return false;
        }
        let Some(known) = self.health.ended_runs.iter_mut().find(|run| run.id == id && run.overran) else {
            return false;
        };
        known.overran = id.is_some();
        true
    }

    /// Drops every open run, as pausing does.
    pub(super) fn drop_runs(&mut self) {
        self.health.runs.clear();
    }
}

fn overrun_detail(run: &Run, limit: Timestamp) -> String {
    format!("a run that began at {} was still open at {limit}", run.began_at)
}
