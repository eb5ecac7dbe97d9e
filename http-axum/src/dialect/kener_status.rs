//! Kener's status push of versions 2 and 3: `POST /api/status` with `{status, latency, timestampInSeconds, tag}`.

use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use heartbeat_engine::{Ping, Record, Signal, State as MonitorState, Target, Timestamp};
use serde_json::{Value, json};

use super::{JSON, js_number, json_answer, latency};
use crate::api::uptime;
use crate::app::{App, AppState};
use crate::auth::{AuthError, Caller};
use crate::heartbeat::{Incoming, Keep, Refused, take};
use crate::keys::Scope;
use crate::query::Query;

const MINUTE_S: i64 = 60;
const DAY_S: i64 = 86_400;
const AGE_MAX: Duration = Duration::from_secs(90 * 86_400);

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/api/status", get(state).post(push))
}

/// What a status word of Kener says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    Up,
    Down,
    Degraded,
}

impl Word {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text {
            "UP" => Some(Self::Up),
            "DOWN" => Some(Self::Down),
            "DEGRADED" => Some(Self::Degraded),
            _ => None,
        }
    }

    /// Makes a heartbeat say this. The first degraded one after others is a report: somebody should see it.
    pub(super) fn say(self, ping: &mut Ping, record: &Record) {
        match self {
            Self::Up => ping.signal = Signal::Success,
            Self::Down => {
                ping.signal = Signal::Fail;
                ping.message = Some("reported DOWN".to_owned());
            }
            Self::Degraded => {
                let was_degraded = record.health.last_ping.as_ref().is_some_and(|last| last.degraded);
                ping.signal = if was_degraded { Signal::Success } else { Signal::Report };
                ping.message = Some("reported DEGRADED".to_owned());
                ping.degraded = true;
            }
        }
    }
}

async fn push(State(app): State<AppState>, request: Request) -> Response {
    let caller = match caller(&app, request.headers()).await {
        Ok(caller) => caller,
        Err(error) => return no_key(&error),
    };
    let incoming = match Incoming::read(&app, request, Keep::All).await {
        Ok(incoming) => incoming,
        Err(error) => return refused_as(error.status(), &error.to_string()),
    };
    let Ok(body) = serde_json::from_slice::<Value>(&incoming.body) else {
        return refused_as(StatusCode::BAD_REQUEST, "the body is not JSON");
    };
    match pushed(&app, &caller, &incoming, &body).await {
        Ok(response) => response,
        Err(Fault::Words(text)) => refused_as(StatusCode::BAD_REQUEST, text),
        Err(Fault::Refused(Refused::NotFound)) => refused_as(StatusCode::BAD_REQUEST, "no monitor with tag found"),
        Err(Fault::Refused(refused)) => {
            let mut response = refused_as(refused.status(), &refused.text());
            refused.dress(&mut response);
            response
        }
    }
}

/// The checks come in Kener's order, so that a client sees the same complaint first.
async fn pushed(app: &App, caller: &Caller, incoming: &Incoming, body: &Value) -> Result<Response, Fault> {
    let word =
        body.get("status").and_then(Value::as_str).and_then(Word::parse).ok_or(Fault::Words("status missing"))?;
    let ms = body.get("latency").and_then(js_number).ok_or(Fault::Words("latency missing or not a number"))?;
    let now = app.engine.now();
    let claimed = match body.get("timestampInSeconds") {
        None | Some(Value::Null) => None,
        Some(value) => {
            let seconds = js_number(value).ok_or(Fault::Words("timestampInSeconds not a number"))?;
            Some(Timestamp::from_millis((seconds.clamp(-1e12, 1e12) * 1000.0) as i64))
        }
    };
    let minute = floored(claimed.unwrap_or(now));
    if minute > floored(now) {
        return Err(Fault::Words("timestampInSeconds is in future"));
    }
    if Timestamp::from_secs(minute) < now - AGE_MAX {
        return Err(Fault::Words("timestampInSeconds is older than 90days"));
    }
    let tag = body.get("tag").and_then(Value::as_str).unwrap_or_default();
    let record = app.find(Target::slug(tag)).await.map_err(Refused::from)?.filter(|record| caller.covers(record));
    let record = record.ok_or(Refused::NotFound)?;
    let mut ping = incoming.ping(app, Signal::Success);
    ping.duration = latency(ms);
    ping.claimed_at = claimed;
    word.say(&mut ping, &record);
    let taken = take(app, incoming, &record, ping).await?;
    let body = json!({"status": 200, "message": format!("success at {minute}")});
    Ok(taken.answer(app, &incoming.method, JSON, body.to_string()))
}

