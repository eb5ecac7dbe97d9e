//! What people and time do about incidents, on a running engine and virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{
    Attempt, Clock, DeliveryError, EditError, Engine, FlapLimit, HistoryItem, HistoryQuery, Incident, IncidentId,
    MemoryStorage, MonitorId, MonitorSpec, Notification, NotificationKind, Notifier, Ping, PutMode, Receipt, RouteSpec,
    Schedule, Signal, State, Target, Timestamp,
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

impl Channel {
    /// What it received about a monitor, and how long after the start: whole seconds.
    fn received(&self, slug: &str) -> Vec<(NotificationKind, u64)> {
        let received = self.received.lock().unwrap();
        let about = received.iter().filter(|(_, told)| told.monitor.as_ref().is_some_and(|about| about.slug == slug));
        about.map(|(at, told)| (told.kind, at.since(start()).as_secs())).collect()
    }
}

struct World {
    engine: Engine,
    ops: Channel,
    boss: Channel,
}

impl World {
    async fn new() -> Self {
        Self::on(TokioClock::new(start()), Arc::new(MemoryStorage::new())).await
    }

    async fn on(clock: TokioClock, storage: Arc<MemoryStorage>) -> Self {
        let ops = Channel { clock: clock.clone(), received: Arc::default() };
        let boss = Channel { clock: clock.clone(), received: Arc::default() };
        let builder = Engine::builder(storage).clock(clock);
        let engine = builder.notifier("ops", ops.clone()).notifier("boss", boss.clone()).spawn().await.unwrap();
        Self { engine, ops, boss }
    }

