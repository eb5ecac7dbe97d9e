//! All rules of what a monitor does: pure decisions, time is an argument.

mod advance;
mod care;
mod edit;
mod event;
mod expect;
mod flap;
mod heartbeat;
mod pursue;
mod runs;
mod silence;
mod suffer;
mod surroundings;

use std::sync::Arc;

pub use care::{CareError, NewNote};
pub use event::{Edit, Event, Taken};
#[cfg(feature = "runtime")]
pub(crate) use suffer::explains;
pub(crate) use suffer::{foreseen, is_ahead, touched};
pub use surroundings::Surroundings;

use crate::{
    Change, Effect, Health, Incident, LastPing, Monitor, Notification, NotificationKind, PingEntry, Record, Signal,
    State, StateChange, Timestamp, Transition, Version, routing,
};

/// The heartbeat's claimed time is more than 90 days old or more than 60 s in the future (S4.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the claimed time is more than 90 days old or more than 60 s in the future")]
pub struct ClaimedTimeError;

/// What `event` at `now` makes of `record`; `None` when nothing changes. Everything that was due before is applied
/// first (S3.7), with what lies around it taken into account: the watcher's outages (S6.2), maintenance windows (S5.3),
/// routes (S7.8) and the monitors that it depends on (S5.4).
///
/// # Errors
/// When a heartbeat's claimed time is out of range (S4.8).
pub fn step(
    record: &Record,
    event: &Event,
    now: Timestamp,
    around: Surroundings<'_>,
) -> Result<Option<Transition>, ClaimedTimeError> {
    let mut draft = Draft::of(record, around);
    match event {
        Event::Wake => draft.advance(now),
        Event::Ping(ping) => {
            draft.ping(ping, now)?;
        }
        Event::Edit(edit) => draft.edit(edit, now),
    }
    draft.pursue(now);
    Ok(draft.finish())
}

/// A record in the making: it folds events, and [`Draft::finish`] gives the transition that stores them all at once.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    monitor: Arc<Monitor>,
    health: Health,
    /// The version that the transition will store.
    version: Version,
    before: Option<&'a Record>,
    around: Surroundings<'a>,
    /// What the wall clock shows, when later than the event's own time.
    clock: Timestamp,
    /// How many stretches of silence were passed since the event began.
    passed: usize,
    /// Stored even when nothing has changed.
    kept: bool,
    removed: bool,
    pings: Vec<PingEntry>,
    changes: Vec<StateChange>,
    incidents: Vec<Incident>,
    notifications: Vec<Notification>,
    /// Counts what derives its id from the version.
    ordinal: usize,
}

impl<'a> Draft<'a> {
    fn new(monitor: Arc<Monitor>, health: Health, before: Option<&'a Record>, around: Surroundings<'a>) -> Self {
        Self {
            monitor,
            health,
            version: before.map_or(Version::FIRST, |record| record.version.next()),
            before,
            around,
            clock: Timestamp::MIN,
            passed: 0,
            kept: false,
            removed: false,
            pings: Vec::new(),
            changes: Vec::new(),
            incidents: Vec::new(),
            notifications: Vec::new(),
            ordinal: 0,
        }
    }

    /// Starts from a stored record.
    #[must_use]
    pub fn of(record: &'a Record, around: Surroundings<'a>) -> Self {
        Self::new(record.monitor.clone(), record.health.clone(), Some(record), around)
    }

    /// Starts a new monitor: armed at `now`, or by its first heartbeat (S3.2).
    #[must_use]
    pub fn create(monitor: Arc<Monitor>, now: Timestamp, around: Surroundings<'a>) -> Self {
        let mut draft = Self::new(monitor, Health::new(now), None, around);
        if draft.monitor.spec.arm == crate::Arm::Created {
            draft.arm(now, false);
        }
        draft
    }

    /// Says what the wall clock shows while events are folded that were stamped before: what was stored meanwhile does not
    /// lie in the future then (S6.7).
    pub(crate) fn on_clock(mut self, clock: Timestamp) -> Self {
        self.clock = clock;
        self
    }

