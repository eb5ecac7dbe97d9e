//! Heartbeats by URL: our own `/ping/{token}[/{action}]`, which is also that of Healthchecks, and Healthchecks'
//! `/ping/{ping-key}/{slug}[/{action}][?create=1]`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::header::ACCESS_CONTROL_ALLOW_ORIGIN;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::response::Response;
use axum::routing::get;
use heartbeat_engine::schedule::{Grace, Schedule};
use heartbeat_engine::{EditError, FieldError, MonitorSpec, Ping, PutMode, Record, RunId, Signal, Target, Timestamp};

use crate::app::{App, AppState};
use crate::auth::{AuthError, Caller};
use crate::heartbeat::{Incoming, Keep, Refused, Taken, answer, message, milliseconds, speak_for, take};
use crate::keys::Scope;
use crate::query::{Query, clip};

const BY_TOKEN: &str = "/ping/{token}";
const BY_TWO: &str = "/ping/{first}/{second}";
const TEXT: &str = "text/plain; charset=utf-8";
const STATUS: HeaderName = HeaderName::from_static("heartbeat-status");
const BODY_LIMIT: HeaderName = HeaderName::from_static("ping-body-limit");

pub(crate) fn routes() -> Router<AppState> {
    Router::new()
        .route(BY_TOKEN, get(by_token).post(by_token))
        .route("/ping/{token}/", get(by_token).post(by_token))
        .route(BY_TWO, get(by_two).post(by_two))
        .route("/ping/{key}/{slug}/{action}", get(by_three).post(by_three))
}

async fn by_token(State(app): State<AppState>, Path(token): Path<String>, request: Request) -> Response {
    let outcome = with_token(&app, &token, None, request).await;
    outcome.unwrap_or_else(Fault::into_response)
}

/// A token and an action, or a ping key and a slug: the token wins.
async fn by_two(
    State(app): State<AppState>,
    Path((first, second)): Path<(String, String)>,
    request: Request,
) -> Response {
    let known = match app.find(Target::token(&first)).await {
        Ok(found) => found.is_some() && Action::parse(&second).is_some(),
        Err(error) => return Fault::from(error).into_response(),
    };
    let outcome = if known {
        with_token(&app, &first, Some(&second), request).await
    } else {
        with_key(&app, &first, &second, None, request).await
    };
    outcome.unwrap_or_else(Fault::into_response)
}

async fn by_three(
    State(app): State<AppState>,
    Path((key, slug, action)): Path<(String, String, String)>,
    request: Request,
) -> Response {
    with_key(&app, &key, &slug, Some(&action), request).await.unwrap_or_else(Fault::into_response)
}

async fn with_token(app: &App, token: &str, action: Option<&str>, request: Request) -> Result<Response, Fault> {
    let found = app.find(Target::token(token)).await?;
    let incoming = Incoming::read(app, request, keep(found.is_some())).await?;
    let record = found.ok_or(Refused::NotFound)?;
    let action = action.map_or(Some(Action::PLAIN), Action::parse).ok_or(Refused::NotFound)?;
    hear(app, &incoming, &record, action).await
}

/// Takes a heartbeat whose monitor and action are known.
async fn hear(app: &App, incoming: &Incoming, record: &Record, action: Action) -> Result<Response, Fault> {
    let ping = read_ping(app, incoming, action)?;
    let taken = take(app, incoming, record, ping).await?;
    Ok(success(app, &incoming.method, &taken, false))
}

/// A heartbeat by a token that a monitor has, ready to be heard without the router: nearly all requests are such.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    record: Arc<Record>,
    action: Action,
    /// Whether the path says more than the token.
    pub(crate) has_action: bool,
}

impl Heartbeat {
    /// The heartbeat that a `GET`, `HEAD` or `POST` of this path is; `None` where the router must look at it.
    pub(crate) fn find(app: &App, path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/ping/")?;
        let (token, action) = match rest.split_once('/') {
            None => (rest, None),
            Some((token, action)) => (token, Some(Action::parse(action)?)),
        };
        // What is no token as it stands may be one when it is decoded.
        let record = is_token(token).then(|| app.engine.find(Target::token(token)))??;
        Some(Self { record, action: action.unwrap_or(Action::PLAIN), has_action: action.is_some() })
    }

