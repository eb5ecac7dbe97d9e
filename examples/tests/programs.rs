//! The small programs that embed the engine: each runs, does what it says, and is at most 60 lines long.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::process::Stdio;

use support::{client, folder, within};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

#[test]
fn each_has_at_most_60_lines() {
    for name in ["embedded", "nested_axum", "own_notifier"] {
        let path = format!("{}/src/bin/{name}.rs", env!("CARGO_MANIFEST_DIR"));
        let lines = std::fs::read_to_string(&path).expect("readable").lines().count();
        assert!(lines <= 60, "{name} has {lines} lines");
    }
}

async fn printed(program: &str, arguments: &[&str]) -> String {
    let folder = folder();
    let mut command = Command::new(program);
    let run = command.args(arguments).current_dir(folder.path()).kill_on_drop(true).output();
    let output = within("the program ends", run).await.expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[tokio::test]
async fn embedded_notices_silence_by_itself() {
    let text = printed(env!("CARGO_BIN_EXE_embedded"), &[]).await;
    for part in ["indexer is up", "from Up to Down", "monitor.down: indexer is down", "monitor.recovered: "] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
}

#[tokio::test]
async fn own_notifier_keeps_a_logbook() {
    let text = printed(env!("CARGO_BIN_EXE_own_notifier"), &[]).await;
    let kinds: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    assert_eq!(kinds, ["monitor.down:", "monitor.recovered:"], "{text}");
    assert!(text.contains("disk full"), "{text}");
}

#[tokio::test]
async fn nested_axum_serves_both() {
    let folder = folder();
    let mut child = Command::new(env!("CARGO_BIN_EXE_nested_axum"))
        .arg("127.0.0.1:0")
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("its stdout")).lines();
    let mut next = async || within("a line", lines.next_line()).await.expect("readable").expect("a line");
    let key = next().await.strip_prefix("admin key: ").expect("the key").to_owned();
    let url = next().await.strip_prefix("listening on ").expect("the URL").to_owned();
    let client = client();
    let text = |url: String| {
        let request = client.get(url).bearer_auth(&key);
        async { request.send().await.expect("an answer").text().await.expect("a body") }
    };
    assert_eq!(text(url.replace("/heartbeat", "/")).await, "the application itself");
    let wish = r#"{"slug": "job", "schedule": {"every": "1h"}}"#;
    let made = client.post(format!("{url}/api/monitors")).bearer_auth(&key).body(wish);
    let made = made.header("Content-Type", "application/json").send().await.expect("an answer");
    assert_eq!(made.status().as_u16(), 201);
    let monitor: serde_json::Value = serde_json::from_str(&made.text().await.expect("a body")).expect("JSON");
    let ping_url = monitor["ping_url"].as_str().expect("a ping URL");
    assert!(ping_url.starts_with(&url), "{ping_url}");
    assert_eq!(text(ping_url.to_owned()).await, "OK");
    assert_eq!(text(format!("{url}/healthz")).await, "OK");

    support::send_signal("INT", child.id()).await;
    assert!(within("its end", child.wait()).await.expect("it ends").success());
}
