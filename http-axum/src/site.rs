//! What a server serves: the router, with a short way for heartbeats in front of it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::http::header::CONTENT_LENGTH;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use heartbeat_engine::Engine;
use tower::ServiceExt;
use tracing::{Instrument, Level, Span};

use crate::app::{App, AppState};
use crate::health;
use crate::metrics::CountersAtHand;
use crate::ping::Heartbeat;
use crate::router;
use crate::serve::Stopping;
use crate::settings::HttpSettings;
use crate::trace::{self, Observed};

/// What [`serve`](crate::serve) serves: the whole surface of an engine, or any router. A cheap handle.
///
/// It answers what [`router`](crate::router) answers. Heartbeats by token, which are nearly all requests, and `/healthz` do
/// not pass through the router but are answered at once, by the same functions.
///
/// # Example: a server that listens before its engine is ready
/// ```
/// use axum::Router;
/// use axum::http::StatusCode;
/// use heartbeat_engine::{Engine, MemoryStorage};
/// use heartbeat_http::{HttpSettings, ServeOptions, Site, serve};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let site = Site::closed(Router::new().fallback(async || StatusCode::SERVICE_UNAVAILABLE));
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let options = ServeOptions::default();
/// let shutdown = options.shutdown.clone();
/// let server = tokio::spawn(serve(listener, site.clone(), options));
///
/// let engine = Engine::builder(MemoryStorage::new()).spawn().await?;
/// site.open(Site::new(engine, HttpSettings::default()));
/// # shutdown.cancel();
/// # server.await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Site {
    /// Answers while nothing is behind it.
    before: Router,
    behind: Arc<OnceLock<Behind>>,
}

#[derive(Clone)]
struct Behind {
    direct: Option<Arc<DirectWay>>,
    router: Router,
}

/// The way of heartbeats past the router.
struct DirectWay {
    app: AppState,
    /// By method and route, for answers with 200.
    counters: [[CountersAtHand; 3]; METHODS.len()],
}

/// A request that needs no router.
enum Direct {
    Heartbeat(Heartbeat),
    Alive,
}

/// The methods that the short way knows.
const METHODS: [Method; 3] = [Method::GET, Method::HEAD, Method::POST];

impl Site {
    /// The whole HTTP surface of an engine, to be served at the root.
    #[must_use]
    pub fn new(engine: Engine, settings: HttpSettings) -> Self {
        let app = App::new(engine, settings);
        let direct = Arc::new(DirectWay { app: app.clone(), counters: Default::default() });
        Self::of(Behind { direct: Some(direct), router: router::with_app(app) })
    }

    /// A site where this router answers until it is opened.
    #[must_use]
    pub fn closed(before: Router) -> Self {
        Self { before, behind: Arc::default() }
    }

    /// Lets the other site answer from now on. A site is opened once; it has no effect on one that is open.
    pub fn open(&self, other: Self) {
        let behind = other.behind.get().cloned().unwrap_or(Behind { direct: None, router: other.before });
        // Told in the documentation.
        let _ = self.behind.set(behind);
    }

    /// The same with routes of one's own, which come first where the router is asked; a fallback of theirs is not used. To be
    /// called before the site is served: clones made before know nothing of it. Of a closed site, the routes answer until it
    /// is opened.
    #[must_use]
    pub fn with_routes(self, own: Router) -> Self {
        match self.behind.get() {
            Some(Behind { direct, router }) => {
                Self::of(Behind { direct: direct.clone(), router: own.fallback_service(router.clone()) })
            }
            None => Self::closed(own.fallback_service(self.before)),
        }
    }

    /// The same as a router, for other ways to serve it and for tests: every request passes through the router.
    pub fn router(&self) -> Router {
        let site = self.clone();
        Router::new().fallback(async move |request: Request| site.pass(request).await)
    }

