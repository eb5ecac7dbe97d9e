//! Keys, their scopes and limits.

use std::time::Duration;

use heartbeat_engine::Timestamp;
use heartbeat_engine::testing::ManualClock;
use heartbeat_http::{AdminKey, HttpSettings, ensure_admin_key};
use serde_json::{Value, json};

use crate::server::Server;

const NONE: Value = Value::Null;

#[tokio::test]
async fn each_scope_includes_those_before_it() {
    let server = Server::start().await;
    server.monitor("job", "token-of-job").await;
    let wish = json!({"schedule": {"every": "1h"}});
    let calls = [
        ("POST", "/api/pings/?service=job&&data=", NONE, 0),
        ("GET", "/api/monitors", NONE, 1),
        ("GET", "/api/monitors/job", NONE, 1),
        ("GET", "/api/monitors/job/pings", NONE, 1),
        ("GET", "/api/monitors/job/counts", NONE, 1),
        ("GET", "/api/incidents", NONE, 1),
        ("GET", "/api/tags", NONE, 1),
        ("GET", "/api/channels", NONE, 1),
        ("GET", "/api/notifications", NONE, 1),
        ("POST", "/api/schedules/preview", wish.clone(), 1),
        ("PUT", "/api/monitors/job", wish.clone(), 2),
        ("POST", "/api/monitors/job/pause", NONE, 2),
        ("PUT", "/api/channels/mine", json!({"kind": "pass"}), 2),
        ("POST", "/api/channels/ops/test", NONE, 2),
        ("GET", "/api/keys", NONE, 3),
        ("PUT", "/api/channels/private", json!({"kind": "pass", "allow_private": true}), 3),
    ];
    for (rank, scope) in ["ping", "read", "manage", "admin"].into_iter().enumerate() {
        let key = server.key(scope, &json!({})).await;
        for (method, uri, body, needed) in &calls {
            let answer = server.with_key(&key, method, uri, body).await;
            let right = if rank >= *needed { answer.status.is_success() } else { answer.status == 403 };
            assert!(right, "{scope} {method} {uri}: {answer:?}");
        }
    }
    for (method, uri, body, _) in &calls {
        let without = server.send(method, uri, &[], body.to_string()).await;
        let wrong = server.with_key("wrong-key", method, uri, body).await;
        for answer in [without, wrong] {
            assert_eq!(answer.status, 401, "{method} {uri}");
            assert!(!answer.header("www-authenticate").is_empty());
        }
    }
    let read = server.key("read", &json!({})).await;
    let shown = server.with_key(&read, "GET", "/api/monitors/job", &NONE).await.json();
    assert!(shown.get("token").is_none() && shown.get("ping_url").is_none());
}

#[tokio::test]
async fn nodes_are_shown_to_keys_that_read_everything() {
    let server = Server::start().await;
    let (all, some) = (server.key("read", &json!({})).await, server.key("read", &json!({"monitors": ["c"]})).await);
    let shown = server.with_key(&all, "GET", "/api/cluster", &NONE).await.json();
    assert_eq!(shown, json!({"shared": false, "node": null, "nodes": [], "partitions": []}), "it is alone");
    let refused = server.with_key(&some, "GET", "/api/cluster", &NONE).await;
    assert_eq!(refused.status, 403);
    assert_eq!(refused.json()["detail"], "this key is limited; it cannot see the nodes");
}

#[tokio::test]
async fn limited_keys_see_and_touch_only_their_own() {
    let server = Server::start().await;
    for (slug, tags) in [("a", json!(["one"])), ("b", json!(["two"])), ("c", json!([]))] {
        let body = json!({"slug": slug, "schedule": {"every": "1h"}, "tags": tags});
        assert_eq!(server.manage("POST", "/api/monitors", &body).await.status, 201);
    }
    let wish = json!({"name": "early", "scope": "ping", "monitors": ["c", "later"]});
    let made = server.manage("POST", "/api/keys", &wish).await.json();
    assert_eq!(made["warnings"], json!(["there is no monitor `later` yet"]));
    let key = server.key("manage", &json!({"monitors": ["c"], "tags": ["one"]})).await;
    let list = server.with_key(&key, "GET", "/api/monitors?limit=1", &NONE).await.json();
    assert_eq!((&list["items"][0]["slug"], list["next_cursor"].is_string()), (&json!("a"), true));
    let list = server.with_key(&key, "GET", "/api/monitors?cursor=a", &NONE).await.json();
    assert_eq!((&list["items"][0]["slug"], &list["next_cursor"]), (&json!("c"), &NONE));
    for (slug, status) in [("a", 200), ("b", 403), ("c", 200)] {
        for what in ["", "/counts"] {
            let shown = server.with_key(&key, "GET", &format!("/api/monitors/{slug}{what}"), &NONE).await;
            assert_eq!(shown.status, status, "{slug}{what}");
        }
        let patched =
            server.with_key(&key, "PATCH", &format!("/api/monitors/{slug}"), &json!({"severity": "info"})).await;
        assert_eq!(patched.status, status);
    }
    let make = |slug: &str, tags: Value| json!({"slug": slug, "schedule": {"every": "1h"}, "tags": tags});
    assert_eq!(server.with_key(&key, "POST", "/api/monitors", &make("d", json!(["two"]))).await.status, 403);
    assert_eq!(server.with_key(&key, "POST", "/api/monitors", &make("d", json!(["one"]))).await.status, 201);
    for lost in [json!({"tags": ["two"]}), json!({"tags": null})] {
        assert_eq!(server.with_key(&key, "PATCH", "/api/monitors/d", &lost).await.status, 403, "{lost}");
    }
    assert_eq!(
        server.with_key(&key, "PATCH", "/api/monitors/d", &json!({"tags": ["one"], "name": "D"})).await.status,
        200
    );
    assert_eq!(server.with_key(&key, "GET", "/api/channels", &NONE).await.status, 403);
    let tags = server.with_key(&key, "GET", "/api/tags", &NONE).await.json();
    assert_eq!(tags["items"], json!([{"tag": "one", "monitors": 2, "down": 0}]));
    let (ping, other) = (server.key("ping", &json!({"tags": ["one"]})).await, "/api/pings/?service=b&&data=");
    assert_eq!(server.with_key(&ping, "POST", "/api/pings/?service=a&&data=", &NONE).await.status, 200);
    assert_eq!(server.with_key(&ping, "POST", other, &NONE).await.status, 403);
}

