//! What requests of the management API have in common: their JSON, their query, their preconditions.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{FromRequest, FromRequestParts, OriginalUri, Request};
use axum::http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use heartbeat_engine::{EditError, HistoryItem, Page, Record, Version};
use serde_json::{Value, json};

use crate::app::{App, AppState};
use crate::auth::Caller;
use crate::body;
use crate::json::{page, read_object};
use crate::problem::Problem;
use crate::query::Query;

/// How often an edit is tried again that another one overtook.
pub(super) const TURNS: usize = 4;
const OVERLAP_MAX: Duration = Duration::from_secs(90 * 86_400);

/// The JSON of a request's body; an empty body is an empty object.
#[derive(Debug)]
pub(crate) struct JsonBody(pub(crate) Value);

impl FromRequest<AppState> for JsonBody {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &AppState) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let bytes = body::read(&parts.headers, body, app.settings.api_body_max).await?;
        if bytes.is_empty() { Ok(Self(json!({}))) } else { body::json(&bytes).map(Self) }
    }
}

impl FromRequestParts<AppState> for Query {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Self::Rejection> {
        Ok(Self::parse(parts.uri.query()))
    }
}

/// That a request has no parameters: where none are known, a misspelt one must not seem to have done something.
#[derive(Debug)]
pub(crate) struct NoQuery;

impl FromRequestParts<AppState> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        Query::parse(parts.uri.query()).none().map(|()| Self)
    }
}

/// A page of history: of each item its place, from which the next page goes on, and its JSON where the caller may see it.
pub(crate) fn history_page(
    found: &Page<HistoryItem>,
    mut show: impl FnMut(&HistoryItem) -> Option<(String, Option<Value>)>,
) -> Json<Value> {
    let shown: Vec<_> = found.items.iter().filter_map(&mut show).collect();
    let next = shown.last().map(|(place, _)| place.clone()).filter(|_| found.more);
    Json(page(shown.into_iter().filter_map(|(_, value)| value).collect(), next))
}

/// The monitor that a path names, when the caller may deal with it.
pub(crate) async fn find_monitor(app: &App, caller: &Caller, id_or_slug: &str) -> Result<Arc<Record>, Problem> {
    let record = app.find_named(id_or_slug).await?.ok_or_else(|| Problem::not_found("monitor"))?;
    caller.require_monitor(&record)?;
    Ok(record)
}

/// The same where a monitor is named.
pub(crate) async fn find_where_named(
    app: &App,
    caller: &Caller,
    id_or_slug: Option<&str>,
) -> Result<Option<Arc<Record>>, Problem> {
    match id_or_slug {
        Some(name) => find_monitor(app, caller, name).await.map(Some),
        None => Ok(None),
    }
}

/// What `If-Match` and `If-None-Match` ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Preconditions {
    versions: Option<Vec<u64>>,
    pub(crate) must_exist: bool,
    pub(crate) must_not_exist: bool,
}

impl Preconditions {
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        let list = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?").trim().to_owned());
        let must_not_exist = match list(&IF_NONE_MATCH).as_deref() {
            None => false,
            Some("*") => true,
            Some(_) => return Err(Problem::bad_request("If-None-Match takes only `*` here")),
        };
        let Some(text) = list(&IF_MATCH) else {
            return Ok(Self { versions: None, must_exist: false, must_not_exist });
        };
        if text == "*" {
            return Ok(Self { versions: None, must_exist: true, must_not_exist });
        }
        let versions = text.split(',').map(|tag| tag.trim().trim_start_matches("W/").trim_matches('"').parse().ok());
        let versions = versions.collect::<Option<Vec<u64>>>();
        if versions.is_none() {
            return Err(Problem::bad_request("If-Match takes the `version` of a monitor, such as \"3\""));
        }
        Ok(Self { versions, must_exist: true, must_not_exist })
    }

    /// Refuses a monitor of another version; `None` stands for one that does not exist.
    pub(crate) fn check(&self, found: Option<Version>) -> Result<(), Problem> {
        match found {
            Some(_) if self.must_not_exist => Err(Problem::precondition("it exists already")),
            None if self.must_exist => Err(Problem::precondition("it does not exist")),
            Some(found) if self.versions.as_ref().is_some_and(|versions| !versions.contains(&found.0)) => {
                Err(Problem::precondition(format!("it was edited meanwhile: version {found} is stored")))
            }
            _ => Ok(()),
        }
    }

    /// Whether a certain version is asked for, so that a newer one must not be changed.
    pub(crate) fn is_strict(&self) -> bool {
        self.versions.is_some()
    }
}

/// Counts how often a change was overtaken by another one, which may have settled what to do.
#[derive(Debug, Default)]
pub(crate) struct Turns(usize);

impl Turns {
    /// Lets a change be tried again that came too late; any other error ends it.
    pub(crate) fn again(&mut self, error: EditError) -> Result<(), Problem> {
        let overtaken =
            matches!(error, EditError::Revision { .. } | EditError::Taken { .. } | EditError::NotFound("document"));
        self.0 += 1;
        match error {
            error if !overtaken => Err(error.into()),
            _ if self.0 >= TURNS => Err(Problem::conflict("it is being changed by others; try again")),
            _ => Ok(()),
        }
    }
}

/// The `overlap` of a rotation; 0 where none is given.
pub(crate) fn read_overlap(value: &Value) -> Result<Duration, Problem> {
    read_object(value, |fields| {
        let overlap = fields.duration("overlap").unwrap_or_default();
        if overlap > OVERLAP_MAX {
            fields.fault("overlap", "is too long; at most 90 d");
        }
        Some(overlap)
    })
}

/// The `Location` of what was made by a `POST` to this path, wherever the router is nested.
pub(crate) fn location(uri: &OriginalUri, id: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("{}/{id}", uri.path())).ok()
}

/// An answer with a monitor: its version is its entity tag.
pub(crate) fn versioned(status: StatusCode, version: Version, body: Value) -> Response {
    let mut response = (status, Json(body)).into_response();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{version}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preconditions(name: &'static str, value: &'static str) -> Result<Preconditions, Problem> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        Preconditions::of(&headers)
    }

    #[test]
    fn versions_are_compared() {
        for value in ["3", "\"3\"", "W/\"3\"", "\"2\", \"3\""] {
            let wanted = preconditions("if-match", value).unwrap();
            assert!(wanted.check(Some(Version(3))).is_ok(), "{value}");
            assert_eq!(wanted.check(Some(Version(4))).unwrap_err().status, StatusCode::PRECONDITION_FAILED);
            assert_eq!(wanted.check(None).unwrap_err().status, StatusCode::PRECONDITION_FAILED);
        }
        assert!(preconditions("if-match", "*").unwrap().check(Some(Version(9))).is_ok());
        assert!(preconditions("if-match", "*").unwrap().check(None).is_err());
        assert!(preconditions("if-none-match", "*").unwrap().check(None).is_ok());
        assert!(preconditions("if-none-match", "*").unwrap().check(Some(Version(1))).is_err());
        assert!(preconditions("if-match", "abc").is_err());
        assert!(preconditions("if-none-match", "\"3\"").is_err());
    }
}
