//! `/metrics`: what the engine and the HTTP surface counted, as Prometheus text.

mod cluster;
mod engine;
mod host;
mod process;

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use heartbeat_engine::Engine;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::app::AppState;
use crate::auth::Caller;
use crate::keys::Scope;
use crate::problem::Problem;
use engine::EngineCollector;
use host::HostCollector;
pub use host::HostGauge;
use process::ProcessCollector;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// The older text format; what OpenMetrics adds are comments to its readers.
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const BUCKETS_S: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/metrics", get(metrics))
}

async fn metrics(State(app): State<AppState>, headers: HeaderMap) -> Result<Response, Problem> {
    if app.settings.metrics_need_key {
        Caller::of(&app, &headers).await?.require(Scope::Read)?;
    }
    let mut text = String::new();
    encode(&mut text, &app.metrics.registry).map_err(|error| Problem::internal(error.to_string()))?;
    let accepted = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let open = accepted.flat_map(|value| value.split(',')).any(|kind| kind.contains("application/openmetrics-text"));
    let content_type = HeaderValue::from_static(if open { OPENMETRICS } else { PROMETHEUS });
    Ok(([(CONTENT_TYPE, content_type)], text).into_response())
}

/// The counters of the HTTP surface, and the registry of all.
pub(crate) struct HttpMetrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    streams: Gauge,
}

/// A stream of events that is open until this is dropped.
#[derive(Debug)]
pub(crate) struct StreamCount(Gauge);

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl fmt::Debug for HttpMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HttpMetrics")
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

impl HttpMetrics {
    /// What is told of this engine, and what the host adds.
    pub(crate) fn new(engine: Engine, host: Vec<HostGauge>) -> Self {
        let mut all = Registry::default();
        // Its names are a convention of all programs.
        all.register_collector(Box::new(ProcessCollector));
        let registry = all.sub_registry_with_prefix("heartbeat");
        registry.register("build", "Which program this is", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        let requests = Family::default();
        let durations = Family::new_with_constructor(new_histogram as fn() -> Histogram);
        registry.register("http_requests", "HTTP requests, by route", requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "How long requests took, by route",
            Unit::Seconds,
            durations.clone(),
        );
        let streams = Gauge::default();
        registry.register("event_streams", "Streams of events that are open", streams.clone());
        registry.register_collector(Box::new(EngineCollector { engine }));
        registry.register_collector(Box::new(HostCollector { gauges: host }));
        Self { registry: all, requests, durations: Family::clone(&durations), streams }
    }

    /// Counts a stream of events for as long as the answer lives; `None` when so many are open.
    pub(crate) fn count_stream(&self, most: usize) -> Option<StreamCount> {
        let count = StreamCount(self.streams.clone());
        let before = self.streams.inc();
        usize::try_from(before).is_ok_and(|before| before < most).then_some(count)
    }

    /// Counts a request. The route is a pattern, never a path: paths hold tokens and have no end of values.
    pub(crate) fn count(&self, method: &'static str, route: &str, status: u16, took: Duration) {
        self.requests.get_or_create(&RequestLabels { method, route: route.to_owned(), status }).inc();
        self.durations.get_or_create(&RouteLabels { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// The same for a request whose counters are at hand; they are those of one method, route and status.
    pub(crate) fn count_at_hand(
        &self,
        at_hand: &CountersAtHand,
        (method, route, status): (&'static str, &str, u16),
        took: Duration,
    ) {
        let labels = || RequestLabels { method, route: route.to_owned(), status };
        at_hand.requests.get_or_init(|| self.requests.get_or_create(&labels()).clone()).inc();
        let route = || RouteLabels { route: route.to_owned() };
        at_hand.durations.get_or_init(|| self.durations.get_or_create(&route()).clone()).observe(took.as_secs_f64());
    }
}

fn new_histogram() -> Histogram {
    Histogram::new(BUCKETS_S)
}

/// The counters of one kind of request, at hand so that they need not be looked up for each. They are made when they are
/// first needed, so that nothing is shown that never happened.
#[derive(Debug, Default)]
pub(crate) struct CountersAtHand {
    requests: OnceLock<Counter>,
    durations: OnceLock<Histogram>,
}
