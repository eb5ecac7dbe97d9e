//! The load generator against a real server: what it prints was checked. Speeds are nobody's business here.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Runs it and gives what it prints.
fn load(arguments: &[&str]) -> Value {
    let program = Path::new(env!("CARGO_BIN_EXE_load"));
    let mut command = Command::new(program);
    command.args(["--monitors", "200", "--seconds", "1", "--connections", "8", "--json"]).args(arguments);
    // The tests of the whole workspace have built it; without it the generator builds it.
    let server = program.with_file_name("heartbeat-server");
    if server.exists() {
        command.arg("--server").arg(server);
    }
    let output = command.output().unwrap();
    let (out, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{said}");
    serde_json::from_str(&out).unwrap()
}

fn count(report: &Value, field: &str) -> u64 {
    report[field].as_u64().unwrap_or_else(|| panic!("{field} in {report}"))
}

#[test]
fn every_acknowledged_heartbeat_and_every_webhook_is_accounted_for() {
    let report = load(&["--alerts", "5", "--restart"]);
    assert!(count(&report, "acknowledged") > 0);
    assert_eq!(count(&report, "acknowledged"), count(&report, "checked"), "{report}");
    assert_eq!((count(&report, "lost"), &report["refused"]), (0, &serde_json::json!({})), "{report}");
    for field in ["heartbeats_per_second", "noop_per_second", "ratio", "p99_ms", "restart_seconds"] {
        assert!(report[field].as_f64().is_some_and(|figure| figure > 0.0), "{field} in {report}");
    }
    assert!(report["alert_lag_max_ms"].as_f64() >= report["alert_lag_p50_ms"].as_f64(), "{report}");
    assert!(report["alert_lag_p50_ms"].is_number(), "{report}");
}

#[test]
fn a_killed_server_has_what_it_acknowledged() {
    let report = load(&["--kill", "--mix", "mixed", "--body", "64"]);
    assert!(count(&report, "acknowledged") > 0);
    let unsure = count(&report, "checked").checked_sub(count(&report, "acknowledged"));
    assert!(unsure.is_some_and(|unsure| unsure <= count(&report, "lost")), "{report}");
}

#[test]
fn many_monitors_that_are_overdue_at_once_are_all_told() {
    let report = load(&["--rate", "200", "--overdue", "20", "--overdue-after", "2", "--group-wait", "1s"]);
    assert_eq!(count(&report, "acknowledged"), count(&report, "checked"), "{report}");
    // Five go out one by one, the rest as one digest.
    assert_eq!(count(&report, "overdue_messages"), 6, "{report}");
    assert!(report["overdue_decided_ms"].as_f64().is_some_and(|ms| ms >= 0.0), "{report}");
}

#[test]
fn servers_on_a_redis_take_the_heartbeats_of_others_and_the_script_is_called_by_itself() {
    let report = load(&["--redis", "--servers", "2", "--to", "strangers"]);
    assert!(count(&report, "acknowledged") > 0);
    assert_eq!(count(&report, "acknowledged"), count(&report, "checked"), "{report}");
    for field in ["redis_calls_per_heartbeat", "redis_limit_per_second", "redis_limit_ratio"] {
        assert!(report[field].as_f64().is_some_and(|figure| figure > 0.0), "{field} in {report}");
    }
}
