//! `/api/keys`: who may do what. A key itself is shown once, when it is made.

use axum::extract::{OriginalUri, Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::Value;

use super::request::{JsonBody, NoQuery, location, read_overlap};
use crate::app::{App, AppState};
use crate::auth::IsAdmin;
use crate::json::{self, page, read_key};
use crate::keys::{ApiKey, KeyRecord, Scope};
use crate::problem::Problem;
use crate::query::Query;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/keys", get(list).post(create))
        .route("/api/keys/{key}", get(read).delete(remove))
        .route("/api/keys/{key}/rotate", post(rotate))
}

/// Oldest first.
async fn list(State(app): State<AppState>, _: IsAdmin, query: Query) -> Result<Json<Value>, Problem> {
    query.none()?;
    let now = app.engine.now();
    let keys = app.keys.list().await?;
    Ok(Json(page(keys.iter().map(|key| json::key(key, now)).collect(), None)))
}

async fn create(
    State(app): State<AppState>,
    _: IsAdmin,
    _: NoQuery,
    uri: OriginalUri,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let now = app.engine.now();
    let wish = read_key(&body, now)?;
    let key = ApiKey::random()?;
    let mut record = KeyRecord::new(&wish.name, wish.scope, key.hash(), now);
    record.monitors = wish.monitors;
    record.tags = wish.tags;
    record.expires_at = wish.expires_at;
    let warnings = unknown_monitors(&app, &record.monitors)?;
    let stored = app.keys.create(&record).await?;
    let mut value = json::key(&stored, now);
    value["key"] = key.reveal().into();
    value["warnings"] = warnings.into();
    let mut response = (StatusCode::CREATED, Json(value)).into_response();
    response.headers_mut().extend(location(&uri, &stored.id).map(|location| (LOCATION, location)));
    Ok(response)
}

/// A key may come before its monitors; one that was misspelt should not come to light only when a job is refused.
fn unknown_monitors(app: &App, named: &[String]) -> Result<Vec<String>, Problem> {
    let mut warnings = Vec::new();
    for name in named {
        if app.known_by_name(name)?.is_none() {
            warnings.push(format!("there is no monitor `{name}` yet"));
        }
    }
    Ok(warnings)
}

async fn read(
    State(app): State<AppState>,
    _: IsAdmin,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let key = app.keys.get(&id).await?.ok_or_else(|| Problem::not_found("key"))?;
    Ok(Json(json::key(&key, app.engine.now())))
}

async fn remove(
    State(app): State<AppState>,
    _: IsAdmin,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    refuse_last_admin(&app, &id).await?;
    if app.keys.remove(&id).await? { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::not_found("key")) }
}

/// Answers the key's successor; the old one stays valid for `overlap`.
async fn rotate(
    State(app): State<AppState>,
    _: IsAdmin,
    _: NoQuery,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let overlap = read_overlap(&body)?;
    let now = app.engine.now();
    let key = ApiKey::random()?;
    let changed = app.keys.change(&id, |record| record.rotate(key.hash(), overlap, now)).await?;
    let stored = changed.ok_or_else(|| Problem::not_found("key"))?;
    let mut value = json::key(&stored, now);
    value["key"] = key.reveal().into();
    Ok(Json(value))
}

/// Without any admin key nobody could make another.
async fn refuse_last_admin(app: &App, id: &str) -> Result<(), Problem> {
    let now = app.engine.now();
    let keys = app.keys.list().await?;
    let mut admins = keys.iter().filter(|key| key.record.scope == Scope::Admin && !key.record.is_expired(now));
    let is_last = admins.next().is_some_and(|key| key.id == id) && admins.next().is_none();
    if is_last && app.admin_key.is_none() {
        return Err(Problem::conflict("it is the last admin key; make another one first"));
    }
    Ok(())
}
