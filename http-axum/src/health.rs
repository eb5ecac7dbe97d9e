//! Whether the server does its work: for load balancers, orchestrators and other watchers. No key is needed.

use axum::extract::State;
use axum::http::header::RETRY_AFTER;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use crate::app::{App, AppState};
use crate::problem::RETRY_AFTER_S;

pub(crate) const ALIVE: &str = "/healthz";

/// The routes that answer whatever the `Host` header says.
pub(crate) fn routes() -> Router<AppState> {
    Router::new().route(ALIVE, get(alive)).route("/readyz", get(ready)).route("/api/v3/status/", get(healthchecks))
}

/// Whether a request asks only if the process serves.
pub(crate) fn is_alive(method: &Method, path: &str) -> bool {
    path == ALIVE && matches!(*method, Method::GET | Method::HEAD)
}

/// While the process serves.
pub(crate) async fn alive() -> &'static str {
    "OK"
}

async fn ready(State(app): State<AppState>) -> Response {
    if !app.engine.readiness().ready {
        return unready(&app);
    }
    match &app.settings.durability {
        Some(durability) => Json(json!({"status": "ready", "durability": durability})).into_response(),
        None => Json(json!({"status": "ready"})).into_response(),
    }
}

/// The same in the form of Healthchecks.
async fn healthchecks(State(app): State<AppState>) -> Response {
    if app.engine.readiness().ready { "OK".into_response() } else { unready(&app) }
}

fn unready(app: &App) -> Response {
    let readiness = app.engine.readiness();
    let part = |trouble: &Option<String>| trouble.clone().unwrap_or_else(|| "ok".to_owned());
    // What the store says may name hosts and paths; that it ails is all that strangers need.
    let store = if readiness.store.is_some() { "unavailable" } else { "ok" };
    let body = json!({
        "status": "unready",
        "store": store,
        "evaluator": part(&readiness.evaluator),
        "watch": part(&readiness.watch),
        "delivery": part(&readiness.delivery),
        "loaded": readiness.loaded,
        "expected": readiness.expected,
    });
    (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, RETRY_AFTER_S.to_string())], Json(body)).into_response()
}
