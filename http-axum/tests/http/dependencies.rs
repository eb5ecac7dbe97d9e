//! Monitors that depend on others, remind, and are damped.

use serde_json::{Value, json};

use crate::server::Server;

const NONE: Value = Value::Null;

async fn make(server: &Server, slug: &str, more: Value) -> crate::server::Answer {
    let mut wish = json!({"slug": slug, "schedule": {"every": "1h"}});
    wish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    server.manage("PUT", &format!("/api/monitors/{slug}"), &wish).await
}

#[tokio::test]
async fn they_are_named_by_slug_or_id_and_shown_by_slug() {
    let server = Server::start().await;
    let router = make(&server, "router", json!({})).await.json();
    make(&server, "power", json!({})).await;
    let wish = json!({
        "depends_on": [router["id"], "power"], "remind_every": "1h", "flap_limit": {"incidents": 5, "within": "1h"},
    });
    let made = make(&server, "web", wish.clone()).await;
    assert_eq!(made.status, 201, "{made:?}");
    let shown = made.json();
    assert_eq!(shown["depends_on"], json!(["router", "power"]));
    assert_eq!((&shown["remind_every"], &shown["flap_limit"]), (&wish["remind_every"], &wish["flap_limit"]));
    assert_eq!((&shown["flapping_since"], &shown["maintenance"]), (&NONE, &NONE));
    let patched = server.manage("PATCH", "/api/monitors/web", &json!({"severity": "info"})).await.json();
    assert_eq!((&patched["depends_on"], &patched["flap_limit"]), (&shown["depends_on"], &shown["flap_limit"]));
    let reset = json!({"depends_on": null, "remind_every": null, "flap_limit": null});
    let patched = server.manage("PATCH", "/api/monitors/web", &reset).await.json();
    assert_eq!((&patched["depends_on"], &patched["remind_every"], &patched["flap_limit"]), (&json!([]), &NONE, &NONE));
    let plain = make(&server, "plain", json!({})).await.json();
    assert_eq!((&plain["depends_on"], &plain["remind_every"], &plain["flap_limit"]), (&json!([]), &NONE, &NONE));
}

#[tokio::test]
async fn each_wrong_field_is_named() {
    let server = Server::start().await;
    make(&server, "a", json!({})).await;
    make(&server, "b", json!({"depends_on": ["a"]})).await;
    for (slug, wish, fields) in [
        ("c", json!({"depends_on": ["a", "lost", "c", "a"]}), vec!["depends_on.1", "depends_on.2", "depends_on.3"]),
        ("c", json!({"depends_on": "a"}), vec!["depends_on"]),
        ("c", json!({"depends_on": [1]}), vec!["depends_on.0"]),
        ("a", json!({"depends_on": ["b"]}), vec!["depends_on.0"]),
        ("c", json!({"remind_every": "1s"}), vec!["remind_every"]),
        ("c", json!({"remind_every": "often"}), vec!["remind_every"]),
        (
            "c",
            json!({"flap_limit": {"incidents": 1, "within": "8d"}}),
            vec!["flap_limit.within", "flap_limit.incidents"],
        ),
        ("c", json!({"flap_limit": {"within": "1h"}}), vec!["flap_limit.incidents"]),
        ("c", json!({"flap_limit": {"incidents": 5, "within": "1h", "x": 1}}), vec!["flap_limit.x"]),
        ("c", json!({"flap_limit": 5}), vec!["flap_limit"]),
        ("c", json!({"flapping_since": null, "maintenance": null}), vec!["flapping_since", "maintenance"]),
    ] {
        let answer = make(&server, slug, wish.clone()).await;
        let fields: Vec<_> = fields.iter().map(ToString::to_string).collect();
        assert_eq!((answer.status.as_u16(), answer.wrong_fields()), (400, fields), "{wish}");
    }
}

#[tokio::test]
async fn a_batch_may_name_parents_in_any_order() {
    let server = Server::start().await;
    let job =
        |slug: &str, depends_on: Value| json!({"slug": slug, "schedule": {"every": "1h"}, "depends_on": depends_on});
    let batch = json!([
        job("leaf", json!(["branch"])),
        job("branch", json!(["root"])),
        job("root", json!([])),
        job("x", json!(["y"])),
        job("y", json!(["x"])),
        job("lone", json!(["lost"])),
    ]);
    let results = server.manage("POST", "/api/monitors/batch", &batch).await.json();
    let statuses: Vec<_> =
        results["items"].as_array().unwrap().iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 201, 201, 400, 400, 400]);
    assert_eq!(results["items"][0]["monitor"]["depends_on"], json!(["branch"]));
    let field = |index: usize| &results["items"][index]["problem"]["errors"][0]["field"];
    assert_eq!((field(3), field(5)), (&json!("depends_on"), &json!("depends_on.0")));
    assert_eq!(server.manage("GET", "/api/monitors/x", &NONE).await.status, 404);
}

#[tokio::test]
async fn a_limited_key_depends_on_its_own_monitors() {
    let server = Server::start().await;
    make(&server, "mine", json!({"tags": ["one"]})).await;
    make(&server, "theirs", json!({})).await;
    let key = server.key("manage", &json!({"tags": ["one"]})).await;
    let wish = |parent: &str| json!({"schedule": {"every": "1h"}, "tags": ["one"], "depends_on": [parent]});
    assert_eq!(server.with_key(&key, "PUT", "/api/monitors/new", &wish("mine")).await.status, 201);
    assert_eq!(server.with_key(&key, "PUT", "/api/monitors/new", &wish("theirs")).await.status, 403);
    server.manage("PATCH", "/api/monitors/new", &json!({"depends_on": ["theirs"]})).await;
    let kept = server.with_key(&key, "PATCH", "/api/monitors/new", &json!({"severity": "info"})).await;
    assert_eq!(
        (kept.status.as_u16(), &kept.json()["depends_on"]),
        (200, &json!(["theirs"])),
        "what others chose stays"
    );
}

#[tokio::test]
async fn what_a_monitor_depends_on_holds_its_messages_back() {
    let server = Server::start().await;
    make(&server, "router", json!({"channels": ["ops"], "token": "token-of-router"})).await;
    make(&server, "web", json!({"channels": ["ops"], "depends_on": ["router"], "token": "token-of-web"})).await;
    assert_eq!(server.get("/ping/token-of-router/fail").await.status, 200);
    assert_eq!(server.told().await.monitor.unwrap().slug, "router");
    assert_eq!(server.get("/ping/token-of-web/fail").await.status, 200);
    let incident = server.manage("GET", "/api/incidents?monitor=web", &NONE).await.json()["items"][0].clone();
    assert_eq!(incident["held_by"], json!(["router"]));
    assert!(server.get("/metrics").await.text().contains("heartbeat_incidents_held 1"));
    assert_eq!(server.get("/ping/token-of-router").await.status, 200);
    let told = [server.told().await, server.told().await].map(|told| told.monitor.unwrap().slug);
    assert!(told.contains(&"router".to_owned()) && told.contains(&"web".to_owned()), "{told:?}");
}
