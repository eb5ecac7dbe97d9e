//! What happened to a monitor: its heartbeats, how many there were, its changes of state, its uptime.

use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use heartbeat_engine::{CountsPer, HistoryItem, HistoryQuery, Timestamp};
use serde_json::Value;

use super::request::{NoQuery, find_monitor, history_page};
use super::uptime::uptime;
use crate::app::AppState;
use crate::auth::CanRead;
use crate::json;
use crate::problem::Problem;
use crate::query::{Parameters, Query};

const DAYS_MAX: u32 = 366;
const DAYS_DEFAULT: u32 = 90;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/monitors/{monitor}/pings", get(pings))
        .route("/api/monitors/{monitor}/pings/{n}/body", get(ping_body))
        .route("/api/monitors/{monitor}/counts", get(counts))
        .route("/api/monitors/{monitor}/events", get(events))
        .route("/api/monitors/{monitor}/uptime", get(uptime_of))
}

/// Newest first.
async fn pings(
    State(app): State<AppState>,
    CanRead(caller): CanRead,
    Path(name): Path<String>,
    query: Query,
) -> Result<Json<Value>, Problem> {
    let (before, limit) = query.read(read_page)?;
    let monitor = find_monitor(&app, &caller, &name).await?.id();
    let found = app.engine.history(&HistoryQuery::Pings { monitor, before }, limit).await?;
    Ok(history_page(&found, |item| match item {
        HistoryItem::Ping(entry) => Some((entry.n.to_string(), Some(json::ping(entry)))),
        _ => None,
    }))
}

async fn ping_body(
    State(app): State<AppState>,
    CanRead(caller): CanRead,
    _: NoQuery,
    Path((name, n)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let monitor = find_monitor(&app, &caller, &name).await?.id();
    let n: u64 = n.parse().map_err(|_| Problem::not_found("ping"))?;
    let query = HistoryQuery::Pings { monitor, before: Some(n.saturating_add(1)) };
    let found = app.engine.history(&query, 1).await?.items.pop();
    let Some(HistoryItem::Ping(entry)) = found.filter(|item| matches!(item, HistoryItem::Ping(ping) if ping.n == n))
    else {
        return Err(Problem::not_found("ping"));
    };
    let body = entry.body.unwrap_or_default();
    let is_text = std::str::from_utf8(&body).is_ok() || entry.body_cut && is_cut_text(&body);
    let kind = if is_text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    // A body is whatever somebody sent; it must not run as a page of this server.
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'"));
    Ok(response)
}

fn read_page(parameters: &mut Parameters<'_>) -> (Option<u64>, usize) {
    (parameters.cursor(|text| text.parse().ok()), parameters.limit())
}

/// Whether only the last character is not whole.
fn is_cut_text(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_err_and(|error| error.error_len().is_none())
}

/// How many heartbeats came in which hour or day, newest first.
async fn counts(
    State(app): State<AppState>,
    CanRead(caller): CanRead,
    Path(name): Path<String>,
    query: Query,
) -> Result<Json<Value>, Problem> {
    let wanted = query.read(read_counts)?;
    let monitor = find_monitor(&app, &caller, &name).await?.id();
    let CountsWish { per, since, before, limit } = wanted;
    let found = app.engine.history(&HistoryQuery::Counts { monitor, per, since, before }, limit).await?;
    Ok(history_page(&found, |item| match item {
        HistoryItem::Counts(counts) => {
            Some((counts.begins_at.as_millis().to_string(), Some(json::counts(counts, per))))
        }
        _ => None,
    }))
}

struct CountsWish {
    per: CountsPer,
    since: Option<Timestamp>,
    before: Option<Timestamp>,
    limit: usize,
}

fn read_counts(parameters: &mut Parameters<'_>) -> CountsWish {
    let right = "a time such as 2026-11-20T08:00:00Z";
    let per = parameters.word("per", &[("hour", CountsPer::Hour), ("day", CountsPer::Day)]);
    let since: Option<Timestamp> = parameters.parsed("from", right, |text| text.parse().ok());
    let to: Option<Timestamp> = parameters.parsed("to", right, |text| text.parse().ok());
    if let (Some(since), Some(to)) = (since, to)
        && since >= to
    {
        parameters.fault("to", format!("`{to}` is not after `from`, which is {since}"));
    }
    let cursor = parameters.cursor(|text| text.parse().ok().map(Timestamp::from_millis));
    let before = cursor.map_or(to, |cursor| Some(to.map_or(cursor, |to| to.min(cursor))));
    CountsWish { per: per.unwrap_or(CountsPer::Day), since, before, limit: parameters.limit() }
}

/// Changes of state, newest first.
async fn events(
    State(app): State<AppState>,
    CanRead(caller): CanRead,
    Path(name): Path<String>,
    query: Query,
) -> Result<Json<Value>, Problem> {
    let (before, limit) = query.read(read_page)?;
    let monitor = find_monitor(&app, &caller, &name).await?.id();
    let found = app.engine.history(&HistoryQuery::Changes { monitor, before }, limit).await?;
    Ok(history_page(&found, |item| match item {
        HistoryItem::Change(change) => Some((change.version.to_string(), Some(json::change(change)))),
        _ => None,
    }))
}

async fn uptime_of(
    State(app): State<AppState>,
    CanRead(caller): CanRead,
    Path(name): Path<String>,
    query: Query,
) -> Result<Json<Value>, Problem> {
    let right = format!("a number from 1 to {DAYS_MAX}");
    let days = query.read(|parameters| {
        parameters.parsed("days", &right, |text| text.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days)))
    })?;
    let days = days.unwrap_or(DAYS_DEFAULT);
    let record = find_monitor(&app, &caller, &name).await?;
    let to = app.engine.now();
    let from = to - std::time::Duration::from_secs(u64::from(days) * 86_400);
    Ok(Json(uptime(&app.engine, &record, from, to).await?.to_json()))
}