    /// Waits until a time after the start.
    async fn until(&self, time: Duration) {
        tokio::time::sleep((start() + time).since(self.engine.now())).await;
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

fn escalation(after: Duration) -> RouteSpec {
    RouteSpec {
        severities: Vec::new(),
        tags: Vec::new(),
        causes: Vec::new(),
        channels: vec!["boss".to_owned()],
        after,
        declared_in: None,
    }
}

#[tokio::test(start_paused = true)]
async fn reminders_and_escalations_come_at_their_instants_until_somebody_acknowledges() {
    let world = World::new().await;
    let engine = &world.engine;
    engine.put_route("boss", escalation(90 * MINUTE)).await.unwrap();
    let mut wish = spec("sync");
    wish.remind_every = Some(HOUR);
    engine.put(wish, PutMode::Upsert).await.unwrap();
    engine.ping("sync", Ping::new(Signal::Fail)).await.unwrap();
    // A later edit of a route concerns later incidents.
    engine.put_route("boss", escalation(MINUTE)).await.unwrap();
    world.until(2 * HOUR + 30 * MINUTE).await;
    use NotificationKind::{Down, Escalated, Recovered, Reminder};
    assert_eq!(world.ops.received("sync"), [(Down, 0), (Reminder, 3600), (Reminder, 7200)]);
    assert_eq!(world.boss.received("sync"), [(Escalated, 5400), (Reminder, 7200)]);
    let late = world.ops.received.lock().unwrap().iter().map(|(at, _)| at.since(start()).subsec_millis()).max();
    assert!(late <= Some(10), "each within 10 ms (S8.5): {late:?}");

    engine.acknowledge(world.incident("sync").await.id, "ann").await.unwrap();
    world.until(10 * HOUR).await;
    engine.ping("sync", Ping::new(Signal::Success)).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(world.ops.received("sync")[3..], [(Recovered, 36_000)]);
    assert_eq!(world.boss.received("sync")[2..], [(Recovered, 36_000)]);
    engine.shutdown(MINUTE).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn after_a_long_absence_there_is_one_reminder() {
    let clock = TokioClock::new(start());
    let storage = Arc::new(MemoryStorage::new());
    let first = World::on(clock.clone(), storage.clone()).await;
    let mut wish = spec("sync");
    wish.remind_every = Some(HOUR);
    first.engine.put(wish, PutMode::Upsert).await.unwrap();
    first.engine.ping("sync", Ping::new(Signal::Fail)).await.unwrap();
    first.engine.shutdown(MINUTE).await.unwrap();
    first.until(20 * HOUR + MINUTE).await;
    let second = World::on(clock, storage).await;
    second.until(21 * HOUR + MINUTE).await;
    let reminded = [(NotificationKind::Reminder, 72_060), (NotificationKind::Reminder, 75_600)];
    assert_eq!(second.ops.received("sync"), reminded);
}

#[tokio::test(start_paused = true)]
async fn a_child_is_told_of_when_its_parent_is_up_and_it_is_not() {
    let clock = TokioClock::new(start());
    let storage = Arc::new(MemoryStorage::new());
    let world = World::on(clock.clone(), storage.clone()).await;
    let engine = &world.engine;
    let router = engine.put(spec("router"), PutMode::Upsert).await.unwrap().record.id();
    for child in ["web", "mail"] {
        let mut wish = spec(child);
        wish.depends_on = vec![router];
        engine.put(wish, PutMode::Upsert).await.unwrap();
    }
    world.until(3 * HOUR).await;
    let names = ["router", "web", "mail"];
    assert!(names.iter().all(|name| engine.find(*name).unwrap().health.state == State::Down));
    assert_eq!(names.map(|name| world.ops.received(name).len()), [1, 0, 0], "one message for one cause");
    assert_eq!(world.incident("web").await.held_by, ["router"]);

    engine.ping("mail", Ping::new(Signal::Success)).await.unwrap();
    engine.ping("router", Ping::new(Signal::Success)).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(names.map(|name| world.ops.received(name).len()), [2, 1, 0]);
    let told = world.ops.received.lock().unwrap().last().unwrap().1.message.clone();
    assert!(told.contains("is down since") && told.contains("held back while router was down"), "{told}");

    // The parent recovers in the last moment; the child is told of after the start.
    engine.ping("router", Ping::new(Signal::Fail)).await.unwrap();
    engine.ping("mail", Ping::new(Signal::Fail)).await.unwrap();
    assert_eq!(world.incident("mail").await.held_by, ["router"]);
    engine.pause("router", true).await.unwrap();
    engine.shutdown(MINUTE).await.unwrap();
    assert_eq!(world.ops.received("mail").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn dependencies_are_checked_with_the_way_of_a_cycle() {
    let world = World::new().await;
    let engine = &world.engine;
    let mut ids = Vec::new();
    for slug in ["a", "b", "c"] {
        let mut wish = spec(slug);
        wish.depends_on = ids.last().copied().into_iter().collect();
        ids.push(engine.put(wish, PutMode::Upsert).await.unwrap().record.id());
    }
    let fault = async |slug: &str, on: Vec<MonitorId>| {
        let mut wish = spec(slug);
        wish.depends_on = on;
        match engine.put(wish, PutMode::Upsert).await {
            Err(EditError::Invalid(faults)) => faults.into_iter().next().map(|f| (f.field, f.message)),
            Err(error) => panic!("{error}"),
            Ok(_) => None,
        }
    };
    let unknown = MonitorId::from_bytes([9; 16]);
    let (field, message) = fault("a", vec![ids[2], unknown]).await.unwrap();
    assert_eq!((field.as_str(), message.contains("make it first")), ("depends_on.1", true), "{message}");
    let (field, message) = fault("a", vec![ids[2]]).await.unwrap();
    assert_eq!(field, "depends_on.0");
    assert!(message.starts_with("`a` would depend on itself, by way of c, b, a"), "{message}");
    assert!(fault("b", vec![ids[1]]).await.unwrap().1.contains("itself"));
    assert!(fault("new", vec![unknown]).await.unwrap().1.contains("there is no monitor"));

    // One that was removed later counts as not down, and may stay in the list.
    engine.remove("a").await.unwrap();
    assert!(fault("b", vec![ids[0]]).await.is_none());
    assert!(fault("c", vec![ids[1], ids[0]]).await.is_some(), "it was never in that list");

    let racing = |from: &str, to: MonitorId| {
        let mut wish = spec(from);
        wish.depends_on = vec![to];
        (wish, PutMode::Upsert)
    };
    engine.put(spec("c"), PutMode::Upsert).await.unwrap();
    engine.put(spec("b"), PutMode::Upsert).await.unwrap();
    let answers = engine.put_many([racing("b", ids[2]), racing("c", ids[1])]).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1, "{answers:?}");
    assert!(engine.find(Target::slug("b")).is_some());
}

#[tokio::test(start_paused = true)]
async fn flapping_is_told_once_and_so_is_its_end() {
    let world = World::new().await;
    let engine = &world.engine;
    let mut wish = spec("sync");
    wish.flap_limit = Some(FlapLimit { incidents: 3, within: 30 * MINUTE });
    engine.put(wish, PutMode::Upsert).await.unwrap();
    for _ in 0..5 {
        engine.ping("sync", Ping::new(Signal::Fail)).await.unwrap();
        tokio::time::sleep(MINUTE).await;
        engine.ping("sync", Ping::new(Signal::Success)).await.unwrap();
        tokio::time::sleep(MINUTE).await;
    }
    world.until(HOUR).await;
    use NotificationKind::{Down, Flapping, Recovered, Settled};
    let told = [(Down, 0), (Recovered, 60), (Down, 120), (Recovered, 180), (Flapping, 240), (Settled, 540 + 1800)];
    assert_eq!(world.ops.received("sync"), told);
}
