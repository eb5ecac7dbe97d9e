//! Requests. An input is up to eight of them, with `===` on a line of its own between two; of `$PING`, `$READ`,
//! `$MANAGE` and `$ADMIN` each stands for a key of that scope, and `$BASIC` for the ping key as HTTP Basic sends it.
//!
//! ```text
//! POST /ping/V1StGXR8_Z5jdHi6/fail?rid=0b4b0f6e-8a5c-4b59-9d5e-8a0c1d2e3f40
//! User-Agent: curl/8.0
//!
//! disk full
//! ===
//! GET /ping/$PING/new-job?create=1
//! ```
//!
//! A promise that is broken panics, which is what a target reports.

use std::fmt::Debug;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use heartbeat_engine::testing::schedule_steps;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::assert_message;
use super::world::{ADMIN_KEY, Answer, World, block_on};

const REQUESTS_MAX: usize = 8;
const URI_BYTES_MAX: usize = 4_000;

/// Calls to the storage for one heartbeat, deliveries that it causes among them.
const HEARTBEAT_CALLS_MAX: u64 = 24;
/// The same for a request to the management API.
const REQUEST_CALLS_MAX: u64 = 80;
/// Steps of schedule calculations in one request; see the target `schedule`. A preview shows up to 100 occurrences.
const SCHEDULE_STEPS_MAX: u64 = 150_000;

/// A request of an input.
#[derive(Debug)]
struct Wish {
    method: Method,
    uri: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// What a request did to the storage.
#[derive(Debug)]
struct Cost {
    /// Heartbeats that are stored and were not.
    pings: u64,
    /// How often the storage was asked for something.
    calls: u64,
}

/// Heartbeats at `/ping/…`.
pub(super) fn ping(input: &[u8]) {
    run(input, |wish| wish.uri.starts_with("/ping/"), check_heartbeat);
}

/// Heartbeats in other protocols.
pub(super) fn dialects(input: &[u8]) {
    run(input, |wish| is_dialect(&wish.uri), check_heartbeat);
}

/// Everything else under `/api/`, and the metrics.
pub(super) fn api(input: &[u8]) {
    run(
        input,
        |wish| (wish.uri.starts_with("/api/") && !is_dialect(&wish.uri)) || wish.uri.starts_with("/metrics"),
        check_request,
    );
}

fn is_dialect(uri: &str) -> bool {
    let prefixes = ["/api/pings", "/api/push/", "/api/status", "/ext/heartbeat/", "/api/heartbeat/", "/api/v4/"];
    prefixes.iter().any(|prefix| uri.starts_with(prefix))
}

fn run(input: &[u8], belongs: impl Fn(&Wish) -> bool, check: impl Fn(&Wish, &Answer, &Cost)) {
    block_on(async {
        let world = World::start().await;
        for text in requests(input).into_iter().take(REQUESTS_MAX) {
            let Some(wish) = read(&with_keys(&world, text).await) else { continue };
            if !belongs(&wish) {
                continue;
            }
            let (pings, calls, steps) = (world.stored_pings().await, world.store.calls(), schedule_steps());
            let answer = world.send(wish.method.clone(), &wish.uri, wish.headers.clone(), &wish.body).await;
            let Some(answer) = answer else { continue };
            let steps = schedule_steps() - steps;
            assert!(steps <= SCHEDULE_STEPS_MAX, "{steps} steps of schedules: {wish:?}");
            check_any(&wish, &answer);
            let cost =
                Cost { pings: world.stored_pings().await.wrapping_sub(pings), calls: world.store.calls() - calls };
            check(&wish, &answer, &cost);
        }
        check_stored(&world).await;
    });
}

/// What holds for every answer.
fn check_any(wish: &Wish, answer: &Answer) {
    let status = answer.status;
    assert!(!status.is_server_error(), "{wish:?} is answered with {answer:?}");
    assert!(!status.is_redirection() && !status.is_informational(), "{wish:?} is answered with {answer:?}");
    let has = |name: &str| answer.headers.contains_key(name);
    assert!(has("x-request-id") && has("x-content-type-options"), "{answer:?}");
    assert!(status != StatusCode::UNAUTHORIZED || has("www-authenticate"), "{answer:?}");
    assert!(status != StatusCode::METHOD_NOT_ALLOWED || has("allow"), "{answer:?}");
    assert!(status != StatusCode::TOO_MANY_REQUESTS || has("retry-after"), "{answer:?}");
    let kind = answer.headers.get("content-type").map_or(Ok(""), HeaderValue::to_str);
    let Ok(kind) = kind else { panic!("a content type is text: {answer:?}") };
    if kind.ends_with("json") && wish.method != Method::HEAD {
        let said = said(answer);
        if kind == "application/problem+json" {
            check_problem(&said, status);
        }
    }
}

/// A problem says which status it has, and in which fields what is wrong.
fn check_problem(said: &Value, status: StatusCode) {
    assert!(status.is_client_error(), "a problem with the status {status}: {said}");
    assert_eq!(said["status"], status.as_u16());
    check_message(said, &said["detail"]);
    for error in said["errors"].as_array().into_iter().flatten() {
        assert!(error["field"].as_str().is_some(), "no field: {said}");
        check_message(said, &error["message"]);
    }
}

/// What an answer says that is JSON.
fn said(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("it is no JSON, {error}: {answer:?}"))
}

