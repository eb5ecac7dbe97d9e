//! What people and time do about incidents, on a running engine and virtual time.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{
    Attempt, Clock, DeliveryError, EditError, Engine, HistoryItem, HistoryQuery, Incident, IncidentId, MemoryStorage,
    MonitorSpec, Notification, Notifier, Ping, PutMode, Receipt, Schedule, Signal, Timestamp,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn start() -> Timestamp {
    "2026-11-20T08:00:00Z".parse().unwrap()
}

/// What a channel received, and when.
#[derive(Clone)]
struct Channel {
    clock: TokioClock,
    received: Arc<Mutex<Vec<(Timestamp, Notification)>>>,
}

#[async_trait]
impl Notifier for Channel {
    async fn deliver(&self, notification: &Notification, _: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        self.received.lock().unwrap().push((self.clock.now(), notification.clone()));
        Ok(Receipt::default())
    }
}

struct World {
    engine: Engine,
    storage: Arc<MemoryStorage>,
    ops: Channel,
}

impl World {
    async fn new() -> Self {
        let clock = TokioClock::new(start());
        let storage = Arc::new(MemoryStorage::new());
        let ops = Channel { clock: clock.clone(), received: Arc::default() };
        let engine = Engine::builder(storage.clone()).clock(clock).notifier("ops", ops.clone()).spawn().await.unwrap();
        Self { engine, storage, ops }
    }

    async fn incident(&self, slug: &str) -> Incident {
        let monitor = self.engine.find(slug).unwrap().id();
        let query = HistoryQuery::Incidents { monitor: Some(monitor), open: None, before: None };
        let Some(HistoryItem::Incident(incident)) = self.engine.history(&query, 1).await.unwrap().items.pop() else {
            panic!("no incident")
        };
        incident
    }
}

fn spec(slug: &str) -> MonitorSpec {
    let mut spec = MonitorSpec::new(slug, Schedule::every(HOUR).unwrap());
    spec.channels = vec!["ops".to_owned()];
    spec
}

#[tokio::test(start_paused = true)]
async fn an_acknowledgement_is_kept_and_the_first_one_stays() {
    let world = World::new().await;
    let engine = &world.engine;
    engine.put(spec("sync"), PutMode::Upsert).await.unwrap();
    engine.ping("sync", Ping::new(Signal::Fail)).await.unwrap();
    let id = world.incident("sync").await.id;

    let by_ann = engine.acknowledge(id, "ann").await.unwrap();
    assert_eq!(by_ann.acknowledged.as_ref().map(|ack| (ack.at, ack.by.as_str())), Some((start(), "ann")));
    tokio::time::sleep(MINUTE).await;
    assert_eq!(engine.acknowledge(id, "bob").await.unwrap(), by_ann);
    assert_eq!(world.incident("sync").await, by_ann);

    let query = HistoryQuery::Changes { monitor: by_ann.monitor, before: None };
    let changes = engine.history(&query, 10).await.unwrap().items;
    let lines =
        changes.iter().filter(|item| matches!(item, HistoryItem::Change(c) if c.reason == "acknowledged by ann"));
    assert_eq!(lines.count(), 1, "{changes:?}");

    engine.ping("sync", Ping::new(Signal::Success)).await.unwrap();
    assert!(matches!(engine.acknowledge(id, "bob").await, Err(EditError::InUse(_))));
    let unknown = IncidentId::from_bytes([9; 16]);
    assert_eq!(engine.acknowledge(unknown, "bob").await, Err(EditError::NotFound("incident")));
    assert!(matches!(engine.acknowledge(id, " ").await, Err(EditError::Invalid(faults)) if faults[0].field == "by"));
}

#[tokio::test(start_paused = true)]
async fn no_note_is_lost_when_many_are_written_at_once_about_an_open_or_a_closed_incident() {
    let world = World::new().await;
    let engine = &world.engine;
    engine.put(spec("sync"), PutMode::Upsert).await.unwrap();
    engine.ping("sync", Ping::new(Signal::Fail)).await.unwrap();
    let id = world.incident("sync").await.id;
    for round in 0..2 {
        let mut writers = tokio::task::JoinSet::new();
        for n in 0..20 {
            let engine = engine.clone();
            writers.spawn(async move { engine.note(id, "ann", &format!("{round}-{n}")).await.unwrap() });
            let pinged = world.engine.clone();
            // Heartbeats change the record at the same time, and do not get in the way.
            writers.spawn(async move {
                let log = Ping::new(Signal::Log);
                pinged.ping("sync", log).await.unwrap();
                pinged.note(id, "bob", &format!("{round}-{n}")).await.unwrap()
            });
        }
        let answers = writers.join_all().await;
        assert!(answers.iter().all(|incident| incident.id == id));
        let notes = world.incident("sync").await.notes;
        assert_eq!(notes.len(), 40 * (round + 1));
        if round == 0 {
            engine.ping("sync", Ping::new(Signal::Success)).await.unwrap();
        }
    }
    assert!(!world.incident("sync").await.is_open());
    drop(world.storage);
}

#[tokio::test(start_paused = true)]
async fn notes_have_limits_that_are_told() {
    let world = World::new().await;
    let engine = &world.engine;
    engine.put(spec("sync"), PutMode::Upsert).await.unwrap();
    engine.ping("sync", Ping::new(Signal::Fail)).await.unwrap();
    let id = world.incident("sync").await.id;
    let long = "x".repeat(Incident::NOTE_BYTES_MAX + 1);
    for (by, text, fields) in [("", "x", vec!["by"]), ("ann", "  ", vec!["text"]), ("a\nb", &long, vec!["by", "text"])]
    {
        let Err(EditError::Invalid(faults)) = engine.note(id, by, text).await else { panic!("{by} {text}") };
        assert_eq!(faults.iter().map(|fault| fault.field.as_str()).collect::<Vec<_>>(), fields);
    }
    for n in 0..Incident::NOTES_MAX {
        engine.note(id, "ann", &format!("note {n}")).await.unwrap();
    }
    assert!(matches!(engine.note(id, "ann", "one more").await, Err(EditError::InUse(why)) if why.contains("100")));
    assert_eq!(engine.note(IncidentId::from_bytes([9; 16]), "ann", "x").await, Err(EditError::NotFound("incident")));

    engine.put(spec("gone"), PutMode::Upsert).await.unwrap();
    engine.ping("gone", Ping::new(Signal::Fail)).await.unwrap();
    let gone = world.incident("gone").await.id;
    engine.remove("gone").await.unwrap();
    assert!(matches!(engine.note(gone, "ann", "x").await, Err(EditError::InUse(_))));
}
