//! Maintenance windows: silence that is announced.

use std::time::Duration;

use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{NotificationKind, Timestamp};
use heartbeat_http::HttpSettings;
use serde_json::{Value, json};

use crate::server::Server;

const NONE: Value = Value::Null;

/// A server at eight o'clock, on virtual time.
async fn at_eight() -> Server {
    let now: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
    Server::with(TokioClock::new(now), HttpSettings::default()).await
}

async fn monitor(server: &Server, slug: &str, tags: &[&str], schedule: Value) {
    let wish = json!({"slug": slug, "schedule": schedule, "grace": "5m", "tags": tags, "channels": ["ops"]});
    let made = server.manage("POST", "/api/monitors", &wish).await;
    assert_eq!(made.status, 201, "{made:?}");
}

fn ids(list: &Value) -> Vec<&str> {
    list["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn one_call_silences_a_tag_and_what_died_meanwhile_is_found_afterwards() {
    let server = at_eight().await;
    monitor(&server, "db", &["db"], json!({"every": "30m"})).await;
    monitor(&server, "web", &[], json!({"every": "30m"})).await;
    let made = server.manage("POST", "/api/maintenance", &json!({"tags": ["db"], "for": "2h"})).await;
    assert_eq!(made.status, 201, "{made:?}");
    let shown = made.json();
    let uri = made.header("location").to_owned();
    assert_eq!(uri, format!("/api/maintenance/{}", shown["id"].as_str().unwrap()));
    let window = json!({"from": "2026-11-20T08:00:00Z", "to": "2026-11-20T10:00:00Z"});
    assert_eq!((&shown["status"], &shown["current"], &shown["next"]), (&json!("active"), &window, &NONE));
    assert_eq!((&shown["title"], &shown["monitors_covered"]), (&json!("Maintenance"), &json!(1)));
    assert_eq!(shown["warnings"], json!([]));
    let misspelt = server.manage("POST", "/api/maintenance", &json!({"tags": ["bd"], "for": "1h"})).await.json();
    assert_eq!(misspelt["warnings"], json!(["covers no monitor yet"]));
    let in_force = server.manage("GET", "/api/monitors/db", &NONE).await.json()["maintenance"].clone();
    assert_eq!(in_force, json!([{"id": shown["id"], "title": "Maintenance", "to": "2026-11-20T10:00:00Z"}]));
    assert_eq!(server.manage("GET", "/api/monitors/web", &NONE).await.json()["maintenance"], NONE);
    let metrics = server.get("/metrics").await.text();
    assert!(metrics.contains("heartbeat_monitors_in_maintenance 1"), "{metrics}");

    let told = server.told_within(Duration::from_secs(3600)).await.expect("the other one is found");
    assert_eq!((told.kind, told.monitor.unwrap().slug), (NotificationKind::Down, "web".to_owned()));
    assert!(server.told_within(Duration::from_secs(50 * 60)).await.is_none(), "nothing is told in the window");
    let down = server.told_within(Duration::from_secs(4 * 3600)).await.expect("it is found after the window");
    assert_eq!((down.kind, down.monitor.unwrap().slug), (NotificationKind::Down, "db".to_owned()));
    let opened_at = down.incident.unwrap().opened_at;
    assert!(opened_at >= "2026-11-20T10:00:00Z".parse().unwrap(), "{opened_at}");
    let over = server.manage("GET", &uri, &NONE).await.json();
    assert_eq!((&over["status"], &over["current"]), (&json!("over"), &NONE));
}

#[tokio::test(start_paused = true)]
async fn windows_are_made_replaced_listed_and_ended() {
    let server = at_eight().await;
    monitor(&server, "nightly", &["db"], json!({"at": ["22:30"]})).await;
    monitor(&server, "daily", &["web"], json!({"at": ["12:00"]})).await;
    let nightly = json!({
        "title": "Nightly work", "all": true, "schedule": {"at": ["22:00"], "timezone": "UTC"}, "length": "2h",
    });
    let made = server.manage("PUT", "/api/maintenance/nightly", &nightly).await;
    assert_eq!(made.status, 201, "{made:?}");
    let shown = made.json();
    assert_eq!(
        (&shown["schedule"], &shown["length"], &shown["status"]),
        (&nightly["schedule"], &json!("2h"), &json!("planned"))
    );
    assert_eq!(shown["next"], json!({"from": "2026-11-20T22:00:00Z", "to": "2026-11-21T00:00:00Z"}));
    assert_eq!(shown["warnings"], json!(["covers every occurrence of `nightly`: its silence is never found"]));
    assert_eq!(shown["monitors_covered"], 2);
    let later = json!({"monitors": ["daily"], "from": "2026-11-20T12:00:00Z", "to": "2026-11-20T13:00:00Z"});
    assert_eq!(server.manage("PUT", "/api/maintenance/noon", &later).await.status, 201);
    assert_eq!(server.manage("PUT", "/api/maintenance/noon", &later).await.status, 200);
    let now = server.manage("PUT", "/api/maintenance/now", &json!({"tags": ["db"], "for": "1h", "title": "Now"})).await;
    assert_eq!(now.json()["status"], "active");

    for (uri, wanted) in [
        ("/api/maintenance", vec!["nightly", "noon", "now"]),
        ("/api/maintenance?status=planned", vec!["nightly", "noon"]),
        ("/api/maintenance?status=active", vec!["now"]),
        ("/api/maintenance?status=over", vec![]),
        ("/api/maintenance?monitor=daily", vec!["nightly", "noon"]),
        ("/api/maintenance?monitor=nightly&status=active", vec!["now"]),
        ("/api/maintenance?limit=2&cursor=nightly", vec!["noon", "now"]),
    ] {
        assert_eq!(ids(&server.manage("GET", uri, &NONE).await.json()), wanted, "{uri}");
    }
    let page = server.manage("GET", "/api/maintenance?limit=1", &NONE).await.json();
    assert_eq!((ids(&page), &page["next_cursor"]), (vec!["nightly"], &json!("nightly")));

    assert_eq!(server.manage("DELETE", "/api/maintenance/noon", &NONE).await.status, 204, "it had not begun");
    assert_eq!(server.manage("GET", "/api/maintenance/noon", &NONE).await.status, 404);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let ended = server.manage("DELETE", "/api/maintenance/now", &NONE).await;
    assert_eq!((ended.status.as_u16(), &ended.json()["status"]), (200, &json!("over")), "it had begun");
    assert!(ended.json()["ended_at"].as_str().unwrap().starts_with("2026-11-20T08:01:00"), "{ended:?}");
    assert_eq!(ids(&server.manage("GET", "/api/maintenance?status=over", &NONE).await.json()), ["now"]);
    assert_eq!(server.manage("DELETE", "/api/maintenance/lost", &NONE).await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn each_wrong_field_is_named() {
    let server = at_eight().await;
    monitor(&server, "a", &[], json!({"every": "1h"})).await;
    for (wish, fields) in [
        (json!({}), vec!["monitors", "to"]),
        (json!({"monitors": ["a", "lost", "a b"], "for": "1h"}), vec!["monitors.2", "monitors.1"]),
        (json!({"monitors": ["lost"], "for": "1x", "colour": 1}), vec!["for", "colour", "monitors.0"]),
        (json!({"all": true, "from": "2026-11-20T06:00:00Z", "to": "2026-11-20T07:00:00Z"}), vec!["to"]),
        (json!({"all": true, "from": "2026-11-20T09:00:00Z", "to": "2026-11-20T08:30:00Z"}), vec!["to"]),
        (json!({"all": true, "for": "400d"}), vec!["for"]),
        (json!({"all": true, "schedule": {"cron": "0 * * * *"}, "length": "1h"}), vec!["length"]),
        (json!({"all": true, "schedule": {"every": "1h"}, "length": "1m"}), vec!["schedule.every"]),
        (
            json!({"all": true, "schedule": {"cron": "61 * * * *"}, "length": "1m", "to": "x"}),
            vec!["to", "schedule.cron"],
        ),
        (json!({"all": true, "for": "1h", "title": ""}), vec!["title"]),
    ] {
        for (method, uri) in [("POST", "/api/maintenance"), ("PUT", "/api/maintenance/w")] {
            let answer = server.manage(method, uri, &wish).await;
            let fields: Vec<_> = fields.iter().map(ToString::to_string).collect();
            assert_eq!((answer.status.as_u16(), answer.wrong_fields()), (400, fields), "{wish}");
        }
    }
    let bad_name = server.manage("PUT", "/api/maintenance/a%20b", &json!({"all": true, "for": "1h"})).await;
    assert_eq!((bad_name.status.as_u16(), bad_name.wrong_fields()), (400, vec!["id".to_owned()]));
    let bad_query = server.manage("GET", "/api/maintenance?status=on&limit=0&tag=x", &NONE).await;
    assert_eq!(bad_query.wrong_fields(), ["status", "limit", "tag"]);
    assert_eq!(server.manage("GET", "/api/maintenance?monitor=lost", &NONE).await.status, 404);
    assert_eq!(ids(&server.manage("GET", "/api/maintenance", &NONE).await.json()), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_limited_key_silences_only_what_is_its_own() {
    let server = at_eight().await;
    for (slug, tags) in [("a", vec!["one"]), ("b", vec!["two"]), ("c", vec![])] {
        monitor(&server, slug, &tags, json!({"every": "1h"})).await;
    }
    let key = server.key("manage", &json!({"monitors": ["c"], "tags": ["one"]})).await;
    let wish = |covered: Value| {
        let mut wish = json!({"for": "1h"});
        wish.as_object_mut().unwrap().extend(covered.as_object().unwrap().clone());
        wish
    };
    for (covered, status) in [
        (json!({"tags": ["one"]}), 200),
        (json!({"monitors": ["a", "c"]}), 200),
        (json!({"monitors": ["b"]}), 403),
        (json!({"monitors": ["c", "b"]}), 403),
        (json!({"tags": ["two"]}), 403),
        (json!({"tags": ["one", "two"]}), 403),
        (json!({"all": true}), 403),
    ] {
        server.with_key(&key, "PUT", "/api/maintenance/mine", &wish(json!({"monitors": ["c"]}))).await;
        let answer = server.with_key(&key, "PUT", "/api/maintenance/mine", &wish(covered.clone())).await;
        assert_eq!(answer.status, status, "{covered}");
        let posted = server.with_key(&key, "POST", "/api/maintenance", &wish(covered.clone())).await;
        assert_eq!(posted.status == 201, status == 200, "{covered}");
    }
    for (id, covered) in [("all", json!({"all": true})), ("two", json!({"tags": ["two"]}))] {
        server.manage("PUT", &format!("/api/maintenance/{id}"), &wish(covered)).await;
    }
    let seen = server.with_key(&key, "GET", "/api/maintenance", &NONE).await.json();
    let seen = ids(&seen);
    assert!(seen.contains(&"all") && seen.contains(&"mine") && !seen.contains(&"two"), "{seen:?}");
    assert_eq!(server.with_key(&key, "GET", "/api/maintenance/all", &NONE).await.json()["monitors_covered"], 2);
    for (method, uri, body, status) in [
        ("GET", "/api/maintenance/two", NONE, 403),
        ("PUT", "/api/maintenance/two", wish(json!({"tags": ["one"]})), 403),
        ("DELETE", "/api/maintenance/all", NONE, 403),
        ("DELETE", "/api/maintenance/mine", NONE, 204),
    ] {
        assert_eq!(server.with_key(&key, method, uri, &body).await.status, status, "{method} {uri}");
    }
    let read = server.key("read", &json!({})).await;
    assert_eq!(server.with_key(&read, "POST", "/api/maintenance", &wish(json!({"all": true}))).await.status, 403);
}

#[tokio::test(start_paused = true)]
async fn replacing_at_the_same_time_leaves_one_of_them() {
    let server = at_eight().await;
    let puts = (1..=8).map(|hours| {
        let wish = json!({"all": true, "from": "2026-11-20T12:00:00Z", "for": format!("{hours}h")});
        let server = &server;
        async move { server.manage("PUT", "/api/maintenance/w", &wish).await.status.as_u16() }
    });
    let statuses = futures_util::future::join_all(puts).await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert!(statuses.iter().all(|status| [200, 201, 409].contains(status)), "{statuses:?}");
    assert_eq!(ids(&server.manage("GET", "/api/maintenance", &NONE).await.json()), ["w"]);
}
