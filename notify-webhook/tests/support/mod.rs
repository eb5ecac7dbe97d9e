//! An HTTP server that records what it gets and answers as it is told.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use heartbeat_engine::{
    AboutIncident, AboutMonitor, Attempt, Cause, IncidentId, MonitorId, Notification, NotificationId, NotificationKind,
    Severity, StatusWord, Timestamp, Version,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// 2026-11-20T08:10:01Z.
pub(crate) fn now() -> Timestamp {
    "2026-11-20T08:10:01Z".parse().unwrap()
}

/// A first attempt with plenty of time.
pub(crate) fn attempt() -> Attempt<'static> {
    Attempt::new(1, now(), Duration::from_secs(30))
}

/// What is owed when `cert-sync` has been silent.
pub(crate) fn notification() -> Notification {
    let monitor = MonitorId::from_bytes([7; 16]);
    let at: Timestamp = "2026-11-20T08:10:00Z".parse().unwrap();
    Notification {
        id: NotificationId::derive(monitor, Version(4), 0, "ops"),
        channel: "ops".to_owned(),
        kind: NotificationKind::Down,
        created_at: at,
        monitor: Some(AboutMonitor {
            id: monitor,
            slug: "cert-sync".to_owned(),
            name: "cert-sync".to_owned(),
            tags: vec!["cert".to_owned()],
            severity: Severity::Critical,
            status: StatusWord::Down,
        }),
        incident: Some(AboutIncident {
            id: IncidentId::derive(monitor, Version(4), 0),
            opened_at: at,
            detected_at: at,
            closed_at: None,
            cause: Cause::Missed,
            detail: "expected 08:05, grace 5 min".to_owned(),
        }),
        message: "cert-sync is down: no heartbeat since 06:05, expected every 2 h".to_owned(),
        ping: None,
        digest: None,
    }
}

/// How the server answers.
#[derive(Clone)]
pub(crate) struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Content,
}

#[derive(Clone)]
enum Content {
    Text(String),
    /// Says what was asked for, and by whom.
    Echo,
    /// Goes on for ever.
    Endless,
    /// Begins and does not go on.
    Stalling,
    /// No answer at all.
    Silent,
    /// The connection is closed instead.
    Cut,
}

impl Answer {
    pub(crate) fn new(status: StatusCode, body: &str) -> Self {
        Self { status, headers: HeaderMap::new(), body: Content::Text(body.to_owned()) }
    }

    pub(crate) fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
        self
    }

    pub(crate) fn echo(status: StatusCode) -> Self {
        Self { body: Content::Echo, ..Self::new(status, "") }
    }

    pub(crate) fn endless(status: StatusCode) -> Self {
        Self { body: Content::Endless, ..Self::new(status, "") }
    }

    pub(crate) fn stalling(status: StatusCode) -> Self {
        Self { body: Content::Stalling, ..Self::new(status, "") }
    }

    pub(crate) fn silent() -> Self {
        Self { body: Content::Silent, ..Self::new(StatusCode::OK, "") }
    }

    pub(crate) fn cut() -> Self {
        Self { body: Content::Cut, ..Self::new(StatusCode::OK, "") }
    }

    /// Whether the request is taken with it.
    fn takes(&self) -> bool {
        self.status.is_success() && !matches!(self.body, Content::Silent | Content::Cut)
    }

    async fn response(self, uri: &Uri, by: &str) -> Response {
        let chunk = |text: &'static str| Ok::<_, std::io::Error>(Bytes::from_static(text.as_bytes()));
        let body = match self.body {
            Content::Text(text) => Body::from(text),
            Content::Echo => Body::from(format!("Cannot POST {uri} for {by}")),
            Content::Endless => Body::from_stream(stream::repeat_with(move || chunk("and so on "))),
            Content::Stalling => Body::from_stream(stream::iter([chunk("begun")]).chain(stream::pending())),
            Content::Silent => std::future::pending().await,
            // The connection breaks when this is written to it.
            Content::Cut => Body::empty(),
        };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// One request as it was received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the answer said that it was taken.
    pub(crate) taken: bool,
}

impl Request {
    /// A header; empty when it is missing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The server.
pub(crate) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    answer: Mutex<Answer>,
    requests: watch::Sender<Vec<Request>>,
}

impl Receiver {
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (receiver, app) = Self::new(listener.local_addr().unwrap(), answer);
        let listener = Breaking { tcp: listener, shared: Arc::clone(&receiver.shared) };
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    /// The same with TLS, and the certificate (DER) that it is to be trusted by.
    pub(crate) async fn start_tls(answer: Answer) -> (Self, Vec<u8>) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (receiver, app) = Self::new(tcp.local_addr().unwrap(), answer);
        let listener = TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
        tokio::spawn(async move { axum::serve(listener, app).await });
        (receiver, made.cert.der().to_vec())
    }

    fn new(address: SocketAddr, answer: Answer) -> (Self, Router) {
        let shared = Arc::new(Shared { answer: Mutex::new(answer), requests: watch::Sender::default() });
        let app = Router::new().fallback(record).with_state(Arc::clone(&shared));
        (Self { address, shared }, app)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Answers like this from now on.
    pub(crate) fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.shared.requests.borrow().clone()
    }

    /// Waits until `count` requests have come.
    pub(crate) async fn wait_for(&self, count: usize) {
        self.shared.requests.subscribe().wait_for(|requests| requests.len() >= count).await.unwrap();
    }
}

async fn record(
    State(shared): State<Arc<Shared>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let answer = shared.answer.lock().unwrap().clone();
    let request = Request { method, uri: uri.clone(), headers, body, taken: answer.takes() };
    let by = request.header("authorization").to_owned();
    shared.requests.send_modify(|requests| requests.push(request));
    answer.response(&uri, &by).await
}

/// Accepts connections that break when they are to be.
struct Breaking {
    tcp: TcpListener,
    shared: Arc<Shared>,
}

impl axum::serve::Listener for Breaking {
    type Io = Breakable;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Breakable, SocketAddr) {
        loop {
            if let Ok((stream, address)) = self.tcp.accept().await {
                return (Breakable { stream, shared: Arc::clone(&self.shared) }, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// A connection on which an answer of [`Content::Cut`] cannot be written.
struct Breakable {
    stream: TcpStream,
    shared: Arc<Shared>,
}

impl AsyncRead for Breakable {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Breakable {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if matches!(self.shared.answer.lock().unwrap().body, Content::Cut) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = tokio_rustls::server::TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // A client that does not like the certificate goes away; the next one may.
            let Ok((stream, address)) = self.tcp.accept().await else { continue };
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
