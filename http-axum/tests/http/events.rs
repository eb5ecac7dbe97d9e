//! Changes of state as server-sent events.

use std::time::Duration;

use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{SystemClock, Timestamp};
use heartbeat_http::{Drained, HttpSettings, ServeOptions, serve};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::server::{Answer, Events, Server};

const NONE: Value = Value::Null;

async fn start() -> Server {
    let server = Server::start().await;
    for (slug, tags) in [("a", json!(["x"])), ("b", json!(["x", "y"])), ("c", json!([]))] {
        let wish =
            json!({"slug": slug, "schedule": {"every": "1h"}, "tags": tags, "token": format!("token-of-{slug}")});
        assert_eq!(server.manage("POST", "/api/monitors", &wish).await.status, 201);
    }
    server
}

async fn ping(server: &Server, path: &str) {
    assert_eq!(server.get(&format!("/ping/token-of-{path}")).await.status, 200);
}

/// The slugs and new states of the next events.
async fn next(events: &mut Events, count: usize) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for _ in 0..count {
        let event = events.event().await.unwrap();
        let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
        found.push((text(&event["monitor"]["slug"]), text(&event["to"])));
    }
    found
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(slug, to)| ((*slug).to_owned(), (*to).to_owned())).collect()
}

#[tokio::test]
async fn a_stream_begins_now_and_shows_each_change() {
    let server = start().await;
    ping(&server, "a").await;
    let mut events = server.events(&server.admin, "/api/events", &[]).await;
    let first = events.block().await.unwrap();
    assert!(first[0].starts_with("id:") && first[1].starts_with("retry:") && first.len() == 2, "{first:?}");
    ping(&server, "b").await;
    ping(&server, "a/fail?msg=disk+full").await;
    let up = events.event().await.unwrap();
    assert_eq!((&up["monitor"]["slug"], &up["from"], &up["to"]), (&json!("b"), &json!("new"), &json!("up")));
    let down = events.event().await.unwrap();
    assert_eq!((&down["monitor"]["name"], &down["to"]), (&json!("a"), &json!("down")));
    assert_eq!(down["reason"], "failed: the job failed: disk full");
    assert!(down["seq"].as_u64() > up["seq"].as_u64() && down["at"].is_string() && down["detected_at"].is_string());
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("heartbeat_event_streams 1"), "{metrics}");
}

#[tokio::test]
async fn a_client_that_comes_back_misses_nothing_and_sees_nothing_twice() {
    let server = start().await;
    let mut events = server.events(&server.admin, "/api/events", &[]).await;
    let place = events.block().await.unwrap()[0].trim_start_matches("id:").trim().to_owned();
    drop(events);
    for path in ["a", "b", "c", "a/fail", "b/fail", "a"] {
        ping(&server, path).await;
    }
    let all = pairs(&[("a", "up"), ("b", "up"), ("c", "up"), ("a", "down"), ("b", "down"), ("a", "up")]);
    let mut events = server.events(&server.admin, "/api/events", &[("last-event-id", &place)]).await;
    let mut seen = next(&mut events, 2).await;
    let third = events.event().await.unwrap();
    seen.push(("c".to_owned(), third["to"].as_str().unwrap().to_owned()));
    drop(events);
    // What a browser says in the header counts, and not the query that it repeats.
    let id = third["seq"].to_string();
    let mut events = server.events(&server.admin, "/api/events?after=0", &[("Last-Event-ID", &id)]).await;
    seen.extend(next(&mut events, 3).await);
    assert_eq!(seen, all);
    let mut events = server.events(&server.admin, &format!("/api/events?after={id}&monitor=b"), &[]).await;
    assert_eq!(next(&mut events, 1).await, pairs(&[("b", "down")]));
    // A place of another database: what happens from now on is shown.
    let mut events = server.events(&server.admin, "/api/events?after=18446744073709551615", &[]).await;
    events.block().await.unwrap();
    ping(&server, "c/fail").await;
    assert_eq!(next(&mut events, 1).await, pairs(&[("c", "down")]));
}

