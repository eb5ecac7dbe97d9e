//! `/api/monitors`.

use serde_json::{Value, json};

use crate::server::Server;

const NONE: Value = Value::Null;

fn wish(slug: &str) -> Value {
    json!({"slug": slug, "schedule": {"every": "2h"}})
}

#[tokio::test]
async fn a_monitor_is_made_read_changed_and_removed() {
    let server = Server::start().await;
    let body = json!({
        "name": "Cert backup", "description": "copies", "schedule": {"at": ["16:05"], "days": ["mon"], "timezone": "Asia/Shanghai"},
        "grace": "end_of_day", "early": "30m", "max_runtime": 600, "arm": "first_ping", "failure_threshold": 2,
        "recovery_threshold": 3, "severity": "critical", "tags": ["cert"], "channels": ["ops"], "remind_every": null,
        "depends_on": [], "value_min": 0, "value_max": 10.5, "require_signature": false,
    });
    let made = server.manage("POST", "/api/monitors", &body).await;
    assert_eq!(made.status, 201, "{made:?}");
    let shown = made.json();
    assert_eq!(shown["slug"], "cert-backup");
    for field in
        ["name", "description", "schedule", "grace", "early", "arm", "severity", "tags", "channels", "depends_on"]
    {
        assert_eq!(shown[field], body[field], "{field}");
    }
    assert_eq!((&shown["max_runtime"], &shown["value_max"]), (&json!("10m"), &json!(10.5)));
    assert_eq!((&shown["status"], &shown["running"], &shown["version"]), (&json!("new"), &json!(false), &json!(1)));
    let url = format!("http://localhost:8080/ping/{}", shown["token"].as_str().unwrap());
    assert_eq!(shown["ping_url"], url);
    assert_eq!(made.header("location"), format!("/api/monitors/{}", shown["id"].as_str().unwrap()));
    assert_eq!(made.header("etag"), "\"1\"");

    let by_id = server.manage("GET", made.header("location"), &NONE).await;
    assert_eq!(by_id.json(), shown);
    let changed =
        server.manage("PATCH", "/api/monitors/cert-backup", &json!({"severity": null, "tags": ["a", "b"]})).await;
    assert_eq!(changed.status, 200, "{changed:?}");
    let changed = changed.json();
    assert_eq!((&changed["severity"], &changed["tags"]), (&json!("warning"), &json!(["a", "b"])));
    assert_eq!((&changed["grace"], &changed["version"]), (&json!("end_of_day"), &json!(2)));
    assert_eq!(server.manage("DELETE", "/api/monitors/cert-backup", &NONE).await.status, 204);
    assert_eq!(server.manage("GET", "/api/monitors/cert-backup", &NONE).await.status, 404);
    assert_eq!(server.manage("DELETE", "/api/monitors/cert-backup", &NONE).await.status, 404);
}

#[tokio::test]
async fn every_wrong_field_is_told_at_once() {
    let server = Server::start().await;
    let body = json!({
        "slug": "-x", "name": 3, "schedule": {"every": "1ms", "timezone": "UTC"}, "grace": "soon", "early": true,
        "arm": "later", "failure_threshold": 0, "recovery_threshold": "many", "severity": "bad", "tags": ["a", "a", 3],
        "channels": ["ops", "nobody"], "remind_every": "1s", "flap_limit": 5, "depends_on": ["x"], "value_min": 5, "value_max": 1,
        "require_signature": "yes", "token": "short", "status": "up", "colour": "red",
    });
    let answer = server.manage("POST", "/api/monitors", &body).await;
    assert_eq!(answer.status, 400);
    let mut fields = answer.wrong_fields();
    fields.sort();
    let mut expected = [
        "slug",
        "name",
        "schedule.every",
        "schedule.timezone",
        "grace",
        "early",
        "arm",
        "failure_threshold",
        "recovery_threshold",
        "severity",
        "tags.2",
        "channels.1",
        "remind_every",
        "depends_on.0",
        "flap_limit",
        "value_min",
        "require_signature",
        "token",
        "status",
        "colour",
    ];
    expected.sort_unstable();
    assert_eq!(fields, expected);
    for (body, field) in [
        (json!({}), "name"),
        (json!({"name": "x"}), "schedule"),
        (json!({"name": "!!", "schedule": {"every": "1h"}}), "slug"),
        (json!({"name": "x", "schedule": {"every": "1h"}, "grace": "end_of_day"}), "grace"),
        (json!({"name": "x", "schedule": {"cron": "0 0 31 2 *"}}), "schedule.cron"),
        (json!({"name": "x", "schedule": {"at": ["16:05"]}, "early": "24h"}), "early"),
        (json!([]), ""),
    ] {
        let answer = server.manage("POST", "/api/monitors", &body).await;
        assert_eq!(answer.status, 400);
        assert!(answer.wrong_fields().contains(&field.to_owned()), "{body}: {answer:?}");
    }
    let broken = server.send("POST", "/api/monitors", &[("x-api-key", &server.admin)], "{\"name\":").await;
    assert_eq!(broken.status, 400);
    assert!(broken.json()["detail"].as_str().unwrap().contains("not JSON"));
}