    /// Stores the record even when it is as before: what outages moved in it may not be stored yet.
    pub(crate) fn keep(&mut self) {
        self.kept = true;
    }

    /// The monitor as the events so far have left it.
    #[must_use]
    pub fn monitor(&self) -> &Arc<Monitor> {
        &self.monitor
    }

    /// The health as the events so far have left it.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Whether an event removed the monitor; further events are pointless then.
    #[must_use]
    pub fn is_removed(&self) -> bool {
        self.removed
    }

    /// What must be stored; `None` when nothing has changed.
    #[must_use]
    pub fn finish(mut self) -> Option<Transition> {
        self.health.settle();
        if self.removed && self.before.is_none() {
            return None;
        }
        if let Some(before) = self.before
            && !self.removed
            && !self.kept
            && self.pings.is_empty()
            && self.incidents.is_empty()
            && Arc::ptr_eq(&before.monitor, &self.monitor)
        {
            // That an outage was looked at, without effect, need not be stored; that the clock was set back must be, or the
            // outages until then would never be looked at (S6.7).
            let seen = std::mem::replace(&mut self.health.outages_seen, before.health.outages_seen);
            if before.health == self.health && seen >= before.health.outages_seen {
                return None;
            }
            self.health.outages_seen = seen;
        }
        let monitor = self.monitor.id;
        let record = Record { monitor: self.monitor, health: self.health, version: self.version };
        Some(Transition {
            monitor,
            expected: self.before.map(|before| before.version),
            change: if self.removed { Change::Remove } else { Change::Put(Arc::new(record)) },
            pings: self.pings,
            changes: self.changes,
            incidents: self.incidents,
            notifications: self.notifications,
        })
    }

    fn next_ordinal(&mut self) -> usize {
        self.ordinal += 1;
        self.ordinal
    }

    /// Records a change of state, or (with the same state) something worth a line in the monitor's history.
    fn note(&mut self, to: State, at: Timestamp, now: Timestamp, reason: String) {
        let from = std::mem::replace(&mut self.health.state, to);
        let (monitor, version) = (self.monitor.id, self.version);
        push_one(&mut self.changes, StateChange { monitor, version, at, detected_at: now, from, to, reason });
    }

    /// Owes one message to each of these channels.
    fn owe(
        &mut self,
        kind: NotificationKind,
        channels: &[String],
        now: Timestamp,
        message: &str,
        incident: Option<&Incident>,
        ping: Option<&PingEntry>,
    ) {
        let ordinal = self.next_ordinal();
        let about =
            routing::Subject { monitor: &self.monitor, state: self.health.state, version: self.version, ordinal };
        self.notifications.reserve_exact(channels.len());
        self.notifications
            .extend(channels.iter().map(|channel| about.notification(kind, channel, now, message, incident, ping)));
    }

    /// Keeps the newest form of an incident for the store.
    fn keep_incident(&mut self, incident: Incident) {
        self.incidents.retain(|kept| kept.id != incident.id);
        push_one(&mut self.incidents, incident);
    }

    /// Keeps a heartbeat, and it as the latest one.
    fn keep_ping(&mut self, entry: PingEntry) -> Taken {
        let taken = Taken { n: entry.n, effect: entry.effect, arrived_at: entry.arrived_at };
        // What says nothing about how the job stands does not end a degradation.
        let says = entry.effect == Effect::Counted && !matches!(entry.signal, Signal::Start | Signal::Log);
        let degraded = if says { entry.degraded } else { self.is_degraded() };
        self.health.last_ping =
            Some(LastPing { n: entry.n, arrived_at: entry.arrived_at, at: entry.at, signal: entry.signal, degraded });
        push_one(&mut self.pings, entry);
        taken
    }

    fn is_degraded(&self) -> bool {
        self.health.last_ping.as_ref().is_some_and(|last| last.degraded)
    }
}

/// Appends to a list of which the first thing nearly always stays the only one: it takes memory for no more.
fn push_one<T>(list: &mut Vec<T>, thing: T) {
    if list.is_empty() {
        list.reserve_exact(1);
    }
    list.push(thing);
}
