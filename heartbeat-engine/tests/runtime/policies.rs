//! Maintenance windows and routes as the host of an engine sees them, on virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{
    Attempt, Batch, Clock, DeliveryError, DocumentWrite, EditError, Engine, Epoch, FieldError, MaintenanceSpec,
    MaintenanceTime, MemoryStorage, MonitorSpec, Notification, NotificationKind, Notifier, Ping, PutMode, Receipt,
    RouteSpec, Schedule, Signal, Storage, Timestamp, Version, Zone,
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<NotificationKind>>>);

#[async_trait]
impl Notifier for Told {
    async fn deliver(&self, notification: &Notification, _: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        self.0.lock().unwrap().push(notification.kind);
        Ok(Receipt::default())
    }
}

struct House {
    clock: TokioClock,
    storage: Arc<MemoryStorage>,
    told: Told,
    engine: Engine,
}

impl House {
    async fn new() -> Self {
        let clock = TokioClock::new("2026-11-20T08:00:00Z".parse().unwrap());
        let (storage, told) = (Arc::new(MemoryStorage::new()), Told::default());
        let engine = engine(&clock, &storage, &told).await;
        let house = Self { clock, storage, told, engine };
        for (slug, tag) in [("sync", "disks"), ("mail", "net")] {
            let mut spec = MonitorSpec::new(slug, Schedule::every(HOUR).unwrap());
            (spec.channels, spec.tags) = (vec!["ops".to_owned()], vec![tag.to_owned()]);
            house.engine.put(spec, PutMode::Upsert).await.unwrap();
            house.engine.ping(slug, Ping::new(Signal::Success)).await.unwrap();
        }
        house
    }

