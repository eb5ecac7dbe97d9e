//! Native heartbeats, which are also those of Healthchecks.

use serde_json::{Value, json};

use crate::server::Server;

const TOKEN: &str = "0b0e1c3c-8d1e-4c65-9d53-6fa1a2b3c4d5";
const RUN: &str = "f2a6c6f0-41bb-4e9f-8a6a-7c1f0e5d3b21";

#[tokio::test]
async fn every_signal_by_every_method() {
    let server = Server::start().await;
    server.monitor("job", TOKEN).await;
    for (end, signal) in [
        ("", "success"),
        ("/", "success"),
        ("/start", "start"),
        ("/fail", "fail"),
        ("/log", "log"),
        ("/report", "report"),
        ("/0", "success"),
        ("/007", "fail"),
        ("/255", "fail"),
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let answer = server.send(method, &format!("/ping/{TOKEN}{end}?msg=x"), &[], "").await;
            assert_eq!(answer.status, 200, "{method} {end}");
            assert_eq!(answer.text(), if method == "HEAD" { "" } else { "OK" });
            assert_eq!(answer.header("content-length"), "2");
            let ping = server.last_ping("job").await;
            assert_eq!(ping["signal"], signal, "{end}");
        }
    }
    assert_eq!(server.last_ping("job").await["exit_status"], 255);
}

#[tokio::test]
async fn a_success_has_its_headers() {
    let server = Server::start().await;
    server.monitor("job", TOKEN).await;
    let answer = server.get(&format!("/ping/{TOKEN}")).await;
    assert_eq!(answer.text(), "OK");
    assert_eq!(answer.header("heartbeat-status"), "up");
    assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(answer.header("access-control-allow-origin"), "*");
    assert_eq!(answer.header("ping-body-limit"), "10000");
    assert!(answer.header("cache-control").contains("no-store"));
    assert!(!answer.header("x-request-id").is_empty());
    let answer = server.get(&format!("/ping/{TOKEN}/fail")).await;
    assert_eq!(answer.header("heartbeat-status"), "down");
}

#[tokio::test]
async fn everything_a_heartbeat_carries_is_kept() {
    let server = Server::start().await;
    server.monitor("job", TOKEN).await;
    let ts = server.engine.now().as_secs() - 30;
    let uri = format!("/ping/{TOKEN}?rid={}&msg=all+good%21&value=1.5&latency=250&ts={ts}", RUN.to_uppercase());
    let headers = [("user-agent", "curl/8"), ("x-request-id", "abc-1")];
    let answer = server.send("POST", &uri, &headers, "output").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-request-id")), (200, "abc-1"));
    let ping = server.last_ping("job").await;
    assert_eq!(ping["rid"], RUN);
    assert_eq!(ping["message"], "all good!");
    assert_eq!(ping["value"], 1.5);
    assert_eq!(ping["duration"], "250ms");
    assert_eq!(ping["user_agent"], "curl/8");
    assert_eq!((&ping["body_bytes"], &ping["body_cut"]), (&json!(6), &json!(false)));
    assert!(ping["ts"].is_string());
    let body = server.manage("GET", &format!("/api/monitors/job/pings/{}/body", ping["n"]), &Value::Null).await;
    assert_eq!((body.text().as_str(), body.header("content-type")), ("output", "text/plain; charset=utf-8"));
}

#[tokio::test]
async fn bodies_are_cut_and_refused_by_their_limits() {
    let server = Server::start().await;
    server.monitor("job", TOKEN).await;
    let uri = format!("/ping/{TOKEN}");
    for (bytes, status, kept, cut) in
        [(10_000, 200, 10_000, false), (10_001, 200, 10_000, true), (1_000_000, 200, 10_000, true)]
    {
        assert_eq!(server.send("POST", &uri, &[], "x".repeat(bytes)).await.status, status);
        let ping = server.last_ping("job").await;
        assert_eq!((&ping["body_bytes"], &ping["body_cut"]), (&json!(kept), &json!(cut)));
    }
    let refused = server.send("POST", &uri, &[], "x".repeat(1_000_001)).await;
    assert_eq!(refused.status, 413);
    assert_eq!(refused.text(), "the body is too large; at most 1000000 bytes are taken");
    assert_eq!(server.last_ping("job").await["n"], 3);
}

