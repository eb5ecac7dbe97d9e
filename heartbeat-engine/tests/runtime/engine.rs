//! The engine as its host uses it, on virtual time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{
    Attempt, ChannelKind, ChannelSpec, Clock, DeliveryError, DeliveryState, EditError, Engine, FieldError, Grouping,
    HistoryItem, HistoryQuery, Limits, MemoryStorage, MonitorSpec, Notification, NotificationKind, Notifier, Ping,
    PingError, PutMode, Receipt, Schedule, Signal, StatusWord, Timestamp, Unavailable,
};

const HOUR: Duration = Duration::from_secs(3600);

fn start() -> Timestamp {
    "2026-11-20T08:00:00Z".parse().unwrap()
}

/// What a channel received, and when; it refuses as long as it is told to.
#[derive(Clone)]
struct Channel {
    clock: TokioClock,
    received: Arc<Mutex<Vec<(Timestamp, Notification)>>>,
    attempts: Arc<Mutex<Vec<Timestamp>>>,
    broken_until: Arc<Mutex<Timestamp>>,
    hang: bool,
    takes: Duration,
}

impl Channel {
    fn new(clock: &TokioClock) -> Self {
        Self {
            clock: clock.clone(),
            received: Arc::default(),
            attempts: Arc::default(),
            broken_until: Arc::new(Mutex::new(Timestamp::MIN)),
            hang: false,
            takes: Duration::ZERO,
        }
    }

    fn received(&self) -> Vec<(Timestamp, Notification)> {
        self.received.lock().unwrap().clone()
    }

    fn kinds(&self) -> Vec<NotificationKind> {
        self.received().into_iter().map(|(_, notification)| notification.kind).collect()
    }
}

