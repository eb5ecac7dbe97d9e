//! `/api/routes`: which channels are told of which incidents besides those of the monitor.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use heartbeat_engine::{FieldError, Route, RouteSpec};
use serde_json::Value;

use super::request::{JsonBody, NoQuery, Turns};
use crate::app::{App, AppState};
use crate::auth::{CanManage, CanRead};
use crate::json::{self, page, route_from_json};
use crate::problem::Problem;
use crate::query::{Query, clip};

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/api/routes", get(list)).route("/api/routes/{route}", get(read).put(put).delete(remove))
}

/// In the order of names. Routes concern every monitor, so that a limited key has nothing to do with them.
async fn list(State(app): State<AppState>, CanRead(caller): CanRead, query: Query) -> Result<Json<Value>, Problem> {
    query.none()?;
    caller.require_unlimited()?;
    Ok(Json(page(app.engine.routes().iter().map(|route| json::route(route)).collect(), None)))
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

/// Makes the route or replaces it.
async fn put(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(name): Path<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    caller.require_unlimited()?;
    let spec = read_spec(&app, &name, &body)?;
    let mut turns = Turns::default();
    let created = loop {
        refuse_declared(&app, &name)?;
        match app.engine.put_route(&name, spec.clone()).await {
            Ok(created) => break created,
            Err(error) => turns.again(error)?,
        }
    };
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
    let mut turns = Turns::default();
    loop {
        refuse_declared(&app, &name)?;
        match app.engine.remove_route(&name).await {
            Ok(()) => break,
            Err(error) => turns.again(error)?,
        }
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Reads a route; channels that do not exist are told with everything else that is wrong.
fn read_spec(app: &App, name: &str, body: &Value) -> Result<RouteSpec, Problem> {
    let read = route_from_json(body, name);
    let mut faults = read.as_ref().err().cloned().unwrap_or_default();
    let channels = body.get("channels").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    for (index, channel) in channels.iter().enumerate().filter_map(|(index, name)| Some((index, name.as_str()?))) {
        let field = format!("channels.{index}");
        if app.engine.channel(channel).is_none() && faults.iter().all(|fault| fault.field != field) {
            let message = format!("there is no channel `{}`; make it first", clip(channel));
            faults.push(FieldError::new(field, message));
        }
    }
    read.ok().filter(|_| faults.is_empty()).ok_or_else(|| Problem::invalid(faults))
}

fn find(app: &App, name: &str) -> Option<Arc<Route>> {
    app.engine.routes().into_iter().find(|route| route.name == name)
}

fn shown(app: &App, name: &str) -> Result<Value, Problem> {
    find(app, name).map(|route| json::route(&route)).ok_or_else(|| Problem::not_found("route"))
}

fn refuse_declared(app: &App, name: &str) -> Result<(), Problem> {
    let declared = find(app, name).and_then(|route| route.spec.declared_in.clone());
    declared.map_or(Ok(()), |file| Err(Problem::conflict(format!("the route is declared in {file}; edit it there"))))
}
