//! What clients get wrong: its status code, and a text that says what would be right.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use support::{KEY, Server, folder};

async fn server() -> (tempfile::TempDir, Server) {
    let folder = folder();
    let server = Server::start(folder.path(), &["--storage", "memory:"]).await;
    (folder, server)
}

fn fields(problem: &Value) -> Vec<&str> {
    let errors = problem["errors"].as_array().map(Vec::as_slice).unwrap_or_default();
    errors.iter().filter_map(|error| error["field"].as_str()).collect()
}

#[tokio::test]
async fn a_wrong_key() {
    let (_folder, server) = server().await;
    for request in [
        server.request("GET", "/api/monitors"),
        server.request("GET", "/api/monitors").bearer_auth("an-admin-key-for-tests-012345678X"),
        server.request("GET", "/api/monitors").basic_auth("root", Some("wrong")),
        server.request("POST", "/api/pings/?service=a&&data=1").basic_auth("root", Some("wrong")),
        server.request("POST", "/api/status").bearer_auth("wrong").body("{}"),
    ] {
        let answer = server.send(request).await;
        assert_eq!(answer.status, 401, "{}", answer.text);
    }
    let answer = server.send(server.request("GET", "/api/monitors")).await;
    assert!(answer.headers.contains_key("www-authenticate"));
    let answer = server.send(server.request("GET", "/api/monitors").header("X-Api-Key", KEY)).await;
    assert_eq!(answer.status, 200);
    server.stop().await;
}

#[tokio::test]
async fn an_unknown_token() {
    let (_folder, server) = server().await;
    let answer = server.get("/ping/6f1f0c5e-3c1e-4b73-9a4e-1c2f3d4e5f60").await;
    assert_eq!((answer.status, answer.text.as_str()), (404, "not found"));
    assert_eq!(server.get("/api/push/abcdefghijklmnop?status=up").await.status, 404);
    server.stop().await;
}

#[tokio::test]
async fn malformed_bodies_and_unknown_fields() {
    let (_folder, server) = server().await;
    let raw = |body: &'static str| {
        let request = server.request("POST", "/api/monitors").bearer_auth(KEY).body(body);
        server.send(request.header("Content-Type", "application/json"))
    };
    for body in ["{\"slug\": ", "", "[]", "\u{1}"] {
        let answer = raw(body).await;
        assert_eq!(answer.status, 400, "{body:?}: {}", answer.text);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }
    let wish = json!({"slug": "a b", "schedule": {"every": "5m"}, "grace": "soon", "colour": "red", "tags": ["x", 1]});
    let answer = server.api("POST", "/api/monitors", Some(wish)).await;
    assert_eq!(answer.status, 400);
    let problem = answer.json();
    let mut named = fields(&problem);
    named.sort_unstable();
    assert_eq!(named, ["colour", "grace", "slug", "tags.1"], "{problem}");
    server.stop().await;
}

#[tokio::test]
async fn a_cron_expression_that_never_fires() {
    let (_folder, server) = server().await;
    let wish = json!({"slug": "a", "schedule": {"cron": "0 0 31 2 *", "timezone": "UTC"}});
    let answer = server.api("POST", "/api/monitors", Some(wish.clone())).await;
    assert_eq!(answer.status, 400, "{}", answer.text);
    let problem = answer.json();
    assert!(fields(&problem)[0].starts_with("schedule"), "{problem}");
    let preview = json!({"schedule": wish["schedule"], "count": 5});
    assert_eq!(server.api("POST", "/api/schedules/preview", Some(preview)).await.status, 400);
    server.stop().await;
}

#[tokio::test]
async fn a_body_of_20_mb() {
    let (_folder, server) = server().await;
    assert_eq!(
        server.api("POST", "/api/monitors", Some(json!({"slug": "a", "schedule": {"every": "1h"}}))).await.status,
        201
    );
    let token = server.token("a").await;
    let large = "x".repeat(20 * 1024 * 1024);
    let ping = format!("/ping/{token}");
    for request in [
        server.request("POST", &ping).body(large.clone()),
        server.request("POST", "/api/monitors").bearer_auth(KEY).body(large),
    ] {
        // A server that answers before it has read everything may close the connection on a client that still writes.
        match tokio::time::timeout(std::time::Duration::from_secs(60), request.send()).await.expect("an end") {
            Ok(answer) => assert_eq!(answer.status().as_u16(), 413),
            Err(error) => assert!(error.is_request() || error.is_body(), "{error:?}"),
        }
    }
    let ping_count = server.look("/api/monitors/a").await["ping_count"].clone();
    assert_eq!(ping_count, 0, "nothing of it was taken");
    server.stop().await;
}
