//! The promises of a notifier, kept towards a real HTTP server.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, dead_code)]

mod support;

use std::sync::Arc;

use axum::http::StatusCode;
use heartbeat_engine::NotificationId;
use heartbeat_engine::testing::{Behaviour, FarEnd, NotifierHarness};
use heartbeat_notify_webhook::WebhookNotifier;
use serde_json::Value;
use support::{Answer, Receiver, Request};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

struct Endpoint(Receiver);

impl FarEnd for Endpoint {
    fn behave(&self, behaviour: Behaviour) {
        // It says back what it was asked, as many servers do, so that a secret in it is told.
        self.0.answer(match behaviour {
            Behaviour::Accept => Answer::echo(StatusCode::OK),
            Behaviour::Refuse => Answer::echo(StatusCode::BAD_REQUEST),
            Behaviour::Fail => Answer::echo(StatusCode::SERVICE_UNAVAILABLE),
            Behaviour::Hang => Answer::silent(),
            Behaviour::Disconnect => Answer::cut(),
            other => panic!("{other:?} is new"),
        });
    }

    fn taken(&self) -> Vec<NotificationId> {
        self.0.requests().iter().filter(|request| request.taken).map(id).collect()
    }

    fn attempts(&self) -> usize {
        self.0.requests().len()
    }
}

/// The id of a request, which stands in three places.
fn id(request: &Request) -> NotificationId {
    let id = request.header("webhook-id");
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((request.header("idempotency-key"), body["data"]["id"].as_str()), (id, Some(id)));
    id.parse().unwrap()
}

struct Harness;

impl NotifierHarness for Harness {
    type Notifier = WebhookNotifier;
    type FarEnd = Endpoint;

    async fn start(&self) -> (Arc<WebhookNotifier>, Endpoint) {
        let receiver = Receiver::start(Answer::echo(StatusCode::OK)).await;
        let url = format!("http://ops:hunter2@{}/hook?token=t0p%20s3cret", receiver.address());
        let webhook = WebhookNotifier::builder(url).secret(SECRET).allow_private(true).build().unwrap();
        (Arc::new(webhook), Endpoint(receiver))
    }

    fn secrets(&self) -> Vec<String> {
        let forms = ["hunter2", "b3BzOmh1bnRlcjI=", "t0p%20s3cret", "t0p s3cret", &SECRET["whsec_".len()..]];
        forms.map(str::to_owned).into()
    }
}

heartbeat_engine::notifier_suite!(Harness);
