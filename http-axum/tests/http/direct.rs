//! The short way of heartbeats past the router: whatever comes, it answers and stores what the router does.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use heartbeat_engine::testing::ManualClock;
use heartbeat_http::{HttpSettings, ServeOptions, Site, serve};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::server::Server;
use crate::signing::sign;

const SIGNED: &str = "/ping/token-of-signed";

/// A request as it goes over the wire, but for its signature.
#[derive(Debug, Clone)]
struct Wish {
    method: &'static str,
    target: String,
    headers: Vec<&'static str>,
    body: String,
    chunked: bool,
    signed: bool,
}

/// A server on a socket.
struct Served {
    server: Server,
    /// What is served, as a router.
    router: Router,
    address: SocketAddr,
    shutdown: CancellationToken,
    secret: String,
    ping_key: String,
}

#[derive(Clone, Copy)]
enum Way {
    Short,
    Router,
}

impl Served {
    async fn start(way: Way) -> Self {
        let mut settings = HttpSettings::default();
        settings.allowed_hosts = vec!["here".to_owned()];
        settings.pings_per_minute = 12;
        settings.ping_body_limit = 20;
        settings.ping_body_max = 60;
        let clock = ManualClock::new("2026-11-20T08:00:00Z".parse().unwrap());
        let server = Server::with(clock, HttpSettings::default()).await;
        let site = Site::new(server.engine.clone(), settings);
        let router = site.router();
        server.monitor("job", "token-of-job").await;
        let wish = json!({
            "slug": "signed", "schedule": {"every": "1h"}, "require_signature": true, "token": "token-of-signed",
        });
        let made = server.manage("POST", "/api/monitors", &wish).await;
        let secret = made.json()["signing_secret"].as_str().unwrap().to_owned();
        let ping_key = server.key("ping", &json!({})).await;

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let options = ServeOptions::default();
        let shutdown = options.shutdown.clone();
        let site = match way {
            Way::Short => site,
            Way::Router => Site::from(router.clone()),
        };
        tokio::spawn(serve(listener, site, options));
        Self { server, router, address, shutdown, secret, ping_key }
    }

