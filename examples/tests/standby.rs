//! Several servers on one Redis: one works, the others stand by and take over.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../storage-redis/tests/support/mod.rs"]
mod redis_server;
mod support;

use std::path::PathBuf;
use std::time::Duration;

use redis_server::Server as Redis;
use serde_json::{Value, json};
use support::{KEY, Receiver, Server, command, folder, run_to_end, settings, within};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::sync::oneshot;

/// `busy` and `silent` are alike; what is made of them differs.
const MONITORS: &str = r#"
[[monitor]]
slug = "busy"
schedule = { every = "2s" }
grace = "2s"
arm = "first_ping"
channels = ["hook"]

[[monitor]]
slug = "silent"
schedule = { every = "1s" }
grace = "1s"
arm = "first_ping"
channels = ["hook"]
"#;

/// A Redis, a receiver of webhooks, and what servers are told.
struct Site {
    redis: Redis,
    receiver: Receiver,
    folder: TempDir,
    file: PathBuf,
}

impl Site {
    async fn new() -> Self {
        let (redis, receiver, folder) = (Redis::durable(), Receiver::start().await, folder());
        let file = settings(folder.path(), &format!("{}{MONITORS}", receiver.channels()));
        Self { redis, receiver, folder, file }
    }

    /// Starts a server, which may have to stand by.
    fn node(&self, name: &str) -> Server {
        Server::start_standing_by(self.command().env("HEARTBEAT_NODE", name))
    }

    fn command(&self) -> Command {
        let storage = format!("{}?prefix=site&timeout_ms=1000", self.redis.url());
        let mut command = command(self.folder.path());
        command.env("HEARTBEAT_ADMIN_KEY", KEY).env("HEARTBEAT_LEASE_TTL", "2s").env("HEARTBEAT_LOG", "error");
        command.args(["--storage", &storage, "--config", self.file.to_str().expect("a path")]);
        command
    }

