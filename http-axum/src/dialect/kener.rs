//! Kener's heartbeat URLs: `/ext/heartbeat/{tag}/{secret}`, and with a colon `/ext/heartbeat/{tag}:{secret}` and
//! `/api/heartbeat/{tag}:{secret}`. The tag is the slug, the secret is the token. Every failure is a 400.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use heartbeat_engine::{Record, Signal, Target, TokenHash};
use serde_json::json;
use subtle::ConstantTimeEq;

use super::{JSON, json_answer};
use crate::app::{App, AppState};
use crate::heartbeat::{Incoming, Keep, Refused, take};

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/ext/heartbeat/{tag}/{secret}", get(v4).post(v4))
        .route("/ext/heartbeat/{pair}", get(v4_colon).post(v4_colon))
        .route("/api/heartbeat/{pair}", get(v3).post(v3))
}

/// What a version of Kener says.
#[derive(Debug, Clone, Copy)]
struct Words {
    unknown: &'static str,
    wrong_secret: &'static str,
}

const V4: Words = Words { unknown: "Monitor not found", wrong_secret: "Invalid heartbeat secret" };
const V3: Words = Words { unknown: "Invalid heartbeat url", wrong_secret: "Invalid heartbeat url" };

async fn v4(State(app): State<AppState>, Path((tag, secret)): Path<(String, String)>, request: Request) -> Response {
    heard(&app, &tag, &secret, V4, request).await
}

async fn v4_colon(State(app): State<AppState>, Path(pair): Path<String>, request: Request) -> Response {
    match pair.split_once(':') {
        Some((tag, secret)) if !tag.is_empty() && !secret.is_empty() => heard(&app, tag, secret, V4, request).await,
        _ => error(StatusCode::BAD_REQUEST, "Tag and secret are required"),
    }
}

async fn v3(State(app): State<AppState>, Path(pair): Path<String>, request: Request) -> Response {
    match pair.split_once(':') {
        Some((tag, secret)) if !secret.contains(':') => heard(&app, tag, secret, V3, request).await,
        _ => error(StatusCode::BAD_REQUEST, "Invalid url"),
    }
}

async fn heard(app: &App, tag: &str, secret: &str, words: Words, request: Request) -> Response {
    match with_secret(app, tag, secret, words, request).await {
        Ok(response) => response,
        Err(Refused::NotFound) => error(StatusCode::BAD_REQUEST, words.unknown),
        Err(refused) => {
            let mut response = error(refused.status(), &refused.text());
            refused.dress(&mut response);
            response
        }
    }
}

async fn with_secret(app: &App, tag: &str, secret: &str, words: Words, request: Request) -> Result<Response, Refused> {
    let found = app.find(Target::slug(tag)).await?;
    let known = found.as_ref().is_some_and(|record| is_token_of(app, record, secret));
    let keep = if known { Keep::Beginning } else { Keep::Nothing };
    let incoming = Incoming::read(app, request, keep).await?;
    let record = found.ok_or(Refused::NotFound)?;
    if !known {
        return Ok(error(StatusCode::BAD_REQUEST, words.wrong_secret));
    }
    let taken = take(app, &incoming, &record, incoming.ping(app, Signal::Success)).await?;
    Ok(taken.answer(app, &incoming.method, JSON, json!({"status": "OK"}).to_string()))
}

fn is_token_of(app: &App, record: &Record, secret: &str) -> bool {
    let given = TokenHash::of(secret);
    let now = app.engine.now();
    record.monitor.token.accepted(now).any(|token| token.hash().as_bytes().ct_eq(given.as_bytes()).into())
}

fn error(status: StatusCode, text: &str) -> Response {
    json_answer(status, &json!({"error": text}))
}
