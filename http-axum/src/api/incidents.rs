//! `/api/incidents`: outages of jobs, who takes care of them, and what is known of each.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header::{CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use heartbeat_engine::{HistoryItem, HistoryQuery, Incident, IncidentId, Record, Timestamp};
use serde_json::Value;

use super::request::{JsonBody, NoQuery, find_where_named, history_page};
use crate::accept::preferred;
use crate::app::{App, AppState};
use crate::auth::{Caller, CanManage, CanRead};
use crate::json::{self, Fields, read_object};
use crate::problem::Problem;
use crate::query::Query;
use crate::report::{gather, markdown};

const JSON: &str = "application/json";
const MARKDOWN: &str = "text/markdown";

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/incidents", get(list))
        .route("/api/incidents/{incident}", get(read))
        .route("/api/incidents/{incident}/ack", post(acknowledge))
        .route("/api/incidents/{incident}/note", post(note))
        .route("/api/incidents/{incident}/report", get(report))
}

/// Newest first. A page may be shorter than asked for where the key does not cover all monitors.
async fn list(State(app): State<AppState>, CanRead(caller): CanRead, query: Query) -> Result<Json<Value>, Problem> {
    let (open, name, before, limit) = query.read(|parameters| {
        (
            parameters.word("status", &[("open", true), ("closed", false)]),
            parameters.text("monitor"),
            parameters.cursor(read_cursor),
            parameters.limit(),
        )
    })?;
    let monitor = find_where_named(&app, &caller, name).await?.map(|record| record.id());
    let found = app.engine.history(&HistoryQuery::Incidents { monitor, open, before }, limit).await?;
    let now = app.engine.now();
    Ok(history_page(&found, |item| {
        let HistoryItem::Incident(incident) = item else { return None };
        let place = format!("{}.{}", incident.opened_at.as_millis(), incident.id);
        let record = app.engine.find(incident.monitor);
        let shown = covers(&caller, record.as_deref()).then(|| json::incident(incident, record.as_deref(), now));
        Some((place, shown))
    }))
}

async fn read(
    State(app): State<AppState>,
    CanRead(caller): CanRead,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let (incident, record) = find(&app, &caller, &id).await?;
    Ok(Json(json::incident(&incident, record.as_deref(), app.engine.now())))
}

/// Says that somebody takes care of it; the first to say so stays.
async fn acknowledge(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let by = read_object(&body, |fields| Some(author(fields, &caller)))?;
    let (incident, record) = find(&app, &caller, &id).await?;
    let incident = app.engine.acknowledge(incident.id, &by).await?;
    Ok(Json(json::incident(&incident, record.as_deref(), app.engine.now())))
}

async fn note(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Json<Value>, Problem> {
    let (by, text) = read_object(&body, |fields| {
        if fields.value("text").is_none() {
            fields.fault("text", "is missing: what there is to say");
        }
        let text = fields.text("text").map(str::to_owned);
        Some((author(fields, &caller), text?))
    })?;
    let (incident, record) = find(&app, &caller, &id).await?;
    let incident = app.engine.note(incident.id, &by, &text).await?;
    Ok(Json(json::incident(&incident, record.as_deref(), app.engine.now())))
}

/// Everything about it, as JSON or Markdown.
async fn report(
    State(app): State<AppState>,
    CanRead(caller): CanRead,
    Path(id): Path<String>,
    headers: HeaderMap,
    query: Query,
) -> Result<Response, Problem> {
    let wanted = query.read(|parameters| parameters.word("format", &[("json", JSON), ("markdown", MARKDOWN)]))?;
    let form = wanted.or_else(|| preferred(&headers, &[JSON, MARKDOWN]).map(|index| [JSON, MARKDOWN][index]));
    let Some(form) = form else {
        let why = format!("a report comes as `{JSON}` or `{MARKDOWN}`; accept one of them, or say ?format=markdown");
        return Err(Problem::new(StatusCode::NOT_ACCEPTABLE, why));
    };
    let (incident, record) = find(&app, &caller, &id).await?;
    let report = gather(&app.engine, incident, record).await?;
    let mut response = if form == MARKDOWN {
        let kind = HeaderValue::from_static("text/markdown; charset=utf-8");
        ([(CONTENT_TYPE, kind)], markdown(&report)).into_response()
    } else {
        Json(report.to_json()).into_response()
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

/// Who does it: as they say, else the name of the key.
fn author(fields: &mut Fields<'_, '_>, caller: &Caller) -> String {
    fields.text("by").unwrap_or_else(|| caller.name()).to_owned()
}

/// The incident, when the caller may see it, and its monitor unless that was removed.
async fn find(app: &App, caller: &Caller, id: &str) -> Result<(Incident, Option<Arc<Record>>), Problem> {
    let id: IncidentId = id.parse().map_err(|_| Problem::not_found("incident"))?;
    let found = app.engine.history(&HistoryQuery::Incident(id), 1).await?.items.pop();
    let Some(HistoryItem::Incident(incident)) = found else { return Err(Problem::not_found("incident")) };
    let record = app.engine.find(incident.monitor);
    if !covers(caller, record.as_deref()) {
        return Err(Problem::forbidden("this key is limited to other monitors"));
    }
    Ok((incident, record))
}

/// Of a removed monitor only unlimited keys see the rest.
fn covers(caller: &Caller, record: Option<&Record>) -> bool {
    record.map_or(!caller.is_limited(), |record| caller.covers(record))
}

fn read_cursor(text: &str) -> Option<(Timestamp, IncidentId)> {
    let (opened_at, id) = text.split_once('.')?;
    Some((Timestamp::from_millis(opened_at.parse().ok()?), id.parse().ok()?))
}
