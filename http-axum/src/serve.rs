//! Serving a router: an accept loop of its own, because a plain one waits for ever for half a request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::DeadlineBody;

use crate::site::Site;

/// How [`serve`] serves. Start from [`ServeOptions::default`] and change what should differ.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServeOptions {
    /// How long the head of a request may take to arrive, and how long a connection may stay idle. Default 10 s.
    pub header_read_timeout: Duration,
    /// How long the body of a request may take to arrive; later it is answered 408. Default 30 s.
    pub body_deadline: Duration,
    /// Connections that are open at the same time; more wait to be accepted. Default 10,000.
    pub connections_max: usize,
    /// Bytes of a request's head; more get 431. Default 64 KiB.
    pub head_bytes_max: usize,
    /// Cancelled when the server should stop.
    pub shutdown: CancellationToken,
    /// How long requests may still take when the server should stop; then their connections are cut. Default 8 s.
    pub drain_timeout: Duration,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self {
            header_read_timeout: Duration::from_secs(10),
            body_deadline: Duration::from_secs(30),
            connections_max: 10_000,
            head_bytes_max: 64 * 1024,
            shutdown: CancellationToken::new(),
            drain_timeout: Duration::from_secs(8),
        }
    }
}

/// Tells requests that take long by their nature, such as the streams of `/api/events`, that the server stops. [`serve`]
/// gives it to every request. With another accept loop, add it as a layer, so that no stream holds up the end:
///
/// ```
/// use axum::Extension;
/// use heartbeat_engine::{Engine, MemoryStorage};
/// use heartbeat_http::{HttpSettings, Stopping, router};
/// use tokio_util::sync::CancellationToken;
///
/// let (engine, _driver) = Engine::builder(MemoryStorage::new()).build();
/// let token = CancellationToken::new();
/// let router = router(engine, HttpSettings::default()).layer(Extension(Stopping(token.clone())));
/// // axum::serve(listener, router).with_graceful_shutdown(token.cancelled_owned())
/// # let _ = router;
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stopping(pub CancellationToken);

impl Stopping {
    pub(crate) fn has_come(&self) -> bool {
        self.0.is_cancelled()
    }

    /// Waits, but no longer than until the server stops.
    pub(crate) async fn pause(&self, length: Duration) {
        let _ = tokio::time::timeout(length, self.0.cancelled()).await;
    }
}

/// How a server ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Drained {
    /// Every request was answered.
    Fully,
    /// The time was over, and connections were cut.
    Cut,
}

/// Serves a [`Site`], or any router, until [`ServeOptions::shutdown`] is cancelled; then it accepts nothing new, lets
/// requests end, and says whether all did. Handlers find the peer as `ConnectInfo<SocketAddr>`. Dropping the future cuts
/// what is under way.
pub async fn serve(listener: TcpListener, site: impl Into<Site>, options: ServeOptions) -> Drained {
    serve_site(listener, site.into(), options).await
}

async fn serve_site(listener: TcpListener, site: Site, options: ServeOptions) -> Drained {
    let free = Arc::new(Semaphore::new(options.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let next = tokio::select! {
            next = accept(&listener, &free) => next,
            Some(_) = connections.join_next() => continue,
            () = options.shutdown.cancelled() => break,
        };
        let Some((stream, peer, permit)) = next else { continue };
        let http = builder(&options);
        let watcher = graceful.watcher();
        let stopping = Stopping(options.shutdown.clone());
        let visit = Visit { site: site.clone(), peer, stopping, body_deadline: options.body_deadline };
        connections.spawn(async move {
            converse(http, stream, visit, watcher).await;
            drop(permit);
        });
    }
    drop(listener);
    let drained = tokio::time::timeout(options.drain_timeout, graceful.shutdown()).await;
    connections.shutdown().await;
    if drained.is_ok() { Drained::Fully } else { Drained::Cut }
}

/// The next connection, once there is room for it; `None` where accepting failed.
async fn accept(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = free.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "a connection could not be accepted");
            // Too many open files: without a pause this would spin until some are closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// What the requests of one connection have in common.
#[derive(Debug)]
struct Visit {
    site: Site,
    peer: SocketAddr,
    stopping: Stopping,
    body_deadline: Duration,
}

impl Visit {
    async fn answer(&self, request: Request<Incoming>) -> Response {
        let request = request.map(|body| limited(body, self.body_deadline));
        self.site.answer(request, self.peer, &self.stopping).await
    }
}

/// A body that must arrive within a time.
fn limited(body: Incoming, deadline: Duration) -> Body {
    // Most requests have none, and need no timer.
    if body.is_end_stream() { Body::empty() } else { Body::new(DeadlineBody::new(deadline, body)) }
}

async fn converse(http: Builder<TokioExecutor>, stream: TcpStream, visit: Visit, watcher: Watcher) {
    // Without it every answer waits for an acknowledgement that the client delays.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was not set");
    }
    let visit = Arc::new(visit);
    let service = hyper::service::service_fn(move |request| {
        let visit = visit.clone();
        async move { Ok::<_, Infallible>(visit.answer(request).await) }
    });
    let connection = http.serve_connection(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(error, "a connection ended with an error");
    }
}

fn builder(options: &ServeOptions) -> Builder<TokioExecutor> {
    let mut http = Builder::new(TokioExecutor::new()).http1_only();
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(options.header_read_timeout)
        .max_buf_size(options.head_bytes_max.max(8 * 1024));
    http
}
