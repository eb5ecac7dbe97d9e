//! Channels that are changed while the engine runs, on virtual time.
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{
    Attempt, ChannelKind, ChannelSpec, Clock, DeliveryError, Engine, FieldError, Grouping, MemoryStorage, MonitorSpec,
    Notification, NotificationKind, Notifier, Ping, PutMode, Receipt, Schedule, Signal, Timestamp,
};
use serde_json::{Value, json};

const HOUR: Duration = Duration::from_secs(3600);
const SOON: Duration = Duration::from_millis(100);

/// Channels that take what they get when their settings say `"works": true`, and note when.
#[derive(Clone)]
struct Switch {
    clock: TokioClock,
    taken: Arc<Mutex<Vec<(Timestamp, Notification)>>>,
}

struct Switched {
    works: bool,
    switch: Switch,
}

#[async_trait]
impl Notifier for Switched {
    async fn deliver(&self, notification: &Notification, _: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        if !self.works {
            return Err(DeliveryError::Retry {
                reason: "switched off".to_owned(),
                after: Some(HOUR),
                recipients_done: Vec::new(),
            });
        }
        self.switch.taken.lock().unwrap().push((self.switch.clock.now(), notification.clone()));
        Ok(Receipt::default())
    }
}

impl ChannelKind for Switch {
    fn name(&self) -> &'static str {
        "switch"
    }

    fn build(&self, _: &str, settings: &Value) -> Result<Arc<dyn Notifier>, Vec<FieldError>> {
        Ok(Arc::new(Switched { works: settings["works"] == json!(true), switch: self.clone() }))
    }

    fn redacted(&self, settings: &Value) -> Value {
        settings.clone()
    }

    fn privileged_setting(&self, _: &Value) -> Option<&'static str> {
        None
    }
}

impl Switch {
    fn new() -> Self {
        Self { clock: TokioClock::new("2026-11-20T08:00:00Z".parse().unwrap()), taken: Arc::default() }
    }

    async fn engine(&self) -> Engine {
        let engine = Engine::builder(MemoryStorage::new()).clock(self.clock.clone()).channel_kind(self.clone());
        engine.spawn().await.unwrap()
    }

    fn taken(&self) -> Vec<(Timestamp, Notification)> {
        self.taken.lock().unwrap().clone()
    }
}

fn channel(works: bool, grouping: Grouping) -> ChannelSpec {
    let settings = json!({ "works": works });
    ChannelSpec { kind: "switch".to_owned(), settings, grouping, fallback: None, declared_in: None }
}

async fn fails(engine: &Engine, slug: &str) {
    let mut spec = MonitorSpec::new(slug, Schedule::every(HOUR * 24).unwrap());
    spec.channels = vec!["ops".to_owned()];
    engine.put(spec, PutMode::Upsert).await.unwrap();
    engine.ping(slug, Ping::new(Signal::Fail)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_grouping_wakes_a_channel_that_holds_messages_back() {
    let switch = Switch::new();
    let engine = switch.engine().await;
    engine.put_channel("ops", channel(true, Grouping { burst: 0, wait: HOUR })).await.unwrap();
    fails(&engine, "first").await;
    fails(&engine, "second").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(switch.taken().len(), 0);
    assert_eq!(engine.metrics().channels[0].oldest_waiting, Some(Duration::from_secs(60)));

    engine.put_channel("ops", channel(true, Grouping { burst: 0, wait: Duration::from_secs(30) })).await.unwrap();
    tokio::time::sleep(SOON).await;
    let kinds = |taken: Vec<(Timestamp, Notification)>| taken.iter().map(|(_, told)| told.kind).collect::<Vec<_>>();
    assert_eq!(kinds(switch.taken()), [NotificationKind::Digest]);

    fails(&engine, "third").await;
    engine.put_channel("ops", channel(true, Grouping::NONE)).await.unwrap();
    tokio::time::sleep(SOON).await;
    assert_eq!(kinds(switch.taken()), [NotificationKind::Digest, NotificationKind::Down]);
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_is_mended_gets_what_waits_at_once_and_fails_no_more() {
    let switch = Switch::new();
    let engine = switch.engine().await;
    engine.put_channel("ops", channel(false, Grouping::default())).await.unwrap();
    fails(&engine, "sync").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(engine.channel("ops").unwrap().last_error.as_deref(), Some("switched off"));

    engine.put_channel("ops", channel(true, Grouping::default())).await.unwrap();
    let mended_at = engine.now();
    tokio::time::sleep(SOON).await;
    assert_eq!(engine.channel("ops").unwrap().failing_since, None);
    let [(at, _)] = switch.taken()[..] else { panic!("{:?}", switch.taken()) };
    assert!(at.since(mended_at) < SOON, "told {at}, mended {mended_at}");

    let metrics = engine.metrics();
    let [counted] = &metrics.channels[..] else { panic!("{:?}", metrics.channels) };
    assert_eq!((counted.name.as_str(), counted.delivered, counted.dead, counted.waiting), ("ops", 1, 0, 0));
    assert!(counted.errors >= 1 && !counted.failing, "{counted:?}");
    let lags = &metrics.alert_seconds;
    // A minute and the moment in which the channel was mended.
    assert!(lags.count() == 1 && (60.0..60.1).contains(&lags.sum), "{lags:?}");
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_a_channel_that_is_removed_is_given_up_at_once() {
    let switch = Switch::new();
    let engine = switch.engine().await;
    engine.put_channel("ops", channel(false, Grouping::default())).await.unwrap();
    fails(&engine, "sync").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let mut spec = engine.find("sync").unwrap().spec().clone();
    spec.channels = Vec::new();
    engine.put(spec, PutMode::Upsert).await.unwrap();
    engine.remove_channel("ops").await.unwrap();
    tokio::time::sleep(SOON).await;
    assert_eq!(engine.metrics().dead, 1);
    assert_eq!(engine.metrics().undelivered, 0);
}
