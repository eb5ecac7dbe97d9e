//! Deliveries to a real HTTP server of the test's own.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

mod support;

use std::time::Duration;

use axum::http::{StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heartbeat_engine::{Attempt, ChannelKind, DeliveryError, Notifier};
use heartbeat_notify_webhook::{WebhookKind, WebhookNotifier};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use support::{Answer, Receiver, attempt, notification, now};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NEXT_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

fn webhook(url: &str) -> WebhookNotifier {
    WebhookNotifier::builder(url).allow_private(true).build().unwrap()
}

/// The signature as a receiver computes it.
fn expected(secret: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let key = STANDARD.decode(secret.trim_start_matches("whsec_")).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update([id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat().as_slice());
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

async fn outcome(answer: Answer) -> DeliveryError {
    let receiver = Receiver::start(answer).await;
    webhook(&receiver.url("/")).deliver(&notification(), attempt()).await.unwrap_err()
}

#[tokio::test]
async fn a_receiver_gets_the_documented_request() {
    let receiver = Receiver::start(Answer::new(StatusCode::NO_CONTENT, "")).await;
    let owed = notification();
    let receipt = webhook(&receiver.url("/hook?room=1")).deliver(&owed, attempt()).await.unwrap();
    assert_eq!(receipt.answer.as_deref(), Some("204 No Content"));

    let [request] = receiver.requests().try_into().unwrap();
    assert_eq!((request.method.as_str(), request.uri.to_string().as_str()), ("POST", "/hook?room=1"));
    let version = concat!("heartbeat/", env!("CARGO_PKG_VERSION"));
    let id = owed.id.to_string();
    for (name, value) in [
        ("content-type", "application/json"),
        ("webhook-id", &id),
        ("idempotency-key", &id),
        ("webhook-timestamp", &now().as_secs().to_string()),
        ("user-agent", version),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    assert_eq!(request.header("webhook-signature"), "", "there is no secret");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["type"], "monitor.down");
    assert_eq!(body["data"]["id"], id);
    assert_eq!(body["data"]["message"], owed.message);
}

#[tokio::test]
async fn every_attempt_is_signed_anew_over_the_same_body() {
    let receiver = Receiver::start(Answer::new(StatusCode::OK, "ok")).await;
    let webhook = WebhookNotifier::builder(receiver.url("/"))
        .allow_private(true)
        .secret(NEXT_SECRET)
        .secret(SECRET)
        .build()
        .unwrap();
    let owed = notification();
    webhook.deliver(&owed, attempt()).await.unwrap();
    let second = Attempt::new(2, now() + Duration::from_secs(90), Duration::from_secs(30));
    webhook.deliver(&owed, second).await.unwrap();

    let requests = receiver.requests();
    for request in &requests {
        let (id, timestamp) = (request.header("webhook-id"), request.header("webhook-timestamp"));
        let signatures: Vec<_> = [NEXT_SECRET, SECRET].map(|s| expected(s, id, timestamp, &request.body)).into();
        assert_eq!(request.header("webhook-signature"), signatures.join(" "));
    }
    assert_eq!(requests[0].body, requests[1].body);
    assert_eq!(requests[0].header("idempotency-key"), requests[1].header("idempotency-key"));
    assert_ne!(requests[0].header("webhook-timestamp"), requests[1].header("webhook-timestamp"));
}

#[tokio::test]
async fn the_status_decides() {
    for status in [200, 201, 202, 204, 299] {
        let receiver = Receiver::start(Answer::new(StatusCode::from_u16(status).unwrap(), "")).await;
        webhook(&receiver.url("/")).deliver(&notification(), attempt()).await.unwrap();
    }
    for status in [400, 410, 413, 422] {
        let error = outcome(Answer::new(StatusCode::from_u16(status).unwrap(), "no\nsuch room")).await;
        let DeliveryError::Refused { reason } = error else { panic!("{status}: {error:?}") };
        assert!(reason.contains(&status.to_string()) && reason.ends_with("no such room"), "{reason}");
    }
    for status in [301, 304, 401, 403, 404, 408, 409, 429, 500, 502, 503, 599] {
        let error = outcome(Answer::new(StatusCode::from_u16(status).unwrap(), "")).await;
        assert!(matches!(&error, DeliveryError::Retry { after: None, .. }), "{status}: {error:?}");
        assert!(error.to_string().contains(&status.to_string()), "{status}: {error}");
    }
}

#[tokio::test]
async fn retry_after_is_passed_on() {
    for (value, seconds) in [
        ("120", Some(120)),
        ("Fri, 20 Nov 2026 08:12:01 GMT", Some(120)),
        ("Fri, 20 Nov 2026 08:00:00 GMT", Some(0)),
        ("soon", None),
        ("-5", None),
    ] {
        let error = outcome(Answer::new(StatusCode::TOO_MANY_REQUESTS, "").with(header::RETRY_AFTER, value)).await;
        let DeliveryError::Retry { after, .. } = error else { panic!("{value}: {error:?}") };
        assert_eq!(after, seconds.map(Duration::from_secs), "{value}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let target = Receiver::start(Answer::new(StatusCode::OK, "")).await;
    for status in [StatusCode::MOVED_PERMANENTLY, StatusCode::TEMPORARY_REDIRECT] {
        let error = outcome(Answer::new(status, "").with(header::LOCATION, &target.url("/secret-path?t=1"))).await;
        let DeliveryError::Retry { reason, .. } = error else { panic!("{error:?}") };
        assert!(reason.contains("a redirect to http://127.0.0.1") && !reason.contains("secret-path"), "{reason}");
    }
    assert!(target.requests().is_empty());
}

#[tokio::test]
async fn little_of_an_endless_answer_is_read() {
    let receiver = Receiver::start(Answer::endless(StatusCode::INTERNAL_SERVER_ERROR)).await;
    let error = webhook(&receiver.url("/")).deliver(&notification(), attempt()).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Retry { .. }), "{error:?}");
    assert!(error.to_string().chars().count() < 300, "{error}");

    // An answer that never ends is an answer nevertheless.
    let receiver = Receiver::start(Answer::stalling(StatusCode::OK)).await;
    let receipt = webhook(&receiver.url("/")).deliver(&notification(), attempt()).await.unwrap();
    assert_eq!(receipt.answer.as_deref(), Some("200 OK: begun"));
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_leaves_it_unknown() {
    let receiver = Receiver::start(Answer::silent()).await;
    let short = Attempt::new(1, now(), Duration::from_secs(2));
    let error = webhook(&receiver.url("/")).deliver(&notification(), short).await.unwrap_err();
    assert!(matches!(&error, DeliveryError::Unknown { reason } if reason.contains("in time")), "{error:?}");
    assert_eq!(receiver.requests().len(), 1);

    let receiver = Receiver::start(Answer::cut()).await;
    let error = webhook(&receiver.url("/")).deliver(&notification(), attempt()).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Unknown { .. }), "{error:?}");
}

#[tokio::test]
async fn an_attempt_can_be_dropped_at_any_time() {
    let receiver = Receiver::start(Answer::silent()).await;
    let webhook = webhook(&receiver.url("/"));
    let owed = notification();
    tokio::select! {
        outcome = webhook.deliver(&owed, attempt()) => panic!("{outcome:?}"),
        () = receiver.wait_for(1) => {}
    }
    receiver.answer(Answer::new(StatusCode::OK, ""));
    webhook.deliver(&owed, attempt()).await.unwrap();
    assert_eq!(receiver.requests().len(), 2);
}

#[tokio::test]
async fn no_connection_is_retried() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = webhook(&format!("http://{nobody}/")).deliver(&notification(), attempt()).await.unwrap_err();
    let DeliveryError::Retry { reason, .. } = error else { panic!("{error:?}") };
    assert!(reason.contains(&format!("no connection to {nobody}")) && reason.contains("refused"), "{reason}");

    let error = webhook("http://no-such-host.invalid/").deliver(&notification(), attempt()).await.unwrap_err();
    assert!(matches!(error, DeliveryError::Retry { .. }), "{error:?}");
}

#[tokio::test]
async fn this_machine_is_reached_by_name_where_it_is_allowed() {
    let receiver = Receiver::start(Answer::new(StatusCode::OK, "")).await;
    let url = format!("http://localhost:{}/", receiver.address().port());
    assert!(WebhookNotifier::builder(&url).build().is_err());
    webhook(&url).deliver(&notification(), attempt()).await.unwrap();
    assert_eq!(receiver.requests().len(), 1);
}

#[tokio::test]
async fn credentials_of_the_url_are_sent_and_never_told() {
    let receiver = Receiver::start(Answer::echo(StatusCode::NOT_FOUND)).await;
    let url = format!("http://ops:hunter2@{}/hook?token=t0ps3cret", receiver.address());
    let webhook = webhook(&url);
    let error = webhook.deliver(&notification(), attempt()).await.unwrap_err();
    let told = format!("{error:?} {webhook:?}");
    assert!(told.contains("Cannot POST /hook?***"), "{told}");
    assert!(!told.contains("hunter2") && !told.contains("t0ps3cret"), "{told}");
    assert_eq!(receiver.requests()[0].header("authorization"), "Basic b3BzOmh1bnRlcjI=");
}

#[tokio::test]
async fn tls_needs_a_certificate_that_somebody_vouches_for() {
    let (receiver, root) = Receiver::start_tls(Answer::new(StatusCode::OK, "")).await;
    let url = format!("https://localhost:{}/", receiver.address().port());
    let error = webhook(&url).deliver(&notification(), attempt()).await.unwrap_err();
    assert!(matches!(&error, DeliveryError::Retry { reason, .. } if reason.contains("certificate")), "{error:?}");
    assert!(receiver.requests().is_empty());

    let settings = json!({ "url": url, "allow_private": true, "secret": SECRET });
    let trusting = WebhookKind::new().root_certificate(root).build("ops", &settings).unwrap();
    trusting.deliver(&notification(), attempt()).await.unwrap();
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn the_builder_tells_of_everything_that_is_wrong() {
    let error = WebhookNotifier::builder("http://10.0.0.1/").secret("hunter2").secret(SECRET).build().unwrap_err();
    let fields: Vec<_> = error.faults.iter().map(|fault| fault.field.as_str()).collect();
    assert_eq!(fields, ["url", "secret"]);
    assert!(!error.to_string().contains("hunter2"), "{error}");
    let builder = WebhookNotifier::builder("https://u:hunter2@example.org/?t=hunter2").secret("hunter2");
    assert!(!format!("{builder:?}").contains("hunter2"));
    let error = WebhookNotifier::builder("https://example.org/").root_certificate(b"x".to_vec()).build().unwrap_err();
    assert!(error.to_string().contains("root certificate"), "{error}");
}
