//! The example settings files are right, and the server starts with the complete one.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::json;
use support::{Server, command, folder, run_to_end};

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/heartbeat.toml");
const CLUSTER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/cluster.toml");

#[tokio::test]
async fn pass_the_check() {
    let folder = folder();
    for file in [EXAMPLE, CLUSTER] {
        let (code, message) = run_to_end(command(folder.path()).args(["--check", "--config", file])).await;
        assert_eq!((code, message.as_str()), (0, ""), "{file}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "a check makes nothing");
}

#[tokio::test]
async fn declares_what_it_says() {
    let folder = folder();
    let server = Server::start(folder.path(), &["--config", EXAMPLE, "--storage", "memory:"]).await;
    let monitors = server.look("/api/monitors").await;
    let slugs: Vec<_> = monitors["items"].as_array().unwrap().iter().map(|monitor| monitor["slug"].clone()).collect();
    assert_eq!(slugs, ["cert-backup", "cert-sync", "report-mill"]);
    let backup = server.look("/api/monitors/cert-backup").await;
    assert_eq!((&backup["grace"], &backup["early"]), (&json!("end_of_day"), &json!("10m")));
    let mill = server.look("/api/monitors/report-mill").await;
    assert_eq!((&mill["max_runtime"], &mill["value_max"]), (&json!("20m"), &json!(10_000.0)));
    assert_eq!(mill["flap_limit"], json!({"incidents": 5, "within": "1h"}));
    assert_eq!((&backup["depends_on"], &backup["remind_every"]), (&json!(["cert-sync"]), &json!("4h")));
    let route = server.look("/api/routes/night-watch").await;
    assert_eq!((&route["after"], &route["declared_in"]), (&json!("30m"), &json!("heartbeat.toml")));
    let windows = server.look("/api/maintenance").await;
    let covered: Vec<_> =
        windows["items"].as_array().unwrap().iter().map(|w| (&w["id"], &w["monitors_covered"])).collect();
    assert_eq!(covered, [(&json!("move"), &json!(3)), (&json!("patch-night"), &json!(3))]);
    let channel = server.look("/api/channels/ops").await;
    assert_eq!((&channel["fallback"], &channel["secret"]), (&json!("mail"), &json!("***")));
    server.stop().await;
}
