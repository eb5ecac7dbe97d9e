//! A receiver of webhooks that fails, hangs and refuses now and then, and remembers every delivery.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::crash::api::text;
use crate::crash::failure::Failure;
use crate::crash::random::Random;

/// One attempt that arrived.
#[derive(Debug, Clone)]
pub struct Arrival {
    /// The id of the notification.
    pub id: String,
    /// What was answered.
    pub status: u16,
    /// Each message that it tells, where it is a digest, as [`told`] names it.
    pub digest: Vec<String>,
    /// How many more messages it stands for, which a long digest only counts.
    pub unlisted: u64,
}

/// Where attempts arrived: the lane and its channel.
type Place = (String, String);

#[derive(Debug, Default)]
struct Shared {
    arrivals: Mutex<BTreeMap<Place, Vec<Arrival>>>,
    healthy: Mutex<Vec<String>>,
    all_healthy: AtomicBool,
    random: Mutex<Option<Random>>,
}

/// The receiver.
#[derive(Debug)]
pub struct Receiver {
    url: String,
    shared: Arc<Shared>,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Receiver {
    /// Starts one on a free port; the seed decides how it behaves.
    ///
    /// # Errors
    /// When it cannot listen.
    pub async fn start(seed: u64) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::harness("the receiver", &error);
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
        let url = format!("http://{}", listener.local_addr().map_err(failed)?);
        let shared = Arc::new(Shared { random: Mutex::new(Some(Random::new(!seed))), ..Shared::default() });
        let router = Router::new().route("/{lane}/{channel}", post(receive)).with_state(shared.clone());
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap_or_default() });
        Ok(Self { url, shared, serving })
    }

    /// Where the channels of a lane lead.
    #[must_use]
    pub fn hook(&self, lane: &str) -> String {
        format!("{}/{lane}", self.url)
    }

    /// From now on everything of a lane is taken at once.
    pub fn heal(&self, lane: &str) {
        self.shared.healthy.lock().unwrap_or_else(PoisonError::into_inner).push(lane.to_owned());
    }

    /// From now on everything is taken at once.
    pub fn heal_all(&self) {
        self.shared.all_healthy.store(true, Ordering::Relaxed);
    }

    /// Every attempt that arrived for a channel of a lane, in order.
    #[must_use]
    pub fn arrivals(&self, lane: &str, channel: &str) -> Vec<Arrival> {
        let arrivals = self.shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner);
        arrivals.get(&(lane.to_owned(), channel.to_owned())).cloned().unwrap_or_default()
    }
}

/// Names a message by what it tells; no two notifications to one channel have the same name.
pub(crate) fn told(kind: &str, incident: &str, message: &str) -> String {
    format!("{kind} {incident} {message}")
}

/// How long to wait before the answer, and which it is.
fn mood(shared: &Shared, lane: &str) -> (Duration, u16) {
    let healthy = shared.healthy.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|name| name == lane);
    let mut random = shared.random.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(random) = random.as_mut().filter(|_| !healthy && !shared.all_healthy.load(Ordering::Relaxed)) else {
        return (Duration::ZERO, 204);
    };
    match random.below(100) {
        0..8 => (Duration::ZERO, 500),
        8 => (Duration::ZERO, 400),
        9..15 => (random.millis(50, 1500), 204),
        15..18 => (random.millis(50, 500), 503),
        _ => (Duration::ZERO, 204),
    }
}

async fn receive(
    State(shared): State<Arc<Shared>>,
    Path(place): Path<Place>,
    Json(body): Json<Value>,
) -> (StatusCode, Bytes) {
    let (pause, status) = mood(&shared, &place.0);
    tokio::time::sleep(pause).await;
    let items = body.pointer("/data/digest").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let digest = items.iter().map(|item| told(text(item, "/type"), text(item, "/incident/id"), text(item, "/message")));
    let total = body.pointer("/data/digest_total").and_then(Value::as_u64).unwrap_or(0);
    let unlisted = total.saturating_sub(items.len() as u64);
    let arrival = Arrival { id: text(&body, "/data/id").to_owned(), status, digest: digest.collect(), unlisted };
    shared.arrivals.lock().unwrap_or_else(PoisonError::into_inner).entry(place).or_default().push(arrival);
    (StatusCode::from_u16(status).unwrap_or(StatusCode::NO_CONTENT), Bytes::new())
}
