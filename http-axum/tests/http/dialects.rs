//! Each dialect: success, unknown monitor, bad key, bad parameters, word for word.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::server::{Answer, Server};

const TOKEN: &str = "ul7uH9FfBzLXnAFdRVQvL2WAuoQPCsKp";

fn basic(key: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("root:{key}")))
}

fn said(answer: &Answer) -> (u16, Value) {
    assert_eq!(answer.header("content-type"), "application/json");
    (answer.status.as_u16(), answer.json())
}

#[tokio::test]
async fn heartbeats_reports_data_at_once() {
    let server = Server::start().await;
    server.monitor("60y4E", TOKEN).await;
    let key = server.key("ping", &json!({})).await;
    let headers = [("authorization", basic(&key)), ("user-agent", "curl/7.58.0".to_owned())];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = server.send("POST", "/api/pings/?service=60y4E&&data=123", &headers, "").await;
    let (status, body) = said(&answer);
    assert_eq!(status, 200);
    assert_eq!(body["id"], 1);
    assert_eq!((&body["service"], &body["data"], &body["ua"]), (&json!("60y4E"), &json!("123"), &json!("curl/7.58.0")));
    assert_eq!(body["created"].as_str().unwrap().len(), "2018-03-26 08:12:00".len());
    let told = server.told().await;
    assert_eq!(told.kind.wire_name(), "monitor.report");
    assert!(told.message.contains("123"));
    assert_eq!(server.last_ping("60y4E").await["message"], "123");
    for blank in ["&&data=", "", "&data=%20"] {
        let answer = server.send("POST", &format!("/api/pings/?service=60y4E{blank}"), &headers, "").await;
        assert_eq!(answer.status, 200);
        assert_eq!(server.last_ping("60y4E").await["signal"], "success");
    }
}

#[tokio::test]
async fn heartbeats_refuses_as_its_original() {
    let server = Server::start().await;
    server.monitor("60y4E", TOKEN).await;
    let uri = "/api/pings/?service=60y4E&&data=";
    let answer = server.send("POST", uri, &[], "").await;
    assert_eq!(answer.header("www-authenticate"), "Basic realm=\"api\"");
    assert_eq!(said(&answer), (401, json!({"detail": "Authentication credentials were not provided."})));
    for wrong in [basic("wrong"), "Basic !".to_owned(), "Token wrong".to_owned()] {
        let answer = server.send("POST", uri, &[("authorization", &wrong)], "").await;
        assert_eq!(answer.header("www-authenticate"), "Basic realm=\"api\"");
        assert_eq!(said(&answer), (401, json!({"detail": "Invalid username/password."})));
    }
    let admin = basic(&server.admin);
    for unknown in ["?service=60y4X&&data=", "?data=1", ""] {
        let answer = server.send("POST", &format!("/api/pings/{unknown}"), &[("authorization", &admin)], "").await;
        assert_eq!(said(&answer), (404, json!({"detail": "Not found."})));
    }
    let other = server.key("ping", &json!({"monitors": ["other"]})).await;
    let answer = server.send("POST", uri, &[("authorization", &format!("Token {other}"))], "").await;
    assert_eq!(answer.status, 403);
    assert_eq!(server.send("POST", "/api/pings?service=60y4E", &[("authorization", &admin)], "").await.status, 404);
    assert_eq!(server.send("GET", "/api/pings/?service=60y4E", &[("authorization", &admin)], "").await.status, 405);
    assert!(server.last_ping("60y4E").await.is_null());
}

#[tokio::test]
async fn push_answers_tianji_and_kuma_at_once() {
    let server = Server::start().await;
    server.monitor("job", TOKEN).await;
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] {
        let answer = server.send(method, &format!("/api/push/{TOKEN}?status=up&msg=OK&ping=12.5"), &[], "").await;
        assert_eq!(answer.status, 200, "{method}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
    }
    let ping = server.last_ping("job").await;
    assert_eq!((&ping["n"], &ping["duration"], &ping["message"]), (&json!(6), &json!("13ms"), &json!("OK")));
    let answer = server.get(&format!("/api/push/{TOKEN}/?status=down&msg=disk+full&value=7")).await;
    let (status, body) = said(&answer);
    assert_eq!((status, &body["ok"], &body["message"]), (200, &json!(true), &json!("Push received successfully")));
    assert!(body["msg"].is_string());
    let ping = server.last_ping("job").await;
    assert_eq!(
        (&ping["signal"], &ping["message"], &ping["value"]),
        (&json!("fail"), &json!("disk full"), &json!(null))
    );
    assert_eq!(server.told().await.kind.wire_name(), "monitor.down");
    assert_eq!(server.get(&format!("/api/push/{TOKEN}?value=42&ping=")).await.status, 200);
    assert_eq!(server.last_ping("job").await["value"], 42.0);
    let preflight = server.send("OPTIONS", &format!("/api/push/{TOKEN}"), &[], "").await;
    assert_eq!(preflight.status, 200);
    assert_eq!(server.last_ping("job").await["n"], 8, "a preflight is no heartbeat");
}