    async fn restart(&mut self) {
        self.engine.shutdown(MINUTE).await.unwrap();
        self.engine = engine(&self.clock, &self.storage, &self.told).await;
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A window of what has this tag, from one time after now to another.
    fn window(&self, tag: &str, from: Duration, to: Duration) -> MaintenanceSpec {
        let time = MaintenanceTime::Once { from: self.now() + from, to: self.now() + to };
        MaintenanceSpec { tags: vec![tag.to_owned()], ..MaintenanceSpec::new("New disks", time) }
    }

    fn told(&self) -> Vec<NotificationKind> {
        self.told.0.lock().unwrap().clone()
    }

    fn ids(&self) -> Vec<String> {
        self.engine.maintenance().iter().map(|window| window.id.clone()).collect()
    }
}

async fn engine(clock: &TokioClock, storage: &Arc<MemoryStorage>, told: &Told) -> Engine {
    Engine::builder(storage.clone()).clock(clock.clone()).notifier("ops", told.clone()).spawn().await.unwrap()
}

fn nightly() -> MaintenanceSpec {
    let schedule = Schedule::cron("0 2 * * *", Zone::utc()).unwrap();
    let time = MaintenanceTime::Recurring { schedule, length: HOUR };
    MaintenanceSpec { all: true, ..MaintenanceSpec::new("Backups", time) }
}

fn fields<T: std::fmt::Debug>(outcome: Result<T, EditError>) -> Vec<String> {
    let Err(EditError::Invalid(faults)) = outcome else { panic!("{outcome:?}") };
    faults.into_iter().map(|fault: FieldError| fault.field).collect()
}

#[tokio::test(start_paused = true)]
async fn s5_3_a_window_is_in_force_when_the_call_answers_and_ends_when_it_is_ended() {
    let house = House::new().await;
    let put =
        house.engine.put_maintenance(Some("disks"), house.window("disks", Duration::ZERO, 7 * DAY)).await.unwrap();
    assert!(put.created && put.id == "disks");
    assert_eq!(house.engine.maintenance_of("sync").len(), 1);
    assert!(house.engine.maintenance_of("mail").is_empty() && house.engine.maintenance_of("nobody").is_empty());
    house.engine.ping("sync", Ping::new(Signal::Fail)).await.unwrap();
    tokio::time::sleep(5 * HOUR).await;
    assert_eq!(house.told(), [NotificationKind::Down], "of the monitor that is not covered");
    assert_eq!(house.engine.status("sync").unwrap().deadline, Some(house.now() + 7 * DAY - 5 * HOUR));

    house.engine.end_maintenance("disks").await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    // Its end + 1 h + 12 min of grace.
    assert_eq!(
        house.engine.status("sync").unwrap().deadline,
        Some(house.now() - Duration::from_millis(10) + 72 * MINUTE)
    );
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(house.told(), [NotificationKind::Down; 2]);
    assert_eq!(house.ids(), ["disks"], "it explains the silence until it was ended");
    house.engine.shutdown(MINUTE).await.unwrap();
    tokio::time::sleep(32 * DAY).await;
    let engine = engine(&house.clock, &house.storage, &house.told).await;
    engine.put_maintenance(Some("other"), nightly()).await.unwrap();
    assert_eq!(engine.maintenance().len(), 1, "after 31 days nothing of it is kept");
}

#[tokio::test(start_paused = true)]
async fn s5_3_windows_and_routes_are_there_after_a_restart() {
    let mut house = House::new().await;
    house.engine.put_maintenance(Some("disks"), house.window("disks", HOUR, DAY)).await.unwrap();
    let made = house.engine.put_maintenance(None, nightly()).await.unwrap();
    assert_eq!(made.id.len(), 36);
    let route = RouteSpec {
        severities: Vec::new(),
        tags: vec!["disks".to_owned()],
        causes: Vec::new(),
        channels: vec!["ops".to_owned()],
        after: HOUR,
        declared_in: None,
    };
    assert!(house.engine.put_route("later", route.clone()).await.unwrap());
    assert!(!house.engine.put_route("later", route).await.unwrap());
    let (windows, routes) = (house.engine.maintenance(), house.engine.routes());
    house.restart().await;
    assert_eq!((house.engine.maintenance(), house.engine.routes()), (windows, routes));
    house.engine.ping("mail", Ping::new(Signal::Success)).await.unwrap();
    tokio::time::sleep(HOUR + 20 * MINUTE).await;
    assert_eq!(house.told(), [NotificationKind::Down], "of the monitor that is not covered");
}

#[tokio::test(start_paused = true)]
async fn a_window_that_has_not_begun_is_removed_and_one_that_has_keeps_what_it_explained() {
    let house = House::new().await;
    house.engine.put_maintenance(Some("later"), house.window("disks", HOUR, 2 * HOUR)).await.unwrap();
    house.engine.end_maintenance("later").await.unwrap();
    assert!(house.ids().is_empty());
    assert!(matches!(house.engine.end_maintenance("later").await, Err(EditError::NotFound(_))));

    let begun = house.window("disks", Duration::ZERO, 2 * HOUR);
    house.engine.put_maintenance(Some("w"), begun.clone()).await.unwrap();
    assert!(!house.engine.put_maintenance(Some("w"), begun.clone()).await.unwrap().created, "the same again");
    tokio::time::sleep(HOUR).await;
    let MaintenanceTime::Once { from, to } = begun.time else { panic!("it is one") };
    let longer = MaintenanceSpec { time: MaintenanceTime::Once { from, to: to + HOUR }, ..begun.clone() };
    house.engine.put_maintenance(Some("w"), longer.clone()).await.unwrap();
    assert_eq!(house.ids(), ["w"], "the longer one explains all that the shorter one did");
    let other = MaintenanceSpec { tags: vec!["net".to_owned()], ..longer };
    house.engine.put_maintenance(Some("w"), other).await.unwrap();
    assert_eq!(house.ids(), ["w", "w~2"]);
    let past = &house.engine.maintenance()[1].spec;
    assert_eq!((&past.tags, past.ended_at), (&begun.tags, Some(house.now())));
    assert!(house.engine.maintenance_of("sync").is_empty() && house.engine.maintenance_of("mail").len() == 1);
}

#[tokio::test(start_paused = true)]
async fn a_window_that_is_over_and_explains_nothing_makes_room_for_another() {
    let house = House::new().await;
    let mut slow = MonitorSpec::new("slow", Schedule::every(2 * DAY).unwrap());
    slow.tags = vec!["slow".to_owned()];
    house.engine.put(slow, PutMode::Upsert).await.unwrap();
    let touches = house.window("slow", Duration::ZERO, HOUR);
    house.engine.put_maintenance(Some("explains"), touches).await.unwrap();
    tokio::time::sleep(2 * HOUR).await;
    let second = Duration::from_secs(1);
    for deploy in 0..999 {
        let id = format!("deploy-{deploy}");
        house.engine.put_maintenance(Some(&id), house.window("apps", Duration::ZERO, second)).await.unwrap();
    }
    tokio::time::sleep(HOUR).await;
    let another = house.window("apps", Duration::ZERO, HOUR);
    assert_eq!(fields(house.engine.put_maintenance(Some("another"), another).await), ["id"], "all are too fresh");
    tokio::time::sleep(DAY).await;
    let another = house.window("apps", Duration::ZERO, HOUR);
    house.engine.put_maintenance(Some("another"), another).await.unwrap();
    let ids = house.ids();
    assert_eq!(ids.len(), 1000);
    assert!(["another", "explains"].iter().all(|kept| ids.iter().any(|id| id == kept)), "{ids:?}");
}

#[tokio::test(start_paused = true)]
async fn a_recurring_window_explains_nothing_before_it_was_made() {
    let house = House::new().await;
    let mut declared = nightly();
    (declared.since, declared.ended_at) = (Some(Timestamp::EPOCH), Some(Timestamp::EPOCH));
    house.engine.put_maintenance(Some("n"), declared).await.unwrap();
    let spec = || house.engine.maintenance()[0].spec.clone();
    assert_eq!((spec().since, spec().ended_at), (Some(house.now()), None));
    let made = spec().since;
    tokio::time::sleep(DAY).await;
    house.engine.put_maintenance(Some("n"), MaintenanceSpec { title: "Backup".to_owned(), ..nightly() }).await.unwrap();
    assert_eq!((spec().since, spec().title.as_str()), (made, "Backup"), "another title changes no time");
    assert_eq!(house.ids(), ["n"]);
    house.engine.end_maintenance("n").await.unwrap();
    assert!(spec().is_over(house.now()));
    house.engine.put_maintenance(Some("n"), nightly()).await.unwrap();
    assert_eq!((spec().since, house.ids().len()), (Some(house.now()), 2), "made anew, beside what it explained before");
}

#[tokio::test(start_paused = true)]
async fn what_is_wrong_is_named() {
    let house = House::new().await;
    let engine = &house.engine;
    let unknown = MaintenanceSpec { monitors: vec!["sync".to_owned(), "nobody".to_owned()], ..nightly() };
    assert_eq!(fields(engine.put_maintenance(Some("a b"), unknown.clone()).await), ["id", "monitors.1"]);
    let route = RouteSpec {
        severities: Vec::new(),
        tags: Vec::new(),
        causes: Vec::new(),
        channels: vec!["ops".to_owned(), "nowhere".to_owned()],
        after: Duration::ZERO,
        declared_in: None,
    };
    assert_eq!(fields(engine.put_route("", route).await), ["name", "channels.1"]);
    assert!(matches!(engine.remove_route("r").await, Err(EditError::NotFound("route"))));
    assert!(engine.maintenance().is_empty() && engine.routes().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_and_cannot_be_read_stops_nothing_and_can_be_written_anew() {
    let clock = TokioClock::new("2026-11-20T08:00:00Z".parse().unwrap());
    let (storage, told) = (Arc::new(MemoryStorage::new()), Told::default());
    let write = |kind: &str| DocumentWrite {
        kind: kind.to_owned(),
        id: "x".to_owned(),
        expected: None,
        body: Some(serde_json::json!({"title": 7})),
    };
    let batch = Batch { epoch: Epoch(0), documents: vec![write("maintenance"), write("route")], ..Batch::default() };
    storage.commit(&batch).await.unwrap();
    let engine = engine(&clock, &storage, &told).await;
    assert!(engine.maintenance().is_empty() && engine.routes().is_empty());
    assert!(!engine.put_maintenance(Some("x"), nightly()).await.unwrap().created);
    assert_eq!(engine.maintenance().len(), 1);
    engine.remove_route("x").await.unwrap();
    assert_eq!(engine.documents("maintenance").await.unwrap()[0].version, Version::FIRST.next());
    // Somebody else writes a window past these calls: it is in force all the same.
    let body = serde_json::to_value(MaintenanceSpec { title: "Past".to_owned(), ..nightly() }).unwrap();
    let write = DocumentWrite { kind: "maintenance".to_owned(), id: "y".to_owned(), expected: None, body: Some(body) };
    engine.write_document(write).await.unwrap();
    assert_eq!(engine.maintenance().len(), 2);
}
