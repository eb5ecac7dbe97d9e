//! The accept loop, over real sockets.

use std::net::SocketAddr;
use std::time::Duration;

use axum::routing::get;
use heartbeat_http::{Drained, ServeOptions, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::server::Server;

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<Drained>,
}

async fn run(router: axum::Router, change: impl FnOnce(&mut ServeOptions)) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut options = ServeOptions::default();
    change(&mut options);
    let shutdown = options.shutdown.clone();
    Running { address, shutdown, task: tokio::spawn(serve(listener, router, options)) }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends raw bytes and reads until the server closes.
    async fn exchange(&self, request: &[u8]) -> String {
        let mut stream = self.connect().await;
        let (mut reader, mut writer) = stream.split();
        let mut answer = Vec::new();
        let (sent, read) = tokio::join!(writer.write_all(request), reader.read_to_end(&mut answer));
        let _ = (sent, read);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

#[tokio::test]
async fn a_heartbeat_over_a_socket_knows_its_client() {
    let server = Server::start().await;
    server.monitor("job", "token-of-job").await;
    let running = run(server.router.clone(), |_| {}).await;
    let answer = running
        .exchange(b"POST /ping/token-of-job HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello")
        .await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("OK"), "{answer}");
    assert_eq!(server.last_ping("job").await["source"], "127.0.0.1");
    running
        .exchange(
            b"GET /ping/token-of-job HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 203.0.113.9\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert_eq!(server.last_ping("job").await["source"], "203.0.113.9");
}

#[tokio::test]
async fn half_a_request_is_not_waited_for() {
    let server = Server::start().await;
    let running = run(server.router.clone(), |options| options.header_read_timeout = Duration::from_millis(200)).await;
    for (request, answers) in
        [("", 0), ("GET /healthz HTTP/1.1\r\nHost: x\r\n", 0), ("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", 1)]
    {
        let closed = running.exchange(request.as_bytes());
        let answer = tokio::time::timeout(Duration::from_secs(20), closed).await.expect("the connection stays open");
        assert_eq!(answer.matches("200 OK").count(), answers, "{request}");
    }
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = Server::start().await;
    server.monitor("job", "token-of-job").await;
    let running = run(server.router.clone(), |options| options.body_deadline = Duration::from_millis(200)).await;
    let closed = running
        .exchange(b"POST /ping/token-of-job HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhe");
    let answer = tokio::time::timeout(Duration::from_secs(20), closed).await.expect("the connection stays open");
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert!(server.last_ping("job").await.is_null());
}

#[tokio::test]
async fn twenty_megabytes_are_refused_and_do_no_harm() {
    let server = Server::start().await;
    server.monitor("job", "token-of-job").await;
    let running = run(server.router.clone(), |_| {}).await;
    for head in ["Content-Length: 20000000", "Content-Length: 20000000\r\nExpect: 100-continue"] {
        let mut request =
            format!("POST /ping/token-of-job HTTP/1.1\r\nHost: x\r\n{head}\r\nConnection: close\r\n\r\n").into_bytes();
        if !head.contains("Expect") {
            request.resize(request.len() + 20_000_000, b'x');
        }
        let answer = running.exchange(&request).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    let mut request =
        b"POST /ping/token-of-job HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            .to_vec();
    for _ in 0..20 {
        request.extend_from_slice(b"f4240\r\n");
        request.resize(request.len() + 1_000_000, b'x');
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    assert!(running.exchange(&request).await.starts_with("HTTP/1.1 413"));
    assert_eq!(server.get("/ping/token-of-job").await.status, 200);
    assert_eq!(server.last_ping("job").await["n"], 1);
}

#[tokio::test]
async fn a_huge_head_is_refused() {
    let server = Server::start().await;
    let running = run(server.router.clone(), |_| {}).await;
    let request = format!("GET /healthz?{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(200_000));
    let answer = running.exchange(request.as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait() {
    let server = Server::start().await;
    let running = run(server.router.clone(), |options| options.connections_max = 1).await;
    let mut first = running.connect().await;
    first.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut start = [0; 12];
    first.read_exact(&mut start).await.unwrap();
    let second = running.exchange(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut second = std::pin::pin!(second);
    assert!(
        tokio::time::timeout(Duration::from_millis(100), &mut second).await.is_err(),
        "the first one is open still"
    );
    drop(first);
    assert!(second.await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_stop_lets_requests_end() {
    let entered = CancellationToken::new();
    let go_on = CancellationToken::new();
    let (seen, waits) = (entered.clone(), go_on.clone());
    let router = axum::Router::new().route(
        "/slow",
        get(move || async move {
            seen.cancel();
            waits.cancelled().await;
            "done"
        }),
    );
    let running = run(router, |_| {}).await;
    let idle = running.connect().await;
    let request = running.exchange(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n");
    let stop = async {
        entered.cancelled().await;
        running.shutdown.cancel();
        // The port is free as soon as nothing is accepted any more, while the request still goes on.
        while TcpStream::connect(running.address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        go_on.cancel();
    };
    let (answer, ()) = tokio::join!(request, stop);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    assert_eq!(running.task.await.unwrap(), Drained::Fully);
    drop(idle);
}

#[tokio::test]
async fn a_stop_does_not_wait_for_ever() {
    let entered = CancellationToken::new();
    let seen = entered.clone();
    let router = axum::Router::new().route(
        "/stuck",
        get(move || async move {
            seen.cancel();
            std::future::pending::<()>().await;
        }),
    );
    let running = run(router, |options| options.drain_timeout = Duration::from_millis(100)).await;
    let request = running.exchange(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n");
    let stop = async {
        entered.cancelled().await;
        running.shutdown.cancel();
    };
    let (answer, ()) = tokio::join!(request, stop);
    assert_eq!(answer, "");
    assert_eq!(running.task.await.unwrap(), Drained::Cut);
}