#[tokio::test]
async fn push_refuses_as_its_originals() {
    let server = Server::start().await;
    server.monitor("job", TOKEN).await;
    let (status, body) = said(&server.get("/api/push/unknown-token?status=up").await);
    assert_eq!((status, &body["ok"]), (404, &json!(false)));
    assert_eq!(body["msg"], "Monitor not found or not active.");
    assert_eq!(body["error"], "Error: Monitor not found or not active");
    for ping in ["-1", "100000000001"] {
        let (status, body) = said(&server.get(&format!("/api/push/{TOKEN}?ping={ping}")).await);
        assert_eq!((status, &body["ok"]), (404, &json!(false)));
        assert_eq!(body["msg"], "Invalid ping value. Must be between 0 and 100000000000 ms.");
    }
    for value in ["abc", "1.5", "9999999999"] {
        let (status, body) = said(&server.get(&format!("/api/push/{TOKEN}?value={value}")).await);
        assert_eq!((status, &body["ok"]), (404, &json!(false)), "{value}");
    }
    let (status, body) = said(&server.get(&format!("/api/push/{TOKEN}?msg=a&msg=b")).await);
    assert_eq!((status, &body["message"]), (422, &json!("Invalid Parameters")));
    let error =
        json!({"type": "field", "value": ["a", "b"], "msg": "Invalid value", "path": "msg", "location": "query"});
    assert_eq!(body["errors"], json!([error]));
    assert!(server.last_ping("job").await.is_null());
}

