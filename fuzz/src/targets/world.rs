//! The server that requests are sent to: the shipped router on the shipped engine, in memory, with time standing still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use futures_util::stream;
use heartbeat_engine::schedule::Schedule;
use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{
    Applied, Attempt, Batch, ChannelKind, DeliveryError, Document, Engine, FieldError, Filter, HistoryItem,
    HistoryQuery, Lease, MemoryStorage, MonitorId, MonitorSpec, Name, News, Notification, Notifier, OutboxEntry, Page,
    PartitionId, PutMode, Receipt, Record, Storage, StorageError, Timestamp, Token, WatchLog,
};
use heartbeat_http::{AdminKey, HttpSettings, Stopping, router};
use heartbeat_notify_email::EmailKind;
use heartbeat_notify_webhook::WebhookKind;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub(super) const ADMIN_KEY: &str = "the-admin-key-of-the-fuzzers";

/// The monitors that every input finds, with their tokens: one of Tianji's form, one of Uptime Kuma's, one of
/// Healthchecks'; the last requires signatures.
const MONITORS: [(&str, &str, &str); 4] = [
    ("job", "V1StGXR8_Z5jdHi6", r#"{"every":3600000}"#),
    ("kuma", "ul7uH9FfBzLXnAFdRVQvL2WAuoQPCsKp", r#"{"at":["16:05"],"timezone":"Asia/Shanghai"}"#),
    ("hc", "5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278", r#"{"cron":"*/5 * * * *","timezone":"UTC"}"#),
    ("sealed", "sealed-token", r#"{"every":60000}"#),
];

/// Where time stands: 2026-11-20T08:05:00Z.
const NOW: Timestamp = Timestamp::from_secs(1_795_161_900);

/// Few enough that an input can reach the limit.
const PINGS_PER_MINUTE: u32 = 6;

/// Answers are small.
const ANSWER_BYTES_MAX: usize = 2_000_000;

/// A server in memory.
pub(super) struct World {
    pub(super) engine: Engine,
    pub(super) store: Arc<Counted>,
    router: Router,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

impl World {
    /// Starts the server. Must be awaited in a runtime whose time is paused.
    pub(super) async fn start() -> Self {
        let store = Arc::new(Counted { inside: MemoryStorage::new(), calls: AtomicU64::new(0) });
        let engine = Engine::builder(Arc::clone(&store))
            .clock(TokioClock::new(NOW))
            .notifier("ops", Quiet)
            .channel_kind(QuietKind(WebhookKind::new()))
            .channel_kind(QuietKind(EmailKind::new()))
            .spawn()
            .await
            .unwrap();
        let specs = MONITORS.map(|(slug, token, schedule)| {
            let schedule: Schedule = serde_json::from_str(schedule).unwrap();
            let mut spec = MonitorSpec::new(slug, schedule);
            spec.channels = vec!["ops".to_owned()];
            spec.require_signature = slug == "sealed";
            (spec, PutMode::Create { token: Some(Token::new(token).unwrap()) })
        });
        for put in engine.put_many(specs.to_vec()).await {
            put.unwrap();
        }
        let mut settings = HttpSettings::default();
        settings.pings_per_minute = PINGS_PER_MINUTE;
        settings.ping_body_limit = 100;
        settings.ping_body_max = 1_000;
        settings.admin_key = Some(AdminKey::new(ADMIN_KEY).unwrap());
        let router = router(engine.clone(), settings);
        Self { engine, store, router }
    }

    /// Sends a request; its body arrives in two pieces.
    pub(super) async fn send(&self, method: Method, uri: &str, headers: HeaderMap, body: &[u8]) -> Option<Answer> {
        let (one, other) = body.split_at(body.len() / 2);
        let pieces = [one.to_vec(), other.to_vec()].map(Ok::<_, std::io::Error>);
        let request = Request::builder().method(method).uri(uri).body(Body::from_stream(stream::iter(pieces)));
        let Ok(mut request) = request else { return None };
        *request.headers_mut() = headers;
        // A stream of events would never end.
        let stopping = CancellationToken::new();
        stopping.cancel();
        request.extensions_mut().insert(Stopping(stopping));
        let (parts, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, ANSWER_BYTES_MAX).await.expect("an answer of bounded length").to_vec();
        Some(Answer { status: parts.status, headers: parts.headers, body })
    }

    /// A new key of this scope.
    pub(super) async fn key(&self, scope: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("x-api-key", ADMIN_KEY.parse().unwrap());
        let wish = format!(r#"{{"name": "fuzz", "scope": "{scope}"}}"#);
        let made = self.send(Method::POST, "/api/keys", headers, wish.as_bytes()).await.unwrap();
        let made: Value = serde_json::from_slice(&made.body).unwrap();
        made["key"].as_str().unwrap().to_owned()
    }

    /// How many heartbeats are stored, of all monitors.
    pub(super) async fn stored_pings(&self) -> u64 {
        self.stored().await.iter().map(|record| record.health.ping_count).sum()
    }

    /// Every record as it is stored.
    pub(super) async fn stored(&self) -> Vec<Record> {
        self.store.inside.monitors(None, usize::MAX).await.unwrap().items
    }

    /// Every record as readers see it.
    pub(super) fn shown(&self) -> Vec<Arc<Record>> {
        self.engine.list(&Filter::default(), usize::MAX).items
    }
}

/// Takes everything and sends nothing.
struct Quiet;

#[async_trait]
impl Notifier for Quiet {
    async fn deliver(&self, _: &Notification, _: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        Ok(Receipt::default())
    }
}

/// Reads settings as the real kind does, and sends nothing.
struct QuietKind<K>(K);

impl<K: ChannelKind> ChannelKind for QuietKind<K> {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn build(&self, channel: &str, settings: &Value) -> Result<Arc<dyn Notifier>, Vec<FieldError>> {
        self.0.build(channel, settings).map(|_| Arc::new(Quiet) as Arc<dyn Notifier>)
    }

    fn redacted(&self, settings: &Value) -> Value {
        self.0.redacted(settings)
    }

    fn privileged_setting(&self, settings: &Value) -> Option<&'static str> {
        self.0.privileged_setting(settings)
    }
}

/// Counts the calls to a storage in memory.
#[derive(Debug)]
pub(super) struct Counted {
    inside: MemoryStorage,
    calls: AtomicU64,
}

impl Counted {
    /// How often it was asked for something.
    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn counted(&self) -> &MemoryStorage {
        self.calls.fetch_add(1, Ordering::Relaxed);
        &self.inside
    }
}

#[async_trait]
impl Storage for Counted {
    fn partitions(&self) -> u16 {
        self.counted().partitions()
    }

    async fn commit(&self, batch: &Batch) -> Result<Applied, StorageError> {
        self.counted().commit(batch).await
    }

    async fn swap_lease(&self, expected: &Lease, next: &Lease) -> Result<bool, StorageError> {
        self.counted().swap_lease(expected, next).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StorageError> {
        self.counted().leases().await
    }

    async fn load(&self, ids: &[MonitorId]) -> Result<Vec<Option<Record>>, StorageError> {
        self.counted().load(ids).await
    }

    async fn find(&self, name: &Name) -> Result<Option<MonitorId>, StorageError> {
        self.counted().find(name).await
    }

    async fn due(
        &self,
        partition: PartitionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(MonitorId, Timestamp)>, StorageError> {
        self.counted().due(partition, before, limit).await
    }

    async fn outbox(&self, after: u64, limit: usize) -> Result<Page<OutboxEntry>, StorageError> {
        self.counted().outbox(after, limit).await
    }

    async fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError> {
        self.counted().monitors(after, limit).await
    }

    async fn history(&self, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        self.counted().history(query, limit).await
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StorageError> {
        self.counted().documents(kind).await
    }

    async fn watch_log(&self) -> Result<WatchLog, StorageError> {
        self.counted().watch_log().await
    }

    async fn news(&self, after: Option<&str>) -> Result<News, StorageError> {
        self.counted().news(after).await
    }
}

/// Runs it on a runtime of one thread whose time stands still while anything can be done.
pub(super) fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::ZERO);
    result
}
