//! A job under watch, told in the words of the rules: times are `h:mm` or `h:mm:ss` after midnight of a day in UTC, and
//! may go beyond 24 hours.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use heartbeat_engine::step::{Draft, Event, Surroundings, step};
use heartbeat_engine::step::{Edit, Taken};
use heartbeat_engine::{
    Change, Grace, Incident, LocalTime, Maintenance, MaintenanceSpec, MaintenanceTime, Monitor, MonitorId, MonitorSpec,
    Notification, NotificationKind, Outage, Ping, PingEntry, Record, Rotating, Route, RunId, Schedule, Signal, State,
    StateChange, Timestamp, Token, Transition, Version, Weekdays, Zone, parse_duration,
};

/// Midnight.
pub fn midnight() -> Timestamp {
    "2026-11-20T00:00:00Z".parse().unwrap()
}

/// The instant `h:mm`, `h:mm:ss` or `h:mm:ss.mmm` after midnight.
pub fn t(text: &str) -> Timestamp {
    let parts: Vec<f64> = text.split(':').map(|part| part.parse().unwrap()).collect();
    let seconds = parts[0] * 3600.0 + parts[1] * 60.0 + parts.get(2).copied().unwrap_or(0.0);
    midnight() + Duration::from_secs_f64(seconds)
}

/// A duration such as `1h30m`.
pub fn d(text: &str) -> Duration {
    parse_duration(text).unwrap()
}

pub fn outage(from: &str, to: &str) -> Outage {
    Outage { from: t(from), to: t(to) }
}

/// A maintenance window of every monitor.
pub fn window(from: &str, to: &str) -> Arc<Maintenance> {
    window_at(t(from), t(to))
}

pub fn window_at(from: Timestamp, to: Timestamp) -> Arc<Maintenance> {
    maintenance(MaintenanceTime::Once { from, to })
}

/// A maintenance window of every monitor, by a cron expression in UTC.
pub fn recurring(expression: &str, length: &str) -> Arc<Maintenance> {
    let schedule = Schedule::cron(expression, Zone::utc()).unwrap();
    maintenance(MaintenanceTime::Recurring { schedule, length: d(length) })
}

fn maintenance(time: MaintenanceTime) -> Arc<Maintenance> {
    let spec = MaintenanceSpec { all: true, ..MaintenanceSpec::new("by plan", time) };
    let faults = spec.faults(midnight());
    assert!(faults.is_empty(), "{faults:?}");
    Arc::new(Maintenance { id: "w".to_owned(), spec })
}

/// The same window, ended early.
pub fn ended(window: &Arc<Maintenance>, at: &str) -> Arc<Maintenance> {
    ended_at(window, t(at))
}

/// The same window, ended at an instant unless it was before.
pub fn ended_at(window: &Arc<Maintenance>, at: Timestamp) -> Arc<Maintenance> {
    let mut window = (**window).clone();
    window.spec.ended_at = Some(window.spec.ended_at.map_or(at, |before| before.min(at)));
    Arc::new(window)
}

pub fn run(n: u8) -> RunId {
    RunId::from_bytes([n; 16])
}

pub fn every(period: &str, grace: &str) -> MonitorSpec {
    let mut spec = MonitorSpec::new("job", Schedule::every(d(period)).unwrap());
    spec.grace = Grace::Fixed(d(grace));
    spec.channels = vec!["ops".to_owned()];
    spec
}

pub fn at(times: &[&str], zone: &str, grace: &str) -> MonitorSpec {
    let times: Vec<LocalTime> = times.iter().map(|time| time.parse().unwrap()).collect();
    let mut spec =
        MonitorSpec::new("job", Schedule::at(&times, Weekdays::EVERY_DAY, Zone::named(zone).unwrap()).unwrap());
    spec.grace = grace.parse().unwrap();
    spec.channels = vec!["ops".to_owned()];
    spec
}

pub fn cron(expression: &str, grace: &str) -> MonitorSpec {
    let mut spec = MonitorSpec::new("job", Schedule::cron(expression, Zone::utc()).unwrap());
    spec.grace = grace.parse().unwrap();
    spec.channels = vec!["ops".to_owned()];
    spec
}

pub fn monitor(id: u64, spec: MonitorSpec, created_at: Timestamp) -> Monitor {
    let mut bytes = [7; 16];
    bytes[8..].copy_from_slice(&id.to_be_bytes());
    Monitor {
        id: MonitorId::from_bytes(bytes),
        token: Rotating::new(Token::new(format!("token-{id:08}")).unwrap()),
        signing_secret: None,
        spec,
        revision: Version::FIRST,
        created_at,
        updated_at: created_at,
    }
}

pub fn ping(signal: Signal) -> Ping {
    Ping::new(signal)
}

pub fn claimed(signal: Signal, at: &str) -> Ping {
    Ping { claimed_at: Some(t(at)), ..Ping::new(signal) }
}

pub fn of_run(signal: Signal, n: u8) -> Ping {
    Ping { run: Some(run(n)), ..Ping::new(signal) }
}

/// A monitor with everything that became of it.
#[derive(Clone, Debug)]
pub struct Job {
    pub record: Record,
    pub outages: Vec<Outage>,
    pub windows: Vec<Arc<Maintenance>>,
    pub routes: Vec<Route>,
    pub down_parents: Vec<String>,
    pub incidents: Vec<Incident>,
    pub notifications: Vec<Notification>,
    pub changes: Vec<StateChange>,
    pub pings: Vec<PingEntry>,
    pub removed: bool,
}