    async fn pass(&self, request: Request) -> Response {
        let router = self.behind.get().map_or(&self.before, |behind| &behind.router);
        router.clone().oneshot(request).await.into_response()
    }

    fn of(behind: Behind) -> Self {
        Self { before: Router::new(), behind: Arc::new(OnceLock::from(behind)) }
    }

    /// Answers a request that came from this peer to a server that stops when it is told so.
    pub(crate) async fn answer(&self, mut request: Request, peer: SocketAddr, stopping: &Stopping) -> Response {
        let behind = self.behind.get();
        if let Some(way) = behind.and_then(|behind| behind.direct.as_ref())
            && let Some(direct) = way.find(&request)
        {
            return way.answer(&direct, request, peer.ip()).await;
        }
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(stopping.clone());
        self.pass(request).await
    }
}

impl From<Router> for Site {
    fn from(router: Router) -> Self {
        Self::of(Behind { direct: None, router })
    }
}

impl fmt::Debug for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Site").field("open", &self.behind.get().is_some()).finish_non_exhaustive()
    }
}

impl DirectWay {
    /// What a request is, where it needs no router.
    fn find(&self, request: &Request) -> Option<Direct> {
        let (method, path) = (request.method(), request.uri().path());
        if health::is_alive(method, path) {
            return Some(Direct::Alive);
        }
        let allowed = METHODS.contains(method) && trace::is_allowed_host(&self.app, request.headers(), request.uri());
        allowed.then(|| Heartbeat::find(&self.app, path))?.map(Direct::Heartbeat)
    }

    /// What the router and its layers do around a request is done here too.
    async fn answer(&self, direct: &Direct, request: Request, peer: IpAddr) -> Response {
        let app = &self.app;
        let observed = Observed::begin(app, request.method(), request.headers());
        let method = request.method().clone();
        let route = direct.route();
        // A span costs as much as the heartbeat, so it is made where something will be logged in it.
        let all_logged = tracing::enabled!(target: trace::TARGET, Level::DEBUG);
        let span = if all_logged { observed.span(route) } else { Span::none() };
        let heard = async {
            match direct {
                Direct::Heartbeat(heartbeat) => heartbeat.hear(app, request, peer).await,
                Direct::Alive => health::alive().await.into_response(),
            }
        };
        let heard = AssertUnwindSafe(heard).catch_unwind().instrument(span.clone()).await;
        let mut response = heard.unwrap_or_else(|panic| {
            let span = if span.is_none() { observed.span(route) } else { span.clone() };
            span.in_scope(|| trace::panicked(panic))
        });
        let took = observed.end(&mut response);
        fit(&mut response, &method);

        let status = response.status();
        if all_logged || status.is_server_error() {
            let span = if span.is_none() { observed.span(route) } else { span };
            span.in_scope(|| trace::log(&response, took));
        }
        match self.counters_of(&method, direct).filter(|_| status == StatusCode::OK) {
            Some(counters) => app.metrics.count_at_hand(counters, (observed.method, route, status.as_u16()), took),
            None => app.metrics.count(observed.method, route, status.as_u16(), took),
        }
        response
    }

    fn counters_of(&self, method: &Method, direct: &Direct) -> Option<&CountersAtHand> {
        let method = METHODS.iter().position(|known| known == method)?;
        let route = match direct {
            Direct::Heartbeat(heartbeat) if !heartbeat.has_action => 0,
            Direct::Heartbeat(_) => 1,
            Direct::Alive => 2,
        };
        self.counters[method].get(route)
    }
}

impl Direct {
    /// The pattern of the route that the router would have found.
    fn route(&self) -> &'static str {
        match self {
            Self::Heartbeat(heartbeat) => heartbeat.route(),
            Self::Alive => health::ALIVE,
        }
    }
}

/// Makes an answer fit its request: it says how long it is, and to `HEAD` it says no more.
fn fit(response: &mut Response, method: &Method) {
    if let Some(bytes) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    if method == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
}
