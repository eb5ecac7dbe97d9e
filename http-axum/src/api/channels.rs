//! `/api/channels`: who can be told.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use heartbeat_engine::FieldError;
use serde_json::{Value, json};

use super::request::{JsonBody, NoQuery};
use crate::app::{App, AppState};
use crate::auth::{CanManage, CanRead};
use crate::json::{self, page, read_channel};
use crate::keys::Scope;
use crate::problem::Problem;
use crate::query::Query;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/channels", get(list))
        .route("/api/channels/{channel}", get(read).put(put).delete(remove))
        .route("/api/channels/{channel}/test", post(test))
}

async fn list(State(app): State<AppState>, CanRead(caller): CanRead, query: Query) -> Result<Json<Value>, Problem> {
    query.none()?;
    caller.require_unlimited()?;
    Ok(Json(page(app.engine.channels().iter().map(json::channel).collect(), None)))
}

async fn read(
    State(app): State<AppState>,
    CanRead(caller): CanRead,
    _: NoQuery,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.require_unlimited()?;
    shown(&app, &name).map(Json)
}

/// Makes the channel or replaces it.
async fn put(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(name): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    caller.require_unlimited()?;
    refuse_declared(&app, &name)?;
    let spec = read_channel(&body, &name, |spec| {
        let mut faults = app.engine.channel_faults(&name, spec);
        let fallback = spec.fallback.iter().filter(|other| **other != name && app.engine.channel(other).is_none());
        faults.extend(fallback.map(|other| {
            FieldError::new("fallback", format!("there is no channel `{}`; make it first", crate::query::clip(other)))
        }));
        faults
    })?;
    if let Some(setting) = app.engine.privileged_setting(&spec)
        && !caller.has(Scope::Admin)
    {
        return Err(Problem::forbidden(format!("`{setting}` needs a key of the scope `admin`")));
    }
    let created = app.engine.put_channel(&name, spec).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(shown(&app, &name)?)).into_response())
}

async fn remove(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require_unlimited()?;
    refuse_declared(&app, &name)?;
    app.engine.remove_channel(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends a test message now and tells how that went.
async fn test(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(name): Path<String>,
) -> Result<Json<Value>, Problem> {
    caller.require_unlimited()?;
    let outcome = app.engine.test_channel(&name).await.ok_or_else(|| Problem::not_found("channel"))?;
    Ok(Json(match outcome {
        Ok(_) => json!({"delivered": true, "error": null}),
        Err(error) => json!({"delivered": false, "error": error.to_string()}),
    }))
}

fn shown(app: &App, name: &str) -> Result<Value, Problem> {
    app.engine.channel(name).as_ref().map(json::channel).ok_or_else(|| Problem::not_found("channel"))
}

fn refuse_declared(app: &App, name: &str) -> Result<(), Problem> {
    let declared = app.engine.channel(name).and_then(|info| info.spec.declared_in);
    declared.map_or(Ok(()), |file| Err(Problem::conflict(format!("the channel is declared in {file}; edit it there"))))
}