#[tokio::test]
async fn put_makes_and_replaces_by_slug() {
    let server = Server::start().await;
    let uri = "/api/monitors/Job_1";
    let body = json!({"schedule": {"every": "2h"}, "tags": ["a"]});
    let made = server.manage("PUT", uri, &body).await;
    assert_eq!((made.status.as_u16(), made.json()["slug"].as_str()), (201, Some("Job_1")));
    let same = server.manage("PUT", uri, &body).await;
    assert_eq!((same.status.as_u16(), &same.json()["version"]), (200, &made.json()["version"]));
    let replaced = server.manage("PUT", uri, &json!({"schedule": {"every": "3h"}})).await.json();
    assert_eq!((&replaced["tags"], &replaced["id"]), (&json!([]), &made.json()["id"]));
    let id = made.json()["id"].as_str().unwrap().to_owned();
    let renamed = server.manage("PUT", &format!("/api/monitors/{id}"), &wish("job-2")).await;
    assert_eq!((renamed.status.as_u16(), &renamed.json()["slug"]), (200, &json!("job-2")));
    assert_eq!(server.manage("GET", uri, &NONE).await.status, 404);
    for (uri, body, status) in [
        ("/api/monitors/job-3", wish("other"), 400),
        ("/api/monitors/job-2", json!({"schedule": {"every": "2h"}, "token": "another-token"}), 400),
        ("/api/monitors/f2a6c6f0-41bb-4e9f-8a6a-7c1f0e5d3b21", json!({"schedule": {"every": "2h"}}), 404),
    ] {
        assert_eq!(server.manage("PUT", uri, &body).await.status, status, "{uri}");
    }
}

#[tokio::test]
async fn names_and_tokens_are_unique() {
    let server = Server::start().await;
    let with_token = |slug: &str| json!({"slug": slug, "schedule": {"every": "2h"}, "token": "own_Token-1"});
    let made = server.manage("POST", "/api/monitors", &with_token("one")).await;
    assert_eq!((made.status.as_u16(), &made.json()["token"]), (201, &json!("own_Token-1")));
    assert_eq!(server.manage("POST", "/api/monitors", &wish("one")).await.status, 409);
    assert_eq!(server.manage("POST", "/api/monitors", &with_token("two")).await.status, 409);
    for (method, uri) in [("PUT", "/api/monitors/one"), ("PATCH", "/api/monitors/one")] {
        assert_eq!(server.manage(method, uri, &with_token("one")).await.status, 200, "repeated, it changes nothing");
    }
    assert_eq!(server.get("/ping/own_Token-1").await.status, 200);
    server.manage("POST", "/api/monitors", &wish("two")).await;
    assert_eq!(server.manage("PATCH", "/api/monitors/two", &json!({"slug": "one"})).await.status, 409);
}