#[tokio::test]
async fn every_way_to_present_a_key() {
    let server = Server::start().await;
    let basic = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!("anybody:{}", server.admin))
    };
    for (name, value) in [
        ("authorization", format!("Bearer {}", server.admin)),
        ("authorization", format!("Basic {basic}")),
        ("x-api-key", server.admin.clone()),
    ] {
        assert_eq!(server.send("GET", "/api/keys", &[(name, &value)], "").await.status, 200);
    }
    let mut typo = server.admin.clone();
    let last = typo.pop().unwrap();
    typo.push(if last == 'a' { 'b' } else { 'a' });
    let answer = server.with_key(&typo, "GET", "/api/keys", &NONE).await;
    assert_eq!(answer.status, 401);
    assert!(answer.json()["detail"].as_str().unwrap().contains("mistyped"));
}

#[tokio::test]
async fn keys_are_listed_rotated_and_removed() {
    let server = Server::start().await;
    let wish = json!({"name": "ci", "scope": "manage", "tags": ["ci"]});
    let made = server.manage("POST", "/api/keys", &wish).await;
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let first = made.json()["key"].as_str().unwrap().to_owned();
    assert!(first.starts_with("hb_") && first.len() == 36);
    let listed = server.manage("GET", "/api/keys", &NONE).await;
    assert_eq!(listed.json()["items"].as_array().unwrap().len(), 2);
    assert!(!listed.text().contains(&first) && !listed.text().contains("hash"));
    let uri = format!("/api/keys/{id}");
    let rotated = server.manage("POST", &format!("{uri}/rotate"), &json!({"overlap": "1h"})).await.json();
    let second = rotated["key"].as_str().unwrap().to_owned();
    assert!(rotated["previous_valid_until"].is_string());
    for key in [&first, &second] {
        assert_eq!(server.with_key(key, "GET", "/api/monitors", &NONE).await.status, 200);
    }
    // The use is written in the background.
    while server.manage("GET", &uri, &NONE).await.json()["last_used_at"].is_null() {
        tokio::task::yield_now().await;
    }
    server.manage("POST", &format!("{uri}/rotate"), &NONE).await;
    for key in [&first, &second] {
        assert_eq!(server.with_key(key, "GET", "/api/monitors", &NONE).await.status, 401);
    }
    assert_eq!(server.manage("DELETE", &uri, &NONE).await.status, 204);
    assert_eq!(server.manage("DELETE", &uri, &NONE).await.status, 404);
    assert_eq!(server.manage("POST", &format!("{uri}/rotate"), &NONE).await.status, 404);
    let wrong = server.manage("POST", "/api/keys", &json!({"scope": "root", "x": 1})).await;
    assert_eq!(wrong.wrong_fields(), ["name", "scope", "x"]);
}

#[tokio::test]
async fn a_key_expires() {
    let clock = ManualClock::new("2026-11-20T08:00:00Z".parse::<Timestamp>().unwrap());
    let server = Server::with(clock.clone(), HttpSettings::default()).await;
    let key = server.key("read", &json!({"expires_at": "2026-11-20T09:00:00Z"})).await;
    clock.advance(Duration::from_secs(3599));
    assert_eq!(server.with_key(&key, "GET", "/api/monitors", &NONE).await.status, 200);
    clock.advance(Duration::from_secs(1));
    let answer = server.with_key(&key, "GET", "/api/monitors", &NONE).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["detail"]), (401, &json!("the key has expired")));
    let past = server
        .manage("POST", "/api/keys", &json!({"name": "x", "scope": "read", "expires_at": "2026-11-20T09:00:00Z"}))
        .await;
    assert_eq!(past.wrong_fields(), ["expires_at"]);
}

#[tokio::test]
async fn there_is_always_an_admin() {
    let server = Server::start().await;
    assert!(ensure_admin_key(&server.engine).await.unwrap().is_none(), "the first one is made once");
    let keys = server.manage("GET", "/api/keys", &NONE).await.json();
    let uri = format!("/api/keys/{}", keys["items"][0]["id"].as_str().unwrap());
    assert_eq!(server.manage("DELETE", &uri, &NONE).await.status, 409);
    let other = server.key("admin", &json!({})).await;
    assert_eq!(server.with_key(&other, "DELETE", &uri, &NONE).await.status, 204);
    assert_eq!(server.manage("GET", "/api/keys", &NONE).await.status, 401);
}

#[tokio::test]
async fn an_admin_key_of_the_settings_is_valid_beside_the_stored_ones() {
    let mut settings = HttpSettings::default();
    settings.admin_key = Some(AdminKey::new("correct horse battery").unwrap());
    let server = Server::with(heartbeat_engine::SystemClock::new(), settings).await;
    assert_eq!(server.with_key("correct horse battery", "GET", "/api/keys", &NONE).await.status, 200);
    assert_eq!(server.manage("GET", "/api/keys", &NONE).await.status, 200);
    assert!(AdminKey::new("too short").unwrap_err().to_string().contains("16"));
}
