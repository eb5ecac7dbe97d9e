//! Signed heartbeats.

use std::time::Duration;

use heartbeat_engine::Timestamp;
use heartbeat_engine::testing::ManualClock;
use heartbeat_http::HttpSettings;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::server::{Answer, Server};

const PATH: &str = "/ping/token-of-job";

pub(crate) fn sign(secret: &str, timestamp: i64, method: &str, target: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{timestamp}.{method}.{target}.{body}").as_bytes());
    let tag = mac.finalize().into_bytes();
    format!("v1={}", tag.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

struct Signed {
    server: Server,
    clock: ManualClock,
    secret: String,
}

impl Signed {
    async fn start() -> Self {
        let clock = ManualClock::new("2026-11-20T08:00:00Z".parse::<Timestamp>().unwrap());
        let server = Server::with(clock.clone(), HttpSettings::default()).await;
        let wish =
            json!({"slug": "job", "schedule": {"every": "1h"}, "require_signature": true, "token": "token-of-job"});
        let made = server.manage("POST", "/api/monitors", &wish).await;
        assert_eq!(made.status, 201, "{made:?}");
        let secret = made.json()["signing_secret"].as_str().unwrap().to_owned();
        Self { server, clock, secret }
    }

    fn now(&self) -> i64 {
        self.server.engine.now().as_secs()
    }

    async fn send(&self, timestamp: i64, signature: &str, method: &str, target: &str, body: &str) -> Answer {
        let timestamp = timestamp.to_string();
        let headers = [("heartbeat-timestamp", timestamp.as_str()), ("heartbeat-signature", signature)];
        self.server.send(method, target, &headers, body.to_owned()).await
    }
}

#[tokio::test]
async fn a_signed_heartbeat_gets_a_signed_answer() {
    let signed = Signed::start().await;
    let now = signed.now();
    let target = format!("{PATH}/report?msg=a%20b");
    let signature = sign(&signed.secret, now, "POST", &target, "body");
    let answer = signed.send(now, &signature, "POST", &target, "body").await;
    assert_eq!(answer.text(), "OK");
    let answered_at = answer.header("heartbeat-timestamp").parse().unwrap();
    assert_eq!(answer.header("heartbeat-signature"), sign(&signed.secret, answered_at, "POST", &target, "OK"));

    let push = "/api/push/token-of-job?status=up";
    let answer = signed.send(now, &sign(&signed.secret, now, "HEAD", push, ""), "HEAD", push, "").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("heartbeat-signature"), sign(&signed.secret, answered_at, "HEAD", push, ""));
}

#[tokio::test]
async fn all_of_a_long_body_is_signed() {
    let signed = Signed::start().await;
    let (now, body) = (signed.now(), "x".repeat(100_000));
    let signature = sign(&signed.secret, now, "POST", PATH, &body);
    assert_eq!(signed.send(now, &signature, "POST", PATH, &body[1..]).await.status, 401);
    assert_eq!(signed.send(now, &signature, "POST", PATH, &body).await.status, 200);
    let ping = signed.server.last_ping("job").await;
    assert_eq!((&ping["body_bytes"], &ping["body_cut"]), (&json!(10_000), &json!(true)));
}

#[tokio::test]
async fn each_signature_is_taken_once() {
    let signed = Signed::start().await;
    let now = signed.now();
    let signature = sign(&signed.secret, now, "GET", PATH, "");
    assert_eq!(signed.send(now, &signature, "GET", PATH, "").await.status, 200);
    for again in [signature.clone(), signature.to_uppercase().replace("V1", "v1")] {
        let answer = signed.send(now, &again, "GET", PATH, "").await;
        assert_eq!((answer.status.as_u16(), answer.text().as_str()), (401, "this signature was used already"));
        assert_eq!(answer.header("www-authenticate"), "Heartbeat-Signature");
    }
    signed.clock.advance(Duration::from_secs(301));
    assert_eq!(signed.send(now, &signature, "GET", PATH, "").await.status, 401);
    assert_eq!(signed.server.last_ping("job").await["n"], 1);
}

#[tokio::test]
async fn what_is_not_signed_rightly_is_refused() {
    let signed = Signed::start().await;
    let now = signed.now();
    let good = sign(&signed.secret, now, "GET", PATH, "");
    assert_eq!(signed.server.get(PATH).await.status, 401);
    assert_eq!(signed.server.get("/api/push/token-of-job").await.status, 401);
    for (timestamp, signature, method, target, body) in [
        (now + 1, good.clone(), "GET", PATH, ""),
        (now, good.clone(), "POST", PATH, ""),
        (now, good.clone(), "GET", "/ping/token-of-job?msg=x", ""),
        (now, sign(&signed.secret, now, "POST", PATH, ""), "POST", PATH, "more"),
        (now, sign("another secret", now, "GET", PATH, ""), "GET", PATH, ""),
        (now, good.trim_start_matches("v1=").to_owned(), "GET", PATH, ""),
        (now, "v1=".to_owned(), "GET", PATH, ""),
        (now - 301, sign(&signed.secret, now - 301, "GET", PATH, ""), "GET", PATH, ""),
        (now + 301, sign(&signed.secret, now + 301, "GET", PATH, ""), "GET", PATH, ""),
    ] {
        let answer = signed.send(timestamp, &signature, method, target, body).await;
        assert_eq!(answer.status, 401, "{timestamp} {signature} {method} {target}");
        assert_eq!(answer.header("heartbeat-signature"), "", "nothing is signed for a stranger");
    }
    assert!(signed.server.last_ping("job").await.is_null());
    assert_eq!(signed.send(now, &good, "GET", PATH, "").await.status, 200, "refusals use no signature up");
}

#[tokio::test]
async fn a_rotated_secret_overlaps() {
    let signed = Signed::start().await;
    let now = signed.now();
    let uri = "/api/monitors/job/rotate-secret";
    let rotated = signed.server.manage("POST", uri, &json!({"overlap": "1m"})).await.json();
    let next = rotated["signing_secret"].as_str().unwrap().to_owned();
    let shown = signed.server.manage("GET", "/api/monitors/job", &Value::Null).await;
    assert!(!shown.text().contains(&next), "it is shown once");
    let old = sign(&signed.secret, now, "GET", PATH, "");
    let answer = signed.send(now, &old, "GET", PATH, "").await;
    assert_eq!(answer.header("heartbeat-signature"), sign(&signed.secret, now, "GET", PATH, "OK"));
    assert_eq!(signed.send(now, &sign(&next, now, "GET", PATH, ""), "GET", PATH, "").await.status, 200);
    signed.clock.advance(Duration::from_secs(61));
    let later = signed.now();
    assert_eq!(signed.send(later, &sign(&signed.secret, later, "GET", PATH, ""), "GET", PATH, "").await.status, 401);
}

#[tokio::test]
async fn a_refused_heartbeat_may_be_sent_again_as_it_was() {
    let signed = Signed::start().await;
    let target = "/ping/token-of-job?ts=4102444800";
    let now = signed.now();
    let signature = sign(&signed.secret, now, "GET", target, "");
    for _ in 0..2 {
        assert_eq!(signed.send(now, &signature, "GET", target, "").await.status, 400);
    }
}
