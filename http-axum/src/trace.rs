//! What happens around every request: its id, its log line, its count; whose host it asks for; panics.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, HOST, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, BytesMut};
use percent_encoding::percent_decode;
use tokio::time::Instant;
use tracing::{Instrument, Span};

use crate::app::{App, AppState};
use crate::hex;
use crate::problem::Problem;

/// What the lines of answers are logged under.
pub(crate) const TARGET: &str = module_path!();
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_CHARS_MAX: usize = 64;

/// Gives the request an id, counts it and logs it by its route: the path itself holds secrets.
pub(crate) async fn observe(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let observed = Observed::begin(&app, request.method(), request.headers());
    let span = observed.span(&route);
    let mut response = next.run(request).instrument(span.clone()).await;
    let took = observed.end(&mut response);
    app.metrics.count(observed.method, &route, response.status().as_u16(), took);
    span.in_scope(|| log(&response, took));
    response
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Observed {
    pub(crate) method: &'static str,
    started: Instant,
    id: HeaderValue,
}

impl Observed {
    pub(crate) fn begin(app: &App, method: &Method, headers: &HeaderMap) -> Self {
        let id = given_id(headers).cloned().unwrap_or_else(|| app.request_ids.next());
        Self { method: method_name(method), started: Instant::now(), id }
    }

    pub(crate) fn span(&self, route: &str) -> Span {
        tracing::info_span!("request", method = self.method, route, id = self.id.to_str().unwrap_or_default())
    }

    /// Sets what every answer carries; how long it took.
    pub(crate) fn end(&self, response: &mut Response) -> Duration {
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, self.id.clone());
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        self.started.elapsed()
    }
}

/// The line of an answer, within the span of its request.
pub(crate) fn log(response: &Response, took: Duration) {
    let status = response.status();
    if status.is_server_error() {
        tracing::warn!(status = status.as_u16(), took_us = took.as_micros(), "answered");
    } else {
        tracing::debug!(status = status.as_u16(), took_us = took.as_micros(), "answered");
    }
}

/// Makes the ids of requests that bring none: what is random in them is drawn once, and then they are counted.
#[derive(Debug)]
pub(crate) struct RequestIds {
    process: uuid::Uuid,
    count: AtomicU64,
}

impl RequestIds {
    pub(crate) fn new() -> Self {
        Self { process: uuid::Uuid::new_v4(), count: AtomicU64::new(0) }
    }

    fn next(&self) -> HeaderValue {
        let (process, count) = (self.process.as_u64_pair().0, self.count.fetch_add(1, Ordering::Relaxed));
        let mut id = BytesMut::with_capacity(2 * 16 + 1);
        hex::put(&mut id, process);
        id.put_u8(b'-');
        hex::put(&mut id, count);
        HeaderValue::from_maybe_shared(id.freeze()).unwrap_or(HeaderValue::from_static("none"))
    }
}

/// Answers only requests for the hosts of the settings.
pub(crate) async fn check_host(State(app): State<AppState>, request: Request, next: Next) -> Response {
    if is_allowed_host(&app, request.headers(), request.uri()) {
        return next.run(request).await;
    }
    Problem::bad_request("the Host header names a host that this server does not answer for").into_response()
}

/// Whether this server answers for the host that a request asks.
pub(crate) fn is_allowed_host(app: &App, headers: &HeaderMap, uri: &Uri) -> bool {
    let allowed = &app.settings.allowed_hosts;
    if allowed.is_empty() {
        return true;
    }
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).or_else(|| uri.host());
    let name = without_port(host.unwrap_or_default());
    allowed.iter().any(|allowed| without_port(allowed).eq_ignore_ascii_case(name))
}

/// Nothing is at a path that is no text.
pub(crate) async fn check_path(request: Request, next: Next) -> Response {
    if percent_decode(request.uri().path().as_bytes()).decode_utf8().is_err() {
        return Problem::new(StatusCode::NOT_FOUND, "there is nothing at this path").into_response();
    }
    next.run(request).await
}

/// Refuses changes that a page of another site asks a browser for, with credentials that the browser remembers.
pub(crate) async fn check_site(request: Request, next: Next) -> Response {
    let site = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
    let foreign = matches!(site, Some(b"cross-site" | b"same-site"));
    if foreign && !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
        return Problem::forbidden("a page of another site may not change anything here").into_response();
    }
    next.run(request).await
}

/// While the engine loads, nothing can be said about monitors.
pub(crate) async fn check_loaded(State(app): State<AppState>, request: Request, next: Next) -> Response {
    if app.is_loading() {
        return Problem::unavailable("the engine is still loading").into_response();
    }
    next.run(request).await
}

/// The answer where a handler panicked.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands the panic over")]
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = text.unwrap_or("unknown"), "a handler panicked");
    Problem::internal("something went wrong inside the server; its log says what").into_response()
}

fn given_id(headers: &HeaderMap) -> Option<&HeaderValue> {
    let id = headers.get(REQUEST_ID)?;
    let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    ((1..=REQUEST_ID_CHARS_MAX).contains(&id.len()) && id.as_bytes().iter().all(allowed)).then_some(id)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => name,
        _ => host,
    }
}

/// Made-up methods must not fill the metrics.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_no_part_of_a_host() {
        for (host, name) in [
            ("example.org:8080", "example.org"),
            ("example.org", "example.org"),
            ("[::1]:8080", "[::1]"),
            ("[::1]", "[::1]"),
            ("", ""),
        ] {
            assert_eq!(without_port(host), name);
        }
    }
}
