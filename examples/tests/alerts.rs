//! Silence, reports and recovery on the whole path: a real mail and a real webhook, once each.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use serde_json::{Value, json};
use support::{KEY, Receiver, Server, folder, settings};

fn is_webhook(message: &Value, kind: &str, slug: &str) -> bool {
    message["body"]["type"] == kind && message["body"]["data"]["monitor"]["slug"] == slug
}

fn is_mail(message: &Value, word: &str, slug: &str) -> bool {
    let subject = message["subject"].as_str().unwrap_or_default().to_lowercase();
    message["received"] == "mail" && subject.contains(word) && subject.contains(slug)
}

#[tokio::test]
async fn silence_and_recovery_are_told_once_by_mail_and_by_webhook() {
    let folder = folder();
    let mut receiver = Receiver::start().await;
    let monitor = "[[monitor]]\nslug = \"cert-sync\"\nschedule = { every = \"1s\" }\ngrace = \"1s\"\narm = \"first_ping\"\n\
                   channels = [\"hook\", \"mail\"]\n";
    let file = settings(folder.path(), &format!("{}{monitor}", receiver.channels()));
    let server = Server::start(folder.path(), &["--config", file.to_str().expect("a path")]).await;
    let ping = format!("/ping/{}", server.token("cert-sync").await);

    let up = server.get(&ping).await;
    assert_eq!((up.status, up.text.as_str(), &up.headers["heartbeat-status"]), (200, "OK", &"up".parse().unwrap()));
    let down = receiver.until("the webhook", |m| is_webhook(m, "monitor.down", "cert-sync")).await;
    receiver.until("the mail", |m| is_mail(m, "down", "cert-sync")).await;
    // A log changes nothing, so the monitor stays down; a success then ends it.
    assert_eq!(server.get(&format!("{ping}/log")).await.status, 200);
    let open = server.look("/api/incidents?status=open&monitor=cert-sync").await;
    assert_eq!(open["items"].as_array().map(Vec::len), Some(1), "{open}");
    assert_eq!(open["items"][0]["id"], down["body"]["data"]["incident"]["id"]);
    assert_eq!(server.get(&ping).await.status, 200);
    receiver.until("the recovery by webhook", |m| is_webhook(m, "monitor.recovered", "cert-sync")).await;
    receiver.until("the recovery by mail", |m| m["received"] == "mail" && !is_mail(m, "down", "cert-sync")).await;
    // It may fall silent once more before it is paused: that is another incident.
    assert_eq!(
        server.api("POST", "/api/monitors/cert-sync/pause", Some(json!({"manual_resume": true}))).await.status,
        200
    );
    server.stop().await;

    let incident = &down["body"]["data"]["incident"]["id"];
    for kind in ["monitor.down", "monitor.recovered"] {
        let count = receiver.count(|m| m["body"]["type"] == kind && m["body"]["data"]["incident"]["id"] == *incident);
        assert_eq!(count, 1, "{kind}");
    }
    let mut ids: Vec<_> =
        receiver.received.iter().map(|m| (m["body"]["data"]["id"].clone(), m["message_id"].clone())).collect();
    ids.sort_by_key(|id| format!("{id:?}"));
    let all = ids.len();
    ids.dedup();
    assert_eq!(ids.len(), all, "each message came once");
    let headers = &down["headers"];
    assert_eq!(headers["webhook-id"], headers["idempotency-key"]);
    assert_eq!(headers["webhook-id"], down["body"]["data"]["id"]);
}

#[tokio::test]
async fn every_protocol_is_heard() {
    let folder = folder();
    let mut receiver = Receiver::start().await;
    let monitor = "[[monitor]]\nslug = \"60y4E\"\nschedule = { every = \"1h\" }\nchannels = [\"hook\"]\n";
    let file = settings(folder.path(), &format!("{}{monitor}", receiver.channels()));
    let server = Server::start(folder.path(), &["--config", file.to_str().expect("a path")]).await;
    let token = server.token("60y4E").await;
    let kener = json!({"status": "UP", "latency": "12", "tag": "60y4E"});
    let post = |path: &str| server.request("POST", path);
    let requests = [
        ("native", server.request("GET", &format!("/ping/{token}")), "OK"),
        ("heartbeats", post("/api/pings/?service=60y4E&&data=123").basic_auth("root", Some(KEY)), "\"service\":"),
        ("Kener", post("/api/status").bearer_auth(KEY).body(kener.to_string()), "\"status\":200"),
        ("Tianji", post(&format!("/api/push/{token}?status=up&msg=OK&value=5")), "\"ok\":true"),
        ("Uptime Kuma", server.request("GET", &format!("/api/push/{token}?status=up&msg=OK&ping=12")), "\"ok\":true"),
        ("Healthchecks", post(&format!("/ping/{token}/0")).body("all is well"), "OK"),
    ];
    for (count, (protocol, request, expected)) in (1..).zip(requests) {
        let answer = server.send(request.header("Content-Type", "application/json")).await;
        assert_eq!(answer.status, 200, "{protocol}: {}", answer.text);
        assert!(answer.text.contains(expected), "{protocol}: {}", answer.text);
        let monitor = server.look("/api/monitors/60y4E").await;
        assert_eq!((&monitor["ping_count"], &monitor["status"]), (&json!(count), &json!("up")), "{protocol}");
    }
    let report = receiver.until("the report", |m| is_webhook(m, "monitor.report", "60y4E")).await;
    assert!(report["body"]["data"]["message"].as_str().expect("a message").contains("123"), "{report}");
    server.stop().await;
}

#[tokio::test]
async fn the_server_reports_to_another_one() {
    let (here, there) = (folder(), folder());
    let other = Server::start(there.path(), &["--storage", "memory:"]).await;
    let wish = json!({"slug": "watcher", "schedule": {"every": "5m"}, "arm": "first_ping"});
    assert_eq!(other.api("POST", "/api/monitors", Some(wish)).await.status, 201);
    let url = other.path(&format!("/ping/{}", other.token("watcher").await));
    let file = settings(here.path(), &format!("[self]\nping_url = \"{url}\"\n"));
    let server = Server::start(here.path(), &["--config", file.to_str().expect("a path")]).await;
    support::within("the report of the other server", async {
        while other.look("/api/monitors/watcher").await["status"] != "up" {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    server.stop().await;
    other.stop().await;
}