    /// The answer, without what differs from one server to the next.
    async fn answer(&self, wish: &Wish) -> String {
        let target = wish.target.replace("PING-KEY", &self.ping_key);
        let mut request = format!("{} {target} HTTP/1.1\r\nConnection: close\r\n", wish.method);
        for header in &wish.headers {
            request.push_str(&format!("{header}\r\n"));
        }
        if wish.signed {
            let now = self.server.engine.now().as_secs();
            let signature = sign(&self.secret, now, wish.method, &target, &wish.body);
            request.push_str(&format!("Heartbeat-Timestamp: {now}\r\nHeartbeat-Signature: {signature}\r\n"));
        }
        let length = wish.body.len();
        if wish.chunked {
            request.push_str(&format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{}\r\n", wish.body));
            request.push_str(if length > 0 { "0\r\n\r\n" } else { "" });
        } else if length > 0 {
            request.push_str(&format!("Content-Length: {length}\r\n\r\n{}", wish.body));
        } else {
            request.push_str("\r\n");
        }
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.lines().map(masked).collect::<Vec<_>>().join("\n")
    }

    async fn stored(&self) -> Vec<Value> {
        let mut stored = Vec::new();
        for slug in ["job", "signed"] {
            stored.push(self.server.manage("GET", &format!("/api/monitors/{slug}/pings"), &Value::Null).await.json());
        }
        stored
    }

    /// How many requests were counted, by method, route and status.
    async fn counts(&self) -> Vec<String> {
        let request = Request::get("/metrics").header("host", "here").body(Body::empty()).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let text = to_bytes(answer.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(text.to_vec()).unwrap();
        let counted =
            |line: &&str| line.contains("http_requests_total{") || line.contains("request_duration_seconds_count");
        let mut lines: Vec<_> = text
            .lines()
            .filter(counted)
            .filter(|line| line.contains("/ping/") || line.contains("/healthz"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }
}

/// A line of an answer; of what is random, or depends on when exactly it was asked for, only that it is there.
fn masked(line: &str) -> String {
    let varies = ["x-request-id: ", "date: ", "heartbeat-signature: ", "retry-after: "];
    let name = varies.iter().find(|name| line.starts_with(**name)).filter(|_| !line.ends_with(": mine-1"));
    name.map_or(line.to_owned(), |name| format!("{name}…"))
}

fn target() -> impl Strategy<Value = String> {
    let known = select(vec!["token-of-job", "token-of-job", "token-of-job", "token-of-signed"]);
    let strange =
        select(vec!["token-of-nobody", "token%2Dof-job", "token-of-j%6Fb", "start", "PING-KEY", "", "x%20y", "%ff"]);
    let first = prop_oneof![4 => known, 1 => strange];
    let second = select(vec![
        "",
        "",
        "",
        "/",
        "/start",
        "/fail",
        "/log",
        "/report",
        "/0",
        "/3",
        "/256",
        "/x",
        "/%30",
        "/job",
        "/job/fail",
        "/start/",
    ]);
    let query = select(vec![
        "",
        "",
        "",
        "?",
        "?rid=0b4b0f6e-8a5c-4b59-9d5e-8a0c1d2e3f40",
        "?rid=short",
        "?msg=a%20b+c&value=1.5",
        "?value=much",
        "?latency=12.6",
        "?duration=-1",
        "?ts=1795161600",
        "?ts=tomorrow",
        "?&&msg=%ff",
        "?create=1",
    ]);
    (first, second, query)
        .prop_map(|(first, second, query)| format!("/ping/{}{second}{query}", first.replace(' ', "%20")))
}

fn wish() -> impl Strategy<Value = Wish> {
    let method = select(vec!["GET", "GET", "HEAD", "POST", "POST", "PUT", "DELETE", "OPTIONS"]);
    let host = select(vec!["Host: here", "Host: here", "Host: here", "Host: HERE:80", "Host: elsewhere"]);
    let more = prop::sample::subsequence(
        vec![
            "User-Agent: curl/8",
            "X-Request-Id: mine-1",
            "X-Request-Id: not mine",
            "X-Forwarded-For: 203.0.113.9",
            "Accept: */*",
        ],
        0..3,
    );
    let body = prop_oneof![Just(0), Just(0), Just(5), Just(20), Just(21), Just(60), Just(61), Just(200)]
        .prop_map(|length: usize| "body of a heartbeat ".chars().cycle().take(length).collect::<String>());
    (method, target(), host, more, body, any::<bool>(), any::<bool>()).prop_map(
        |(method, target, host, more, body, chunked, sign)| Wish {
            method,
            signed: sign && target.starts_with(SIGNED),
            target,
            headers: std::iter::once(host).chain(more).collect(),
            body,
            chunked,
        },
    )
}

async fn compare(wishes: Vec<Wish>) {
    let (short, router) = (Served::start(Way::Short).await, Served::start(Way::Router).await);
    for wish in &wishes {
        assert_eq!(short.answer(wish).await, router.answer(wish).await, "{wish:?}");
    }
    assert_eq!(short.stored().await, router.stored().await, "{wishes:?}");
    assert_eq!(short.counts().await, router.counts().await, "{wishes:?}");
    short.shutdown.cancel();
    router.shutdown.cancel();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_ways_answer_and_store_the_same(wishes in prop::collection::vec(wish(), 1..24)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare(wishes));
    }
}

#[tokio::test]
async fn what_every_client_sends() {
    let plain = Wish {
        method: "GET",
        target: "/ping/token-of-job".to_owned(),
        headers: vec!["Host: here"],
        body: String::new(),
        chunked: false,
        signed: false,
    };
    let signed =
        Wish { method: "POST", target: SIGNED.to_owned(), body: "hello".to_owned(), signed: true, ..plain.clone() };
    let served = Served::start(Way::Short).await;
    let answer = served.answer(&plain).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("OK"), "{answer}");
    assert!(served.answer(&signed).await.contains("heartbeat-signature: "));
    assert!(served.answer(&signed).await.starts_with("HTTP/1.1 401"), "each signature once");
    for _ in 0..11 {
        assert!(served.answer(&plain).await.starts_with("HTTP/1.1 200"));
    }
    assert!(served.answer(&plain).await.starts_with("HTTP/1.1 429"));
    compare(vec![plain, signed.clone(), signed]).await;
}

#[tokio::test]
async fn a_site_answers_once_it_is_opened() {
    let server = Server::start().await;
    server.monitor("job", "token-of-job").await;
    let site = Site::closed(Router::new());
    assert_eq!(crate::server::ask(&site.router(), "GET", "/ping/token-of-job", "").await.status, 404);
    site.open(Site::new(server.engine.clone(), HttpSettings::default()));
    site.open(Site::closed(Router::new()));
    assert_eq!(crate::server::ask(&site.router(), "GET", "/ping/token-of-job", "").await.status, 200);
}