fn check_message(said: &Value, message: &Value) {
    let Some(message) = message.as_str() else { panic!("a message is missing: {said}") };
    assert_message(message);
}

/// A heartbeat that is answered with success is stored; one that is refused is not.
fn check_heartbeat(wish: &Wish, answer: &Answer, cost: &Cost) {
    let asks = wish.method == Method::OPTIONS || (wish.uri.starts_with("/api/status") && wish.method != Method::POST);
    let expected = u64::from(answer.status.is_success() && !asks);
    assert_eq!(cost.pings, expected, "heartbeats stored by {wish:?}, answered with {answer:?}");
    let known = [200, 201, 400, 401, 403, 404, 405, 413, 422, 429];
    assert!(known.contains(&answer.status.as_u16()), "{wish:?} is answered with {answer:?}");
    assert!(cost.calls <= HEARTBEAT_CALLS_MAX, "{} calls to the storage: {wish:?}", cost.calls);
}

/// Errors are problems; those about a wish name its fields.
fn check_request(wish: &Wish, answer: &Answer, cost: &Cost) {
    assert_eq!(cost.pings, 0, "management stores no heartbeats: {wish:?}");
    assert!(cost.calls <= REQUEST_CALLS_MAX, "{} calls to the storage: {wish:?}", cost.calls);
    let known = [200, 201, 204, 400, 401, 403, 404, 405, 406, 409, 412, 413];
    assert!(known.contains(&answer.status.as_u16()), "{wish:?} is answered with {answer:?}");
    if !answer.status.is_client_error() || wish.method == Method::HEAD {
        return;
    }
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{wish:?}");
    let is_json = wish.body.is_empty() || serde_json::from_slice::<Value>(&wish.body).is_ok();
    let has_conditions = wish.headers.contains_key("if-match") || wish.headers.contains_key("if-none-match");
    if answer.status == StatusCode::BAD_REQUEST && is_json && !has_conditions {
        let said = said(answer);
        let errors = said["errors"].as_array().map_or(0, Vec::len);
        assert!(errors > 0, "no field is named: {said} for {wish:?}");
    }
}

/// What was accepted is stored as readers see it, and can be written down and read again.
async fn check_stored(world: &World) {
    let mut stored = world.stored().await;
    let shown = world.shown();
    stored.sort_by(|one, other| one.spec().slug.cmp(&other.spec().slug));
    assert_eq!(stored.len(), shown.len());
    for (stored, shown) in stored.iter().zip(&shown) {
        assert_eq!(*stored, **shown, "readers see another record than is stored");
        check_form(&*stored.monitor);
        check_form(&stored.health);
    }
}

/// Whatever is stored can be written down, and is read as what it was.
fn check_form<T: Serialize + DeserializeOwned + PartialEq + Debug>(thing: &T) {
    let text = serde_json::to_string(thing);
    let read = text.as_deref().map(serde_json::from_str::<T>);
    assert!(matches!(&read, Ok(Ok(read)) if read == thing), "{thing:?} is written as {text:?} and read as {read:?}");
}

/// The texts between lines that are `===`.
fn requests(input: &[u8]) -> Vec<&[u8]> {
    let mut texts = Vec::new();
    let (mut start, mut at) = (0, 0);
    for line in input.split_inclusive(|byte| *byte == b'\n') {
        if line.trim_ascii_end() == b"===" {
            texts.push(&input[start..at]);
            start = at + line.len();
        }
        at += line.len();
    }
    texts.push(&input[start..]);
    texts
}

/// The text with keys in the places of their names.
async fn with_keys(world: &World, text: &[u8]) -> Vec<u8> {
    let mut text = text.to_vec();
    for (name, scope) in [("$PING", "ping"), ("$READ", "read"), ("$MANAGE", "manage"), ("$BASIC", "ping")] {
        if find(&text, name.as_bytes()).is_some() {
            let key = world.key(scope).await;
            let key = if name == "$BASIC" { STANDARD.encode(format!("root:{key}")) } else { key };
            text = replaced(&text, name.as_bytes(), key.as_bytes());
        }
    }
    replaced(&text, b"$ADMIN", ADMIN_KEY.as_bytes())
}

fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn replaced(text: &[u8], part: &[u8], with: &[u8]) -> Vec<u8> {
    let mut made = Vec::new();
    let mut rest = text;
    while let Some(at) = find(rest, part) {
        made.extend_from_slice(&rest[..at]);
        made.extend_from_slice(with);
        rest = &rest[at + part.len()..];
    }
    made.extend_from_slice(rest);
    made
}

/// A request as a server that speaks HTTP would hand it on; what could not be sent is left out.
fn read(text: &[u8]) -> Option<Wish> {
    let (head, body) = match find(text, b"\n\n") {
        Some(end) => (&text[..end], &text[end + 2..]),
        None => (text, &b""[..]),
    };
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut first = lines.next()?.trim_ascii().splitn(2, |byte| *byte == b' ');
    let method = Method::from_bytes(first.next()?).ok()?;
    let uri = std::str::from_utf8(first.next()?.trim_ascii()).ok()?.to_owned();
    if !uri.starts_with('/') || uri.len() > URI_BYTES_MAX {
        return None;
    }
    let mut headers = HeaderMap::new();
    for line in lines {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    Some(Wish { method, uri, headers, body: body.strip_suffix(b"\n").unwrap_or(body).to_vec() })
}
