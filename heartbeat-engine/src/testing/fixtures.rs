//! Monitors, heartbeats, incidents and notifications for tests. The same arguments give the same things.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::schedule::Schedule;
use crate::{
    AboutIncident, AboutMonitor, Acknowledgement, Arm, Batch, Cause, Change, Closing, Delivery, DeliveryState, Digest,
    DigestItem, DocumentWrite, Effect, EndedRun, Expectation, Health, Incident, IncidentId, IncidentNote, LastPing,
    Lease, Monitor, MonitorId, MonitorSpec, Notification, NotificationId, NotificationKind, OutageMoves, PartitionId,
    PingEntry, Record, Rotating, Run, RunId, Secret, Settlement, Severity, Signal, State, StateChange, StatusWord,
    Timestamp, Token, Transition, Version,
};

/// A text that breaks what is not careful with text: several scripts, quotes, line ends, NUL, and more than 16 bits.
pub const DIFFICULT_TEXT: &str = "naïve 证书 同步 🫀 'quoted' \"twice\" \\ %s ?1 $1 \r\n\t\0 <b>&amp;</b> {} \u{202e}";

/// An instant `seconds` after the first of January 2026.
#[must_use]
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_secs(1_767_225_600 + seconds)
}

/// The `n`-th monitor's id. They sort as their numbers do.
#[must_use]
pub fn monitor_id(n: u64) -> MonitorId {
    monitor_id_in(PartitionId(0), n)
}

/// The `n`-th monitor's id in a partition, whatever the number of partitions.
#[must_use]
pub fn monitor_id_in(partition: PartitionId, n: u64) -> MonitorId {
    let mut id = [1; 16];
    id[6..14].copy_from_slice(&n.to_be_bytes());
    id[14..].copy_from_slice(&partition.0.to_be_bytes());
    MonitorId::from_bytes(id)
}

/// The number of a monitor whose id is that of [`monitor_id`] or [`monitor_id_in`].
#[must_use]
pub fn monitor_number(id: MonitorId) -> u64 {
    let mut n = [0; 8];
    n.copy_from_slice(&id.as_bytes()[6..14]);
    u64::from_be_bytes(n)
}

/// A record that is the same but for its monitor's id.
#[must_use]
pub fn with_id(id: MonitorId, record: &Record) -> Record {
    let mut record = record.clone();
    Arc::make_mut(&mut record.monitor).id = id;
    record
}

/// The `n`-th incident's id. They sort as their numbers do.
#[must_use]
pub fn incident_id(n: u64) -> IncidentId {
    IncidentId::from_bytes(bytes(2, n))
}

/// The `n`-th notification's id.
#[must_use]
pub fn notification_id(n: u64) -> NotificationId {
    NotificationId::from_bytes(bytes(3, n))
}

/// The `n`-th run's id.
#[must_use]
pub fn run_id(n: u64) -> RunId {
    RunId::from_bytes(bytes(4, n))
}

fn bytes(kind: u8, n: u64) -> [u8; 16] {
    let mut bytes = [kind; 16];
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    bytes
}

/// The `n`-th ping token.
#[must_use]
pub fn token(n: u64) -> Token {
    Token::new(format!("token-{n:08}")).unwrap()
}

/// The `n`-th monitor in its first version: slug `monitor-n`, every hour, up, expected at [`at`]`(3600)`.
#[must_use]
pub fn record(n: u64) -> Record {
    let spec =
        MonitorSpec::new(format!("monitor-{n}"), Schedule::every(Duration::from_secs(3600)).expect("an hour is right"));
    let monitor = Monitor {
        revision: Version::FIRST,
        id: monitor_id(n),
        token: Rotating::new(token(n)),
        signing_secret: None,
        spec,
        created_at: at(0),
        updated_at: at(0),
    };
    Record { monitor: Arc::new(monitor), health: health(at(3600)), version: Version::FIRST }
}

/// A monitor that is up and whose silence is judged at `deadline`.
#[must_use]
pub fn health(deadline: Timestamp) -> Health {
    Health {
        state: State::Up,
        armed: true,
        heard: true,
        expectation: Some(Expectation { occurrence: deadline, deadline, excused: false }),
        outages_seen: Timestamp::default(),
        ..Health::new(at(0))
    }
}

