//! The protocol of 510908220/heartbeats: `POST /api/pings/?service=SLUG&&data=TEXT`.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::post;
use heartbeat_engine::{Signal, Target, Timestamp};
use serde_json::json;

use super::{JSON, json_answer};
use crate::app::{App, AppState};
use crate::auth::{AuthError, Caller};
use crate::heartbeat::{Incoming, Keep, Refused, message, take};

pub(crate) fn routes() -> Router<AppState> {
    Router::new().route("/api/pings/", post(ping))
}

async fn ping(State(app): State<AppState>, request: Request) -> Response {
    let has_credentials = request.headers().contains_key(AUTHORIZATION);
    let caller = match Caller::of(&app, request.headers()).await {
        Ok(caller) => caller,
        Err(AuthError::Unavailable(_)) => return detail(StatusCode::SERVICE_UNAVAILABLE, "The store is unavailable."),
        Err(AuthError::Missing) if !has_credentials => {
            return unauthorized("Authentication credentials were not provided.");
        }
        Err(AuthError::Missing | AuthError::Wrong(_)) => return unauthorized("Invalid username/password."),
    };
    match with_caller(&app, &caller, request).await {
        Ok(response) => response,
        Err(Refused::NotFound) => detail(StatusCode::NOT_FOUND, "Not found."),
        Err(refused) => {
            let mut response = detail(refused.status(), &refused.text());
            refused.dress(&mut response);
            response
        }
    }
}

async fn with_caller(app: &App, caller: &Caller, request: Request) -> Result<Response, Refused> {
    let incoming = Incoming::read(app, request, Keep::Beginning).await?;
    let slug = incoming.query.filled("service").ok_or(Refused::NotFound)?;
    let record = app.find(Target::slug(slug)).await?.ok_or(Refused::NotFound)?;
    if !caller.covers(&record) {
        return Ok(detail(StatusCode::FORBIDDEN, "You do not have permission to perform this action."));
    }
    let data = incoming.query.get("data").unwrap_or_default();
    let said = message(app, Some(data));
    let mut ping = incoming.ping(app, if said.is_some() { Signal::Report } else { Signal::Success });
    ping.message = said;
    let taken = take(app, &incoming, &record, ping).await?;
    let body = json!({
        "id": taken.receipt.n,
        "service": record.spec().name,
        "remote_addr": incoming.source.map_or_else(String::new, |ip| ip.to_string()),
        "ua": incoming.user_agent().unwrap_or_default(),
        "data": data,
        "created": plain_time(taken.receipt.arrived_at),
    });
    Ok(taken.answer(app, &incoming.method, JSON, body.to_string()))
}

/// `2018-03-26 08:12:00`, UTC.
fn plain_time(at: Timestamp) -> String {
    Timestamp::from_secs(at.as_secs()).to_string().replace('T', " ").trim_end_matches('Z').to_owned()
}

fn detail(status: StatusCode, text: &str) -> Response {
    json_answer(status, &json!({"detail": text}))
}

fn unauthorized(text: &str) -> Response {
    let mut response = detail(StatusCode::UNAUTHORIZED, text);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"api\""));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_that_api_writes_them() {
        assert_eq!(plain_time(Timestamp::from_millis(1_522_051_920_250)), "2018-03-26 08:12:00");
    }
}
