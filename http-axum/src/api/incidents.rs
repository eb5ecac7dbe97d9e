//! `/api/incidents`: outages of jobs.

use axum::extract::{Path, State};
use axum::routing::get;
use axum::{Json, Router};
use heartbeat_engine::{HistoryItem, HistoryQuery, Incident, IncidentId, Timestamp};
use serde_json::Value;

use super::request::{find_monitor, history_page};
use crate::app::{App, AppState};
use crate::auth::{Caller, CanRead};
use crate::json;
use crate::problem::Problem;
use crate::query::{Query, clip};

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/api/incidents", get(list)).route("/api/incidents/{incident}", get(read))
}

/// Newest first. A page may be shorter than asked for where the key does not cover all monitors.
async fn list(State(app): State<AppState>, CanRead(caller): CanRead, query: Query) -> Result<Json<Value>, Problem> {
    query.only(&["status", "monitor", "limit", "cursor"])?;
    let open = match query.filled("status") {
        None => None,
        Some("open") => Some(true),
        Some("closed") => Some(false),
        Some(text) => return Err(Problem::field("status", format!("`{}` is none of open, closed", clip(text)))),
    };
    let monitor = match query.filled("monitor") {
        None => None,
        Some(name) => Some(find_monitor(&app, &caller, name)?.id()),
    };
    let before = query.cursor(read_cursor)?;
    let found = app.engine.history(&HistoryQuery::Incidents { monitor, open, before }, query.limit()?).await?;
    Ok(history_page(&found, |item| {
        let HistoryItem::Incident(incident) = item else { return None };
        let place = format!("{}.{}", incident.opened_at.as_millis(), incident.id);
        Some((place, shown(&app, &caller, incident)))
    }))
}

async fn read(
    State(app): State<AppState>,
    CanRead(caller): CanRead,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    let id: IncidentId = id.parse().map_err(|_| Problem::not_found("incident"))?;
    let found = app.engine.history(&HistoryQuery::Incident(id), 1).await?.items.pop();
    let Some(HistoryItem::Incident(incident)) = found else { return Err(Problem::not_found("incident")) };
    shown(&app, &caller, &incident).map(Json).ok_or_else(|| Problem::forbidden("this key is limited to other monitors"))
}

/// The incident, when the caller may see its monitor; of a removed one only unlimited keys see the rest.
fn shown(app: &App, caller: &Caller, incident: &Incident) -> Option<Value> {
    let record = app.engine.find(incident.monitor);
    let covered = record.as_ref().map_or(!caller.is_limited(), |record| caller.covers(record));
    covered.then(|| json::incident(incident, record.as_deref(), app.engine.now()))
}

fn read_cursor(text: &str) -> Option<(Timestamp, IncidentId)> {
    let (opened_at, id) = text.split_once('.')?;
    Some((Timestamp::from_millis(opened_at.parse().ok()?), id.parse().ok()?))
}
