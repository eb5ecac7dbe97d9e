//! What happens around every request: its id, its log line, its count; whose host it asks for; panics.

use std::any::Any;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, HOST, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use percent_encoding::percent_decode;
use tokio::time::Instant;
use tracing::Instrument;

use crate::app::AppState;
use crate::problem::Problem;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_CHARS_MAX: usize = 64;

/// Gives the request an id, counts it and logs it by its route: the path itself holds secrets.
pub(crate) async fn observe(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let method = method_name(request.method());
    let id = given_id(request.headers()).unwrap_or_else(|| uuid::Uuid::new_v4().to_string());
    let span = tracing::info_span!("request", method, route, id);
    let mut response = next.run(request).instrument(span.clone()).await;

    let status = response.status();
    let took = started.elapsed();
    app.metrics.count(method, &route, status.as_u16(), took);
    let _in_span = span.enter();
    if status.is_server_error() {
        tracing::warn!(status = status.as_u16(), took_us = took.as_micros(), "answered");
    } else {
        tracing::debug!(status = status.as_u16(), took_us = took.as_micros(), "answered");
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Answers only requests for the hosts of the settings.
pub(crate) async fn check_host(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let allowed = &app.settings.allowed_hosts;
    if allowed.is_empty() {
        return next.run(request).await;
    }
    let host = request.headers().get(HOST).and_then(|value| value.to_str().ok()).or_else(|| request.uri().host());
    let name = without_port(host.unwrap_or_default());
    if allowed.iter().any(|allowed| without_port(allowed).eq_ignore_ascii_case(name)) {
        return next.run(request).await;
    }
    Problem::bad_request("the Host header names a host that this server does not answer for").into_response()
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

fn given_id(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(REQUEST_ID)?.to_str().ok()?;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    ((1..=REQUEST_ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(allowed)).then(|| text.to_owned())
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