#[async_trait]
impl Notifier for Channel {
    async fn deliver(&self, notification: &Notification, _: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        let now = self.clock.now();
        self.attempts.lock().unwrap().push(now);
        if self.hang {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(self.takes).await;
        if now < *self.broken_until.lock().unwrap() {
            return Err(DeliveryError::retry("refused"));
        }
        self.received.lock().unwrap().push((now, notification.clone()));
        Ok(Receipt::default())
    }
}

fn every_hour(slug: &str) -> MonitorSpec {
    let mut spec = MonitorSpec::new(slug, Schedule::every(HOUR).unwrap());
    spec.channels = vec!["ops".to_owned()];
    spec
}

async fn engine(clock: &TokioClock, storage: impl heartbeat_engine::Storage, ops: &Channel) -> Engine {
    Engine::builder(storage).clock(clock.clone()).notifier("ops", ops.clone()).spawn().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn silence_is_told_at_the_deadline_once_and_so_is_the_recovery() {
    let clock = TokioClock::new(start());
    let ops = Channel::new(&clock);
    let engine = engine(&clock, MemoryStorage::new(), &ops).await;
    engine.put(every_hour("sync"), PutMode::Upsert).await.unwrap();
    let receipt = engine.ping("sync", Ping::new(Signal::Success)).await.unwrap();
    assert_eq!((receipt.n, receipt.status), (1, StatusWord::Up));

    let deadline = engine.status("sync").unwrap().deadline.unwrap();
    tokio::time::sleep(5 * HOUR).await;
    let received = ops.received();
    assert_eq!(received.len(), 1, "one message for one outage: {received:?}");
    let (at, down) = &received[0];
    assert_eq!(down.kind, NotificationKind::Down);
    assert!(at.since(deadline) <= Duration::from_millis(10), "told {at}, deadline {deadline} (S8.5)");
    let incident = down.incident.as_ref().unwrap();
    assert_eq!(incident.opened_at, deadline);

    engine.ping("sync", Ping::new(Signal::Success)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(ops.kinds(), [NotificationKind::Down, NotificationKind::Recovered]);
    engine.shutdown(Duration::from_secs(5)).await.unwrap();
    assert!(matches!(engine.ping("sync", Ping::default()).await, Err(PingError::Unavailable(_))));
}

#[tokio::test(start_paused = true)]
async fn what_was_stored_is_there_after_a_restart_and_the_restart_alarms_nobody() {
    let clock = TokioClock::new(start());
    let ops = Channel::new(&clock);
    let storage = Arc::new(MemoryStorage::new());
    let first = engine(&clock, storage.clone(), &ops).await;
    let wishes = (0..100).map(|n| (every_hour(&format!("sync-{n}")), PutMode::Upsert));
    assert!(first.put_many(wishes).await.iter().all(Result::is_ok));
    first.shutdown(Duration::from_secs(5)).await.unwrap();

    tokio::time::sleep(10 * HOUR).await;
    let second = engine(&clock, storage, &ops).await;
    assert_eq!(second.status("sync-7").unwrap().word, StatusWord::New);
    tokio::time::sleep(HOUR / 2).await;
    assert_eq!(ops.kinds(), [NotificationKind::WatcherOutage], "one message tells of the absence (S6.3)");
    // Those that stay silent are found one period and grace after the return (S6.2).
    tokio::time::sleep(HOUR).await;
    assert_eq!(
        second
            .list(&heartbeat_engine::Filter::default(), 1000)
            .items
            .iter()
            .filter(|r| r.health.incident.is_some())
            .count(),
        100
    );
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_fails_for_an_hour_gets_each_message_once_afterwards_and_delays_no_other() {
    let clock = TokioClock::new(start());
    let (ops, mail) = (Channel::new(&clock), Channel::new(&clock));
    let mut hung = Channel::new(&clock);
    hung.hang = true;
    *mail.broken_until.lock().unwrap() = start() + 3 * HOUR;
    let engine = Engine::builder(MemoryStorage::new())
        .clock(clock.clone())
        .notifier("ops", ops.clone())
        .notifier("mail", mail.clone())
        .notifier("hung", hung.clone())
        .watcher_channels(vec!["ops".to_owned()])
        .spawn()
        .await
        .unwrap();
    let mut spec = every_hour("sync");
    spec.channels = ["hung", "mail", "ops"].map(str::to_owned).to_vec();
    engine.put(spec, PutMode::Upsert).await.unwrap();
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(ops.kinds()[0], NotificationKind::Down);
    assert!(mail.received().is_empty());
    assert!(engine.readiness().ready, "a failing far end is no failure of ours: {:?}", engine.readiness());
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(mail.kinds(), [NotificationKind::Down]);
    let attempts = mail.attempts.lock().unwrap().clone();
    let longest = attempts.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap();
    assert!(longest <= Duration::from_secs(301), "at most 5 min apart (S7.4): {longest:?}");
    let failing = ops.kinds().iter().filter(|kind| **kind == NotificationKind::ChannelFailing).count();
    assert_eq!(failing, 2, "mail and hung, once each: {:?}", ops.kinds());
}

#[tokio::test(start_paused = true)]
async fn undelivered_messages_survive_a_restart_in_order() {
    let clock = TokioClock::new(start());
    let storage = Arc::new(MemoryStorage::new());
    let broken = Channel::new(&clock);
    *broken.broken_until.lock().unwrap() = Timestamp::MAX;
    let first = engine(&clock, storage.clone(), &broken).await;
    first.put(every_hour("sync"), PutMode::Upsert).await.unwrap();
    first.ping("sync", Ping::new(Signal::Fail)).await.unwrap();
    first.ping("sync", Ping::new(Signal::Success)).await.unwrap();
    let mut report = Ping::new(Signal::Report);
    report.message = Some("123".to_owned());
    first.ping("sync", report).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    first.shutdown(Duration::from_secs(60)).await.unwrap();

    let ops = Channel::new(&clock);
    let second = engine(&clock, storage, &ops).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    let kinds = ops.kinds();
    assert_eq!(kinds[..3], [NotificationKind::Down, NotificationKind::Recovered, NotificationKind::Report]);
    assert_eq!(ops.received()[2].1.message, "sync reports: 123");
    let query = HistoryQuery::Notifications { state: Some(DeliveryState::Pending), incident: None, before: None };
    assert!(second.history(&query, 10).await.unwrap().items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_thousand_heartbeats_at_once_are_counted_each_and_share_few_writes() {
    let clock = TokioClock::new(start());
    let ops = Channel::new(&clock);
    let engine = engine(&clock, MemoryStorage::new(), &ops).await;
    engine.put(every_hour("sync"), PutMode::Upsert).await.unwrap();
    let before = engine.metrics().batches;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let engine = engine.clone();
        tasks.spawn(async move { engine.ping("sync", Ping::new(Signal::Success)).await.unwrap().n });
    }
    let mut places = tasks.join_all().await;
    places.sort_unstable();
    assert_eq!(places, (1..=1000).collect::<Vec<u64>>());
    assert!(engine.metrics().batches - before < 10, "{} batches", engine.metrics().batches - before);
    let page = engine
        .history(&HistoryQuery::Pings { monitor: engine.find("sync").unwrap().id(), before: None }, 3)
        .await
        .unwrap();
    let newest: Vec<u64> =
        page.items.iter().map(|item| if let HistoryItem::Ping(ping) = item { ping.n } else { 0 }).collect();
    assert_eq!(newest, [1000, 999, 998]);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_stores_what_waits_and_ends_the_driver() {
    let clock = TokioClock::new(start());
    let storage = Arc::new(MemoryStorage::new());
    let (engine, mut driver) = Engine::builder(storage.clone()).clock(clock.clone()).build();
    driver.load().await.unwrap();
    let put = tokio::spawn({
        let engine = engine.clone();
        async move { engine.put(MonitorSpec::new("sync", Schedule::every(HOUR).unwrap()), PutMode::Upsert).await }
    });
    tokio::task::yield_now().await;
    drop(engine);
    driver.run().await;
    assert!(put.await.unwrap().unwrap().created);
    assert_eq!(heartbeat_engine::Storage::monitors(&storage, None, 10).await.unwrap().items.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_dropped_leaves_nobody_waiting() {
    let clock = TokioClock::new(start());
    let (engine, mut driver) = Engine::builder(MemoryStorage::new()).clock(clock).build();
    driver.load().await.unwrap();
    let wish = MonitorSpec::new("sync", Schedule::every(HOUR).unwrap());
    let put = tokio::spawn({
        let (engine, wish) = (engine.clone(), wish.clone());
        async move { engine.put(wish, PutMode::Upsert).await }
    });
    tokio::task::yield_now().await;
    drop(driver);
    assert_eq!(put.await.unwrap(), Err(EditError::Unavailable(Unavailable::Stopped)));
    assert_eq!(engine.put(wish, PutMode::Upsert).await, Err(EditError::Unavailable(Unavailable::Stopped)));
}

#[tokio::test(start_paused = true)]
async fn many_at_once_are_told_as_a_burst_and_one_digest_that_is_settled_with_them() {
    let clock = TokioClock::new(start());
    let ops = Channel::new(&clock);
    let engine = engine(&clock, MemoryStorage::new(), &ops).await;
    let wishes = (0..300).map(|n| (every_hour(&format!("sync-{n}")), PutMode::Upsert));
    assert!(engine.put_many(wishes).await.iter().all(Result::is_ok));
    let deadline = engine.status("sync-0").unwrap().deadline.unwrap();
    tokio::time::sleep(2 * HOUR).await;

    let received = ops.received();
    assert_eq!(received.len(), 6, "{:?}", ops.kinds());
    assert!(
        received[..5]
            .iter()
            .all(|(at, message)| message.kind == NotificationKind::Down
                && at.since(deadline) < Duration::from_millis(50))
    );
    let (at, digest) = &received[5];
    assert_eq!(digest.kind, NotificationKind::Digest);
    assert!(at.since(deadline) < Duration::from_millis(10_050), "told {at}, deadline {deadline}");
    let listed = digest.digest.as_ref().unwrap();
    assert_eq!((listed.items.len(), listed.total()), (200, 295));
    for (state, count) in [(DeliveryState::Pending, 0), (DeliveryState::Grouped, 0), (DeliveryState::Delivered, 301)] {
        let query = HistoryQuery::Notifications { state: Some(state), incident: None, before: None };
        assert_eq!(engine.history(&query, 1000).await.unwrap().items.len(), count, "{state:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_digest_survives_a_restart_and_nothing_overtakes_it() {
    let clock = TokioClock::new(start());
    let storage = Arc::new(MemoryStorage::new());
    let broken = Channel::new(&clock);
    *broken.broken_until.lock().unwrap() = Timestamp::MAX;
    let first = engine(&clock, storage.clone(), &broken).await;
    for n in 0..10 {
        first.put(every_hour(&format!("sync-{n}")), PutMode::Upsert).await.unwrap();
        first.ping(format!("sync-{n}").as_str(), Ping::new(Signal::Fail)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(12)).await;
    first.ping("sync-9", Ping::new(Signal::Success)).await.unwrap();
    first.shutdown(Duration::from_secs(60)).await.unwrap();

    let ops = Channel::new(&clock);
    let second = engine(&clock, storage, &ops).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    let mut told: Vec<String> = Vec::new();
    for (_, notification) in ops.received() {
        told.push(notification.message.clone());
        told.extend(notification.digest.iter().flat_map(|digest| &digest.items).map(|item| item.message.clone()));
    }
    for n in 0..10 {
        let downs = told.iter().filter(|text| text.starts_with(&format!("sync-{n} is down"))).count();
        assert_eq!(downs, 1, "sync-{n}: {told:#?}");
    }
    let at = |start: &str| told.iter().position(|text| text.starts_with(start)).unwrap();
    assert!(at("sync-9 is down") < at("sync-9 is up again"), "{told:#?}");
    let query = HistoryQuery::Notifications { state: Some(DeliveryState::Grouped), incident: None, before: None };
    assert!(second.history(&query, 10).await.unwrap().items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_owed_at_the_shutdown_is_tried_before_the_end() {
    let clock = TokioClock::new(start());
    let ops = Channel::new(&clock);
    let engine = engine(&clock, MemoryStorage::new(), &ops).await;
    engine.put(every_hour("sync"), PutMode::Upsert).await.unwrap();
    engine.ping("sync", Ping::new(Signal::Fail)).await.unwrap();
    engine.shutdown(Duration::from_secs(5)).await.unwrap();
    assert_eq!(ops.kinds(), [NotificationKind::Down]);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_hangs_at_the_shutdown_costs_the_others_no_second_message() {
    let clock = TokioClock::new(start());
    let storage = Arc::new(MemoryStorage::new());
    let ops = Channel::new(&clock);
    let mut hung = Channel::new(&clock);
    hung.hang = true;
    let first =
        Engine::builder(storage.clone()).clock(clock.clone()).notifier("ops", ops.clone()).notifier("hung", hung);
    let first = first.spawn().await.unwrap();
    let mut spec = every_hour("sync");
    spec.channels = ["hung", "ops"].map(str::to_owned).to_vec();
    first.put(spec, PutMode::Upsert).await.unwrap();
    first.ping("sync", Ping::new(Signal::Fail)).await.unwrap();
    assert!(first.shutdown(Duration::from_secs(5)).await.is_err(), "the hanging attempt is not over");

    let second = engine(&clock, storage, &ops).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(ops.kinds(), [NotificationKind::Down]);
    drop(second);
}

/// Channels that need a file which may be gone.
struct NeedsFile {
    there: bool,
    channel: Channel,
}

impl ChannelKind for NeedsFile {
    fn name(&self) -> &'static str {
        "file"
    }

    fn build(&self, _: &str, _: &serde_json::Value) -> Result<Arc<dyn Notifier>, Vec<FieldError>> {
        if self.there {
            Ok(Arc::new(self.channel.clone()))
        } else {
            Err(vec![FieldError::new("path", "cannot be read")])
        }
    }

    fn redacted(&self, settings: &serde_json::Value) -> serde_json::Value {
        settings.clone()
    }

    fn privileged_setting(&self, _: &serde_json::Value) -> Option<&'static str> {
        None
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_channel_that_cannot_be_made_any_more_fails_alone_and_its_messages_are_kept() {
    let clock = TokioClock::new(start());
    let storage = Arc::new(MemoryStorage::new());
    let ops = Channel::new(&clock);
    let engine = |there| {
        let kind = NeedsFile { there, channel: ops.clone() };
        Engine::builder(storage.clone()).clock(clock.clone()).channel_kind(kind).spawn()
    };
    let spec = ChannelSpec {
        kind: "file".to_owned(),
        settings: serde_json::json!({"path": "a"}),
        grouping: Grouping::default(),
        fallback: None,
        declared_in: None,
    };
    let first = engine(true).await.unwrap();
    assert!(first.put_channel("ops", spec).await.unwrap());
    first.put(every_hour("sync"), PutMode::Upsert).await.unwrap();
    first.shutdown(Duration::from_secs(5)).await.unwrap();

    let second = engine(false).await.unwrap();
    second.ping("sync", Ping::new(Signal::Fail)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(second.channel("ops").unwrap().last_error.unwrap().contains("path: cannot be read"));
    second.shutdown(Duration::from_secs(5)).await.unwrap();

    let third = engine(true).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(ops.kinds(), [NotificationKind::Down]);
    third.shutdown(Duration::from_secs(5)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_into_memory_is_told_in_order_and_once() {
    let clock = TokioClock::new(start());
    let mut ops = Channel::new(&clock);
    ops.takes = Duration::from_secs(1);
    let mut limits = Limits::default();
    limits.channel_queue = 4;
    limits.channel_parallel = 1;
    let engine = Engine::builder(MemoryStorage::new()).clock(clock.clone()).notifier("ops", ops.clone());
    let engine = engine.grouping("ops", Grouping::NONE).limits(limits).spawn().await.unwrap();
    for n in 0..20 {
        let slug = format!("sync-{n}");
        engine.put(every_hour(&slug), PutMode::Upsert).await.unwrap();
        engine.ping(slug.as_str(), Ping::new(Signal::Fail)).await.unwrap();
    }
    // One place is free now, and the first message of the last monitor is only in the store.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    for n in (0..20).rev() {
        engine.ping(format!("sync-{n}").as_str(), Ping::new(Signal::Success)).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(600)).await;
    let received = ops.received();
    for n in 0..20 {
        let of_monitor = received.iter().filter(|(_, told)| told.monitor.as_ref().unwrap().slug == format!("sync-{n}"));
        let kinds: Vec<_> = of_monitor.map(|(_, told)| told.kind).collect();
        assert_eq!(kinds, [NotificationKind::Down, NotificationKind::Recovered], "sync-{n}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_judged_while_a_shutdown_refuses_heartbeats() {
    let clock = TokioClock::new(start());
    let storage = Arc::new(MemoryStorage::new());
    let channels: Vec<String> = (1..=4).map(|n| format!("slow-{n}")).collect();
    let mut first = Engine::builder(storage.clone()).clock(clock.clone()).notifier("ops", Channel::new(&clock));
    for (n, channel) in (1..).zip(&channels) {
        let slow = Channel { takes: Duration::from_secs(6 * n), ..Channel::new(&clock) };
        first = first.notifier(channel, slow);
    }
    let first = first.spawn().await.unwrap();
    first.put(every_hour("healthy"), PutMode::Upsert).await.unwrap();
    let mut noisy = every_hour("noisy");
    noisy.channels = channels;
    first.put(noisy, PutMode::Upsert).await.unwrap();
    let deadline = first.status("healthy").unwrap().deadline.unwrap();
    tokio::time::sleep((deadline - Duration::from_secs(10)).since(clock.now())).await;
    first.ping("noisy", Ping::new(Signal::Fail)).await.unwrap();
    // The slow channels hold the end up beyond the deadline, and heartbeats are refused from now on.
    first.shutdown(Duration::from_secs(60)).await.unwrap();
    assert!(clock.now() > deadline);

    let ops = Channel::new(&clock);
    let second = engine(&clock, storage, &ops).await;
    second.ping("healthy", Ping::new(Signal::Success)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let told: Vec<_> =
        ops.received().into_iter().filter_map(|(_, told)| told.monitor).map(|about| about.slug).collect();
    assert_eq!(told, Vec::<String>::new());
}
