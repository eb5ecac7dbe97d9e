//! Routes: who else is told.

use std::time::Duration;

use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{NotificationKind, Timestamp};
use heartbeat_http::HttpSettings;
use serde_json::{Value, json};

use crate::server::Server;

const NONE: Value = Value::Null;

#[tokio::test]
async fn routes_are_made_replaced_listed_and_removed() {
    let server = Server::start().await;
    let uri = "/api/routes/night";
    let wish =
        json!({"severities": ["critical"], "tags": ["db"], "causes": ["missed"], "channels": ["ops"], "after": "30m"});
    let made = server.manage("PUT", uri, &wish).await;
    assert_eq!(made.status, 201, "{made:?}");
    let mut shown = wish.clone();
    (shown["name"], shown["declared_in"]) = (json!("night"), NONE);
    assert_eq!(made.json(), shown);
    assert_eq!(server.manage("PUT", uri, &wish).await.status, 200);
    let replaced = server.manage("PUT", uri, &json!({"name": "night", "channels": ["ops"]})).await;
    let plain = json!({
        "name": "night", "severities": [], "tags": [], "causes": [], "channels": ["ops"], "after": "0s", "declared_in": null,
    });
    assert_eq!((replaced.status.as_u16(), &replaced.json()), (200, &plain));
    server.manage("PUT", "/api/routes/day", &wish).await;
    let list = server.manage("GET", "/api/routes", &NONE).await.json();
    let names: Vec<_> = list["items"].as_array().unwrap().iter().map(|route| route["name"].as_str().unwrap()).collect();
    assert_eq!((names, &list["next_cursor"]), (vec!["day", "night"], &NONE));
    assert_eq!(server.manage("GET", uri, &NONE).await.json(), plain);
    assert_eq!(server.manage("DELETE", uri, &NONE).await.status, 204);
    for method in ["GET", "DELETE"] {
        assert_eq!(server.manage(method, uri, &NONE).await.status, 404);
    }
}

#[tokio::test]
async fn each_wrong_field_is_named() {
    let server = Server::start().await;
    for (name, wish, fields) in [
        ("r", json!({}), vec!["channels"]),
        ("r", json!({"channels": []}), vec!["channels"]),
        ("r", json!({"channels": ["ops", "nobody"], "after": "soon"}), vec!["after", "channels.1"]),
        ("r", json!({"channels": ["ops"], "severities": ["grave"], "name": "q"}), vec!["name", "severities.0"]),
        ("r", json!({"channels": ["ops"], "causes": ["missed", "missed"]}), vec!["causes.1"]),
        ("r", json!({"channels": ["ops"], "after": "400d"}), vec!["after"]),
        ("a%20b", json!({"channels": ["ops"]}), vec!["name"]),
        ("r", json!({"channels": ["ops"], "colour": 1}), vec!["colour"]),
    ] {
        let answer = server.manage("PUT", &format!("/api/routes/{name}"), &wish).await;
        assert_eq!(
            (answer.status.as_u16(), answer.wrong_fields()),
            (400, fields.iter().map(ToString::to_string).collect()),
            "{wish}"
        );
    }
    assert_eq!(server.manage("GET", "/api/routes?tag=x", &NONE).await.wrong_fields(), ["tag"]);
}

#[tokio::test]
async fn only_keys_without_limits_have_to_do_with_routes() {
    let server = Server::start().await;
    let wish = json!({"channels": ["ops"]});
    server.manage("PUT", "/api/routes/r", &wish).await;
    let read = server.key("read", &json!({})).await;
    let limited = server.key("manage", &json!({"tags": ["x"]})).await;
    for (key, method, uri, status) in [
        (&read, "GET", "/api/routes", 200),
        (&read, "GET", "/api/routes/r", 200),
        (&read, "PUT", "/api/routes/r", 403),
        (&read, "DELETE", "/api/routes/r", 403),
        (&limited, "GET", "/api/routes", 403),
        (&limited, "GET", "/api/routes/r", 403),
        (&limited, "PUT", "/api/routes/r", 403),
        (&limited, "DELETE", "/api/routes/r", 403),
    ] {
        assert_eq!(server.with_key(key, method, uri, &wish).await.status, status, "{method} {uri}");
    }
}

#[tokio::test]
async fn replacing_at_the_same_time_leaves_one_of_them() {
    let server = Server::start().await;
    let puts = (0..8).map(|minutes| {
        let wish = json!({"channels": ["ops"], "after": format!("{}m", minutes + 1)});
        let server = &server;
        async move { server.manage("PUT", "/api/routes/r", &wish).await.status.as_u16() }
    });
    let statuses = futures_util::future::join_all(puts).await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 201, 409].contains(status)), "{statuses:?}");
    let after = server.manage("GET", "/api/routes/r", &NONE).await.json()["after"].as_str().unwrap().to_owned();
    assert!((1..=8).any(|minutes| after == format!("{minutes}m")));
}

#[tokio::test(start_paused = true)]
async fn a_route_that_waits_tells_nobody_once_somebody_takes_care() {
    let now: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
    let server = Server::with(TokioClock::new(now), HttpSettings::default()).await;
    assert_eq!(server.manage("PUT", "/api/channels/boss", &json!({"kind": "pass"})).await.status, 201);
    let wish = json!({"severities": ["critical"], "channels": ["boss"], "after": "30m"});
    assert_eq!(server.manage("PUT", "/api/routes/escalate", &wish).await.status, 201);
    for slug in ["left", "taken"] {
        let wish = json!({
            "slug": slug, "schedule": {"every": "1d"}, "severity": "critical", "channels": ["ops"],
            "token": format!("token-of-{slug}"),
        });
        assert_eq!(server.manage("POST", "/api/monitors", &wish).await.status, 201);
        assert_eq!(server.get(&format!("/ping/token-of-{slug}/fail")).await.status, 200);
        let told = server.told().await;
        assert_eq!((told.kind, told.channel.as_str()), (NotificationKind::Down, "ops"));
    }
    let open = server.manage("GET", "/api/incidents?monitor=taken", &NONE).await.json();
    let uri = format!("/api/incidents/{}/ack", open["items"][0]["id"].as_str().unwrap());
    assert_eq!(server.manage("POST", &uri, &NONE).await.status, 200);
    let told = server.told_within(Duration::from_secs(3600)).await.expect("an escalation");
    assert_eq!((told.kind, told.channel.as_str()), (NotificationKind::Escalated, "boss"));
    assert_eq!(told.monitor.unwrap().slug, "left");
    assert_eq!(server.engine.now().since(now).as_secs(), 1800);
    assert!(server.told_within(Duration::from_secs(7200)).await.is_none());
}
