//! What the machine refuses: exit status 1 and one clear message.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;

use support::{Server, command, folder, run_to_end};

/// What the server says about this database file.
async fn refused(folder: &Path, storage: &str) -> String {
    let mut process = command(folder);
    let process = process.args(["--listen", "127.0.0.1:0", "--storage", storage]).env("HEARTBEAT_LOG", "off");
    let (code, message) = run_to_end(process).await;
    assert_eq!(code, 1, "{message}");
    assert_eq!(message.lines().count(), 1, "one message: {message}");
    assert!(message.starts_with("error: "), "{message}");
    message
}

#[tokio::test]
async fn a_corrupt_database_file() {
    let folder = folder();
    let file = folder.path().join("broken.db");
    let garbage = "this is no database, whatever its name says\n".repeat(200);
    std::fs::write(&file, &garbage).expect("written");
    let message = refused(folder.path(), "sqlite:broken.db").await;
    assert!(message.contains("broken.db"), "{message}");
    assert_eq!(std::fs::read_to_string(&file).expect("readable"), garbage, "it was left alone");
}

#[tokio::test]
async fn a_record_that_cannot_be_read() {
    let folder = folder();
    let server = Server::start(folder.path(), &[]).await;
    let wish = serde_json::json!({"slug": "job", "schedule": {"every": "1h"}});
    assert_eq!(server.api("POST", "/api/monitors", Some(wish)).await.status, 201);
    server.stop().await;
    let database = rusqlite::Connection::open(folder.path().join("heartbeat.db")).expect("it opens");
    assert_eq!(database.execute("UPDATE monitors SET health = 'no health'", ()).expect("written"), 1);
    database.close().expect("closed");
    let message = refused(folder.path(), "sqlite:heartbeat.db").await;
    assert!(message.contains("sqlite:heartbeat.db cannot be loaded"), "{message}");
}

#[tokio::test]
async fn a_database_of_a_newer_version() {
    let folder = folder();
    Server::start(folder.path(), &[]).await.stop().await;
    let file = folder.path().join("heartbeat.db");
    let database = rusqlite::Connection::open(&file).expect("it opens");
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0)).expect("its version");
    assert!(version > 0, "the schema has a version");
    database.pragma_update(None, "user_version", version + 1).expect("written");
    database.close().expect("closed");
    let message = refused(folder.path(), "sqlite:heartbeat.db").await;
    assert!(message.contains("newer"), "{message}");
}

#[tokio::test]
async fn a_second_process_on_the_same_file() {
    let folder = folder();
    let first = Server::start(folder.path(), &[]).await;
    let message = refused(folder.path(), "sqlite:heartbeat.db").await;
    assert!(message.contains("heartbeat.db"), "{message}");
    assert_eq!(first.get("/readyz").await.status, 200, "the first one goes on");
    // The lock falls with its holder, however that ends.
    first.signal("KILL").await;
    let mut first = first;
    assert_eq!(first.ended().await, None);
    Server::start(folder.path(), &[]).await.stop().await;
}

#[tokio::test]
async fn an_unwritable_directory() {
    let folder = folder();
    // Not even root writes there.
    let message = refused(folder.path(), "sqlite:/proc/heartbeat.db").await;
    assert!(message.contains("/proc/heartbeat.db"), "{message}");
    let message = refused(folder.path(), "sqlite:missing/heartbeat.db").await;
    assert!(message.contains("missing"), "{message}");
}

#[tokio::test]
async fn a_taken_port() {
    let folder = folder();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("its address").to_string();
    let mut process = command(folder.path());
    let (code, message) = run_to_end(process.args(["--listen", &address]).env("HEARTBEAT_LOG", "off")).await;
    assert_eq!(code, 1);
    assert!(message.starts_with(&format!("error: cannot listen on {address}: ")), "{message}");
    assert!(!folder.path().join("heartbeat.db").exists(), "nothing was made");
}
