//! An engine in memory with the router on it, for the tests.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, BodyDataStream, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use futures_util::StreamExt;
use heartbeat_engine::schedule::Schedule;
use heartbeat_engine::{
    Attempt, ChannelKind, Clock, DeliveryError, Engine, FieldError, MemoryStorage, MonitorSpec, Notification, Notifier,
    PutMode, Receipt, Record, SystemClock, Token,
};
use heartbeat_http::{HttpSettings, ensure_admin_key, router};
use serde_json::Value;
use tokio::sync::mpsc;
use tower::ServiceExt;

/// An engine, its router, and an admin key.
pub(crate) struct Server {
    pub(crate) engine: Engine,
    pub(crate) router: Router,
    pub(crate) admin: String,
    told: tokio::sync::Mutex<mpsc::UnboundedReceiver<Notification>>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(SystemClock::new(), HttpSettings::default()).await
    }

    pub(crate) async fn with(clock: impl Clock, settings: HttpSettings) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let engine = Engine::builder(MemoryStorage::new())
            .clock(clock)
            .notifier("ops", Pass(sender.clone()))
            .channel_kind(PassKind(sender))
            .spawn()
            .await
            .unwrap();
        let admin = ensure_admin_key(&engine).await.unwrap().unwrap().reveal().to_owned();
        let router = router(engine.clone(), settings);
        Self { engine, router, admin, told: told.into() }
    }

    /// A monitor that reports every hour and tells `ops`.
    pub(crate) async fn monitor(&self, slug: &str, token: &str) -> Arc<Record> {
        let mut spec = MonitorSpec::new(slug, Schedule::every(Duration::from_secs(3600)).unwrap());
        spec.channels = vec!["ops".to_owned()];
        let mode = PutMode::Create { token: Some(Token::new(token).unwrap()) };
        self.engine.put(spec, mode).await.unwrap().record
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.request(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn request(&self, request: Request<Body>) -> Answer {
        answer(&self.router, request).await
    }

    pub(crate) async fn get(&self, uri: &str) -> Answer {
        self.send("GET", uri, &[], Body::empty()).await
    }

    /// A request with the admin key.
    pub(crate) async fn manage(&self, method: &str, uri: &str, body: &Value) -> Answer {
        self.with_key(&self.admin, method, uri, body).await
    }

    pub(crate) async fn with_key(&self, key: &str, method: &str, uri: &str, body: &Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(method, uri, &[("authorization", &format!("Bearer {key}"))], body).await
    }

    /// A new key; `limits` holds more fields of it.
    pub(crate) async fn key(&self, scope: &str, limits: &Value) -> String {
        let mut wish = serde_json::json!({"name": scope, "scope": scope});
        for (field, value) in limits.as_object().unwrap() {
            wish[field] = value.clone();
        }
        let made = self.manage("POST", "/api/keys", &wish).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["key"].as_str().unwrap().to_owned()
    }

    /// The next notification that reaches a channel.
    pub(crate) async fn told(&self) -> Notification {
        self.told_within(Duration::from_secs(20)).await.expect("nothing was told")
    }

    /// The next notification that reaches a channel, if one does within this time.
    pub(crate) async fn told_within(&self, time: Duration) -> Option<Notification> {
        let mut told = self.told.lock().await;
        tokio::time::timeout(time, told.recv()).await.ok().map(|told| told.unwrap())
    }

    /// Opens a stream of events; it must be answered with 200.
    pub(crate) async fn events(&self, key: &str, uri: &str, headers: &[(&str, &str)]) -> Events {
        let mut request = Request::builder().uri(uri).header("authorization", format!("Bearer {key}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events { body: response.into_body().into_data_stream(), text: String::new() }
    }

    /// The newest heartbeat of a monitor.
    pub(crate) async fn last_ping(&self, slug: &str) -> Value {
        let pings = self.manage("GET", &format!("/api/monitors/{slug}/pings?limit=1"), &Value::Null).await;
        pings.json()["items"][0].clone()
    }
}

/// A stream of events that is being read.
pub(crate) struct Events {
    body: BodyDataStream,
    text: String,
}

impl Events {
    /// The next block of the stream, as its lines; `None` when it has ended.
    pub(crate) async fn block(&mut self) -> Option<Vec<String>> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.lines().map(str::to_owned).collect();
                self.text = rest.to_owned();
                return Some(block);
            }
            let chunk =
                tokio::time::timeout(Duration::from_secs(120), self.body.next()).await.expect("nothing came")?;
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    /// The data of the next event; comments and events without data are passed over.
    pub(crate) async fn event(&mut self) -> Option<Value> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| block.iter().find_map(|line| line.strip_prefix(name).map(str::trim));
            let Some(data) = field("data:") else { continue };
            let data: Value = serde_json::from_str(data).unwrap();
            assert_eq!((field("event:"), field("id:")), (Some("state"), Some(data["seq"].to_string().as_str())));
            return Some(data);
        }
    }
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The fields that a problem names.
    pub(crate) fn wrong_fields(&self) -> Vec<String> {
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        let errors = problem["errors"].as_array().cloned().unwrap_or_default();
        errors.iter().map(|error| error["field"].as_str().unwrap().to_owned()).collect()
    }
}

/// A request to a router that stands alone.
pub(crate) async fn ask(router: &Router, method: &str, uri: &str, authorization: &str) -> Answer {
    let request = Request::builder().method(method).uri(uri).header("authorization", authorization);
    answer(router, request.body(Body::empty()).unwrap()).await
}

async fn answer(router: &Router, request: Request<Body>) -> Answer {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    Answer { status: parts.status, headers: parts.headers, body }
}

/// Passes notifications on to the test.
struct Pass(mpsc::UnboundedSender<Notification>);

#[async_trait::async_trait]
impl Notifier for Pass {
    async fn deliver(&self, notification: &Notification, _: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        if notification.channel == "broken" {
            return Err(DeliveryError::refused("the far end says no"));
        }
        let _ = self.0.send(notification.clone());
        Ok(Receipt::default())
    }
}

/// A kind of channel with one secret setting and one that only admins may choose.
struct PassKind(mpsc::UnboundedSender<Notification>);

impl ChannelKind for PassKind {
    fn name(&self) -> &'static str {
        "pass"
    }

    fn build(&self, _: &str, settings: &Value) -> Result<Arc<dyn Notifier>, Vec<FieldError>> {
        let unknown =
            settings.as_object().unwrap().keys().filter(|key| !["secret", "allow_private"].contains(&key.as_str()));
        let faults: Vec<_> = unknown.map(|key| FieldError::new(key.as_str(), "is not a setting of `pass`")).collect();
        if faults.is_empty() { Ok(Arc::new(Pass(self.0.clone()))) } else { Err(faults) }
    }

    fn redacted(&self, settings: &Value) -> Value {
        let mut shown = settings.clone();
        if shown.get("secret").is_some() {
            shown["secret"] = "***".into();
        }
        shown
    }

    fn privileged_setting(&self, settings: &Value) -> Option<&'static str> {
        settings.get("allow_private").is_some_and(|value| value == true).then_some("allow_private")
    }
}
