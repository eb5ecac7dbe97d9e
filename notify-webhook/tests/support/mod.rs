//! An HTTP server that records what it gets and answers as it is told.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
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
    /// Says what was asked for.
    Echo,
    /// Goes on for ever.
    Endless,
    /// Begins and does not go on.
    Stalling,
    /// No answer at all.
    Silent,
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

    async fn response(self, uri: &Uri) -> Response {
        let chunk = |text: &'static str| Ok::<_, std::io::Error>(Bytes::from_static(text.as_bytes()));
        let body = match self.body {
            Content::Text(text) => Body::from(text),
            Content::Echo => Body::from(format!("Cannot POST {uri}")),
            Content::Endless => Body::from_stream(stream::repeat_with(move || chunk("and so on "))),
            Content::Stalling => Body::from_stream(stream::iter([chunk("begun")]).chain(stream::pending())),
            Content::Silent => std::future::pending().await,
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
    let request = Request { method, uri: uri.clone(), headers, body };
    shared.requests.send_modify(|requests| requests.push(request));
    let answer = shared.answer.lock().unwrap().clone();
    answer.response(&uri).await
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

/// The address of a server that reads a request and hangs up.
pub(crate) async fn closes_after_the_request() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut bytes = vec![0; 65536];
            let mut read = 0;
            while !bytes[..read].ends_with(b"}}") {
                read += stream.read(&mut bytes[read..]).await.unwrap();
            }
            stream.shutdown().await.unwrap();
        }
    });
    address
}
