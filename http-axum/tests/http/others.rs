//! Incidents, notifications, channels, schedules, health and metrics.

use std::time::Duration;

use heartbeat_engine::{Engine, MemoryStorage};
use heartbeat_http::{HostGauge, HttpSettings};
use serde_json::{Value, json};

use crate::server::Server;

const NONE: Value = Value::Null;

#[tokio::test]
async fn incidents_and_what_was_told_of_them() {
    let server = Server::start().await;
    server.monitor("job", "token-of-job").await;
    server.monitor("other", "token-of-other").await;
    for uri in ["/ping/token-of-job/fail?msg=disk+full", "/ping/token-of-job", "/ping/token-of-other/1"] {
        assert_eq!(server.get(uri).await.status, 200);
    }
    let all = server.manage("GET", "/api/incidents", &NONE).await.json();
    assert_eq!(all["items"].as_array().unwrap().len(), 2);
    let closed = server.manage("GET", "/api/incidents?status=closed&monitor=job", &NONE).await.json();
    let incident = &closed["items"][0];
    assert_eq!((&incident["cause"], &incident["closing"]), (&json!("failed"), &json!("recovered")));
    assert_eq!((&incident["monitor"]["slug"], &incident["monitor"]["status"]), (&json!("job"), &json!("up")));
    let id = incident["id"].as_str().unwrap();
    assert_eq!(&server.manage("GET", &format!("/api/incidents/{id}"), &NONE).await.json(), incident);
    let open = server.manage("GET", "/api/monitors/other", &NONE).await.json();
    assert_eq!(open["incident"]["closed_at"], NONE);
    let first = server.manage("GET", "/api/incidents?limit=1", &NONE).await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = server.manage("GET", &format!("/api/incidents?limit=1&cursor={cursor}"), &NONE).await.json();
    assert_ne!(first["items"][0]["id"], second["items"][0]["id"]);
    assert_eq!(second["next_cursor"], NONE);
    for (uri, status) in [
        ("/api/incidents?status=on", 400),
        ("/api/incidents?cursor=x", 400),
        ("/api/incidents?monitor=nothing", 404),
        ("/api/incidents/x", 404),
        ("/api/incidents/f2a6c6f0-41bb-4e9f-8a6a-7c1f0e5d3b21", 404),
    ] {
        assert_eq!(server.manage("GET", uri, &NONE).await.status, status, "{uri}");
    }
    let limited = server.key("read", &json!({"monitors": ["other"]})).await;
    let seen = server.with_key(&limited, "GET", "/api/incidents", &NONE).await.json();
    assert_eq!(seen["items"].as_array().unwrap().len(), 1);
    assert_eq!(server.with_key(&limited, "GET", &format!("/api/incidents/{id}"), &NONE).await.status, 403);
    let notified = server.manage("GET", &format!("/api/notifications?incident={id}"), &NONE).await.json();
    let types: Vec<_> = notified["items"].as_array().unwrap().iter().map(|n| n["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["monitor.recovered", "monitor.down"]);
}

#[tokio::test]
async fn a_dead_notification_is_shown_and_tried_again() {
    let server = Server::start().await;
    assert_eq!(server.manage("PUT", "/api/channels/broken", &json!({"kind": "pass"})).await.status, 201);
    let body = json!({"slug": "job", "schedule": {"every": "1h"}, "channels": ["broken"], "token": "token-of-job"});
    server.manage("POST", "/api/monitors", &body).await;
    server.get("/ping/token-of-job/fail").await;
    let dead = async || {
        for _ in 0..2000 {
            let page = server.manage("GET", "/api/notifications?state=dead", &NONE).await.json();
            if page["items"].as_array().is_some_and(|items| !items.is_empty()) {
                return page["items"][0].clone();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("the notification did not die");
    };
    let notification = dead().await;
    assert_eq!((&notification["channel"], &notification["attempts"]), (&json!("broken"), &json!(1)));
    assert_eq!(notification["last_error"], "the far end says no");
    let uri = format!("/api/notifications/{}", notification["id"].as_str().unwrap());
    assert_eq!(server.manage("GET", &uri, &NONE).await.json()["state"], "dead");
    let retried = server.manage("POST", &format!("{uri}/retry"), &NONE).await;
    assert_eq!((retried.status.as_u16(), &retried.json()["state"]), (200, &json!("pending")));
    assert_eq!(dead().await["id"], notification["id"]);
    assert_eq!(server.manage("POST", "/api/notifications/x/retry", &NONE).await.status, 404);
    assert_eq!(server.manage("GET", "/api/notifications?state=lost", &NONE).await.wrong_fields(), ["state"]);
}

#[tokio::test]
async fn channels() {
    let server = Server::start().await;
    let uri = "/api/channels/mine";
    let wish = json!({"kind": "pass", "secret": "s3cret", "fallback": "ops"});
    let made = server.manage("PUT", uri, &wish).await;
    assert_eq!((made.status.as_u16(), &made.json()["secret"]), (201, &json!("***")));
    assert_eq!(server.manage("PUT", uri, &wish).await.status, 200);
    let shown = server.manage("GET", uri, &NONE).await.json();
    assert_eq!((&shown["kind"], &shown["fallback"], &shown["name"]), (&json!("pass"), &json!("ops"), &json!("mine")));
    let list = server.manage("GET", "/api/channels", &NONE).await;
    assert_eq!(list.json()["items"].as_array().unwrap().len(), 2);
    assert!(!list.text().contains("s3cret"));
    for (uri, body, fields) in [
        (uri, json!({"kind": "pass", "secret": "***"}), vec!["secret"]),
        (uri, json!({"kind": "fax"}), vec!["kind"]),
        (uri, json!({}), vec!["kind"]),
        (uri, json!({"kind": "pass", "colour": 1, "size": 2}), vec!["colour", "size"]),
        (uri, json!({"kind": "pass", "fallback": "nobody"}), vec!["fallback"]),
        ("/api/channels/a%20b", json!({"kind": "pass"}), vec!["name"]),
    ] {
        let answer = server.manage("PUT", uri, &body).await;
        assert_eq!(answer.status, 400, "{body}");
        assert_eq!(answer.wrong_fields(), fields);
    }
    let tested = server.manage("POST", "/api/channels/mine/test", &NONE).await.json();
    assert_eq!(tested, json!({"delivered": true, "error": null}));
    assert_eq!(server.told().await.kind.wire_name(), "test");
    server.manage("PUT", "/api/channels/broken", &json!({"kind": "pass"})).await;
    let tested = server.manage("POST", "/api/channels/broken/test", &NONE).await.json();
    assert_eq!(tested, json!({"delivered": false, "error": "the far end says no"}));
    let monitor = json!({"slug": "job", "schedule": {"every": "1h"}, "channels": ["mine"]});
    assert_eq!(server.manage("POST", "/api/monitors", &monitor).await.status, 201);
    assert_eq!(server.manage("DELETE", uri, &NONE).await.status, 409, "a monitor needs it");
    server.manage("DELETE", "/api/monitors/job", &NONE).await;
    assert_eq!(server.manage("DELETE", uri, &NONE).await.status, 204);
    assert_eq!(server.manage("GET", uri, &NONE).await.status, 404);
    assert_eq!(server.manage("POST", "/api/channels/mine/test", &NONE).await.status, 404);
    assert_eq!(server.manage("DELETE", "/api/channels/ops", &NONE).await.status, 409, "it belongs to the host");
}

#[tokio::test]
async fn schedules_are_previewed() {
    let server = Server::start().await;
    let body = json!({
        "schedule": {"at": ["16:05"], "timezone": "Asia/Shanghai"}, "grace": "end_of_day", "from": "2026-11-20T08:05:00Z", "count": 2,
    });
    let preview = server.manage("POST", "/api/schedules/preview", &body).await.json();
    let occurrences = json!([
        {"at": "2026-11-21T08:05:00Z", "deadline": "2026-11-21T16:00:00Z"},
        {"at": "2026-11-22T08:05:00Z", "deadline": "2026-11-22T16:00:00Z"},
    ]);
    assert_eq!(preview["occurrences"], occurrences);
    assert_eq!(preview["description"], "every day at 16:05, Asia/Shanghai");
    for (body, fields) in [
        (json!({}), vec!["schedule"]),
        (json!({"schedule": {"every": "1h"}, "grace": "end_of_day"}), vec!["grace"]),
        (
            json!({"schedule": {"cron": "x"}, "count": 101, "from": "now", "y": 1}),
            vec!["schedule.cron", "from", "count", "y"],
        ),
        (json!({"schedule": {"at": ["16:05"]}, "early": "25h"}), vec!["early"]),
    ] {
        assert_eq!(server.manage("POST", "/api/schedules/preview", &body).await.wrong_fields(), fields, "{body}");
    }
}

#[tokio::test]
async fn a_preview_of_too_many_occurrences_computes_none() {
    let server = Server::start().await;
    let body = json!({"schedule": {"at": ["16:05"]}, "count": 100_000});
    let before = heartbeat_engine::testing::schedule_steps();
    assert_eq!(server.manage("POST", "/api/schedules/preview", &body).await.wrong_fields(), ["count"]);
    let steps = heartbeat_engine::testing::schedule_steps() - before;
    assert!(steps < 1_000, "{steps} steps");
}

#[tokio::test]
async fn health_needs_no_key() {
    let server = Server::start().await;
    server.monitor("job", "token-of-job").await;
    assert_eq!(server.get("/healthz").await.text(), "OK");
    assert_eq!(server.get("/readyz").await.json(), json!({"status": "ready"}));
    let status = server.get("/api/v3/status/").await;
    assert_eq!((status.status.as_u16(), status.text().as_str()), (200, "OK"));
    server.engine.shutdown(Duration::from_secs(10)).await.unwrap();
    for uri in ["/readyz", "/api/v3/status/"] {
        let answer = server.get(uri).await;
        assert_eq!((answer.status.as_u16(), &answer.json()["evaluator"]), (503, &json!("stopping")));
        assert!(!answer.header("retry-after").is_empty());
    }
    assert_eq!(server.get("/healthz").await.status, 200);
    let ping = server.get("/ping/token-of-job").await;
    assert_eq!(ping.status, 503, "a heartbeat is never acknowledged when it is not stored");
    assert!(!ping.header("retry-after").is_empty());
    for uri in ["/api/push/token-of-job", "/ext/heartbeat/job/token-of-job"] {
        assert_eq!(server.get(uri).await.status, 503, "{uri}");
    }
}

#[tokio::test]
async fn while_it_loads_nothing_is_unknown() {
    let (engine, _driver) = heartbeat_engine::Engine::builder(heartbeat_engine::MemoryStorage::new()).build();
    let mut settings = heartbeat_http::HttpSettings::default();
    settings.admin_key = Some(heartbeat_http::AdminKey::new("correct horse battery").unwrap());
    let router = heartbeat_http::router(engine, settings);
    for (method, uri, json) in [
        ("GET", "/ping/token-of-job", false),
        ("GET", "/ping/hb_key/slug", false),
        ("GET", "/api/push/token-of-job", true),
        ("POST", "/api/pings/?service=job", true),
        ("GET", "/ext/heartbeat/job/token", true),
        ("GET", "/api/monitors", true),
        ("PUT", "/api/monitors/job", true),
        ("GET", "/readyz", true),
    ] {
        let answer = crate::server::ask(&router, method, uri, "Bearer correct horse battery").await;
        assert_eq!(answer.status, 503, "{uri}");
        assert!(!answer.header("retry-after").is_empty(), "{uri}");
        assert_eq!(answer.header("content-type").contains("json"), json, "{uri}");
    }
    assert_eq!(crate::server::ask(&router, "GET", "/healthz", "").await.status, 200);
}

#[tokio::test]
async fn metrics_tell_counts_and_no_secrets() {
    let server = Server::start().await;
    server.monitor("job", "token-of-job").await;
    server.get("/ping/token-of-job/fail").await;
    server.get("/ping/unknown").await;
    let metrics = server.get("/metrics").await;
    assert_eq!(metrics.status, 200);
    let text = metrics.text();
    for line in [
        "heartbeat_monitors{status=\"down\"} 1",
        "heartbeat_pings_total{signal=\"fail\"} 1",
        "heartbeat_http_requests_total{method=\"GET\",route=\"/ping/{token}\",status=\"404\"} 1",
        "heartbeat_ready 1",
        "heartbeat_part_ready{part=\"store\"} 1",
        "heartbeat_commit_seconds_bucket{le=\"+Inf\"} ",
        "heartbeat_batch_transitions_bucket{le=\"4.0\"} ",
        "heartbeat_alert_lag_seconds_bucket{le=\"+Inf\"} ",
        "heartbeat_build_info{version=",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
    if cfg!(target_os = "linux") {
        let resident = text.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        assert!(resident.unwrap().parse::<f64>().unwrap() > 1e6, "{resident:?}");
    }
    assert!(!text.contains("token-of-job") && !text.contains("unknown"));
}

#[tokio::test]
async fn a_host_adds_figures_of_its_own() {
    let engine = Engine::builder(MemoryStorage::new()).spawn().await.unwrap();
    let mut settings = HttpSettings::default();
    settings.gauges.push(HostGauge::new("store_file_bytes", "Size of the database", || 4096.0));
    let router = heartbeat_http::router(engine, settings);
    let text = crate::server::ask(&router, "GET", "/metrics", "").await.text();
    assert!(text.contains("# HELP heartbeat_store_file_bytes Size of the database\n"), "{text}");
    assert!(text.contains("\nheartbeat_store_file_bytes 4096.0\n"), "{text}");
}
