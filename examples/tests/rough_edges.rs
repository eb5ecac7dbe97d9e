//! What a careless or hostile client could do to others: hide a monitor, forge a line of the log, race with itself.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use heartbeat_engine::{Clock, SystemClock};
use serde_json::{Value, json};
use support::{KEY, Server, command, folder, settings, within};

async fn refused_field(server: &Server, monitor: Value) -> String {
    let answer = server.api("POST", "/api/monitors", Some(monitor)).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    answer.json()["errors"][0]["field"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn names_that_would_mislead_are_refused() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--storage", "memory:"]).await;
    let every = json!({"every": "1h"});
    let made = server.api("POST", "/api/monitors", Some(json!({"slug": "a", "schedule": every}))).await.json();
    for name in ["a\u{0}b", "a\r\nBcc: somebody@example.org", "a\u{1b}[31m"] {
        let monitor = json!({"slug": "b", "name": name, "schedule": every});
        assert_eq!(refused_field(&server, monitor).await, "name");
    }
    // A slug like the id of another monitor could not be reached by it.
    assert_eq!(refused_field(&server, json!({"slug": made["id"], "schedule": every})).await, "slug");
    server.stop().await;
}

#[tokio::test]
async fn nothing_is_at_a_path_that_is_no_text() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--storage", "memory:"]).await;
    for path in ["/ping/%ff", "/api/monitors/%00%ff", "/api/channels/%c3%28"] {
        let answer = server.api("GET", path, None).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json", "{path}");
    }
    server.stop().await;
}

#[tokio::test]
async fn of_two_in_a_batch_the_first_is_taken() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--storage", "memory:"]).await;
    let batch = json!([
        {"slug": "a", "schedule": {"every": "1h"}},
        {"slug": "b", "schedule": {"every": "1h"}},
        {"slug": "a", "schedule": {"every": "2h"}},
    ]);
    let answer = server.api("POST", "/api/monitors/batch", Some(batch)).await.json();
    let statuses: Vec<_> = answer["items"].as_array().unwrap().iter().map(|item| item["status"].clone()).collect();
    assert_eq!(statuses, [201, 201, 400]);
    assert_eq!(server.look("/api/monitors/a").await["schedule"], json!({"every": "1h"}));
    server.stop().await;
}

#[tokio::test]
async fn a_channel_that_is_named_is_not_deleted() {
    let folder = folder();
    settings(folder.path(), "[self]\nchannels = [\"own\"]\n");
    let channel =
        |fallback: Option<&str>| json!({"kind": "webhook", "url": "https://example.org/", "fallback": fallback});
    let database = ["--storage", "sqlite:heartbeat.db"];
    let server = Server::start(folder.path(), &database).await;
    for (name, fallback) in [("own", None), ("last", None), ("first", Some("last"))] {
        let answer = server.api("PUT", &format!("/api/channels/{name}"), Some(channel(fallback))).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
    }
    server.stop().await;
    let server = Server::start(folder.path(), &["--config", "heartbeat.toml", database[0], database[1]]).await;
    for (name, part) in [("last", "`first` falls back"), ("own", "the watcher itself")] {
        let answer = server.api("DELETE", &format!("/api/channels/{name}"), None).await;
        assert!(answer.status == 409 && answer.text.contains(part), "{}", answer.text);
    }
    for name in ["first", "last"] {
        assert_eq!(server.api("DELETE", &format!("/api/channels/{name}"), None).await.status, 204);
    }
    server.stop().await;
}

/// A server whose log is read.
async fn with_log(folder: &Path) -> Server {
    let mut command = command(folder);
    command.args(["--storage", "memory:"]).env("HEARTBEAT_ADMIN_KEY", KEY).env("HEARTBEAT_LOG", "info");
    Server::start_with(command.stderr(Stdio::piped())).await
}

#[tokio::test]
async fn what_a_job_says_forges_no_line_of_the_log() {
    let folder = folder();
    let mut server = with_log(folder.path()).await;
    let monitor = json!({"slug": "a", "schedule": {"every": "1h"}});
    assert_eq!(server.api("POST", "/api/monitors", Some(monitor)).await.status, 201);
    let token = server.token("a").await;
    let path = format!("/ping/{token}/fail?msg=oops%0Aforged%20line%1b%5B31m");
    assert_eq!(server.get(&path).await.status, 200);
    server.signal("TERM").await;
    let log = server.log().await;
    assert_eq!(server.ended().await, Some(0));
    assert!(log.contains("state changed slug=\"a\"") && log.contains("oops"), "{log}");
    assert!(!log.contains('\u{1b}') && !log.lines().any(|line| line.starts_with("forged")), "{log}");
}

#[tokio::test]
async fn a_mass_event_is_logged_in_short() {
    let folder = folder();
    let mut server = with_log(folder.path()).await;
    // All of them are due at one instant, some seconds from now.
    let due = SystemClock::new().now().as_secs().rem_euclid(86_400) + 5;
    let due = format!("{:02}:{:02}:{:02}", due / 3600 % 24, due / 60 % 60, due % 60);
    let monitor = |n: u32| json!({"slug": format!("job-{n}"), "schedule": {"at": [due]}, "grace": "1s"});
    let made: serde_json::Value = (0..200).map(monitor).collect();
    assert_eq!(server.api("POST", "/api/monitors/batch", Some(made)).await.status, 200);
    let all_down = "heartbeat_state_changes_total{state=\"down\"} 200";
    within("all of them are down", async {
        while !server.get("/metrics").await.text.contains(all_down) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    server.signal("TERM").await;
    let log = server.log().await;
    assert_eq!(server.ended().await, Some(0));
    let lines = log.lines().filter(|line| line.contains("to=Down")).count();
    let summed: Vec<&str> = log.lines().filter(|line| line.contains("more changes of state")).collect();
    let unlogged: usize =
        summed.iter().filter_map(|line| line.rsplit_once("monitors=")?.1.trim().parse::<usize>().ok()).sum();
    assert!(lines < 200 && lines + unlogged == 200, "{lines} lines, and {summed:?}");
}