#[tokio::test]
async fn versions_guard_updates() {
    let server = Server::start().await;
    server.manage("POST", "/api/monitors", &wish("job")).await;
    let token = server.engine.find("job").unwrap().monitor.token.current.reveal().into_owned();
    server.get(&format!("/ping/{token}")).await;
    let bearer = format!("Bearer {}", server.admin);
    let send = async |method: &str, version: &str, body: Value| {
        let headers = [("authorization", bearer.as_str()), ("if-match", version)];
        server.send(method, "/api/monitors/job", &headers, body.to_string()).await
    };
    let patch = json!({"description": "new"});
    assert_eq!(send("PATCH", "\"9\"", patch.clone()).await.status, 412);
    let changed = send("PATCH", "\"1\"", patch).await;
    assert_eq!((changed.status.as_u16(), changed.header("etag")), (200, "\"2\""), "heartbeats do not count");
    assert_eq!(send("PUT", "\"1\"", wish("job")).await.status, 412);
    assert_eq!(send("PUT", "\"2\"", wish("job")).await.status, 200);
    assert_eq!(send("DELETE", "\"2\"", NONE).await.status, 412);
    assert_eq!(send("DELETE", "abc", NONE).await.status, 400);
    assert_eq!(send("DELETE", "*", NONE).await.status, 204);
    assert_eq!(send("PUT", "\"3\"", wish("job")).await.status, 412);
    let headers = [("authorization", bearer.as_str()), ("if-none-match", "*")];
    for status in [201, 412] {
        let answer = server.send("PUT", "/api/monitors/job", &headers, wish("job").to_string()).await;
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let server = Server::start().await;
    let batch: Vec<Value> = (0..25)
        .map(|n| {
            let tags = if n % 2 == 0 { vec!["even", "all"] } else { vec!["all"] };
            json!({"slug": format!("job-{n:02}"), "schedule": {"every": "2h"}, "tags": tags, "description": format!("Number {n}")})
        })
        .collect();
    let made = server.manage("POST", "/api/monitors/batch", &json!(batch)).await.json();
    assert!(made["items"].as_array().unwrap().iter().all(|item| item["status"] == 201), "{made}");
    let mut seen = Vec::new();
    let mut uri = "/api/monitors?limit=10".to_owned();
    loop {
        let page = server.manage("GET", &uri, &NONE).await.json();
        seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["slug"].as_str().unwrap().to_owned()));
        match page["next_cursor"].as_str() {
            Some(cursor) => uri = format!("/api/monitors?limit=10&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(seen, (0..25).map(|n| format!("job-{n:02}")).collect::<Vec<_>>());
    let count = async |query: &str| {
        let page = server.manage("GET", &format!("/api/monitors?{query}"), &NONE).await.json();
        page["items"].as_array().unwrap().len()
    };
    assert_eq!((count("tag=even").await, count("tag=even,all").await, count("tag=even&tag=odd").await), (13, 13, 0));
    assert_eq!((count("status=new").await, count("status=up").await, count("q=NUMBER%2024").await), (25, 0, 1));
    for (query, field) in [("status=good", "status"), ("limit=0", "limit"), ("stauts=up", "stauts")] {
        assert_eq!(server.manage("GET", &format!("/api/monitors?{query}"), &NONE).await.wrong_fields(), [field]);
    }
    let tags = server.manage("GET", "/api/tags", &NONE).await.json();
    let items = json!([{"tag": "all", "monitors": 25, "down": 0}, {"tag": "even", "monitors": 13, "down": 0}]);
    assert_eq!(tags, json!({"items": items, "next_cursor": null}));
    assert_eq!(server.manage("GET", "/api/tags/", &NONE).await.status, 404);
}

#[tokio::test]
async fn a_batch_answers_each_item() {
    let server = Server::start().await;
    let batch = json!([wish("one"), {"slug": "two"}, wish("three"), wish("one"), 5]);
    let results = server.manage("POST", "/api/monitors/batch", &batch).await.json();
    let items = results["items"].as_array().unwrap();
    let statuses: Vec<_> = items.iter().map(|item| item["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [201, 400, 201, 400, 400]);
    assert_eq!(items[1]["problem"]["errors"][0]["field"], "schedule");
    let signed = json!([{"slug": "three", "schedule": {"every": "2h"}, "require_signature": true}]);
    for shown in [true, false] {
        let again = server.manage("POST", "/api/monitors/batch", &signed).await.json();
        assert_eq!(again["items"][0]["status"], 200);
        assert_eq!(again["items"][0]["monitor"]["signing_secret"].is_string(), shown, "a secret is shown once");
    }
    assert_eq!(server.manage("POST", "/api/monitors/batch", &wish("x")).await.status, 400);
    assert_eq!(server.manage("POST", "/api/monitors/batch", &json!(vec![wish("x"); 1001])).await.status, 400);
}

#[tokio::test]
async fn operations_on_a_monitor() {
    let server = Server::start().await;
    let token = server.manage("POST", "/api/monitors", &wish("job")).await.json()["token"].as_str().unwrap().to_owned();
    let paused = server.manage("POST", "/api/monitors/job/pause", &json!({"manual_resume": true})).await.json();
    assert_eq!((&paused["status"], &paused["deadline"]), (&json!("paused"), &NONE));
    assert_eq!(server.get(&format!("/ping/{token}")).await.header("heartbeat-status"), "paused");
    assert_eq!(server.last_ping("job").await["effect"], "ignored");
    assert_eq!(server.manage("POST", "/api/monitors/job/resume", &NONE).await.json()["status"], "new");
    assert_eq!(server.manage("POST", "/api/monitors/job/pause", &NONE).await.json()["status"], "paused");
    assert_eq!(server.get(&format!("/ping/{token}")).await.header("heartbeat-status"), "up");
    let wrong = server.manage("POST", "/api/monitors/job/pause", &json!({"manual": true})).await;
    assert_eq!(wrong.wrong_fields(), ["manual"]);

    let rotated = server.manage("POST", "/api/monitors/job/rotate-token", &json!({"overlap": "1h"})).await.json();
    let second = rotated["token"].as_str().unwrap().to_owned();
    assert_ne!(second, token);
    assert_eq!(
        (
            server.get(&format!("/ping/{token}")).await.status.as_u16(),
            server.get(&format!("/ping/{second}")).await.status.as_u16()
        ),
        (200, 200)
    );
    let third = server.manage("POST", "/api/monitors/job/rotate-token", &NONE).await.json()["token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        (
            server.get(&format!("/ping/{second}")).await.status.as_u16(),
            server.get(&format!("/ping/{third}")).await.status.as_u16()
        ),
        (404, 200)
    );
    let long = server.manage("POST", "/api/monitors/job/rotate-token", &json!({"overlap": "91d"})).await;
    assert_eq!(long.wrong_fields(), ["overlap"]);
}

#[tokio::test]
async fn the_history_of_a_monitor() {
    let server = Server::start().await;
    let token = server.manage("POST", "/api/monitors", &wish("job")).await.json()["token"].as_str().unwrap().to_owned();
    for end in ["", "/fail", "", "/log", ""] {
        server.get(&format!("/ping/{token}{end}")).await;
    }
    let page = server.manage("GET", "/api/monitors/job/pings?limit=2", &NONE).await.json();
    let numbers =
        |page: &Value| page["items"].as_array().unwrap().iter().map(|p| p["n"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!((numbers(&page), page["next_cursor"].as_str()), (vec![5, 4], Some("4")));
    let page = server.manage("GET", "/api/monitors/job/pings?limit=10&cursor=4", &NONE).await.json();
    assert_eq!((numbers(&page), &page["next_cursor"]), (vec![3, 2, 1], &NONE));
    assert_eq!(server.manage("GET", "/api/monitors/job/pings?cursor=x", &NONE).await.wrong_fields(), ["cursor"]);
    assert_eq!(server.manage("GET", "/api/monitors/job/pings/9/body", &NONE).await.status, 404);
    let events = server.manage("GET", "/api/monitors/job/events", &NONE).await.json();
    let states: Vec<_> = events["items"].as_array().unwrap().iter().map(|e| e["to"].as_str().unwrap()).collect();
    assert_eq!(states, ["up", "down", "up"]);
    let uptime = server.manage("GET", "/api/monitors/job/uptime?days=1", &NONE).await.json();
    assert_eq!(uptime["outages"], 1);
    // Lines of the history that are no change of state are no outages.
    server.get(&format!("/ping/{token}/fail")).await;
    let incidents = server.manage("GET", "/api/incidents?status=open", &NONE).await.json();
    let ack = format!("/api/incidents/{}/ack", incidents["items"][0]["id"].as_str().unwrap());
    assert_eq!(server.manage("POST", &ack, &NONE).await.status, 200);
    let uptime = server.manage("GET", "/api/monitors/job/uptime?days=1", &NONE).await.json();
    assert_eq!(uptime["outages"], 2);
    assert_eq!(server.manage("GET", "/api/monitors/job/uptime?days=0", &NONE).await.wrong_fields(), ["days"]);
}

#[tokio::test]
async fn heartbeats_are_counted() {
    let server = Server::start().await;
    let token = server.manage("POST", "/api/monitors", &wish("job")).await.json()["token"].as_str().unwrap().to_owned();
    for end in ["/start", "", "/fail?duration=2000", "?duration=500", "/log"] {
        assert_eq!(server.get(&format!("/ping/{token}{end}")).await.status, 200, "{end}");
    }
    let page = async |query: &str| {
        let found = server.manage("GET", &format!("/api/monitors/job/counts{query}"), &NONE).await;
        assert_eq!(found.status, 200, "{query}: {found:?}");
        found.json()
    };
    let sum = |page: &Value, field: &str| -> u64 {
        page["items"].as_array().unwrap().iter().map(|item| item[field].as_u64().unwrap()).sum()
    };
    for per in ["", "?per=day", "?per=hour"] {
        // An hour may begin between two heartbeats.
        let found = page(per).await;
        let each = ["heartbeats", "success", "start", "fail", "log", "report"].map(|field| sum(&found, field));
        assert_eq!(each, [5, 2, 1, 1, 1, 0], "{found}");
        assert_eq!(found["next_cursor"], NONE);
    }
    let day = page("").await["items"][0].clone();
    let (from, to) = (day["from"].as_str().unwrap(), day["to"].as_str().unwrap());
    assert!(from.ends_with("T00:00:00Z") && to.ends_with("T00:00:00Z") && from < to, "{day}");
    if day["heartbeats"] == 5 {
        assert_eq!((&day["durations"]["count"], &day["durations"]["max"]), (&json!(3), &json!("2s")), "{day}");
        assert_eq!(page(&format!("?from={from}&to={to}")).await["items"], json!([day]));
        assert_eq!(page(&format!("?to={from}")).await["items"], json!([]));
        assert_eq!(page("?cursor=0").await["items"], json!([]));
    }
    for (query, field) in [
        ("per=week", "per"),
        ("from=yesterday", "from"),
        ("to=2026-11-20", "to"),
        ("from=2026-11-20T08:00:00Z&to=2026-11-20T08:00:00Z", "to"),
        ("cursor=x", "cursor"),
        ("limit=0", "limit"),
        ("days=3", "days"),
    ] {
        let answer = server.manage("GET", &format!("/api/monitors/job/counts?{query}"), &NONE).await;
        assert_eq!(answer.wrong_fields(), [field], "{query}");
    }
    assert_eq!(server.manage("GET", "/api/monitors/nobody/counts", &NONE).await.status, 404);
}

#[tokio::test]
async fn what_a_file_declares_is_edited_there() {
    let server = Server::start().await;
    let mut spec = heartbeat_engine::MonitorSpec::new(
        "declared",
        heartbeat_engine::schedule::Schedule::every(std::time::Duration::from_secs(60)).unwrap(),
    );
    spec.declared_in = Some("heartbeat.toml".to_owned());
    server.engine.put(spec, heartbeat_engine::PutMode::Upsert).await.unwrap();
    for (method, body) in [("PUT", wish("declared")), ("PATCH", json!({"tags": []})), ("DELETE", NONE)] {
        let answer = server.manage(method, "/api/monitors/declared", &body).await;
        assert_eq!(answer.status, 409, "{method}");
        assert!(answer.json()["detail"].as_str().unwrap().contains("heartbeat.toml"));
    }
    let batch = server.manage("POST", "/api/monitors/batch", &json!([wish("declared")])).await.json();
    assert_eq!(batch["items"][0]["status"], 409);
    assert_eq!(server.manage("POST", "/api/monitors/declared/pause", &NONE).await.status, 200);
}