#[tokio::test]
async fn what_is_wrong_is_said_in_plain_text() {
    let server = Server::start().await;
    server.monitor("job", TOKEN).await;
    for (end, status, text) in [
        ("/256", 400, "invalid url format"),
        ("/99999999999999999999", 400, "invalid url format"),
        ("/Foo", 400, "invalid url format"),
        ("/success", 404, "not found"),
        ("/-1", 404, "not found"),
        ("?rid=abc", 400, "invalid uuid format"),
        ("?rid=", 400, "invalid uuid format"),
        ("/log?rid=0b0e1c3c8d1e4c659d536fa1a2b3c4d5", 400, "invalid uuid format"),
        ("?value=abc", 400, "invalid value: `abc` is not a number"),
        ("?value=inf", 400, "invalid value: `inf` is not a number"),
        ("?duration=-1", 400, "invalid duration: `-1` is not a number of milliseconds from 0"),
        ("?ts=soon", 400, "invalid ts: `soon` is not unix seconds or an RFC 3339 time"),
    ] {
        let answer = server.get(&format!("/ping/{TOKEN}{end}")).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (status, text), "{end}");
        assert_eq!(answer.header("access-control-allow-origin"), "");
        assert_eq!(answer.header("ping-body-limit"), "");
    }
    let future = server.get(&format!("/ping/{TOKEN}?ts=32503680000")).await;
    assert_eq!(future.status, 400);
    assert!(future.text().starts_with("invalid ts: "), "{}", future.text());
    for unknown in ["/ping/unknown-token", "/ping/unknown-token/fail", "/ping/no/such/fail", "/ping/x"] {
        let answer = server.get(unknown).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (404, "not found"), "{unknown}");
    }
    let answer = server.send("DELETE", &format!("/ping/{TOKEN}"), &[], "").await;
    assert_eq!(answer.status, 405);
    assert!(answer.header("allow").contains("POST"));
    assert!(server.last_ping("job").await.is_null());
}

#[tokio::test]
async fn the_last_run_id_wins() {
    let server = Server::start().await;
    server.monitor("job", TOKEN).await;
    assert_eq!(server.get(&format!("/ping/{TOKEN}?rid=abc&rid={RUN}")).await.status, 200);
    assert_eq!(server.get(&format!("/ping/{TOKEN}?rid={RUN}&rid=abc")).await.status, 400);
}

#[tokio::test]
async fn the_body_speaks_for_a_report_without_a_message() {
    let server = Server::start().await;
    server.monitor("job", TOKEN).await;
    server.send("POST", &format!("/ping/{TOKEN}/report"), &[], "disk at 95 %\n").await;
    let told = server.told().await;
    assert_eq!(told.kind.wire_name(), "monitor.report");
    assert!(told.message.contains("disk at 95 %"), "{}", told.message);
    server.send("POST", &format!("/ping/{TOKEN}"), &[], "a log").await;
    assert!(server.last_ping("job").await["message"].is_null());
}

#[tokio::test]
async fn by_ping_key_and_slug() {
    let server = Server::start().await;
    server.monitor("job", TOKEN).await;
    let key = server.key("ping", &json!({})).await;
    assert_eq!(server.get(&format!("/ping/{key}/job/start?rid={RUN}")).await.text(), "OK");
    assert_eq!(server.get(&format!("/ping/{key}/job/start")).await.text(), "OK");
    let record = server.engine.find("job").unwrap();
    assert_eq!(record.health.runs.len(), 2);
    // Healthchecks ends every run with a success that names none (S4.6).
    assert_eq!(server.get(&format!("/ping/{key}/job")).await.text(), "OK");
    assert!(server.engine.find("job").unwrap().health.runs.is_empty());
    for (end, status, text) in [
        ("job/", 404, ""),
        ("nothing", 404, "not found"),
        ("nothing?create=true", 404, "not found"),
        ("Nothing", 400, "invalid url format"),
        ("Nothing?create=1", 400, "invalid url format"),
        ("new?create=1&rid=bad", 400, "invalid uuid format"),
        ("new/999?create=1", 400, "invalid url format"),
    ] {
        let answer = server.get(&format!("/ping/{key}/{end}")).await;
        assert_eq!(answer.status, status, "{end}");
        if !text.is_empty() {
            assert_eq!(answer.text(), text, "{end}");
        }
    }
    assert!(server.engine.find("new").is_none(), "a refused heartbeat makes no monitor");
}

#[tokio::test]
async fn a_monitor_is_made_on_demand() {
    let server = Server::start().await;
    let key = server.key("ping", &json!({})).await;
    let answer = server.get(&format!("/ping/{key}/nightly/fail?create=1")).await;
    assert_eq!((answer.status.as_u16(), answer.text().as_str()), (201, "Created"));
    let made = server.manage("GET", "/api/monitors/nightly", &Value::Null).await.json();
    assert_eq!(
        (&made["schedule"], &made["grace"], &made["status"]),
        (&json!({"every": "1d"}), &json!("1h"), &json!("down"))
    );
    assert_eq!(made["channels"], json!(["ops"]));
    assert_eq!(server.get(&format!("/ping/{key}/nightly?create=1")).await.text(), "OK");
    for other in [server.key("ping", &json!({"monitors": ["job"]})).await, server.admin.clone(), "x".repeat(20)] {
        let answer = server.get(&format!("/ping/{other}/more?create=1")).await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (404, "not found"));
    }
}
