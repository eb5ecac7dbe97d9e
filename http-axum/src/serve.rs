//! Serving a router: an accept loop of its own, because a plain one waits for ever for half a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tower::{Layer, ServiceExt};
use tower_http::timeout::RequestBodyDeadlineLayer;

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

/// Serves the router until [`ServeOptions::shutdown`] is cancelled; then it accepts nothing new, lets requests end,
/// and says whether all did. Handlers find the peer as `ConnectInfo<SocketAddr>`.
pub async fn serve(listener: TcpListener, router: Router, options: ServeOptions) -> Drained {
    let service = RequestBodyDeadlineLayer::new(options.body_deadline).layer(router);
    let free = Arc::new(Semaphore::new(options.connections_max.clamp(1, Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let cut = CancellationToken::new();
    loop {
        let next = tokio::select! {
            next = accept(&listener, &free) => next,
            () = options.shutdown.cancelled() => break,
        };
        let Some((stream, peer, permit)) = next else { continue };
        let http = builder(&options);
        let service = service.clone();
        let watcher = graceful.watcher();
        let stopping = Stopping(options.shutdown.clone());
        let cut = cut.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = converse(http, stream, Surroundings { peer, stopping }, service, watcher) => {}
                () = cut.cancelled() => {}
            }
            drop(permit);
        });
    }
    drop(listener);
    let drained = tokio::time::timeout(options.drain_timeout, graceful.shutdown()).await;
    cut.cancel();
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

/// What a request is told besides itself.
struct Surroundings {
    peer: SocketAddr,
    stopping: Stopping,
}

async fn converse<S>(
    http: Builder<TokioExecutor>,
    stream: TcpStream,
    surroundings: Surroundings,
    service: S,
    watcher: Watcher,
) where
    S: tower::Service<hyper::Request<Incoming>, Response = axum::response::Response, Error = std::convert::Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
{
    // Without it every answer waits for an acknowledgement that the client delays.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY was not set");
    }
    let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(surroundings.peer));
        request.extensions_mut().insert(surroundings.stopping.clone());
        service.clone().oneshot(request)
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
