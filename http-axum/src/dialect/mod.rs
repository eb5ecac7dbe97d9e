//! Heartbeats in the protocols of other systems, each answering what its clients check for.

mod heartbeats;
mod kener;
mod kener_status;
mod kener_v4;
mod push;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware::from_fn;
use axum::response::Response;
use serde_json::Value;

use crate::app::AppState;
use crate::heartbeat::{answer, milliseconds};
use crate::trace::check_site;

const JSON: &str = "application/json";

pub(crate) fn routes() -> Router<AppState> {
    let with_key = heartbeats::routes().merge(kener_status::routes()).merge(kener_v4::routes());
    with_key.layer(from_fn(check_site)).merge(kener::routes()).merge(push::routes())
}

/// An answer with JSON that no cache keeps.
fn json_answer(status: StatusCode, body: &Value) -> Response {
    answer(status, JSON, body.to_string())
}

/// A number as JavaScript's `Number` reads it, as far as senders use that: a number, or a string that holds one.
fn js_number(value: &Value) -> Option<f64> {
    match value {
        Value::Null => Some(0.0),
        Value::Bool(is) => Some(f64::from(u8::from(*is))),
        Value::Number(number) => number.as_f64(),
        Value::String(text) if text.trim().is_empty() => Some(0.0),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// A latency in milliseconds; `None` for what is none, such as a negative one.
fn latency(ms: f64) -> Option<std::time::Duration> {
    milliseconds(ms).filter(|latency| !latency.is_zero())
}
