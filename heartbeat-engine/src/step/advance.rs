//! Everything that was due before an instant, in time order (S3.7): overruns, deadlines, the watcher's outages, the end of
//! flapping.

use std::time::Duration;

use crate::step::Draft;
use crate::{Cause, Incident, IncidentId, PingEntry, State, Timestamp, routing};

/// How far nodes' clocks may differ, and so how far ahead of `now` a stored time may be (S4.8, S6.7).
pub(super) const AHEAD_MAX: Duration = Duration::from_secs(60);

/// Says in the history that a failure changed no count (S5.3).
pub(super) const IN_WINDOW: &str = "in a maintenance window, not counted";

/// What is due, in the order in which it is applied at one instant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A stretch of silence whose first instant lies in a maintenance window.
    Window,
    Overrun,
    Deadline,
    Outage,
    Settled,
}

impl Draft<'_> {
    /// Applies what was due before `now`. What is due *at* `now` waits: a heartbeat of the same instant is in time.
    pub fn advance(&mut self, now: Timestamp) {
        self.let_go();
        self.passed = 0;
        self.come_back_to(now);
        while let Some((at, due)) = self.next_due(now) {
            match due {
                Due::Overrun => self.overrun(at, now),
                Due::Deadline => self.judge(at, now),
                Due::Window | Due::Outage => self.pass_stretch(now),
                Due::Settled => self.settle_by_limit(at, now),
            }
        }
    }

    pub(super) fn next_due(&self, now: Timestamp) -> Option<(Timestamp, Due)> {
        let health = &self.health;
        let deadline =
            health.expectation.filter(|_| self.judges_silence()).map(|awaited| (awaited.deadline, Due::Deadline));
        let limit = health.runs.iter().filter_map(|run| run.limit_at).min().map(|at| (at, Due::Overrun));
        let stretch = self.unseen_stretch(now).filter(|stretch| stretch.is_over(now));
        let stretch = stretch
            .map(|stretch| (stretch.span.from, if stretch.begins_in_window { Due::Window } else { Due::Outage }));
        let settled = health.flaps.flapping.as_ref().map(|flapping| (flapping.settles_at, Due::Settled));
        let is_due = |due: &(Timestamp, Due)| due.0 < now;
        let earlier = |one: Option<(Timestamp, Due)>, other: Option<(Timestamp, Due)>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let timed = earlier(deadline.filter(is_due), earlier(limit.filter(is_due), settled.filter(is_due)));
        earlier(timed, stretch)
    }

    /// Whether a missed deadline matters; while down only where it breaks a recovery that has begun (S3.4).
    pub(super) fn judges_silence(&self) -> bool {
        match self.health.state {
            State::New | State::Up => true,
            State::Down => self.health.successes > 0,
            State::Paused => false,
        }
    }

    /// Judges the silence at the awaited deadline.
    fn judge(&mut self, deadline: Timestamp, now: Timestamp) {
        if self.hold(now) {
            return;
        }
        let Some(awaited) = self.health.expectation else { return };
        if awaited.excused {
            self.expect_next();
            return;
        }
        if self.health.state == State::Down {
            self.health.successes = 0;
            return;
        }
        let detail = routing::missed_detail(self.monitor.as_ref(), &awaited);
        let message = routing::missed_message(self.monitor.as_ref(), &self.health);
        self.fail(Failure { cause: Cause::Missed, at: deadline, detail, message: &message, ping: None }, now);
        if self.health.state != State::Down {
            self.expect_next();
        }
    }

    /// Adds one failure; at the threshold the monitor goes down (S3.3).
    pub(super) fn fail(&mut self, failure: Failure<'_>, now: Timestamp) {
        self.health.successes = 0;
        self.health.failures = self.health.failures.saturating_add(1);
        let threshold = self.monitor.spec.failure_threshold;
        if self.health.state == State::Down {
            return;
        }
        if self.health.failures < threshold {
            let reason = format!("{}: {} ({} of {threshold})", failure.cause, failure.detail, self.health.failures);
            self.note(self.health.state, failure.at, now, reason);
            return;
        }
        // By the clock of a node that is behind, it may seem to happen before the recovery that came first (S8.4).
        let opened_at = failure.at.max(self.health.latest_at);
        let ordinal = self.next_ordinal();
        let Failure { cause, detail, message, ping, .. } = failure;
        let incident = Incident {
            id: IncidentId::derive(self.monitor.id, self.version, ordinal),
            monitor: self.monitor.id,
            opened_at,
            detected_at: now.max(opened_at),
            closed_at: None,
            closing: None,
            cause,
            detail,
            told: Vec::new(),
            acknowledged: None,
            notes: Vec::new(),
            held_by: Vec::new(),
        };
        self.open_incident(incident, message, ping, now);
    }
}

/// One failure (S3.3).
pub(super) struct Failure<'a> {
    pub(super) cause: Cause,
    /// When it happened.
    pub(super) at: Timestamp,
    pub(super) detail: String,
    pub(super) message: &'a str,
    pub(super) ping: Option<&'a PingEntry>,
}
