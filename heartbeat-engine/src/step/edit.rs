//! What people do to a monitor: edit, pause, resume, remove, rotate (S3.9, S5.1, S5.2).

use std::sync::Arc;

use crate::step::Draft;
use crate::step::Edit;
use crate::{Closing, Monitor, MonitorSpec, NotificationKind, Pursuit, Rotating, Secret, State, Timestamp, routing};

impl Draft<'_> {
    /// Applies an edit at `now`, after what was due before.
    pub fn edit(&mut self, edit: &Edit, now: Timestamp) {
        self.advance(now);
        match edit {
            Edit::Spec { spec, secret, .. } => self.wish(spec, secret.as_ref(), now),
            Edit::Pause { manual_resume } => self.pause(*manual_resume, now),
            Edit::Resume => self.resume(now),
            Edit::Remove => self.remove(now),
            Edit::RotateToken { token, overlap } => self.change_monitor(now, |monitor| {
                monitor.token = monitor.token.clone().rotated(token.clone(), now + *overlap);
            }),
            Edit::RotateSecret { secret, overlap } => self.change_monitor(now, |monitor| {
                let next = secret.clone();
                monitor.signing_secret = Some(Box::new(match monitor.signing_secret.take() {
                    Some(old) => old.rotated(next, now + *overlap),
                    None => Rotating::new(next),
                }));
            }),
            // Nothing is to be done about an incident that is over; who wants to know asks the draft itself.
            Edit::Acknowledge { incident, by } => drop(self.acknowledge(*incident, by, now)),
            Edit::Note(new) => drop(self.annotate(new, now)),
        }
    }

    fn change_monitor(&mut self, now: Timestamp, change: impl FnOnce(&mut Monitor)) {
        let monitor = Arc::make_mut(&mut self.monitor);
        change(monitor);
        monitor.revision = monitor.revision.next();
        monitor.updated_at = now;
    }

    fn wish(&mut self, spec: &MonitorSpec, secret: Option<&Secret>, now: Timestamp) {
        let before = self.monitor.clone();
        let needs_secret = spec.require_signature && before.signing_secret.is_none();
        if before.spec == *spec && !needs_secret {
            return;
        }
        self.change_monitor(now, |monitor| {
            monitor.spec = spec.clone();
            if needs_secret {
                monitor.signing_secret = secret.cloned().map(Rotating::new).map(Box::new);
            }
        });
        let scheduled = before.spec.schedule != spec.schedule || before.spec.early != spec.early;
        if scheduled {
            self.health.latest_at = self.health.latest_at.max(now);
        }
        if before.spec.remind_every != spec.remind_every {
            self.plan_reminder(now);
        }
        if before.spec.flap_limit != spec.flap_limit {
            self.change_flap_limit(before.spec.flap_limit, now);
        }
        if self.health.state == State::Paused {
            return;
        }
        if !self.health.armed {
            if spec.arm == crate::Arm::Created {
                self.arm(now, false);
            }
        } else if scheduled {
            self.health.expectation = None;
            self.arm(now, false);
        } else if before.spec.grace != spec.grace {
            self.change_grace(&before.spec, now);
        }
    }

    /// Sets the deadline of the awaited occurrence again, but not earlier while it is late (S3.9).
    fn change_grace(&mut self, before: &MonitorSpec, now: Timestamp) {
        self.let_go();
        let spec = &self.monitor.spec;
        let Some(awaited) = &mut self.health.expectation else { return };
        let by_old_grace = before.schedule.deadline(awaited.occurrence, before.grace);
        let deadline = if awaited.deadline == by_old_grace {
            spec.schedule.deadline(awaited.occurrence, spec.grace)
        } else {
            awaited.deadline - before.grace.length() + spec.grace.length()
        };
        let late = awaited.occurrence <= now;
        awaited.deadline = if late { deadline.max(awaited.deadline) } else { deadline };
        self.hold(now);
    }

    fn pause(&mut self, manual_resume: bool, now: Timestamp) {
        self.health.manual_resume = manual_resume;
        if self.health.state == State::Paused {
            return;
        }
        self.note(State::Paused, now, now, "paused".to_owned());
        self.close_incident(Closing::Paused, now);
        self.health.expectation = None;
        self.health.moves.held = None;
        self.health.failures = 0;
        self.health.successes = 0;
        self.health.latest_at = self.health.latest_at.max(now);
        self.drop_runs();
    }

    fn resume(&mut self, now: Timestamp) {
        if self.health.state != State::Paused {
            return;
        }
        self.health.latest_at = self.health.latest_at.max(now);
        self.begin_anew(now, "resumed");
    }

    /// A heartbeat resumes a paused monitor; it is itself about a time after the pause, and counts (S5.1).
    pub(super) fn resume_by_heartbeat(&mut self, now: Timestamp) {
        self.begin_anew(now, "resumed by a heartbeat");
    }

    fn begin_anew(&mut self, now: Timestamp, reason: &str) {
        self.note(State::New, now, now, reason.to_owned());
        self.health.manual_resume = false;
        self.health.failures = 0;
        self.health.successes = 0;
        // It may have come to be armed from its creation by an edit while it was paused.
        if self.health.armed || self.monitor.spec.arm == crate::Arm::Created {
            self.arm(now, false);
        }
    }

    fn remove(&mut self, now: Timestamp) {
        self.close_incident(Closing::Removed, now);
        self.removed = true;
    }

    /// Ends an open incident, and flapping, without a recovery, and tells those who know of it.
    fn close_incident(&mut self, closing: Closing, now: Timestamp) {
        let flapped = std::mem::take(&mut self.health.flaps).flapping;
        self.health.pursuit = Pursuit::default();
        let mut incident = self.health.incident.take();
        if let Some(incident) = &mut incident {
            incident.closed_at = Some(now.max(incident.opened_at));
            incident.closing = Some(closing);
            self.keep_incident((**incident).clone());
        }
        let (told, how) = match (flapped, &incident) {
            (Some(flapping), _) => (flapping.told, "while it was flapping"),
            (None, Some(incident)) => (incident.told.clone(), "while it was down; its incident is closed"),
            (None, None) => return,
        };
        let message = routing::sentence(&self.monitor, format_args!("was {} {how}", closing.name()));
        self.owe(NotificationKind::Closed, &told, now, &message, incident.as_deref(), None);
    }
}
