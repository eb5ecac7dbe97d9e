//! The stream of events of the real server, over its restarts.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;

use serde_json::{Value, json};
use support::{KEY, Server, folder, within};

/// A client that reads events as a browser does: with the id of the last one when it comes back.
struct Client {
    last_id: Option<String>,
    seen: Vec<(u64, String)>,
}

impl Client {
    /// Reads until it has seen so many events, or the stream ends.
    async fn read(&mut self, server: &Server, until: usize) {
        let mut request = server.request("GET", "/api/events").bearer_auth(KEY);
        if let Some(id) = &self.last_id {
            request = request.header("Last-Event-ID", id);
        }
        let mut answer = within("the stream", request.send()).await.expect("a stream");
        assert_eq!(answer.status(), 200);
        let mut text = String::new();
        while self.seen.len() < until || self.last_id.is_none() {
            let Ok(Some(chunk)) = within("an event", answer.chunk()).await else { return };
            text.push_str(std::str::from_utf8(&chunk).expect("text"));
            while let Some((block, rest)) = text.split_once("\n\n") {
                self.take(block);
                text = rest.to_owned();
            }
        }
    }

    fn take(&mut self, block: &str) {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let Some(id) = field("id:") {
            self.last_id = Some(id.to_owned());
        }
        if let Some(data) = field("data:") {
            let data: Value = serde_json::from_str(data).expect("JSON");
            self.seen.push((data["seq"].as_u64().expect("a number"), data["to"].as_str().expect("a state").to_owned()));
        }
    }
}

async fn start(folder: &Path) -> (Server, String) {
    let server = Server::start(folder, &[]).await;
    let wish = json!({"slug": "a", "schedule": {"every": "1h"}, "token": "token-of-a"});
    assert!([200, 201].contains(&server.api("PUT", "/api/monitors/a", Some(wish)).await.status));
    (server, "/ping/token-of-a".to_owned())
}

/// Lets the monitor change its state so many times.
async fn change(server: &Server, ping: &str, times: usize, done: &mut usize) {
    for _ in 0..times {
        let path = if done.is_multiple_of(2) { ping.to_owned() } else { format!("{ping}/fail") };
        assert_eq!(server.get(&path).await.status, 200);
        *done += 1;
    }
}

#[tokio::test]
async fn nothing_is_missed_or_repeated_over_restarts() {
    let folder = folder();
    let (mut client, mut done) = (Client { last_id: None, seen: Vec::new() }, 0);
    let (mut server, ping) = start(folder.path()).await;
    client.read(&server, 0).await;
    for round in 0..3 {
        // Some while the client reads, some while it is away, some before the server ends.
        change(&server, &ping, 7, &mut done).await;
        let upto = done - 3;
        client.read(&server, upto).await;
        change(&server, &ping, 4, &mut done).await;
        server.signal(if round == 1 { "KILL" } else { "TERM" }).await;
        server.ended().await;
        server = start(folder.path()).await.0;
    }
    client.read(&server, done).await;
    server.stop().await;
    let states: Vec<_> = client.seen.iter().map(|(_, to)| to.as_str()).collect();
    let expected: Vec<_> = (0..done).map(|index| if index % 2 == 0 { "up" } else { "down" }).collect();
    assert_eq!(states, expected);
    assert!(client.seen.is_sorted_by(|(a, _), (b, _)| a < b), "each has a larger number than the one before");
}

#[tokio::test]
async fn a_stream_ends_in_an_orderly_way_when_the_server_does() {
    let folder = folder();
    let (mut server, _) = start(folder.path()).await;
    let request = server.request("GET", "/api/events").bearer_auth(KEY).send();
    let mut answer = within("the stream", request).await.expect("a stream");
    assert!(within("its beginning", answer.chunk()).await.expect("readable").is_some());
    server.signal("TERM").await;
    while within("the end of the stream", answer.chunk()).await.expect("it is not cut").is_some() {}
    let ended = tokio::time::timeout(std::time::Duration::from_secs(10), server.ended()).await;
    assert_eq!(ended.expect("within 10 s"), Some(0));
}