impl Job {
    pub fn made(at: &str, spec: MonitorSpec) -> Self {
        Self::made_at(t(at), spec)
    }

    pub fn made_at(at: Timestamp, spec: MonitorSpec) -> Self {
        let faults = spec.faults(at);
        assert!(faults.is_empty(), "{faults:?}");
        let transition = Draft::create(Arc::new(monitor(1, spec, at)), at, Surroundings::default()).finish().unwrap();
        let Change::Put(record) = transition.change else { panic!("made") };
        Self {
            record: Arc::unwrap_or_clone(record),
            outages: Vec::new(),
            windows: Vec::new(),
            routes: Vec::new(),
            down_parents: Vec::new(),
            incidents: Vec::new(),
            notifications: Vec::new(),
            changes: Vec::new(),
            pings: Vec::new(),
            removed: false,
        }
    }

    /// The same under a maintenance window.
    pub fn under(mut self, window: Arc<Maintenance>) -> Self {
        self.windows.push(window);
        self
    }

    pub fn around(&self) -> Surroundings<'_> {
        let Self { outages, windows, routes, down_parents, .. } = self;
        Surroundings { outages, maintenance: windows, routes, down_parents }
    }

    /// Takes what was stored.
    pub fn store(&mut self, transition: Transition) {
        assert_eq!(transition.expected, Some(self.record.version));
        for incident in transition.incidents {
            match self.incidents.iter_mut().find(|known| known.id == incident.id) {
                Some(known) => *known = incident,
                None => self.incidents.push(incident),
            }
        }
        self.notifications.extend(transition.notifications);
        self.changes.extend(transition.changes);
        self.pings.extend(transition.pings);
        match transition.change {
            Change::Put(record) => self.record = Arc::unwrap_or_clone(record),
            Change::Remove => self.removed = true,
        }
    }

    pub fn event(&mut self, at: Timestamp, event: &Event) -> bool {
        match step(&self.record, event, at, self.around()).unwrap() {
            Some(transition) => {
                self.store(transition);
                true
            }
            None => false,
        }
    }

    pub fn take(&mut self, at: &str, ping: Ping) -> Taken {
        self.event(t(at), &Event::Ping(Box::new(ping)));
        let entry = self.pings.last().unwrap();
        Taken { n: entry.n, effect: entry.effect, arrived_at: entry.arrived_at }
    }

    pub fn success(&mut self, at: &str) -> Taken {
        self.take(at, ping(Signal::Success))
    }

    pub fn fail(&mut self, at: &str) -> Taken {
        self.take(at, ping(Signal::Fail))
    }

    pub fn start(&mut self, at: &str) -> Taken {
        self.take(at, ping(Signal::Start))
    }

    pub fn edit(&mut self, at: &str, edit: Edit) -> bool {
        self.event(t(at), &Event::Edit(edit))
    }

    pub fn change(&mut self, at: &str, change: impl FnOnce(&mut MonitorSpec)) -> bool {
        let mut spec = self.record.spec().clone();
        change(&mut spec);
        self.edit(at, Edit::Spec { spec: Box::new(spec), expected: None, secret: None })
    }

    pub fn pause(&mut self, at: &str) {
        self.edit(at, Edit::Pause { manual_resume: false });
    }

    pub fn resume(&mut self, at: &str) {
        self.edit(at, Edit::Resume);
    }

    /// The watcher was away; it looks when it is back.
    pub fn away(&mut self, from: &str, to: &str) {
        self.outages.push(outage(from, to));
        self.look(to);
    }

    /// Time has passed.
    pub fn look(&mut self, at: &str) -> bool {
        self.event(t(at), &Event::Wake)
    }

    /// Time passes until then, with a look whenever something is due.
    pub fn watch(&mut self, until: &str) {
        let mut last = Timestamp::MIN;
        loop {
            let due = self.record.health.wake_at();
            assert!(due > last, "a look at {last} settles what was due by then");
            if due >= t(until) {
                return;
            }
            last = due;
            self.event(due + Duration::from_millis(1), &Event::Wake);
        }
    }

    /// What was told, to whom and when: whole minutes.
    pub fn messages(&self) -> Vec<(String, NotificationKind, Timestamp)> {
        let minute = |at: Timestamp| Timestamp::from_millis(at.as_millis() / 60_000 * 60_000);
        self.notifications.iter().map(|n| (n.channel.clone(), n.kind, minute(n.created_at))).collect()
    }

    pub fn state(&self) -> State {
        self.record.health.state
    }

    /// The awaited deadline.
    pub fn deadline(&self) -> Timestamp {
        self.record.health.expectation.unwrap().deadline
    }

    /// When each incident was opened and closed.
    pub fn spans(&self) -> Vec<(Timestamp, Option<Timestamp>)> {
        self.incidents.iter().map(|incident| (incident.opened_at, incident.closed_at)).collect()
    }

    pub fn told(&self) -> Vec<NotificationKind> {
        self.notifications.iter().map(|notification| notification.kind).collect()
    }

    /// Nobody was told of anything.
    #[track_caller]
    pub fn assert_no_alert(&self) {
        assert!(self.notifications.is_empty() && self.incidents.is_empty(), "{:#?}", self.incidents);
    }

    /// It looks at every minute until it goes down, and says when that was.
    pub fn down_by(&mut self, limit: &str) -> Option<Timestamp> {
        let mut now = t("0:00");
        while now <= t(limit) {
            self.event(now, &Event::Wake);
            if let Some(incident) = &self.record.health.incident {
                return Some(incident.opened_at);
            }
            now = now + Duration::from_secs(60);
        }
        None
    }
}
