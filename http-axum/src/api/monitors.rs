//! `/api/monitors`: make, read, change, remove; one by one or many at once.

use std::sync::Arc;

use axum::extract::{OriginalUri, Path, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use heartbeat_engine::{Filter, Maintenance, MonitorSpec, Put, PutMode, Record, StatusWord, Target, Token};
use serde_json::Value;

use super::request::{JsonBody, NoQuery, Preconditions, TURNS, find_monitor, location, versioned};
use crate::app::{App, AppState};
use crate::auth::{Caller, CanManage, CanRead};
use crate::json::{self, MonitorWish, Reading, page, read_monitor};
use crate::keys::Scope;
use crate::problem::Problem;
use crate::query::{PAGE_MAX, Query, clip};

const STATUSES: [StatusWord; 5] =
    [StatusWord::New, StatusWord::Up, StatusWord::Late, StatusWord::Down, StatusWord::Paused];

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route("/api/monitors", get(list).post(create))
        .route("/api/monitors/{monitor}", get(read).put(replace).patch(change).delete(remove))
}

async fn list(State(app): State<AppState>, CanRead(caller): CanRead, query: Query) -> Result<Json<Value>, Problem> {
    let (filter, limit) = query.read(|parameters| {
        let limit = parameters.limit();
        let filter = Filter {
            tags: parameters.list("tag"),
            status: parameters.word("status", &STATUSES.map(|word| (word.name(), word))),
            text: parameters.text("q").map(str::to_owned),
            after: parameters.text("cursor").map(str::to_owned),
            ..Filter::default()
        };
        (filter, limit)
    })?;
    let (items, next) = collect(&app, &caller, filter, limit);
    Ok(Json(page(items, next)))
}

/// The monitors of a page, passing over those that the caller may not see.
fn collect(app: &App, caller: &Caller, mut filter: Filter, limit: usize) -> (Vec<Value>, Option<String>) {
    let mut items = Vec::new();
    let now = app.engine.now();
    let mut windows = app.engine.maintenance();
    windows.retain(|window| window.spec.current(now).is_some());
    loop {
        let wanted = if caller.is_limited() { PAGE_MAX } else { limit };
        let found = app.engine.list(&filter, wanted);
        for record in &found.items {
            if items.len() == limit {
                return (items, filter.after);
            }
            filter.after = Some(record.spec().slug.as_str().to_owned());
            if caller.covers(record) {
                items.push(shown_in(app, caller, record, &windows));
            }
        }
        if !found.more {
            return (items, None);
        }
        if items.len() == limit {
            return (items, filter.after);
        }
    }
}

async fn create(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    uri: OriginalUri,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let wish = read_new(&app, &body, None)?;
    let put = make(&app, &caller, wish).await?;
    let location = location(&uri, &put.record.id().to_string());
    Ok(created(&app, &caller, &put, location))
}

async fn read(
    State(app): State<AppState>,
    CanRead(caller): CanRead,
    _: NoQuery,
    Path(name): Path<String>,
) -> Result<Response, Problem> {
    let record = find_monitor(&app, &caller, &name).await?;
    Ok(versioned(StatusCode::OK, record.monitor.revision, shown(&app, &caller, &record)))
}

/// Makes the monitor with this slug, or replaces the one with this slug or id.
async fn replace(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(name): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let preconditions = Preconditions::of(&headers)?;
    let mut last = Problem::conflict("it is being changed by others; try again");
    for _ in 0..TURNS {
        let found = app.find_named(&name).await?;
        preconditions.check(found.as_ref().map(|record| record.monitor.revision))?;
        let outcome = match &found {
            Some(record) => {
                let slug = Some(record.spec().slug.as_str());
                let reading = Reading { slug, ..reading(&app) };
                let wish = read_monitor(&body, reading)?;
                edit(&app, &caller, record, wish, preconditions.is_strict()).await
            }
            None if Target::id_or_slug(&name) != Target::slug(&name) => return Err(Problem::not_found("monitor")),
            None => {
                let wish = read_new(&app, &body, Some(&name))?;
                if wish.spec.slug != name {
                    return Err(Problem::field(
                        "slug",
                        format!("must be `{}` as in the URL; leave it out", clip(&name)),
                    ));
                }
                make(&app, &caller, wish).await
            }
        };
        match outcome {
            Ok(put) if put.created => return Ok(created(&app, &caller, &put, None)),
            Ok(put) => return Ok(edited(&app, &caller, found.as_deref(), &put)),
            // Somebody made, changed or removed it between the look and the write.
            Err(problem) if found.is_none() && problem.status == StatusCode::CONFLICT => last = problem,
            Err(problem) if !preconditions.is_strict() && problem.status == StatusCode::PRECONDITION_FAILED => {
                last = problem;
            }
            Err(problem) => return Err(problem),
        }
    }
    Err(last)
}

