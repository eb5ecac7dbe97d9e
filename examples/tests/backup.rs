//! `heartbeat-server backup`, beside a running server and without one.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;
use support::{Server, client, command, folder, run_to_end, settings, within};
use tokio::process::Command;

/// Runs the subcommand: its exit status, and what it says on stdout and on stderr.
async fn backup(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let mut process = command(folder);
    let process = process.arg("backup").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = within("the backup", process.output()).await.expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("a status"), text(output.stdout), text(output.stderr))
}

#[tokio::test]
async fn a_backup_beside_a_running_server_holds_what_was_acknowledged_and_a_server_starts_with_it() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]).await;
    let wish = json!({"slug": "job", "schedule": {"every": "1h"}});
    assert_eq!(server.api("POST", "/api/monitors", Some(wish)).await.status, 201);
    let url = server.path(&format!("/ping/{}", server.token("job").await));
    let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let stream = tokio::spawn({
        let (acknowledged, stop) = (Arc::clone(&acknowledged), Arc::clone(&stop));
        async move {
            let client = client();
            // The limit of heartbeats per minute ends it where the test does not.
            for _ in 0..500 {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                assert!(client.get(&url).send().await.expect("an answer").status().is_success());
                acknowledged.fetch_add(1, Ordering::Release);
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        }
    });
    within("heartbeats", async {
        while acknowledged.load(Ordering::Acquire) < 30 {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
    })
    .await;
    let before = acknowledged.load(Ordering::Acquire);
    let (code, said, error) = backup(folder.path(), &["copy.db"]).await;
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(said.starts_with("`heartbeat.db` is backed up in `copy.db`: 1 monitor, "), "{said}");
    assert!(said.contains(" bytes, version ") && said.contains("last mark of life 20"), "{said}");
    stop.store(true, Ordering::Relaxed);
    within("the stream", stream).await.expect("every heartbeat is taken");
    assert_eq!(server.get("/readyz").await.status, 200, "the server goes on");
    server.stop().await;

    let again = Server::start(folder.path(), &["--storage", "sqlite:copy.db"]).await;
    let count = again.look("/api/monitors/job").await["ping_count"].as_u64().expect("a count");
    assert!(count >= before, "{before} heartbeats were acknowledged, {count} are in the backup");
    again.stop().await;
}

#[tokio::test]
async fn restoring_as_the_page_says() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]).await;
    let wish = |slug: &str| Some(json!({"slug": slug, "schedule": {"every": "1h"}}));
    assert_eq!(server.api("POST", "/api/monitors", wish("before")).await.status, 201);
    assert_eq!(backup(folder.path(), &["copy.db"]).await.0, 0);
    assert_eq!(server.api("POST", "/api/monitors", wish("after")).await.status, 201);
    let mut server = server;
    server.signal("KILL").await;
    server.ended().await;
    // These are the lines of docs/upgrading.md.
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/upgrading.md")).expect("the page");
    let lines = "cp copy.db heartbeat.db\nrm -f heartbeat.db-wal heartbeat.db-shm\n";
    assert!(page.contains(lines), "the page says how to restore");
    let status = Command::new("sh").args(["-ec", lines]).current_dir(folder.path()).status().await.expect("sh");
    assert!(status.success());
    let again = Server::start(folder.path(), &[]).await;
    again.look("/api/monitors/before").await;
    assert_eq!(again.api("GET", "/api/monitors/after", None).await.status, 404);
    again.stop().await;
}

#[tokio::test]
async fn the_storage_is_that_of_the_settings() {
    let folder = folder();
    let file = settings(folder.path(), "storage = \"sqlite:mine.db\"\n");
    let file = file.to_str().expect("a name");
    Server::start(folder.path(), &["--config", file]).await.stop().await;
    let (code, said, _) = backup(folder.path(), &["copy.db", "--config", file]).await;
    assert_eq!(code, 0, "also when the server is stopped");
    assert!(said.starts_with("`mine.db` is backed up in `copy.db`: 0 monitors"), "{said}");
    let (code, said, _) = backup(folder.path(), &["again.db", "--storage", "sqlite:copy.db"]).await;
    assert!(code == 0 && said.starts_with("`copy.db` is backed up"), "{said}");
}

#[tokio::test]
async fn what_goes_wrong_is_said_in_one_line() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]).await;
    std::fs::write(folder.path().join("mine"), "mine").expect("written");
    for (arguments, code, part) in [
        (&["copy.db", "--storage", "memory:"][..], 2, "the storage: memory: cannot be backed up"),
        (&["copy.db", "--storage", "redis://h"], 2, "a Redis is backed up by its own means"),
        (&["copy.db", "--storage", "sqlite:none.db"], 1, "none.db`; name the one that the server uses"),
        (&["mine"], 1, "mine` exists; name another file, or let --force replace it"),
        (&["heartbeat.db", "--force"], 1, "belongs to a database in use"),
        (&["none/copy.db"], 1, "none` does not exist"),
        (&["/proc/copy.db"], 1, "`/proc/copy.db` cannot be written"),
    ] {
        let (found, said, error) = backup(folder.path(), arguments).await;
        assert_eq!((found, said.as_str()), (code, ""), "{arguments:?}: {error}");
        assert!(error.starts_with("error: ") && error.contains(part), "{arguments:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert_eq!(std::fs::read_to_string(folder.path().join("mine")).expect("readable"), "mine");
    assert_eq!(backup(folder.path(), &["mine", "--force"]).await.0, 0);
    server.stop().await;
    let (code, _) = run_to_end(command(folder.path()).arg("backup")).await;
    assert_eq!(code, 2, "a file must be named");
}

#[cfg(unix)]
#[tokio::test]
async fn where_there_is_no_room_nothing_is_left() {
    let folder = folder();
    Server::start(folder.path(), &[]).await.stop().await;
    std::fs::write(folder.path().join("copy.db"), "an older backup").expect("written");
    // No file may grow beyond 48 or 96 kB, as the shell counts; the copy is larger. That is an error instead of a signal.
    let line = "trap '' XFSZ; ulimit -f 96; exec \"$0\" backup copy.db --force";
    let mut shell = Command::new("sh");
    shell.args(["-c", line, env!("CARGO_BIN_EXE_heartbeat-server")]).current_dir(folder.path());
    let (code, error) = run_to_end(&mut shell).await;
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("copy.db` cannot be written: "), "{error}");
    assert_eq!(std::fs::read_to_string(folder.path().join("copy.db")).expect("readable"), "an older backup");
    let names = std::fs::read_dir(folder.path()).expect("readable").map(|entry| entry.expect("an entry").file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().contains("partial")).collect();
    assert!(left.is_empty(), "{left:?}");
}