#[tokio::test]
async fn kener_status_push() {
    let server = Server::start().await;
    server.monitor("job", TOKEN).await;
    let key = server.key("ping", &json!({})).await;
    let now = server.engine.now().as_secs();
    let body = json!({"status": "UP", "latency": "12", "timestampInSeconds": now, "tag": "job", "extra": 1});
    let answer = server.with_key(&key, "POST", "/api/status", &body).await;
    let minute = now - now % 60;
    assert_eq!(said(&answer), (200, json!({"status": 200, "message": format!("success at {minute}")})));
    let ping = server.last_ping("job").await;
    assert_eq!((&ping["signal"], &ping["duration"]), (&json!("success"), &json!("12ms")));

    let send = async |status: &str| {
        let body = json!({"status": status, "latency": null, "tag": "job"});
        // A bare key is taken as well.
        let answer = server.send("POST", "/api/status", &[("authorization", &key)], body.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        server.last_ping("job").await
    };
    let degraded = send("DEGRADED").await;
    assert_eq!((&degraded["signal"], &degraded["degraded"]), (&json!("report"), &json!(true)));
    assert_eq!(server.told().await.kind.wire_name(), "monitor.report");
    let again = send("DEGRADED").await;
    assert_eq!((&again["signal"], &again["degraded"]), (&json!("success"), &json!(true)));
    assert_eq!(send("DOWN").await["signal"], "fail");
    assert_eq!(server.told().await.kind.wire_name(), "monitor.down");
    assert_eq!(send("UP").await["degraded"], false);
    assert_eq!(server.told().await.kind.wire_name(), "monitor.recovered");
}

#[tokio::test]
async fn kener_status_refusals_in_its_order() {
    let server = Server::start().await;
    server.monitor("job", TOKEN).await;
    let now = server.engine.now().as_secs();
    for (body, text) in [
        (json!({}), "status missing"),
        (json!({"status": "up", "latency": 1, "tag": "job"}), "status missing"),
        (json!({"status": "UP", "tag": "job"}), "latency missing or not a number"),
        (json!({"status": "UP", "latency": "fast", "tag": "job"}), "latency missing or not a number"),
        (json!({"status": "UP", "latency": 1, "timestampInSeconds": "x"}), "timestampInSeconds not a number"),
        (json!({"status": "UP", "latency": 1, "timestampInSeconds": now + 200}), "timestampInSeconds is in future"),
        (json!({"status": "UP", "latency": 1, "timestampInSeconds": 1}), "timestampInSeconds is older than 90days"),
        (json!({"status": "UP", "latency": 1, "tag": "nothing"}), "no monitor with tag found"),
        (json!({"status": "UP", "latency": 1}), "no monitor with tag found"),
        (json!([]), "status missing"),
    ] {
        let answer = server.manage("POST", "/api/status", &body).await;
        assert_eq!(said(&answer), (400, json!({"error": text, "status": 400})), "{body}");
    }
    let wrong = server.with_key("wrong", "POST", "/api/status", &json!({"status": "UP"})).await;
    assert!(wrong.header("www-authenticate").starts_with("Bearer"));
    assert_eq!(said(&wrong), (401, json!({"error": "invalid token"})));
    assert_eq!(said(&server.send("POST", "/api/status", &[], "{}").await), (401, json!({"error": "invalid token"})));
    assert_eq!(server.send("POST", "/api/status", &[("x-api-key", &server.admin)], "{").await.status, 400);
}

#[tokio::test]
async fn kener_status_read() {
    let server = Server::start().await;
    server.monitor("job", TOKEN).await;
    server.get(&format!("/ping/{TOKEN}")).await;
    let answer = server.manage("GET", "/api/status?tag=job", &Value::Null).await.json();
    assert_eq!(answer["status"], "UP");
    assert!(answer["uptime"].is_string() && answer["last_updated_at"].is_i64());
    let missing = server.manage("GET", "/api/status", &Value::Null).await;
    assert_eq!(said(&missing), (400, json!({"error": "tag missing"})));
    let unknown = server.manage("GET", "/api/status?tag=x", &Value::Null).await;
    assert_eq!(said(&unknown), (200, json!({"error": "no monitor with tag found", "status": 400})));
    assert_eq!(server.get("/api/status?tag=job").await.status, 401);
}

#[tokio::test]
async fn kener_heartbeat_urls() {
    let server = Server::start().await;
    server.monitor("my-job", TOKEN).await;
    for (uri, status, body) in [
        (format!("/ext/heartbeat/my-job/{TOKEN}"), 200, json!({"status": "OK"})),
        (format!("/ext/heartbeat/my-job:{TOKEN}"), 200, json!({"status": "OK"})),
        (format!("/api/heartbeat/my-job:{TOKEN}"), 200, json!({"status": "OK"})),
        (format!("/ext/heartbeat/other/{TOKEN}"), 400, json!({"error": "Monitor not found"})),
        ("/ext/heartbeat/my-job/wrong".to_owned(), 400, json!({"error": "Invalid heartbeat secret"})),
        ("/ext/heartbeat/my-job:wrong".to_owned(), 400, json!({"error": "Invalid heartbeat secret"})),
        ("/ext/heartbeat/my-job".to_owned(), 400, json!({"error": "Tag and secret are required"})),
        ("/api/heartbeat/my-job:wrong".to_owned(), 400, json!({"error": "Invalid heartbeat url"})),
        (format!("/api/heartbeat/other:{TOKEN}"), 400, json!({"error": "Invalid heartbeat url"})),
        ("/api/heartbeat/my-job".to_owned(), 400, json!({"error": "Invalid url"})),
        (format!("/api/heartbeat/my-job:{TOKEN}:x"), 400, json!({"error": "Invalid url"})),
    ] {
        assert_eq!(said(&server.get(&uri).await), (status, body.clone()), "{uri}");
        assert_eq!(said(&server.send("POST", &uri, &[], "").await), (status, body), "{uri}");
    }
    assert_eq!(server.last_ping("my-job").await["n"], 6);
}

#[tokio::test]
async fn kener_version_4_data() {
    let server = Server::start().await;
    server.monitor("job", TOKEN).await;
    let now = server.engine.now().as_secs();
    let uri = format!("/api/v4/monitors/job/data/{now}");
    let answer = server.manage("PATCH", &uri, &json!({"status": "DOWN", "latency": 3})).await;
    let data = json!({
        "monitor_tag": "job", "timestamp": now - now % 60, "status": "DOWN", "latency": 3.0, "type": "MANUAL",
    });
    assert_eq!(said(&answer), (200, json!({"data": data})));
    assert_eq!(server.last_ping("job").await["signal"], "fail");
    for (uri, body, status, code) in [
        ("/api/v4/monitors/nothing/data/1".to_owned(), json!({}), 404, "NOT_FOUND"),
        ("/api/v4/monitors/job/data/x".to_owned(), json!({}), 400, "BAD_REQUEST"),
        ("/api/v4/monitors/job/data/1".to_owned(), json!({}), 400, "BAD_REQUEST"),
        (uri.clone(), json!({"status": "OK"}), 400, "BAD_REQUEST"),
        (uri.clone(), json!({"latency": -1}), 400, "BAD_REQUEST"),
    ] {
        let (found, body) = said(&server.manage("PATCH", &uri, &body).await);
        assert_eq!((found, &body["error"]["code"]), (status, &json!(code)), "{uri} {body}");
    }
    let (status, body) = said(&server.with_key("wrong", "PATCH", &uri, &json!({})).await);
    assert_eq!((status, &body["error"]["message"]), (401, &json!("Invalid API key")));
    let (status, body) = said(&server.send("PATCH", &uri, &[], "{}").await);
    assert_eq!((status, &body["error"]["message"]), (401, &json!("Missing or invalid authorization header")));
}