/// The `n`-th monitor with a value in every field, down, with an open incident and runs.
#[must_use]
pub fn full_record(n: u64) -> Record {
    let mut record = record(n);
    let monitor = Arc::make_mut(&mut record.monitor);
    monitor.token = Rotating::new(token(n + 500_000)).rotated(token(n), at(9));
    let secret = Rotating::new(Secret::new("old")).rotated(Secret::new(DIFFICULT_TEXT), at(10));
    monitor.signing_secret = Some(Box::new(secret));
    monitor.updated_at = at(1) + Duration::from_millis(1);
    let spec = &mut monitor.spec;
    spec.name = DIFFICULT_TEXT.into();
    spec.description = DIFFICULT_TEXT.repeat(100).into();
    spec.early = Duration::from_millis(1500);
    spec.max_runtime = Some(Duration::from_secs(60));
    spec.arm = Arm::FirstPing;
    (spec.failure_threshold, spec.recovery_threshold) = (3, 1000);
    spec.severity = Severity::Critical;
    spec.tags = vec!["cert".to_owned(), DIFFICULT_TEXT.to_owned()];
    spec.channels = vec!["ops".to_owned(), "mail".to_owned()];
    // Numbers whose nearest decimals are easily read back as their neighbours.
    (spec.value_min, spec.value_max) = (Some(-1.192_092_895_507_812_5e-7), Some(4_503_599_627_370_497.5));
    spec.require_signature = true;
    spec.declared_in = Some("heartbeat.toml".to_owned());
    let health = &mut record.health;
    health.state = State::Down;
    (health.failures, health.successes, health.ping_count) = (u32::MAX, 7, 12_345_678_901);
    health.moves = OutageMoves { first: Some((at(1), at(2))), extended: 2, held: Some(at(3)) };
    health.outages_seen = Timestamp::MIN;
    health.runs = vec![
        Run { id: None, began_at: at(3), limit_at: None },
        Run { id: Some(run_id(1)), began_at: at(4), limit_at: Some(at(64)) },
    ];
    health.ended_runs = vec![EndedRun { id: Some(run_id(2)), overran: true }];
    health.incident = Some(Box::new(incident(n, monitor_id(n))));
    health.last_ping = Some(LastPing { n: 9, arrived_at: at(7), at: at(6), signal: Signal::Report, degraded: true });
    record
}

/// The `n`-th heartbeat of a monitor: a success at [`at`]`(n)` that says nothing more.
#[must_use]
pub fn ping(n: u64) -> PingEntry {
    let arrived_at = at(i64::try_from(n).unwrap());
    PingEntry {
        n,
        arrived_at,
        at: arrived_at,
        signal: Signal::Success,
        effect: Effect::Counted,
        run: None,
        run_duration: None,
        message: None,
        body: None,
        body_cut: false,
        value: None,
        duration: None,
        exit_status: None,
        claimed_at: None,
        source: None,
        user_agent: None,
        degraded: false,
    }
}

/// The `n`-th heartbeat of a monitor with a value in every field and a body that is no text.
#[must_use]
pub fn full_ping(n: u64) -> PingEntry {
    PingEntry {
        at: at(-5),
        signal: Signal::Fail,
        effect: Effect::Older,
        run: Some(run_id(n)),
        run_duration: Some(Duration::from_millis(61_001)),
        message: Some(DIFFICULT_TEXT.to_owned()),
        body: Some((0..=255).cycle().take(100_000).collect()),
        body_cut: true,
        value: Some(0.100_000_000_000_000_02),
        duration: Some(Duration::from_millis(1)),
        exit_status: Some(255),
        claimed_at: Some(at(-5)),
        source: Some("2001:db8::1".to_owned()),
        user_agent: Some(DIFFICULT_TEXT.to_owned()),
        degraded: true,
        ..ping(n)
    }
}

/// The change of `monitor` to down that its record's `version` made.
#[must_use]
pub fn change(monitor: MonitorId, version: u64) -> StateChange {
    StateChange {
        monitor,
        version: Version(version),
        at: at(0),
        detected_at: at(1),
        from: State::Up,
        to: State::Down,
        reason: DIFFICULT_TEXT.to_owned(),
    }
}

/// The `n`-th incident, of `monitor`, opened at [`at`]`(n)` and still open.
#[must_use]
pub fn incident(n: u64, monitor: MonitorId) -> Incident {
    let opened_at = at(i64::try_from(n).unwrap());
    Incident {
        id: incident_id(n),
        monitor,
        opened_at,
        detected_at: opened_at + Duration::from_millis(3),
        closed_at: None,
        closing: None,
        cause: Cause::Overrun,
        detail: DIFFICULT_TEXT.to_owned(),
        told: vec!["ops".to_owned()],
        acknowledged: Some(Acknowledgement { at: opened_at + Duration::from_secs(2), by: DIFFICULT_TEXT.to_owned() }),
        notes: vec![IncidentNote { at: opened_at, by: "ann".to_owned(), text: DIFFICULT_TEXT.to_owned() }],
        held_by: vec!["router".to_owned()],
    }
}

/// The same incident, closed by a recovery a minute after it opened.
#[must_use]
pub fn closed(incident: Incident) -> Incident {
    let closed_at = Some(incident.opened_at + Duration::from_secs(60));
    Incident { closed_at, closing: Some(Closing::Recovered), ..incident }
}

