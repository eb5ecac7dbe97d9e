//! Whom an incident is told to, and what follows while it is open: reminders (S7.7), escalations (S7.8), and what is held
//! back while a monitor that it depends on is down (S5.4).

use std::time::Duration;

use crate::step::Draft;
use crate::step::advance::AHEAD_MAX;
use crate::step::flap::Flap;
use crate::{
    Cause, Circumstances, Escalation, Incident, NotificationKind, PingEntry, Pursuit, State, Timestamp, routing,
};

impl Draft<'_> {
    /// Does what is due about the open incident, as it stands at `now` after everything else: tells what was held back,
    /// escalates and reminds. What is not true any more by then is not told.
    pub fn pursue(&mut self, now: Timestamp) {
        if self.health.incident.is_none() {
            return;
        }
        self.let_escalations_go();
        if self.is_held_back(now) || !self.health.is_pursued() {
            return;
        }
        if let Some(end) = self.in_maintenance(now) {
            return self.wait_for_window(end, now);
        }
        let told_now = self.escalate(now);
        self.remind(now, &told_now);
    }

    /// In a maintenance window escalations wait for its end, and reminders are left out (S5.3).
    fn wait_for_window(&mut self, end: Timestamp, now: Timestamp) {
        let pursuit = &mut self.health.pursuit;
        for escalation in pursuit.escalations.iter_mut().filter(|escalation| escalation.due_at < now) {
            escalation.due_at = end;
        }
        pursuit.escalations.sort_by_key(|escalation| escalation.due_at);
        if pursuit.remind_at.is_some_and(|at| at < now) {
            self.plan_reminder(now);
        }
    }

    /// Lets escalations count again from when the incident was detected: the windows that they waited for may have been
    /// ended early.
    fn let_escalations_go(&mut self) {
        let Circumstances { incident: Some(incident), pursuit, .. } = &mut *self.health else { return };
        for escalation in &mut pursuit.escalations {
            escalation.due_at = escalation.due_at.min(incident.detected_at + escalation.after);
        }
        self.health.pursuit.escalations.sort_by_key(|escalation| escalation.due_at);
    }

    /// Opens an incident and tells those whom it concerns: `message`, and the heartbeat that brought it about.
    pub(super) fn open_incident(
        &mut self,
        mut incident: Incident,
        message: &str,
        ping: Option<&PingEntry>,
        now: Timestamp,
    ) {
        let (channels, escalations) = self.routed(incident.cause, now);
        self.health.pursuit = Pursuit { escalations, ..Pursuit::default() };
        let parents = self.around.down_parents;
        let reason = format!("{}: {}", incident.cause, incident.detail);
        let at = incident.opened_at;
        match self.count_going_down(at) {
            Flap::GoesOn => {
                self.note(State::Down, at, now, format!("{reason}; not told while it is flapping"));
                self.flap_on(channels, &incident, ping, now);
            }
            _ if !parents.is_empty() => {
                self.note(State::Down, at, now, format!("{reason}; held back while {}", routing::are_down(parents)));
                incident.held_by = parents.to_vec();
                self.health.pursuit.held = channels;
            }
            Flap::Begins => {
                self.note(State::Down, at, now, format!("{reason}; it is flapping"));
                self.begin_flapping(channels, &incident, ping, now);
            }
            Flap::Steady => {
                self.note(State::Down, at, now, reason);
                self.owe(NotificationKind::Down, &channels, now, message, Some(&incident), ping);
                incident.told = channels;
            }
        }
        self.keep_incident(incident.clone());
        self.health.incident = Some(Box::new(incident));
        self.plan_reminder(now);
    }

    /// Sets the next reminder: the first one after `now`, where there is somebody to be reminded.
    pub(super) fn plan_reminder(&mut self, now: Timestamp) {
        let every = self.monitor.spec.remind_every;
        let last = self.health.pursuit.remind_at;
        let incident = self.health.incident.as_ref();
        let wanted = incident.filter(|incident| incident.acknowledged.is_none() && !incident.told.is_empty());
        self.health.pursuit.remind_at = wanted.zip(every).map(|(incident, every)| {
            // The clock was set back since it went down (S6.7); another node's may show a little more.
            if now + AHEAD_MAX < incident.opened_at {
                let on = last.filter(|last| *last <= now && *last + every > now);
                return on.unwrap_or(now) + every;
            }
            let period = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
            let lasted = u64::try_from(now.since(incident.opened_at).as_millis()).unwrap_or(u64::MAX);
            let next = (lasted / period).saturating_add(1).saturating_mul(period);
            incident.opened_at + Duration::from_millis(next)
        });
    }

    /// Lets nothing wait for longer than it was meant to when the wall clock was set back (S6.7).
    pub(super) fn bring_pursuit_back(&mut self, now: Timestamp, horizon: Timestamp) {
        if self.health.pursuit.is_empty() && self.health.flaps.is_empty() {
            return;
        }
        let every = self.monitor.spec.remind_every.unwrap_or_default();
        let within = self.monitor.spec.flap_limit.map(|limit| limit.within).unwrap_or_default();
        let health = &mut self.health;
        let meant = |at: &mut Timestamp, wait: Duration| {
            if *at > horizon + wait {
                *at = now + wait;
            }
        };
        health.pursuit.remind_at.iter_mut().for_each(|at| meant(at, every));
        health.pursuit.escalations.iter_mut().for_each(|escalation| meant(&mut escalation.due_at, escalation.after));
        health.flaps.downs.iter_mut().for_each(|at| meant(at, Duration::ZERO));
        health.flaps.flapping.iter_mut().for_each(|flapping| meant(&mut flapping.settles_at, within));
    }

    /// The channels that are told of an incident at once, and the routes that wait (S7.8).
    fn routed(&self, cause: Cause, now: Timestamp) -> (Vec<String>, Vec<Escalation>) {
        let spec = &self.monitor.spec;
        let routes = || self.around.routes.iter().filter(|route| route.matches(spec, cause));
        let at_once = routes().filter(|route| route.spec.after.is_zero());
        let channels = routing::without_repetition(spec.channels.iter().chain(at_once.flat_map(|r| &r.spec.channels)));
        let waiting = routes().filter(|route| !route.spec.after.is_zero());
        let mut escalations: Vec<Escalation> = waiting
            .map(|route| Escalation {
                route: route.name.clone(),
                channels: routing::without_repetition(&route.spec.channels),
                due_at: now + route.spec.after,
                after: route.spec.after,
            })
            .collect();
        escalations.sort_by_key(|escalation| escalation.due_at);
        (channels, escalations)
    }

    /// The channels that are told what a job has to say (S4.5): its own, and those of the immediate routes for any cause.
    pub(super) fn channels_for_reports(&self) -> Vec<String> {
        let spec = &self.monitor.spec;
        let routes = self.around.routes.iter().filter(|route| route.spec.after.is_zero() && route.is_for_reports(spec));
        routing::without_repetition(spec.channels.iter().chain(routes.flat_map(|route| &route.spec.channels)))
    }

    /// Whether a monitor that it depends on is down. Then what is due waits, and the incident says for whom; else what was
    /// held back is told.
    fn is_held_back(&mut self, now: Timestamp) -> bool {
        let parents = self.around.down_parents;
        let due = self.health.is_pursued() && self.health.pursuit.next_at().is_some_and(|at| at < now);
        let Some(incident) = &mut self.health.incident else { return true };
        let held = !incident.held_by.is_empty();
        if parents.is_empty() {
            if held {
                self.release(now);
            }
            return false;
        }
        if (held || due) && incident.held_by != parents {
            incident.held_by = parents.to_vec();
            let incident = (**incident).clone();
            self.keep_incident(incident);
        }
        true
    }

    /// No monitor that it depends on is down any more: those who would have been told of the going down are told now.
    fn release(&mut self, now: Timestamp) {
        let Some(mut incident) = self.health.incident.take() else { return };
        let parents = std::mem::take(&mut incident.held_by);
        let held = std::mem::take(&mut self.health.pursuit.held);
        // Nobody was told yet: the channels of now count too, for those of then may be gone.
        let now_named = self.monitor.spec.channels.iter().filter(|_| incident.told.is_empty());
        let channels = routing::without_repetition(held.iter().chain(now_named));
        if !channels.is_empty() {
            let message = routing::released_message(&self.monitor, &incident, &parents);
            self.note(State::Down, now, now, "told now, as no monitor that it depends on is down any more".to_owned());
            self.owe(NotificationKind::Down, &channels, now, &message, Some(&incident), None);
            incident.told = channels;
        }
        self.keep_incident((*incident).clone());
        self.health.incident = Some(incident);
        if self.health.pursuit.remind_at.is_none() {
            self.plan_reminder(now);
        }
    }

    /// Tells the channels of the routes whose time has come; gives those that were told.
    fn escalate(&mut self, now: Timestamp) -> Vec<String> {
        let waiting = std::mem::take(&mut self.health.pursuit.escalations);
        let (due, later): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|escalation| escalation.due_at < now);
        self.health.pursuit.escalations = later;
        let Some(mut incident) = self.health.incident.clone().filter(|_| !due.is_empty()) else { return Vec::new() };
        let mut told_now: Vec<String> = Vec::new();
        for escalation in due {
            let fresh: Vec<String> =
                escalation.channels.into_iter().filter(|channel| !told_now.contains(channel)).collect();
            let message = routing::escalated_message(&self.monitor, &incident, &escalation.route, now);
            self.note(State::Down, now, now, format!("escalated by route {}", escalation.route));
            self.owe(NotificationKind::Escalated, &fresh, now, &message, Some(&incident), None);
            told_now.extend(fresh);
        }
        incident.told = routing::without_repetition(incident.told.iter().chain(&told_now));
        self.keep_incident((*incident).clone());
        self.health.incident = Some(incident);
        if self.health.pursuit.remind_at.is_none() {
            self.plan_reminder(now);
        }
        told_now
    }

    /// Reminds those who were told, except those who heard of it just now.
    fn remind(&mut self, now: Timestamp, told_now: &[String]) {
        if self.health.pursuit.remind_at.is_none_or(|at| at >= now) {
            return;
        }
        let Some(incident) = self.health.incident.clone() else { return };
        let channels: Vec<String> =
            incident.told.iter().filter(|channel| !told_now.contains(channel)).cloned().collect();
        let message = routing::reminder_message(&self.monitor, &incident, now);
        self.owe(NotificationKind::Reminder, &channels, now, &message, Some(&incident), None);
        self.plan_reminder(now);
    }
}
