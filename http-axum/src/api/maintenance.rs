//! `/api/maintenance`: stretches of time in which silence proves nothing and nothing goes down.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use heartbeat_engine::{FieldError, Filter, Maintenance, MaintenanceSpec, MaintenanceTime, Timestamp};
use serde_json::Value;

use super::request::{JsonBody, NoQuery, Turns, find_where_named, location};
use crate::app::{App, AppState};
use crate::auth::{Caller, CanManage, CanRead};
use crate::json::{self, Coverage, Standing, maintenance_from_json, page};
use crate::problem::Problem;
use crate::query::{PAGE_MAX, Query, clip};

/// Monitors whose schedules are compared with the windows of one answer; that is laborious.
const COMPARED_MAX: usize = 10_000;
/// Monitors that are named in the warnings of a window.
const WARNINGS_MAX: usize = 20;

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/maintenance", get(list).post(create))
        .route("/api/maintenance/{window}", get(read).put(put).delete(end))
}

/// In the order of ids. A limited key sees those that cover one of its monitors.
async fn list(State(app): State<AppState>, CanRead(caller): CanRead, query: Query) -> Result<Json<Value>, Problem> {
    let (standing, name, after, limit) = query.read(|parameters| {
        (
            parameters.word("status", &Standing::ALL),
            parameters.text("monitor"),
            parameters.text("cursor"),
            parameters.limit(),
        )
    })?;
    let monitor = find_where_named(&app, &caller, name).await?;
    let now = app.engine.now();
    let mut windows = app.engine.maintenance();
    windows.retain(|window| {
        after.is_none_or(|after| window.id.as_str() > after)
            && standing.is_none_or(|standing| Standing::of(&window.spec, now) == standing)
            && monitor.as_ref().is_none_or(|monitor| window.covers(monitor))
    });
    // A limited key may see fewer of them, so that all are looked at.
    if !caller.is_limited() {
        windows.truncate(limit + 1);
    }
    let coverages = coverages(&app, &caller, &windows).await;
    let mut seen: Vec<_> =
        windows.iter().zip(coverages).filter(|(window, coverage)| may_see(&app, &caller, window, coverage)).collect();
    let next = (seen.len() > limit).then(|| seen[limit - 1].0.id.clone());
    seen.truncate(limit);
    Ok(Json(page(seen.iter().map(|(window, coverage)| json::maintenance(window, coverage, now)).collect(), next)))
}

async fn create(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    uri: OriginalUri,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let spec = read_spec(&app, &caller, &body, None)?;
    let put = app.engine.put_maintenance(None, spec).await?;
    let mut response = (StatusCode::CREATED, shown(&app, &caller, &put.id).await?).into_response();
    response.headers_mut().extend(location(&uri, &put.id).map(|location| (LOCATION, location)));
    Ok(response)
}

async fn read(
    State(app): State<AppState>,
    CanRead(caller): CanRead,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Json<Value>, Problem> {
    shown(&app, &caller, &id).await
}

/// Makes the window or replaces it.
async fn put(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let mut turns = Turns::default();
    let created = loop {
        let before = find(&app, &id);
        if let Some(window) = &before {
            check_change(&app, &caller, window)?;
        }
        let spec = read_spec(&app, &caller, &body, before.as_deref())?;
        match app.engine.put_maintenance(Some(&id), spec).await {
            Ok(put) => break put.created,
            Err(error) => turns.again(error)?,
        }
    };
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, shown(&app, &caller, &id).await?).into_response())
}

/// Removes a window that has not begun. One that has begun is ended and answered: it explains what was silent until now.
async fn end(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let mut turns = Turns::default();
    loop {
        let window = find(&app, &id).ok_or_else(|| Problem::not_found("maintenance window"))?;
        check_change(&app, &caller, &window)?;
        match app.engine.end_maintenance(&id).await {
            Ok(()) => break,
            Err(error) => turns.again(error)?,
        }
    }
    match find(&app, &id) {
        Some(_) => Ok(shown(&app, &caller, &id).await?.into_response()),
        None => Ok(StatusCode::NO_CONTENT.into_response()),
    }
}

fn find(app: &App, id: &str) -> Option<Arc<Maintenance>> {
    app.engine.maintenance().into_iter().find(|window| window.id == id)
}

async fn shown(app: &App, caller: &Caller, id: &str) -> Result<Json<Value>, Problem> {
    let window = find(app, id).ok_or_else(|| Problem::not_found("maintenance window"))?;
    let coverage = coverages(app, caller, std::slice::from_ref(&window)).await.pop().unwrap_or_default();
    if !may_see(app, caller, &window, &coverage) {
        return Err(Problem::forbidden("this key is limited to other monitors"));
    }
    Ok(Json(json::maintenance(&window, &coverage, app.engine.now())))
}