    /// A server that works and one that stands by.
    async fn pair(&self) -> (Server, Server) {
        let first = self.node("a");
        first.until_status("/readyz", 200).await;
        let ready = first.get("/readyz").await.text;
        assert!(ready.contains("nothing is lost when Redis crashes (appendfsync always)"), "{ready}");
        let second = self.node("b");
        second.until_status("/readyz", 503).await;
        within("it says who works", async {
            while !second.get("/readyz").await.text.contains("the server stands by: node `a.") {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
        assert_eq!((second.status("/healthz").await, first.status("/readyz").await), (Some(200), Some(200)));
        (first, second)
    }

    /// How often a change of a monitor was told.
    fn told(&self, kind: &str, slug: &str) -> usize {
        self.receiver.count(|message| is_webhook(message, kind, slug))
    }
}

fn is_webhook(message: &Value, kind: &str, slug: &str) -> bool {
    message["body"]["type"] == kind && message["body"]["data"]["monitor"]["slug"] == slug
}

async fn ping_path(server: &Server, slug: &str) -> String {
    format!("/ping/{}", server.token(slug).await)
}

/// Sends heartbeats until one is not acknowledged; how many were.
async fn send_until_it_fails(server: &Server, path: &str) -> u64 {
    let mut acknowledged = 0;
    while server.status(path).await == Some(200) {
        acknowledged += 1;
    }
    acknowledged
}

/// What is stored of `busy` is what was acknowledged, and at most one more that was not; it is not down.
async fn assert_heard(server: &Server, acknowledged: u64) -> u64 {
    let busy = server.look("/api/monitors/busy").await;
    let stored = busy["ping_count"].as_u64().expect("a number");
    assert!((acknowledged..=acknowledged + 1).contains(&stored), "{acknowledged} were acknowledged: {busy}");
    // It may be late by now.
    assert_ne!(busy["status"], "down", "{busy}");
    stored
}

/// The incidents of a monitor.
async fn incidents(server: &Server, slug: &str) -> usize {
    server.look(&format!("/api/incidents?monitor={slug}")).await["items"].as_array().expect("a list").len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_goes_on_when_one_is_killed() {
    let mut site = Site::new().await;
    let (mut first, second) = site.pair().await;
    let third = site.node("c");
    let (busy, silent) = (ping_path(&first, "busy").await, ping_path(&first, "silent").await);
    assert_eq!(second.status(&busy).await, Some(503), "who stands by takes nothing");
    assert_eq!(first.status(&silent).await, Some(200));
    let (under_way, many) = oneshot::channel();
    let sending = async {
        for _ in 0..20 {
            assert_eq!(first.status(&busy).await, Some(200));
        }
        under_way.send(()).unwrap();
        20 + send_until_it_fails(&first, &busy).await
    };
    let killing = async {
        many.await.unwrap();
        first.signal("KILL").await;
    };
    let (acknowledged, ()) = tokio::join!(sending, killing);
    assert_eq!(first.ended().await, None);

    let takes_over = async {
        loop {
            for server in [&second, &third] {
                if server.status("/readyz").await == Some(200) {
                    return server;
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let working = within("another one takes over", takes_over).await;
    let stored = assert_heard(working, acknowledged).await;
    assert_eq!(working.status(&busy).await, Some(200));
    // Nobody heard of it since it was heard by the one that was killed.
    site.receiver.until("the alert", |message| is_webhook(message, "monitor.down", "silent")).await;
    assert_eq!(working.status(&silent).await, Some(200));
    assert_eq!(working.status(&busy).await, Some(200));
    site.receiver.until("the recovery", |message| is_webhook(message, "monitor.recovered", "silent")).await;
    assert_heard(working, stored + 2).await;
    assert_eq!((incidents(working, "busy").await, site.told("monitor.down", "busy")), (0, 0), "a false alert");
    assert_eq!((site.told("monitor.down", "silent"), site.told("monitor.recovered", "silent")), (1, 1));
}

#[tokio::test]
async fn a_server_that_was_frozen_past_its_lease_stands_by() {
    let mut site = Site::new().await;
    let (first, second) = site.pair().await;
    let (busy, silent) = (ping_path(&first, "busy").await, ping_path(&first, "silent").await);
    assert_eq!((first.status(&busy).await, first.status(&silent).await), (Some(200), Some(200)));
    first.signal("STOP").await;
    second.until_status("/readyz", 200).await;
    assert_eq!(second.status(&busy).await, Some(200));
    let down = site.receiver.until("the alert", |message| is_webhook(message, "monitor.down", "silent")).await;

    first.signal("CONT").await;
    first.until_status("/readyz", 503).await;
    assert_eq!(first.status(&busy).await, Some(503));
    assert_eq!(second.status("/readyz").await, Some(200));
    assert_eq!(second.status(&busy).await, Some(200));
    let pause = Some(json!({"manual_resume": true}));
    assert_eq!(second.api("POST", "/api/monitors/busy/pause", pause).await.status, 200);
    second.stop().await;

    // Given up in order, the work is free at once; what happened meanwhile is known.
    first.until_status("/readyz", 200).await;
    assert_eq!(first.look("/api/monitors/busy").await["ping_count"], 3);
    assert_eq!(first.look("/api/monitors/busy").await["status"], "paused");
    let open = first.look("/api/incidents?status=open&monitor=silent").await;
    assert_eq!(open["items"][0]["id"], down["body"]["data"]["incident"]["id"], "{open}");
    assert_eq!(first.status(&silent).await, Some(200));
    site.receiver.until("the recovery", |message| is_webhook(message, "monitor.recovered", "silent")).await;
    assert_eq!(site.told("monitor.down", "busy"), 0, "a false alert");
    assert_eq!((site.told("monitor.down", "silent"), site.told("monitor.recovered", "silent")), (1, 1));
}

#[tokio::test]
async fn servers_wait_while_redis_is_away() {
    let mut site = Site::new().await;
    let (first, second) = site.pair().await;
    let busy = ping_path(&first, "busy").await;
    for _ in 0..10 {
        assert_eq!(first.status(&busy).await, Some(200));
    }
    site.redis.kill();
    first.until_status(&busy, 503).await;
    first.until_status("/readyz", 503).await;
    assert_eq!((second.status(&busy).await, second.status("/readyz").await), (Some(503), Some(503)));
    site.redis.restart();
    let back = async {
        loop {
            for (working, other) in [(&first, &second), (&second, &first)] {
                if working.status(&busy).await == Some(200) {
                    return (working, other);
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let (working, other) = within("one of them works again", back).await;
    assert_eq!(working.look("/api/monitors/busy").await["status"], "up");
    other.until_status("/readyz", 503).await;
    // A monitor that falls silent now shows that alerts are told, and that none was before.
    assert_eq!(working.status(&ping_path(working, "silent").await).await, Some(200));
    let alert = |message: &Value| message["body"]["type"] == "monitor.down";
    let first_alert = within("an alert", async {
        let beats = async {
            loop {
                assert_eq!(working.status(&busy).await, Some(200));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            () = beats => unreachable!(),
            alert = site.receiver.until("the alert", alert) => alert,
        }
    })
    .await;
    assert!(is_webhook(&first_alert, "monitor.down", "silent"), "a false alert: {first_alert}");
}

#[tokio::test]
async fn all_stop_and_start() {
    let site = Site::new().await;
    let (first, second) = site.pair().await;
    let busy = ping_path(&first, "busy").await;
    for _ in 0..10 {
        assert_eq!(first.status(&busy).await, Some(200));
    }
    let monitor = first.look("/api/monitors/busy").await;
    second.stop().await;
    first.stop().await;
    let (first, second) = site.pair().await;
    let again = first.look("/api/monitors/busy").await;
    assert_eq!((&again["ping_count"], &again["token"]), (&monitor["ping_count"], &monitor["token"]));
    assert_eq!((first.status(&busy).await, second.status(&busy).await), (Some(200), Some(503)));
    first.stop().await;
    second.until_status(&busy, 200).await;
    assert_eq!(second.look("/api/monitors/busy").await["ping_count"], 12);
    second.stop().await;
}

#[tokio::test]
async fn what_cannot_be_worked_on_is_refused() {
    let mut site = Site::new().await;
    site.redis.tell(&["HSET", "{site:meta}:store", "format", "1", "partitions", "4"]);
    let (code, message) = run_to_end(&mut site.command()).await;
    assert_eq!(code, 1);
    let address = site.redis.url();
    assert!(message.contains(&format!("{address} holds a store of 4 partitions")), "{message}");
    site.redis.kill();
    let (code, message) = run_to_end(&mut site.command()).await;
    assert_eq!(code, 1);
    assert!(message.contains(&format!("{address} could not be opened: the store is unavailable: ")), "{message}");
}

#[tokio::test]
async fn systemd_is_told_of_a_server_that_stands_by() {
    let site = Site::new().await;
    let working = site.node("a");
    working.until_status("/readyz", 200).await;
    let socket = site.folder.path().join("notify");
    let listener = tokio::net::UnixDatagram::bind(&socket).unwrap();
    let next = async || {
        let mut buffer = [0; 256];
        let length = within("a message", listener.recv(&mut buffer)).await.unwrap();
        String::from_utf8_lossy(&buffer[..length]).trim_end().to_owned()
    };
    let mut command = site.command();
    let second = Server::start_standing_by(command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "200000"));
    assert_eq!(next().await, "READY=1");
    for _ in 0..3 {
        assert_eq!(next().await, "WATCHDOG=1");
    }
    assert_eq!((second.status("/readyz").await, working.status("/readyz").await), (Some(503), Some(200)));
}