/// `GET /api/status?tag=`: how a monitor stands and its uptime of the day so far.
async fn state(State(app): State<AppState>, headers: HeaderMap, query: Query) -> Response {
    let caller = match caller(&app, &headers).await {
        Ok(caller) if caller.has(Scope::Read) => caller,
        Ok(_) => return no_key(&AuthError::Missing),
        Err(error) => return no_key(&error),
    };
    let Some(tag) = query.filled("tag") else {
        return json_answer(StatusCode::BAD_REQUEST, &json!({"error": "tag missing"}));
    };
    let record = match app.find(Target::slug(tag)).await {
        Ok(Some(record)) if caller.covers(&record) => record,
        // Kener says so with the status of a success.
        Ok(_) => return json_answer(StatusCode::OK, &json!({"error": "no monitor with tag found", "status": 400})),
        Err(error) => return refused_as(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    };
    let now = app.engine.now();
    let midnight = Timestamp::from_secs(now.as_secs() - now.as_secs().rem_euclid(DAY_S));
    let Ok(uptime) = uptime(&app.engine, &record, midnight, now).await else {
        return refused_as(StatusCode::SERVICE_UNAVAILABLE, "the store is unavailable");
    };
    let last = record.health.last_ping.as_ref();
    let word = match record.health.state {
        MonitorState::Down => "DOWN",
        _ if last.is_some_and(|last| last.degraded) => "DEGRADED",
        MonitorState::New | MonitorState::Up | MonitorState::Paused => "UP",
    };
    let updated_at = last.map_or(record.monitor.created_at, |last| last.at);
    let body = json!({"status": word, "uptime": percent(uptime.percent()), "last_updated_at": floored(updated_at)});
    json_answer(StatusCode::OK, &body)
}

/// Kener takes a bare key as well.
pub(super) async fn caller(app: &App, headers: &HeaderMap) -> Result<Caller, AuthError> {
    let bare =
        headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).filter(|text| !text.trim().contains(' '));
    match bare {
        Some(key) => Caller::with_key(app, key.trim()).await,
        None => Caller::of(app, headers).await,
    }
}

fn percent(uptime: Option<f64>) -> String {
    match uptime {
        None => "-".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(100.0) => "100".to_owned(),
        Some(percent) => format!("{percent:.4}"),
    }
}

/// Seconds of the minute's beginning.
pub(super) fn floored(at: Timestamp) -> i64 {
    at.as_secs() - at.as_secs().rem_euclid(MINUTE_S)
}

fn refused_as(status: StatusCode, text: &str) -> Response {
    json_answer(status, &json!({"error": text, "status": status.as_u16()}))
}

fn no_key(error: &AuthError) -> Response {
    if let AuthError::Unavailable(why) = error {
        return refused_as(StatusCode::SERVICE_UNAVAILABLE, why);
    }
    let mut response = json_answer(StatusCode::UNAUTHORIZED, &json!({"error": "invalid token"}));
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[derive(Debug)]
enum Fault {
    Words(&'static str),
    Refused(Refused),
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minutes_and_percentages_as_kener_writes_them() {
        assert_eq!(floored(Timestamp::from_secs(1_739_979_439)), 1_739_979_420);
        assert_eq!(floored(Timestamp::from_secs(-1)), -60);
        assert_eq!(percent(Some(99.123_44)), "99.1234");
        assert_eq!((percent(Some(100.0)), percent(Some(0.0)), percent(None)), ("100".into(), "0".into(), "-".into()));
    }
}
