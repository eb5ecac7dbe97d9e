//! The push URLs of Tianji and Uptime Kuma, which share a path: `/api/push/{token}?status=up|down&msg=&value=&ping=`.
//! Answers carry the keys of both.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::{ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::any;
use heartbeat_engine::{Ping, Signal, Target};
use serde_json::{Value, json};

use super::{JSON, json_answer, latency};
use crate::app::{App, AppState};
use crate::heartbeat::{Incoming, Keep, Refused, message, take};
use crate::query::Query;

const PUSHED: &str = "Push received successfully";
const UNKNOWN: &str = "Monitor not found or not active";
const BAD_PING: &str = "Invalid ping value. Must be between 0 and 100000000000 ms.";
const PING_MS_MAX: f64 = 1e11;
/// The length of Tianji's tokens; Uptime Kuma's have 10 or 32 characters.
const TIANJI_TOKEN_CHARS: usize = 16;

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/api/push/{token}", any(push)).route("/api/push/{token}/", any(push))
}

async fn push(State(app): State<AppState>, Path(token): Path<String>, request: Request) -> Response {
    // A browser asks whether it may push before it does; that is no heartbeat.
    let mut response = if request.method() == Method::OPTIONS {
        let mut response = json_answer(StatusCode::OK, &json!({"ok": true}));
        response
            .headers_mut()
            .insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE"));
        response
    } else {
        with_token(&app, &token, request).await.unwrap_or_else(Fault::into_response)
    };
    response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

async fn with_token(app: &App, token: &str, request: Request) -> Result<Response, Fault> {
    let found = app.find(Target::token(token)).await.map_err(Refused::from)?;
    let keep = if found.is_some() { Keep::Beginning } else { Keep::Nothing };
    let incoming = Incoming::read(app, request, keep).await.map_err(Refused::from)?;
    refuse_repeated(&incoming.query)?;
    let record = found.ok_or(Refused::NotFound)?;
    let signal = if is_up(incoming.query.get("status"), token) { Signal::Success } else { Signal::Fail };
    let mut ping = incoming.ping(app, signal);
    ping.message = message(app, incoming.query.get("msg"));
    read_numbers(&incoming.query, &mut ping)?;
    let taken = take(app, &incoming, &record, ping).await?;
    let body = json!({"ok": true, "msg": PUSHED, "message": PUSHED});
    Ok(taken.answer(app, &incoming.method, JSON, body.to_string()))
}

/// An unknown word is down for Uptime Kuma and up for Tianji; the token tells whose client speaks.
fn is_up(status: Option<&str>, token: &str) -> bool {
    match status {
        None | Some("up") => true,
        Some("down") => false,
        Some(_) => token.len() == TIANJI_TOKEN_CHARS,
    }
}

/// Tianji refuses what is given twice.
fn refuse_repeated(query: &Query) -> Result<(), Fault> {
    let errors: Vec<Value> = ["status", "msg", "value"]
        .into_iter()
        .map(|key| (key, query.all(key)))
        .filter(|(_, values)| values.len() > 1)
        .map(|(key, values)| {
            json!({"type": "field", "value": values, "msg": "Invalid value", "path": key, "location": "query"})
        })
        .collect();
    if errors.is_empty() { Ok(()) } else { Err(Fault::Repeated(errors)) }
}

fn read_numbers(query: &Query, ping: &mut Ping) -> Result<(), Fault> {
    if let Some(ms) = query.filled("ping").and_then(leading_number) {
        if !(0.0..=PING_MS_MAX).contains(&ms) {
            return Err(Fault::Words(BAD_PING.to_owned()));
        }
        ping.duration = latency(ms);
    }
    if ping.signal == Signal::Success
        && let Some(text) = query.filled("value")
    {
        // Tianji keeps whole numbers of 32 bits, and fails on others as on an unknown monitor.
        let value = text.trim().parse::<f64>().ok();
        let whole = value.filter(|value| value.fract() == 0.0 && value.abs() <= f64::from(i32::MAX));
        ping.value = Some(whole.ok_or_else(|| Fault::Words("Invalid value. Must be a whole number.".to_owned()))?);
    }
    Ok(())
}

/// The number at the start of a text, as JavaScript's `parseFloat` reads it.
fn leading_number(text: &str) -> Option<f64> {
    let text = text.trim_start();
    let number = |end: usize| text.get(..end)?.parse::<f64>().ok().filter(|number| number.is_finite());
    let end =
        text.find(|c: char| !(c.is_ascii_digit() || matches!(c, '+' | '-' | '.' | 'e' | 'E'))).unwrap_or(text.len());
    (1..=end.min(64)).rev().find_map(number)
}

/// A refusal in the words of both systems.
#[derive(Debug)]
enum Fault {
    Refused(Refused),
    Words(String),
    Repeated(Vec<Value>),
}

impl From<Refused> for Fault {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Fault {
    fn into_response(self) -> Response {
        let said = |status: StatusCode, msg: &str, error: &str| {
            json_answer(status, &json!({"ok": false, "msg": msg, "error": error, "message": msg}))
        };
        match self {
            Self::Refused(Refused::NotFound) => {
                said(StatusCode::NOT_FOUND, &format!("{UNKNOWN}."), &format!("Error: {UNKNOWN}"))
            }
            Self::Refused(refused) => {
                let mut response = said(refused.status(), &refused.text(), &format!("Error: {}", refused.text()));
                refused.dress(&mut response);
                response
            }
            Self::Words(words) => said(StatusCode::NOT_FOUND, &words, &format!("Error: {words}")),
            Self::Repeated(errors) => {
                let body = json!({"ok": false, "errors": errors, "message": "Invalid Parameters"});
                json_answer(StatusCode::UNPROCESSABLE_ENTITY, &body)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_parse_float_reads_them() {
        for (text, number) in [
            ("12", Some(12.0)),
            ("12.5ms", Some(12.5)),
            (" -3", Some(-3.0)),
            ("1e3x", Some(1000.0)),
            ("1,2", Some(1.0)),
            ("1e", Some(1.0)),
            ("abc", None),
            ("", None),
            ("inf", None),
        ] {
            assert_eq!(leading_number(text), number, "{text}");
        }
    }

    #[test]
    fn unknown_words_are_read_as_the_tokens_owner_does() {
        let (tianji, kuma) = ("V1StGXR8_Z5jdHi6", "ul7uH9FfBzLXnAFdRVQvL2WAuoQPCsKp");
        for token in [tianji, kuma] {
            assert!(is_up(None, token) && is_up(Some("up"), token) && !is_up(Some("down"), token));
        }
        assert!(is_up(Some("ok"), tianji) && !is_up(Some("ok"), kuma) && !is_up(Some(""), kuma));
    }
}
