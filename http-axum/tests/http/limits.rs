//! Rates, hosts, sites, unknown paths.

use heartbeat_engine::SystemClock;
use heartbeat_http::HttpSettings;
use serde_json::{Value, json};

use crate::server::Server;

#[tokio::test]
async fn too_many_heartbeats_of_one_monitor() {
    let mut settings = HttpSettings::default();
    settings.pings_per_minute = 3;
    let server = Server::with(SystemClock::new(), settings).await;
    server.monitor("one", "token-of-one").await;
    server.monitor("two", "token-of-two").await;
    for _ in 0..3 {
        assert_eq!(server.get("/ping/token-of-one").await.status, 200);
    }
    let limited = server.get("/ping/token-of-one").await;
    assert_eq!((limited.status.as_u16(), limited.text().as_str()), (429, "rate limited"));
    assert!((1..=20).contains(&limited.header("retry-after").parse::<u32>().unwrap()));
    let push = server.get("/api/push/token-of-one").await;
    assert_eq!((push.status.as_u16(), &push.json()["ok"]), (429, &json!(false)));
    assert_eq!(server.get("/ping/token-of-two").await.status, 200);
}

#[tokio::test]
async fn only_the_allowed_hosts_are_answered() {
    let mut settings = HttpSettings::default();
    settings.allowed_hosts = vec!["hb.example.org".to_owned()];
    let server = Server::with(SystemClock::new(), settings).await;
    server.monitor("job", "token-of-job").await;
    for (host, status) in [("hb.example.org", 200), ("HB.example.org:8443", 200), ("evil.example.org", 400), ("", 400)]
    {
        assert_eq!(server.send("GET", "/ping/token-of-job", &[("host", host)], "").await.status, status, "{host}");
        assert_eq!(server.send("GET", "/healthz", &[("host", host)], "").await.status, 200);
    }
}

#[tokio::test]
async fn pages_of_other_sites_change_nothing() {
    let server = Server::start().await;
    let bearer = format!("Bearer {}", server.admin);
    for (site, status) in [("cross-site", 403), ("same-site", 403), ("same-origin", 404), ("none", 404)] {
        let headers = [("authorization", bearer.as_str()), ("sec-fetch-site", site)];
        assert_eq!(server.send("POST", "/api/monitors/x/pause", &headers, "").await.status, status, "{site}");
        assert_eq!(server.send("GET", "/api/monitors", &headers, "").await.status, 200);
        assert_eq!(server.send("POST", "/api/pings/?service=x", &headers, "").await.status, status);
    }
}

#[tokio::test]
async fn unknown_paths_and_methods() {
    let server = Server::start().await;
    for uri in ["/", "/api", "/api/monitors/", "/ping", "/ping/a/b/c/d", "/%ff"] {
        let answer = server.get(uri).await;
        assert_eq!(answer.status, 404, "{uri}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    let answer = server.send("PATCH", "/api/monitors", &[], "").await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "GET,HEAD,POST"));
    assert_eq!(answer.json()["status"], 405);
}

#[tokio::test]
async fn management_bodies_have_a_limit() {
    let server = Server::start().await;
    let body = json!({"name": "x".repeat(1_000_001)});
    let answer = server.manage("POST", "/api/monitors", &body).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.header("content-type"), "application/problem+json");
}

#[tokio::test]
async fn a_nested_router_answers_under_its_path() {
    let mut nested = Server::start().await;
    nested.monitor("job", "token-of-job").await;
    nested.router = axum::Router::new().nest("/hb", nested.router);
    assert_eq!(nested.get("/hb/ping/token-of-job").await.text(), "OK");
    assert_eq!(nested.manage("GET", "/hb/api/monitors/job", &Value::Null).await.status, 200);
    let body = serde_json::json!({"slug": "more", "schedule": {"every": "1h"}});
    let made = nested.manage("POST", "/hb/api/monitors", &body).await;
    assert_eq!(nested.manage("GET", made.header("location"), &Value::Null).await.status, 200);
    assert_eq!(nested.get("/hb/nothing").await.json()["status"], 404);
    assert_eq!(nested.get("/ping/token-of-job").await.status, 404);
}

#[tokio::test]
async fn a_parameter_that_nobody_reads_is_refused() {
    let server = Server::start().await;
    server.monitor("job", "token-of-job").await;
    let window = json!({"all": true, "from": "2099-01-01T00:00:00Z", "for": "1h"});
    assert_eq!(server.manage("PUT", "/api/maintenance/w", &window).await.status, 201);
    for (method, path) in [
        ("GET", "/api/monitors/job"),
        ("DELETE", "/api/monitors/job"),
        ("POST", "/api/monitors/job/pause"),
        ("POST", "/api/maintenance"),
        ("DELETE", "/api/maintenance/w"),
        ("GET", "/api/incidents/nothing"),
        ("POST", "/api/channels/ops/test"),
        ("PUT", "/api/routes/r"),
        ("POST", "/api/keys"),
        ("POST", "/api/schedules/preview"),
    ] {
        let answer = server.manage(method, &format!("{path}?dry_run=1"), &json!({})).await;
        assert_eq!(
            (answer.status.as_u16(), answer.wrong_fields()),
            (400, vec!["dry_run".to_owned()]),
            "{method} {path}"
        );
    }
    assert_eq!(server.manage("GET", "/api/monitors/job", &json!({})).await.json()["status"], "new");
}
