//! Kener's status push of version 4: `PATCH /api/v4/monitors/{tag}/data/{timestamp}` with `{status?, latency?}`.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::patch;
use heartbeat_engine::{Signal, Target, Timestamp};
use serde_json::{Value, json};

use super::kener_status::{Word, floored};
use super::{JSON, json_answer, latency};
use crate::app::{App, AppState};
use crate::auth::{AuthError, Caller};
use crate::heartbeat::{Incoming, Keep, Refused, take};

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/api/v4/monitors/{tag}/data/{timestamp}", patch(push))
}

async fn push(
    State(app): State<AppState>,
    Path((tag, timestamp)): Path<(String, String)>,
    request: Request,
) -> Response {
    let has_bearer = request
        .headers()
        .get(AUTHORIZATION)
        .is_some_and(|value| value.to_str().is_ok_and(|text| text.to_ascii_lowercase().starts_with("bearer ")));
    let caller = match Caller::of(&app, request.headers()).await {
        Ok(caller) => caller,
        Err(AuthError::Unavailable(why)) => return error(StatusCode::SERVICE_UNAVAILABLE, &why),
        Err(_) if has_bearer => return error(StatusCode::UNAUTHORIZED, "Invalid API key"),
        Err(_) => return error(StatusCode::UNAUTHORIZED, "Missing or invalid authorization header"),
    };
    match pushed(&app, &caller, &tag, &timestamp, request).await {
        Ok(response) => response,
        Err(Refused::NotFound) => error(StatusCode::NOT_FOUND, &format!("Monitor with tag '{tag}' not found")),
        Err(refused) => {
            let mut response = error(refused.status(), &refused.text());
            refused.dress(&mut response);
            response
        }
    }
}

async fn pushed(app: &App, caller: &Caller, tag: &str, timestamp: &str, request: Request) -> Result<Response, Refused> {
    let incoming = Incoming::read(app, request, Keep::All).await?;
    let record = app.find(Target::slug(tag)).await?.filter(|record| caller.covers(record)).ok_or(Refused::NotFound)?;
    let bad = |text: &str| Ok(error(StatusCode::BAD_REQUEST, text));
    let Some(at) = timestamp.parse::<i64>().ok().filter(|at| *at >= 0).map(Timestamp::from_secs) else {
        return bad("timestamp must be a valid UTC timestamp in seconds");
    };
    let Ok(body) = serde_json::from_slice::<Value>(&incoming.body) else { return bad("Invalid JSON body") };
    let word = match body.get("status") {
        None | Some(Value::Null) => Word::Up,
        Some(value) => match value.as_str().and_then(Word::parse) {
            Some(word) => word,
            None => return bad("status must be one of UP, DOWN, DEGRADED"),
        },
    };
    let ms = match body.get("latency") {
        None | Some(Value::Null) => 0.0,
        Some(value) => match value.as_f64().filter(|ms| *ms >= 0.0) {
            Some(ms) => ms,
            None => return bad("latency must be a non-negative number"),
        },
    };
    let mut ping = incoming.ping(app, Signal::Success);
    ping.duration = latency(ms);
    ping.claimed_at = Some(at);
    word.say(&mut ping, &record);
    let taken = take(app, &incoming, &record, ping).await?;
    let status = match word {
        Word::Up => "UP",
        Word::Down => "DOWN",
        Word::Degraded => "DEGRADED",
    };
    let body = json!({"data": {
        "monitor_tag": tag, "timestamp": floored(at), "status": status, "latency": ms, "type": "MANUAL",
    }});
    Ok(taken.answer(app, &incoming.method, JSON, body.to_string()))
}

fn error(status: StatusCode, message: &str) -> Response {
    let code = match status {
        StatusCode::BAD_REQUEST => "BAD_REQUEST",
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::NOT_FOUND => "NOT_FOUND",
        StatusCode::TOO_MANY_REQUESTS => "TOO_MANY_REQUESTS",
        StatusCode::SERVICE_UNAVAILABLE => "SERVICE_UNAVAILABLE",
        _ => "ERROR",
    };
    let mut response = json_answer(status, &json!({"error": {"code": code, "message": message}}));
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
