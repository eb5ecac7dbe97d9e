//! Flapping: a monitor that goes down and up again and again is told of once, and then when it settles (S7.10).

use crate::step::Draft;
use crate::{FlapLimit, Flapping, Flaps, Incident, NotificationKind, PingEntry, Timestamp, routing};

/// What a going down means for whether the monitor flaps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flap {
    Steady,
    Begins,
    GoesOn,
}

impl Draft<'_> {
    /// Counts a going down at `at`. One that is held back is not counted: it says more about the other monitor (S5.4).
    pub(super) fn count_going_down(&mut self, at: Timestamp) -> Flap {
        let Some(limit) = self.monitor.spec.flap_limit else { return Flap::Steady };
        self.has_changed(at);
        let flaps = &mut self.health.flaps;
        if flaps.flapping.is_some() {
            return Flap::GoesOn;
        }
        if !self.around.down_parents.is_empty() {
            return Flap::Steady;
        }
        flaps.downs.retain(|down| at.since(*down) <= limit.within);
        flaps.downs.push(at);
        let counted = usize::try_from(limit.incidents).unwrap_or(usize::MAX);
        let surplus = flaps.downs.len().saturating_sub(counted);
        flaps.downs.drain(..surplus);
        if flaps.downs.len() < counted { Flap::Steady } else { Flap::Begins }
    }

    /// A monitor that flaps has changed at `at`: it settles that much later.
    pub(super) fn has_changed(&mut self, at: Timestamp) {
        if let (Some(limit), Some(flapping)) = (self.monitor.spec.flap_limit, &mut self.health.flaps.flapping) {
            flapping.settles_at = flapping.settles_at.max(at + limit.within);
        }
    }

    /// Tells `channels` that it flaps, instead of the going down.
    pub(super) fn begin_flapping(
        &mut self,
        channels: Vec<String>,
        incident: &Incident,
        ping: Option<&PingEntry>,
        now: Timestamp,
    ) {
        let Some(limit) = self.monitor.spec.flap_limit else { return };
        let message = routing::flapping_message(&self.monitor, limit, incident);
        self.owe(NotificationKind::Flapping, &channels, now, &message, Some(incident), ping);
        let at = incident.opened_at;
        self.health.flaps = Flaps {
            downs: Vec::new(),
            flapping: Some(Box::new(Flapping { since: at, told: channels, settles_at: at + limit.within })),
        };
    }

    /// It flaps on: those of `channels` that were not told so are told now. Their causes may not have been among the first.
    pub(super) fn flap_on(
        &mut self,
        channels: Vec<String>,
        incident: &Incident,
        ping: Option<&PingEntry>,
        now: Timestamp,
    ) {
        let (Some(limit), Some(flapping)) = (self.monitor.spec.flap_limit, &mut self.health.flaps.flapping) else {
            return;
        };
        let fresh: Vec<String> = channels.into_iter().filter(|channel| !flapping.told.contains(channel)).collect();
        flapping.told.extend(fresh.iter().cloned());
        let message = routing::flapping_message(&self.monitor, limit, incident);
        self.owe(NotificationKind::Flapping, &fresh, now, &message, Some(incident), ping);
    }

    /// At `at` it does not flap any more, by the limit that applied: those who were told that it flaps are told how it stands.
    pub(super) fn settle(&mut self, at: Timestamp, limit: FlapLimit, now: Timestamp) {
        let Some(flapping) = std::mem::take(&mut self.health.flaps).flapping else { return };
        let steady_since = flapping.settles_at - limit.within;
        self.note(self.health.state, at, now, "is not flapping any more".to_owned());
        let mut incident = self.health.incident.take();
        let mut told = flapping.told;
        if incident.is_some() {
            told = routing::without_repetition(told.iter().chain(&self.monitor.spec.channels));
        }
        let message = routing::settled_message(&self.monitor, incident.as_deref(), steady_since);
        self.owe(NotificationKind::Settled, &told, now, &message, incident.as_deref(), None);
        if let Some(incident) = &mut incident {
            incident.told = told;
            self.keep_incident((**incident).clone());
        }
        self.health.incident = incident;
        self.plan_reminder(now);
    }

    /// It has not changed for as long as its limit says.
    pub(super) fn settle_by_limit(&mut self, at: Timestamp, now: Timestamp) {
        match self.monitor.spec.flap_limit {
            Some(limit) => self.settle(at, limit, now),
            None => self.health.flaps = Flaps::default(),
        }
    }

    /// Another limit applies from `now` on; without one nothing flaps.
    pub(super) fn change_flap_limit(&mut self, before: Option<FlapLimit>, now: Timestamp) {
        let limit = self.monitor.spec.flap_limit;
        match (&mut self.health.flaps.flapping, limit, before) {
            (Some(flapping), Some(limit), Some(before)) => {
                flapping.settles_at = flapping.settles_at - before.within + limit.within;
            }
            (Some(_), None, Some(before)) => self.settle(now, before, now),
            _ => {}
        }
        if limit.is_none() {
            self.health.flaps = Flaps::default();
        }
    }
}