/// Reads a window and makes sure that the caller may silence what it covers. A monitor that it named before may have been
/// removed since.
fn read_spec(
    app: &App,
    caller: &Caller,
    body: &Value,
    before: Option<&Maintenance>,
) -> Result<MaintenanceSpec, Problem> {
    let read = maintenance_from_json(body, &app.settings.timezone, app.engine.now());
    let mut faults = read.as_ref().err().cloned().unwrap_or_default();
    let names = body.get("monitors").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (index, name) in names.iter().enumerate().filter_map(|(index, name)| Some((index, name.as_str()?))) {
        let field = format!("monitors.{index}");
        let named_before = before.is_some_and(|before| before.spec.monitors.iter().any(|other| other == name));
        if !named_before && app.known_by_name(name)?.is_none() && faults.iter().all(|fault| fault.field != field) {
            faults.push(FieldError::new(field, format!("there is no monitor `{}`", clip(name))));
        }
    }
    if let Ok(MaintenanceSpec { time: MaintenanceTime::Once { to, .. }, .. }) = &read
        && *to <= app.engine.now()
    {
        faults.push(FieldError::new("to", format!("{to} is past; the window would be over")));
    }
    let spec = read.ok().filter(|_| faults.is_empty()).ok_or_else(|| Problem::invalid(faults))?;
    check_reach(app, caller, &spec)?;
    Ok(spec)
}

fn check_change(app: &App, caller: &Caller, window: &Maintenance) -> Result<(), Problem> {
    check_reach(app, caller, &window.spec)?;
    match &window.spec.declared_in {
        Some(file) => Err(Problem::conflict(format!("the window is declared in {file}; edit it there"))),
        None => Ok(()),
    }
}

/// A limited key may silence nothing but its own monitors.
fn check_reach(app: &App, caller: &Caller, spec: &MaintenanceSpec) -> Result<(), Problem> {
    if !caller.is_limited() {
        return Ok(());
    }
    if spec.all {
        return Err(Problem::forbidden("this key is limited; it cannot silence all monitors"));
    }
    if let Some(tag) = spec.tags.iter().find(|tag| !caller.covers_tags(std::slice::from_ref(tag))) {
        let tag = clip(tag);
        return Err(Problem::forbidden(format!("this key is limited; it cannot silence the tag `{tag}`")));
    }
    for name in &spec.monitors {
        if !app.known_by_name(name)?.is_some_and(|monitor| caller.covers(&monitor)) {
            let name = clip(name);
            return Err(Problem::forbidden(format!("this key is limited; it cannot silence the monitor `{name}`")));
        }
    }
    Ok(())
}

fn may_see(app: &App, caller: &Caller, window: &Maintenance, coverage: &Coverage) -> bool {
    coverage.monitors > 0 || check_reach(app, caller, &window.spec).is_ok()
}

/// What each of these windows covers of that which the caller may see.
async fn coverages(app: &App, caller: &Caller, windows: &[Arc<Maintenance>]) -> Vec<Coverage> {
    let mut coverages = vec![Coverage::default(); windows.len()];
    if windows.is_empty() {
        return coverages;
    }
    let now = app.engine.now();
    let mut compared = 0;
    let mut filter = Filter::default();
    loop {
        let found = app.engine.list(&filter, PAGE_MAX);
        for record in found.items.iter().filter(|record| caller.covers(record)) {
            for (window, coverage) in windows.iter().zip(&mut coverages).filter(|(window, _)| window.covers(record)) {
                coverage.monitors += 1;
                if compared < COMPARED_MAX && coverage.warnings.len() < WARNINGS_MAX {
                    compared += 1;
                    if window.swallows(record.spec(), now) {
                        let slug = &record.spec().slug;
                        coverage
                            .warnings
                            .push(format!("covers every occurrence of `{slug}`: its silence is never found"));
                    }
                }
            }
        }
        filter.after = found.items.last().map(|record| record.spec().slug.as_str().to_owned());
        if !found.more {
            warn_of_nothing(windows, &mut coverages, now);
            return coverages;
        }
        // A million monitors take a while; others are served meanwhile.
        tokio::task::yield_now().await;
    }
}

/// A misspelt tag would silence nobody, and be noticed when somebody is woken.
fn warn_of_nothing(windows: &[Arc<Maintenance>], coverages: &mut [Coverage], now: Timestamp) {
    for (window, coverage) in windows.iter().zip(coverages) {
        if coverage.monitors == 0 && !window.spec.is_over(now) {
            coverage.warnings.push("covers no monitor yet".to_owned());
        }
    }
}