/// The `n`-th notification, to the channel `ops`, about nothing.
#[must_use]
pub fn notification(n: u64) -> Notification {
    Notification {
        id: notification_id(n),
        channel: "ops".to_owned(),
        kind: NotificationKind::Test,
        created_at: at(i64::try_from(n).unwrap()),
        monitor: None,
        incident: None,
        message: format!("notification {n}"),
        ping: None,
        digest: None,
    }
}

/// The `n`-th notification with everything that one can tell: of `incident` and the heartbeat that caused it.
#[must_use]
pub fn full_notification(n: u64, incident: &Incident) -> Notification {
    Notification {
        kind: NotificationKind::Down,
        monitor: Some(AboutMonitor {
            id: incident.monitor,
            slug: "cert-sync".to_owned(),
            name: DIFFICULT_TEXT.to_owned(),
            tags: vec!["cert".to_owned()],
            severity: Severity::Critical,
            status: StatusWord::Down,
        }),
        incident: Some(AboutIncident {
            id: incident.id,
            opened_at: incident.opened_at,
            detected_at: incident.detected_at,
            closed_at: incident.closed_at,
            cause: incident.cause,
            detail: incident.detail.clone(),
        }),
        message: DIFFICULT_TEXT.repeat(10),
        ping: Some(full_ping(7)),
        ..notification(n)
    }
}

/// The `n`-th notification: a digest that lists `items` messages with everything in them and stands for five more.
#[must_use]
pub fn full_digest(n: u64, items: usize) -> Notification {
    let about = |item: u64| full_notification(item, &incident(item, monitor_id(item)));
    let list = (0..items as u64).map(|item| {
        let Notification { kind, monitor, incident, message, .. } = about(item);
        DigestItem { kind, monitor, incident, message }
    });
    let covers = (0..items as u64 + 5).map(|item| (notification_id(1000 + item), Some(monitor_id(item))));
    let digest = Digest { items: list.collect(), covers: covers.collect() };
    Notification {
        kind: NotificationKind::Digest,
        message: format!("{} messages: {} monitor.down", digest.total(), digest.total()),
        digest: Some(Box::new(digest)),
        ..notification(n)
    }
}

/// The `n`-th notification is in this state; it was tried twice.
#[must_use]
pub fn settlement(n: u64, state: DeliveryState) -> Settlement {
    let delivery = Delivery {
        state,
        attempts: 2,
        next_attempt_at: at(77),
        settled_at: (state != DeliveryState::Pending).then(|| at(78)),
        last_error: Some(DIFFICULT_TEXT.to_owned()),
        recipients_done: vec!["a@example.org".to_owned()],
    };
    Settlement { id: notification_id(n), delivery }
}

/// A transition with nothing but this change of the record.
#[must_use]
pub fn transition(monitor: MonitorId, expected: Option<Version>, change: Change) -> Transition {
    Transition {
        monitor,
        expected,
        change,
        pings: Vec::new(),
        changes: Vec::new(),
        incidents: Vec::new(),
        notifications: Vec::new(),
    }
}

/// Makes a new monitor with this record.
#[must_use]
pub fn create(record: &Record) -> Transition {
    transition(record.id(), None, Change::Put(Arc::new(record.clone())))
}

/// Replaces the version before this record's with it.
#[must_use]
pub fn replace(record: &Record) -> Transition {
    transition(record.id(), Some(Version(record.version.0 - 1)), Change::Put(Arc::new(record.clone())))
}

/// The next version of a record, edited; with the next revision where the wish changed.
#[must_use]
pub fn next(record: &Record, edit: impl FnOnce(&mut Monitor, &mut Health)) -> Record {
    let mut next = Record { version: record.version.next(), ..record.clone() };
    edit(Arc::make_mut(&mut next.monitor), &mut next.health);
    if next.monitor != record.monitor {
        let monitor = Arc::make_mut(&mut next.monitor);
        monitor.revision = monitor.revision.next();
    }
    next
}

/// Removes a monitor whose record is this.
#[must_use]
pub fn remove(record: &Record) -> Transition {
    transition(record.id(), Some(record.version), Change::Remove)
}

/// A batch of partition 0 without a lease.
#[must_use]
pub fn batch(transitions: impl Into<Vec<Transition>>) -> Batch {
    Batch { transitions: transitions.into(), ..Batch::default() }
}

/// A write of a document.
#[must_use]
pub fn write_document(kind: &str, id: &str, expected: Option<u64>, body: Option<Value>) -> DocumentWrite {
    DocumentWrite { kind: kind.to_owned(), id: id.to_owned(), expected: expected.map(Version), body }
}

/// A lease of `partition` by `node` until [`at`]`(60)`; epoch 0 and an empty node for one that was never leased.
#[must_use]
pub fn lease(partition: u16, epoch: u64, node: &str) -> Lease {
    Lease { partition: PartitionId(partition), epoch: crate::Epoch(epoch), node: node.to_owned(), expires_at: at(60) }
}
