//! Incidents: who takes care of them, what is said of them, and the report on them.

use std::time::Duration;

use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{NotificationKind, Timestamp};
use heartbeat_http::HttpSettings;
use serde_json::{Value, json};

use crate::server::{Answer, Server};

const NONE: Value = Value::Null;

async fn at_eight() -> Server {
    let now: Timestamp = "2026-11-20T08:00:00Z".parse().unwrap();
    Server::with(TokioClock::new(now), HttpSettings::default()).await
}

/// The URI of the newest incident of a monitor.
async fn incident(server: &Server, slug: &str) -> String {
    let list = server.manage("GET", &format!("/api/incidents?monitor={slug}&limit=1"), &NONE).await.json();
    format!("/api/incidents/{}", list["items"][0]["id"].as_str().unwrap())
}

async fn report(server: &Server, uri: &str, accept: &str) -> Answer {
    let key = format!("Bearer {}", server.admin);
    let headers = [("authorization", key.as_str()), ("accept", accept)];
    server.send("GET", uri, &headers, "").await
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_incident_reminds_nobody() {
    let server = at_eight().await;
    let wish = json!({
        "slug": "job", "schedule": {"every": "1d"}, "channels": ["ops"], "remind_every": "1h", "token": "token-of-job",
    });
    server.manage("POST", "/api/monitors", &wish).await;
    server.get("/ping/token-of-job/fail").await;
    assert_eq!(server.told().await.kind, NotificationKind::Down);
    let hour = Duration::from_secs(3600);
    let reminder = server.told_within(hour * 2).await.expect("a reminder");
    assert_eq!(reminder.kind, NotificationKind::Reminder);
    let uri = incident(&server, "job").await;
    let key = server.key("manage", &json!({"name": "on-call", "monitors": ["job"]})).await;
    let taken = server.with_key(&key, "POST", &format!("{uri}/ack"), &NONE).await;
    assert_eq!((taken.status.as_u16(), &taken.json()["acknowledged"]["by"]), (200, &json!("on-call")));
    let again = server.manage("POST", &format!("{uri}/ack"), &json!({"by": "somebody else"})).await;
    assert_eq!(
        (again.status.as_u16(), &again.json()["acknowledged"]["by"]),
        (200, &json!("on-call")),
        "the first stays"
    );
    assert!(server.told_within(hour * 5).await.is_none(), "nobody is reminded any more");
    let shown = server.manage("GET", "/api/monitors/job", &NONE).await.json();
    assert_eq!(shown["incident"]["acknowledged"]["by"], "on-call");
    assert!(server.get("/metrics").await.text().contains("heartbeat_incidents_acknowledged 1"));
    server.get("/ping/token-of-job").await;
    assert_eq!(server.told().await.kind, NotificationKind::Recovered);
    let late = server.manage("POST", &format!("{uri}/ack"), &json!({"by": "x"})).await;
    assert_eq!(late.status, 409, "it is over: {late:?}");
}

#[tokio::test]
async fn notes_are_written_while_it_lasts_and_afterwards() {
    let server = Server::start().await;
    server.monitor("job", "token-of-job").await;
    server.get("/ping/token-of-job/fail").await;
    let uri = incident(&server, "job").await;
    let noted = server.manage("POST", &format!("{uri}/note"), &json!({"text": "looking", "by": "ann"})).await;
    assert_eq!(noted.status, 200, "{noted:?}");
    server.get("/ping/token-of-job").await;
    assert_eq!(server.manage("POST", &format!("{uri}/note"), &json!({"text": "was\nthe disk"})).await.status, 200);
    let notes = server.manage("GET", &uri, &NONE).await.json()["notes"].clone();
    assert_eq!((&notes[0]["by"], &notes[0]["text"]), (&json!("ann"), &json!("looking")));
    assert_eq!((&notes[1]["text"], notes.as_array().unwrap().len()), (&json!("was\nthe disk"), 2));
    for (path, body, fields) in [
        ("note", json!({}), vec!["text"]),
        ("note", json!({"text": "  "}), vec!["text"]),
        ("note", json!({"text": 1, "by": 2, "at": 3}), vec!["text", "by", "at"]),
        ("note", json!({"text": "x".repeat(4001)}), vec!["text"]),
        ("note", json!({"text": "x", "by": "a\u{7}"}), vec!["by"]),
        ("ack", json!({"by": ""}), vec!["by"]),
        ("ack", json!({"who": "ann"}), vec!["who"]),
    ] {
        let answer = server.manage("POST", &format!("{uri}/{path}"), &body).await;
        let fields: Vec<_> = fields.iter().map(ToString::to_string).collect();
        assert_eq!((answer.status.as_u16(), answer.wrong_fields()), (400, fields), "{body}");
    }
    let (read, other) = (server.key("read", &json!({})).await, server.key("manage", &json!({"tags": ["x"]})).await);
    for path in ["ack", "note", "report"] {
        let method = if path == "report" { "GET" } else { "POST" };
        let body = if path == "note" { json!({"text": "x"}) } else { NONE };
        assert_eq!(server.with_key(&other, method, &format!("{uri}/{path}"), &body).await.status, 403, "{path}");
        let by_reader = if path == "report" { 200 } else { 403 };
        assert_eq!(server.with_key(&read, method, &format!("{uri}/{path}"), &body).await.status, by_reader, "{path}");
        for id in ["x", "f2a6c6f0-41bb-4e9f-8a6a-7c1f0e5d3b21"] {
            let answer = server.manage(method, &format!("/api/incidents/{id}/{path}"), &body).await;
            assert_eq!(answer.status, 404, "{path}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_report_tells_everything_in_order() {
    let server = at_eight().await;
    server.monitor("job", "token-of-job").await;
    let minute = Duration::from_secs(60);
    for path in ["", "?msg=fine", "/log?msg=hm", "/fail?msg=disk+full", "/3", "/start"] {
        tokio::time::sleep(minute).await;
        assert_eq!(server.get(&format!("/ping/token-of-job{path}")).await.status, 200);
    }
    let uri = incident(&server, "job").await;
    tokio::time::sleep(minute).await;
    server.manage("POST", &format!("{uri}/ack"), &json!({"by": "ann"})).await;
    server.manage("POST", &format!("{uri}/note"), &json!({"by": "ann", "text": "cleaning up"})).await;
    tokio::time::sleep(minute).await;
    for _ in 0..3 {
        server.get("/ping/token-of-job").await;
        tokio::time::sleep(minute).await;
    }
    let report = server.manage("GET", &format!("{uri}/report"), &NONE).await;
    assert_eq!((report.status.as_u16(), report.header("content-type")), (200, "application/json"));
    let report = report.json();
    assert_eq!(
        (&report["incident"]["cause"], &report["incident"]["monitor"]["slug"]),
        (&json!("failed"), &json!("job"))
    );
    let durations = json!({"until_detected": "0s", "until_acknowledged": "3m", "until_closed": "4m", "lasted": "4m"});
    assert_eq!(report["durations"], durations);
    let timeline: Vec<_> = report["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| format!("{} {}", &entry["at"].as_str().unwrap()[11..16], entry["text"].as_str().unwrap()))
        .collect();
    let told = |at: &str, kind: &str| {
        timeline
            .iter()
            .position(|line| line.starts_with(&format!("{at} {kind} to ops: delivered at 2026-11-20T{at}:00")))
    };
    assert!(told("08:04", "monitor.down").is_some() && told("08:08", "monitor.recovered").is_some(), "{timeline:#?}");
    let without: Vec<_> = timeline.iter().filter(|line| !line.contains(" to ops: ")).map(String::as_str).collect();
    assert_eq!(
        without,
        [
            "08:01 heartbeat 1: success",
            "08:01 became up: first heartbeat",
            "08:02 heartbeat 2: success: fine",
            "08:03 heartbeat 3: log: hm",
            "08:04 heartbeat 4: fail: disk full",
            "08:04 went down: failed: the job failed: disk full",
            "08:05 heartbeat 5: fail, exit status 3",
            "08:06 heartbeat 6: start",
            "08:07 acknowledged by ann",
            "08:07 ann wrote: cleaning up",
            "08:08 heartbeat 7: success, took 2 min",
            "08:08 closed: recovered",
            "08:09 heartbeat 8: success",
        ]
    );
    assert_eq!(report["timeline"][4]["heartbeat"]["n"], 4);
    assert_eq!(report["left_out"], json!({"heartbeats": 0, "changes": 0, "notifications": 0}));
}

#[tokio::test]
async fn the_form_of_the_report_is_negotiated() {
    let server = Server::start().await;
    server.monitor("job", "token-of-job").await;
    server.get("/ping/token-of-job/fail").await;
    let uri = format!("{}/report", incident(&server, "job").await);
    for (accept, query, kind) in [
        ("*/*", "", "application/json"),
        ("text/markdown", "", "text/markdown; charset=utf-8"),
        ("text/html, text/*;q=0.5", "", "text/markdown; charset=utf-8"),
        ("text/markdown;q=0.1, application/json", "", "application/json"),
        ("application/json", "?format=markdown", "text/markdown; charset=utf-8"),
        ("text/html", "?format=json", "application/json"),
    ] {
        let answer = report(&server, &format!("{uri}{query}"), accept).await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("content-type"), answer.header("vary")),
            (200, kind, "accept")
        );
    }
    let refused = report(&server, &uri, "text/html").await;
    assert_eq!(refused.status, 406);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("`application/json` or `text/markdown`"), "{detail}");
    assert_eq!(report(&server, &format!("{uri}?format=pdf&x=1"), "*/*").await.wrong_fields(), ["format", "x"]);
}

#[tokio::test]
async fn what_hostile_jobs_send_stays_text_in_the_report() {
    let server = Server::start().await;
    let wish = json!({
        "slug": "job", "name": "<img src=x> | `job` *", "schedule": {"every": "1h"}, "channels": ["ops"], "token": "token-of-job",
    });
    server.manage("POST", "/api/monitors", &wish).await;
    let hostile = "a|b `c` <script>alert(1)</script>\n\n# Heading\n| x | y |\n[click](javascript:alert) \u{202e}\u{0}";
    let answer = server.send("POST", "/ping/token-of-job/fail", &[], hostile).await;
    assert_eq!(answer.status, 200);
    let uri = incident(&server, "job").await;
    server
        .manage("POST", &format!("{uri}/note"), &json!({"text": hostile.replace('\0', ""), "by": "<b>eve</b>"}))
        .await;
    let markdown = report(&server, &format!("{uri}/report"), "text/markdown").await.text();
    assert!(!markdown.contains("<script") && !markdown.contains("<b>") && !markdown.contains("<img"), "{markdown}");
    assert!(!markdown.contains('\u{202e}') && !markdown.contains('\0') && !markdown.contains("[click]"), "{markdown}");
    let headings = markdown.lines().filter(|line| line.starts_with('#')).count();
    assert_eq!(headings, 2, "{markdown}");
    for line in markdown.lines().filter(|line| line.starts_with('|')) {
        let bars = line.replace("\\|", "").matches('|').count();
        assert_eq!(bars, 3, "{line}");
    }
    assert!(markdown.contains("eve") && markdown.contains("a\\|b \\`c\\` &lt;script&gt;"), "{markdown}");
    let shown = report(&server, &format!("{uri}/report"), "application/json").await;
    assert_eq!(shown.status, 200);
}

#[tokio::test]
async fn the_report_names_a_monitor_that_was_removed_as_its_messages_did() {
    let server = Server::start().await;
    server.monitor("job", "token-of-job").await;
    server.get("/ping/token-of-job/fail").await;
    server.told().await;
    let uri = format!("{}/report", incident(&server, "job").await);
    assert_eq!(server.manage("DELETE", "/api/monitors/job", &NONE).await.status, 204);
    let told = report(&server, &uri, "application/json").await.json();
    assert_eq!(
        (&told["incident"]["monitor"]["slug"], &told["incident"]["closing"]),
        (&json!("job"), &json!("removed"))
    );
    let text = report(&server, &uri, "text/markdown").await.text();
    assert!(text.starts_with("# Incident of job\n"), "{text}");
    assert!(text.contains("| Monitor | `job`, severity warning, removed since |"), "{text}");
}