/// Changes some fields; null resets one to its default.
async fn change(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(name): Path<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Result<Response, Problem> {
    let preconditions = Preconditions::of(&headers)?;
    let Value::Object(changes) = body else { return Err(Problem::field("", "must be an object")) };
    let mut last = Problem::conflict("it is being changed by others; try again");
    for _ in 0..TURNS {
        let record = find_monitor(&app, &caller, &name).await?;
        preconditions.check(Some(record.monitor.revision))?;
        let mut merged = json::wish(record.spec(), &app.engine);
        for (field, value) in &changes {
            merged[field.as_str()] = value.clone();
        }
        let wish = read_monitor(&merged, reading(&app))?;
        match edit(&app, &caller, &record, wish, true).await {
            Ok(put) => return Ok(edited(&app, &caller, Some(&record), &put)),
            Err(problem) if !preconditions.is_strict() && problem.status == StatusCode::PRECONDITION_FAILED => {
                last = problem;
            }
            Err(problem) => return Err(problem),
        }
    }
    Err(last)
}

async fn remove(
    State(app): State<AppState>,
    CanManage(caller): CanManage,
    _: NoQuery,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let record = find_monitor(&app, &caller, &name).await?;
    Preconditions::of(&headers)?.check(Some(record.monitor.revision))?;
    refuse_declared(&record)?;
    app.engine.remove(record.id()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn reading(app: &App) -> Reading<'_> {
    Reading { engine: &app.engine, timezone: &app.settings.timezone, slug: None }
}

pub(super) fn read_new(app: &App, body: &Value, slug: Option<&str>) -> Result<MonitorWish, Problem> {
    read_monitor(body, Reading { slug, ..reading(app) })
}

async fn make(app: &App, caller: &Caller, wish: MonitorWish) -> Result<Put, Problem> {
    check_reach(app, caller, None, &wish.spec)?;
    Ok(app.engine.put(wish.spec, PutMode::Create { token: wish.token }).await?)
}

async fn edit(app: &App, caller: &Caller, record: &Record, wish: MonitorWish, strict: bool) -> Result<Put, Problem> {
    check_reach(app, caller, Some(record), &wish.spec)?;
    refuse_declared(record)?;
    refuse_other_token(record, wish.token.as_ref())?;
    let expected = strict.then_some(record.monitor.revision);
    Ok(app.engine.put(wish.spec, PutMode::Replace { monitor: record.id(), expected }).await?)
}

/// A limited key may neither touch other monitors nor make or leave one that it could not see.
pub(super) fn check_reach(
    app: &App,
    caller: &Caller,
    record: Option<&Record>,
    wish: &MonitorSpec,
) -> Result<(), Problem> {
    let kept = match record {
        Some(record) => {
            caller.require_monitor(record)?;
            caller.covers_as(record, wish)
        }
        None => caller.covers_tags(&wish.tags),
    };
    let why = "this key is limited; the monitor must have one of its tags, or be one of its monitors, afterwards too";
    if !kept {
        return Err(Problem::forbidden(why));
    }
    let known = record.map(|record| record.spec().depends_on.as_slice()).unwrap_or_default();
    for parent in wish.depends_on.iter().filter(|parent| !known.contains(parent)) {
        if let Some(parent) = app.engine.find(*parent).filter(|parent| !caller.covers(parent)) {
            let slug = &parent.spec().slug;
            return Err(Problem::forbidden(format!("this key is limited; it has nothing to do with monitor `{slug}`")));
        }
    }
    Ok(())
}

/// A token is given when a monitor is made; repeating it later changes nothing.
pub(super) fn refuse_other_token(record: &Record, token: Option<&Token>) -> Result<(), Problem> {
    if token.is_none_or(|token| *token == record.monitor.token.current) {
        return Ok(());
    }
    Err(Problem::field("token", "the monitor exists with another token; use rotate-token for a new one"))
}

pub(super) fn refuse_declared(record: &Record) -> Result<(), Problem> {
    match &record.spec().declared_in {
        Some(file) => Err(Problem::conflict(format!("the monitor is declared in {file}; edit it there"))),
        None => Ok(()),
    }
}

/// A monitor as this caller may see it.
pub(super) fn shown(app: &App, caller: &Caller, record: &Record) -> Value {
    shown_in(app, caller, record, &app.engine.maintenance_of(record.id()))
}

/// The same of one of many; `windows` are those that are in force now, for whichever monitors.
fn shown_in(app: &App, caller: &Caller, record: &Record, windows: &[Arc<Maintenance>]) -> Value {
    let url = caller.has(Scope::Manage).then(|| app.ping_url(&record.monitor.token.current.reveal()));
    json::monitor(record, &app.engine, windows, url)
}

fn created(app: &App, caller: &Caller, put: &Put, location: Option<HeaderValue>) -> Response {
    let record = &put.record;
    let body = shown_with_secret(app, caller, None, record);
    let mut response = versioned(StatusCode::CREATED, record.monitor.revision, body);
    response.headers_mut().extend(location.map(|location| (LOCATION, location)));
    response
}

fn edited(app: &App, caller: &Caller, before: Option<&Record>, put: &Put) -> Response {
    let body = shown_with_secret(app, caller, before, &put.record);
    versioned(StatusCode::OK, put.record.monitor.revision, body).into_response()
}

/// A signing secret is shown once: when it came to be.
pub(super) fn shown_with_secret(app: &App, caller: &Caller, before: Option<&Record>, record: &Record) -> Value {
    let mut body = shown(app, caller, record);
    let had_one = before.is_some_and(|before| before.monitor.signing_secret.is_some());
    if let (false, Some(secret)) = (had_one, &record.monitor.signing_secret) {
        body["signing_secret"] = secret.current.reveal().into();
    }
    body
}
