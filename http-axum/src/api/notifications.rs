//! `/api/notifications`: what is owed to whom, and how its delivery goes.

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use heartbeat_engine::{DeliveryState, HistoryItem, HistoryQuery, IncidentId, NotificationId, OutboxEntry};
use serde_json::Value;

use super::request::{NoQuery, history_page};
use crate::app::{App, AppState};
use crate::auth::{Caller, CanManage, CanRead};
use crate::json;
use crate::problem::Problem;
use crate::query::Query;

const STATES: [(&str, DeliveryState); 4] = [
    ("pending", DeliveryState::Pending),
    ("delivered", DeliveryState::Delivered),
    ("dead", DeliveryState::Dead),
    ("grouped", DeliveryState::Grouped),
];

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/notifications", get(list))
        .route("/api/notifications/{notification}", get(read))
        .route("/api/notifications/{notification}/retry", post(retry))
}

/// Newest first. A page may be shorter than asked for where the key does not cover all monitors.
async fn list(State(app): State<AppState>, CanRead(caller): CanRead, query: Query) -> Result<Json<Value>, Problem> {
    let (state, incident, before, limit) = query.read(|parameters| {
        (
            parameters.word("state", &STATES),
            parameters.parsed("incident", "the id of an incident", |text| text.parse::<IncidentId>().ok()),
            parameters.cursor(|text| text.parse().ok()),
            parameters.limit(),
        )
    })?;
    let found = app.engine.history(&HistoryQuery::Notifications { state, incident, before }, limit).await?;
    Ok(history_page(&found, |item| {
        let HistoryItem::Notification(entry) = item else { return None };
        Some((entry.seq.to_string(), covers(&app, &caller, entry).then(|| json::notification(entry))))
    }))
}

async fn read(
    State(app): State<AppState>,
    CanRead(caller): CanRead,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let entry = find(&app, &caller, &id).await?;
    Ok(Json(json::notification(&entry)))
}

/// Tries a notification again now, be it dead.
async fn retry(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let entry = find(&app, &caller, &id).await?;
    let entry = app.engine.retry_notification(entry.notification.id).await?;
    Ok(Json(json::notification(&entry)))
}

async fn find(app: &App, caller: &Caller, id: &str) -> Result<OutboxEntry, Problem> {
    let id: NotificationId = id.parse().map_err(|_| Problem::not_found("notification"))?;
    let found = app.engine.history(&HistoryQuery::Notification(id), 1).await?.items.pop();
    let Some(HistoryItem::Notification(entry)) = found else { return Err(Problem::not_found("notification")) };
    if covers(app, caller, &entry) {
        Ok(*entry)
    } else {
        Err(Problem::forbidden("this key is limited to other monitors"))
    }
}

fn covers(app: &App, caller: &Caller, entry: &OutboxEntry) -> bool {
    let record = entry.notification.monitor.as_ref().and_then(|about| app.engine.find(about.id));
    record.map_or(!caller.is_limited(), |record| caller.covers(&record))
}
