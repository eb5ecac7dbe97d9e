//! What can be done with a monitor: pause, resume, another token, another secret.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::post;
use axum::{Json, Router};
use serde_json::Value;

use super::monitors::shown;
use super::request::{JsonBody, NoQuery, find_monitor, read_overlap, versioned};
use crate::app::AppState;
use crate::auth::CanManage;
use crate::json::read_object;
use crate::problem::Problem;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/monitors/{monitor}/pause", post(pause))
        .route("/api/monitors/{monitor}/resume", post(resume))
        .route("/api/monitors/{monitor}/rotate-token", post(rotate_token))
        .route("/api/monitors/{monitor}/rotate-secret", post(rotate_secret))
}

async fn pause(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(name): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let manual_resume = read_object(&body, |fields| Some(fields.boolean("manual_resume").unwrap_or_default()))?;
    let record = find_monitor(&app, &caller, &name).await?;
    let record = app.engine.pause(record.id(), manual_resume).await?;
    Ok(versioned(StatusCode::OK, record.monitor.revision, shown(&app, &caller, &record)))
}

async fn resume(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(name): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    read_object(&body, |_| Some(()))?;
    let record = find_monitor(&app, &caller, &name).await?;
    let record = app.engine.resume(record.id()).await?;
    Ok(versioned(StatusCode::OK, record.monitor.revision, shown(&app, &caller, &record)))
}

async fn rotate_token(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(name): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let overlap = read_overlap(&body)?;
    let record = find_monitor(&app, &caller, &name).await?;
    let record = app.engine.rotate_token(record.id(), overlap).await?;
    Ok(versioned(StatusCode::OK, record.monitor.revision, shown(&app, &caller, &record)))
}

/// Answers the monitor with its new `signing_secret`.
async fn rotate_secret(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(name): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let overlap = read_overlap(&body)?;
    let record = find_monitor(&app, &caller, &name).await?;
    let record = app.engine.rotate_secret(record.id(), overlap).await?;
    let mut value = shown(&app, &caller, &record);
    if let Some(secret) = &record.monitor.signing_secret {
        value["signing_secret"] = secret.current.reveal().into();
    }
    Ok(Json(value))
}