#[tokio::test]
async fn filters_and_limited_keys() {
    let server = start().await;
    for path in ["a", "b", "c"] {
        ping(&server, path).await;
    }
    for (uri, seen) in [
        ("/api/events?after=0&tag=x", vec![("a", "up"), ("b", "up")]),
        ("/api/events?after=0&tag=x,y", vec![("b", "up")]),
        ("/api/events?after=0&tag=y&tag=x", vec![("b", "up")]),
        ("/api/events?after=0&monitor=c", vec![("c", "up")]),
    ] {
        let mut events = server.events(&server.admin, uri, &[]).await;
        assert_eq!(next(&mut events, seen.len()).await, pairs(&seen), "{uri}");
    }
    let limited = server.key("read", &json!({"monitors": ["c"], "tags": ["y"]})).await;
    let mut events = server.events(&limited, "/api/events?after=0", &[]).await;
    assert_eq!(next(&mut events, 2).await, pairs(&[("b", "up"), ("c", "up")]));
    ping(&server, "a/fail").await;
    ping(&server, "c/fail").await;
    assert_eq!(next(&mut events, 1).await, pairs(&[("c", "down")]));
    assert_eq!(server.with_key(&limited, "GET", "/api/events?monitor=a", &NONE).await.status, 403);
}

#[tokio::test]
async fn many_events_come_in_pages_and_in_order() {
    let server = start().await;
    for round in 0..130 {
        ping(&server, if round % 2 == 0 { "a" } else { "a/fail" }).await;
    }
    let mut events = server.events(&server.admin, "/api/events?after=0&monitor=a", &[]).await;
    let mut last = 0;
    for round in 0..130 {
        let event = events.event().await.unwrap();
        let seq = event["seq"].as_u64().unwrap();
        assert!(seq > last);
        assert_eq!(event["to"], if round % 2 == 0 { "up" } else { "down" });
        last = seq;
    }
}

#[tokio::test]
async fn bad_requests_and_too_many_streams() {
    let mut settings = HttpSettings::default();
    settings.event_streams_max = 1;
    let server = Server::with(SystemClock::new(), settings).await;
    let bad = server.manage("GET", "/api/events?after=x&tags=y", &NONE).await;
    assert_eq!((bad.status.as_u16(), bad.wrong_fields()), (400, vec!["after".to_owned(), "tags".to_owned()]));
    let key = format!("Bearer {}", server.admin);
    let bad = server.send("GET", "/api/events", &[("authorization", &key), ("last-event-id", "abc")], "").await;
    assert_eq!((bad.status.as_u16(), bad.wrong_fields()), (400, vec!["Last-Event-ID".to_owned()]));
    assert_eq!(server.manage("GET", "/api/events?monitor=nothing", &NONE).await.status, 404);
    assert_eq!(server.get("/api/events").await.status, 401);
    let ping_key = server.key("ping", &json!({})).await;
    assert_eq!(server.with_key(&ping_key, "GET", "/api/events", &NONE).await.status, 403);

    let first = server.events(&server.admin, "/api/events", &[]).await;
    let refused: Answer = server.manage("GET", "/api/events", &NONE).await;
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, "2"));
    assert!(refused.json()["detail"].as_str().unwrap().starts_with("1 streams of events are open"));
    drop(first);
    drop(server.events(&server.admin, "/api/events", &[]).await);
}

#[tokio::test(start_paused = true)]
async fn a_stream_stays_alive_and_ends_with_its_key() {
    let now: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
    let server = Server::with(TokioClock::new(now), HttpSettings::default()).await;
    let wish = json!({"name": "watcher", "scope": "read"});
    let made = server.manage("POST", "/api/keys", &wish).await.json();
    let mut events = server.events(made["key"].as_str().unwrap(), "/api/events", &[]).await;
    events.block().await.unwrap();
    for _ in 0..5 {
        assert_eq!(events.block().await.unwrap(), [": still here"]);
    }
    let uri = format!("/api/keys/{}", made["id"].as_str().unwrap());
    assert_eq!(server.manage("DELETE", &uri, &NONE).await.status, 204);
    let mut blocks = 0;
    while events.block().await.is_some() {
        blocks += 1;
        assert!(blocks < 5, "the stream goes on without a key");
    }
}

#[tokio::test]
async fn streams_do_not_hold_up_the_end_of_the_server() {
    let server = start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut options = ServeOptions::default();
    options.drain_timeout = Duration::from_secs(60);
    let shutdown = options.shutdown.clone();
    let serving = tokio::spawn(serve(listener, server.router.clone(), options));
    let mut client = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", server.admin);
    client.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("retry:") {
        let count = client.read(&mut buffer).await.unwrap();
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    shutdown.cancel();
    let drained =
        tokio::time::timeout(Duration::from_secs(30), serving).await.expect("the stream holds it up").unwrap();
    assert_eq!(drained, Drained::Fully);
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(b"0\r\n\r\n"), "the stream ended in an orderly way");
}