    /// The pattern of the route that the router would have found.
    pub(crate) fn route(&self) -> &'static str {
        if self.has_action { BY_TWO } else { BY_TOKEN }
    }

    pub(crate) async fn hear(&self, app: &App, request: Request, peer: IpAddr) -> Response {
        let outcome = async {
            let incoming = Incoming::read_from(app, request, Some(peer), keep(true)).await?;
            hear(app, &incoming, &self.record, self.action).await
        };
        outcome.await.unwrap_or_else(Fault::into_response)
    }
}

fn is_token(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

async fn with_key(app: &App, key: &str, slug: &str, action: Option<&str>, request: Request) -> Result<Response, Fault> {
    // A key that may do more does not belong in a URL, which ends up in logs.
    let caller = match Caller::with_key(app, key).await {
        Ok(caller) => Some(caller).filter(|caller| caller.scope() == Scope::Ping),
        Err(AuthError::Unavailable(why)) => return Err(Fault::unavailable(why)),
        Err(AuthError::Missing | AuthError::Wrong(_)) => None,
    };
    let incoming = Incoming::read(app, request, keep(caller.is_some())).await?;
    let caller = caller.ok_or_else(|| unknown_slug(slug))?;
    let action = action.map_or(Some(Action::PLAIN), Action::parse).ok_or(Refused::NotFound)?;
    let found = app.find(Target::slug(slug)).await?;
    let mut ping = read_ping(app, &incoming, action)?;
    ping.ends_all_runs = ping.run.is_none();
    let (record, created) = match found {
        Some(record) if caller.covers(&record) => (record, false),
        None if incoming.query.get("create") == Some("1") && !caller.is_limited() => (create(app, slug).await?, true),
        _ => return Err(unknown_slug(slug)),
    };
    let taken = take(app, &incoming, &record, ping).await?;
    Ok(success(app, &incoming.method, &taken, created))
}

fn keep(known: bool) -> Keep {
    if known { Keep::Beginning } else { Keep::Nothing }
}

/// Makes a monitor as Healthchecks does: expected once a day, an hour of grace, every channel is told.
async fn create(app: &App, slug: &str) -> Result<Arc<Record>, Fault> {
    if slug.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(unknown_slug(slug));
    }
    let schedule = Schedule::every(Duration::from_secs(86_400)).map_err(|_| Fault::bad_url())?;
    let mut spec = MonitorSpec::new(slug, schedule);
    spec.grace = Grace::Fixed(Duration::from_secs(3600));
    spec.channels = app.engine.channels().into_iter().map(|channel| channel.name).collect();
    match app.engine.put(spec, PutMode::Create { token: None }).await {
        Ok(put) => Ok(put.record),
        // Two first heartbeats at the same time: the other one made it.
        Err(EditError::Taken { .. }) => Ok(app.find(Target::slug(slug)).await?.ok_or(Refused::NotFound)?),
        Err(EditError::Unavailable(error)) => Err(error.into()),
        Err(_) => Err(Fault::bad_url()),
    }
}

/// What the end of a ping URL asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Signal(Signal),
    Exit(u8),
    /// A number that is no exit status.
    BadExit,
}

impl Action {
    /// Where the URL asks for nothing else.
    const PLAIN: Self = Self::Signal(Signal::Success);

    fn parse(text: &str) -> Option<Self> {
        match text {
            "start" => Some(Self::Signal(Signal::Start)),
            "fail" => Some(Self::Signal(Signal::Fail)),
            "log" => Some(Self::Signal(Signal::Log)),
            "report" => Some(Self::Signal(Signal::Report)),
            _ if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) => {
                let digits = text.trim_start_matches('0');
                Some(if digits.is_empty() { Self::Exit(0) } else { digits.parse().map_or(Self::BadExit, Self::Exit) })
            }
            _ => None,
        }
    }
}

fn read_ping(app: &App, incoming: &Incoming, action: Action) -> Result<Ping, Fault> {
    let (signal, exit) = match action {
        Action::Signal(signal) => (signal, None),
        Action::Exit(0) => (Signal::Success, Some(0)),
        Action::Exit(status) => (Signal::Fail, Some(status)),
        Action::BadExit => return Err(Fault::bad_url()),
    };
    let mut ping = incoming.ping(app, signal);
    ping.exit_status = exit;
    read_parameters(app, &incoming.query, &mut ping)?;
    speak_for(&mut ping);
    Ok(ping)
}

fn read_parameters(app: &App, query: &Query, ping: &mut Ping) -> Result<(), Fault> {
    if let Some(text) = query.get("rid") {
        let run = text.parse::<RunId>().map_err(|_| Fault::text(StatusCode::BAD_REQUEST, "invalid uuid format"))?;
        ping.run = Some(run);
    }
    ping.message = message(app, query.get("msg"));
    if let Some(text) = query.filled("value") {
        ping.value = Some(number("value", text)?);
    }
    for key in ["duration", "latency", "ping"] {
        if let Some(text) = query.filled(key) {
            let ms = number(key, text)?;
            let duration = milliseconds(ms);
            ping.duration = Some(duration.ok_or_else(|| invalid(key, text, "a number of milliseconds from 0"))?);
        }
    }
    if let Some(text) = query.filled("ts") {
        ping.claimed_at =
            Some(claimed_time(text).ok_or_else(|| invalid("ts", text, "unix seconds or an RFC 3339 time"))?);
    }
    Ok(())
}

fn number(key: &str, text: &str) -> Result<f64, Fault> {
    let number = text.trim().parse::<f64>().ok().filter(|number| number.is_finite());
    number.ok_or_else(|| invalid(key, text, "a number"))
}

fn claimed_time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    seconds(text).or_else(|| text.parse().ok())
}

/// Unix seconds, perhaps with a fraction.
pub(crate) fn seconds(text: &str) -> Option<Timestamp> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.abs() < 1e15)?;
    Some(Timestamp::from_millis((seconds * 1000.0).round() as i64))
}

fn success(app: &App, method: &Method, taken: &Taken, created: bool) -> Response {
    let body = if created { "Created" } else { "OK" };
    let mut response = taken.answer(app, method, TEXT, body);
    if created {
        *response.status_mut() = StatusCode::CREATED;
    }
    let headers = response.headers_mut();
    headers.insert(STATUS, HeaderValue::from_static(taken.receipt.status.name()));
    headers.insert(BODY_LIMIT, HeaderValue::from(app.settings.ping_body_limit));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    response
}

fn invalid(field: &str, text: &str, right: &str) -> Fault {
    Fault::Refused(Refused::Invalid(FieldError::new(field, format!("`{}` is not {right}", clip(text)))))
}

/// Healthchecks knows no capital letters in slugs and says so before it looks.
fn unknown_slug(slug: &str) -> Fault {
    if slug.chars().any(|c| c.is_ascii_uppercase()) { Fault::bad_url() } else { Refused::NotFound.into() }
}

/// A refusal, in the plain texts of Healthchecks.
#[derive(Debug)]
enum Fault {
    Refused(Refused),
    Text(StatusCode, String),
}

impl Fault {
    fn text(status: StatusCode, text: impl Into<String>) -> Self {
        Self::Text(status, text.into())
    }

    fn bad_url() -> Self {
        Self::text(StatusCode::BAD_REQUEST, "invalid url format")
    }

    fn unavailable(why: String) -> Self {
        Self::Refused(Refused::Unavailable(heartbeat_engine::StorageError::Unavailable(why).into()))
    }

    fn into_response(self) -> Response {
        match self {
            Self::Text(status, text) => answer(status, TEXT, text),
            Self::Refused(refused) => {
                let mut response = answer(refused.status(), TEXT, refused.text());
                refused.dress(&mut response);
                response
            }
        }
    }
}

impl<T: Into<Refused>> From<T> for Fault {
    fn from(refused: T) -> Self {
        Self::Refused(refused.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_as_healthchecks_reads_them() {
        for (text, action) in [
            ("start", Some(Action::Signal(Signal::Start))),
            ("report", Some(Action::Signal(Signal::Report))),
            ("0", Some(Action::Exit(0))),
            ("00", Some(Action::Exit(0))),
            ("0123", Some(Action::Exit(123))),
            ("255", Some(Action::Exit(255))),
            ("256", Some(Action::BadExit)),
            ("99999999999999999999", Some(Action::BadExit)),
            ("-1", None),
            ("1.5", None),
            ("success", None),
            ("Fail", None),
            ("", None),
        ] {
            assert_eq!(Action::parse(text), action, "{text}");
        }
    }

    #[test]
    fn the_senders_time_in_both_forms() {
        assert_eq!(claimed_time("1739979439"), Some(Timestamp::from_secs(1_739_979_439)));
        assert_eq!(claimed_time("1739979439.25"), Some(Timestamp::from_millis(1_739_979_439_250)));
        assert_eq!(claimed_time("2026-11-20T08:05:00Z"), "2026-11-20T08:05:00Z".parse().ok());
        for wrong in ["yesterday", "NaN", "inf", "1e300"] {
            assert_eq!(claimed_time(wrong), None, "{wrong}");
        }
    }
}
