//! Reading the body of a request: never more than a limit is held.

use axum::body::Body;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use axum::http::{HeaderMap, StatusCode};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use serde_json::Value;
use tower_http::timeout::TimeoutError;

use crate::json::distinct;
use crate::problem::Problem;

/// Bytes that are still read, and thrown away, of a body that is too large: a client that is cut off while it sends
/// often never sees the answer.
const DISCARDED_MAX: usize = 32_000_000;

/// Why a body was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It has more bytes than this.
    TooLarge(usize),
    /// It did not come in time.
    TooSlow,
    /// The connection or the encoding broke.
    Broken(String),
}

impl BodyError {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) => StatusCode::BAD_REQUEST,
        }
    }
}

impl std::fmt::Display for BodyError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge(max) => write!(f, "the body is too large; at most {max} bytes are taken"),
            Self::TooSlow => f.write_str("the body did not arrive in time"),
            Self::Broken(why) => write!(f, "the body cannot be read: {why}"),
        }
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        Self::new(error.status(), error.to_string())
    }
}

/// The whole body, when it has at most `max` bytes.
pub(crate) async fn read(headers: &HeaderMap, body: Body, max: usize) -> Result<Bytes, BodyError> {
    read_beginning(headers, body, max, max).await.map(|(bytes, _)| bytes)
}

/// The first `keep` bytes of a body that has at most `max` bytes, and how many it has; no more than `keep` are held.
pub(crate) async fn read_beginning(
    headers: &HeaderMap,
    body: Body,
    max: usize,
    keep: usize,
) -> Result<(Bytes, usize), BodyError> {
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let too_large = declared.is_some_and(|bytes| bytes > max);
    if too_large && (headers.contains_key(EXPECT) || declared > Some(DISCARDED_MAX)) {
        return Err(BodyError::TooLarge(max));
    }
    let mut kept = BytesMut::new();
    let mut seen = 0usize;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| broken(&error))?;
        seen = seen.saturating_add(chunk.len());
        if seen > DISCARDED_MAX {
            break;
        }
        if seen > max || too_large {
            kept.clear();
        } else {
            kept.extend_from_slice(&chunk[..chunk.len().min(keep.saturating_sub(kept.len()))]);
        }
    }
    if seen > max || too_large { Err(BodyError::TooLarge(max)) } else { Ok((kept.freeze(), seen)) }
}

/// The JSON of a body.
pub(crate) fn json(body: &[u8]) -> Result<Value, Problem> {
    distinct::from_slice(body).map_err(|fault| match fault {
        distinct::Fault::Syntax(error) => Problem::bad_request(format!("the body is not JSON: {error}")),
        distinct::Fault::Twice(field) => Problem::field(&field, "is given twice; give it once"),
    })
}

fn broken(error: &axum::Error) -> BodyError {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.is::<TimeoutError>() {
            return BodyError::TooSlow;
        }
        source = error.source();
    }
    BodyError::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_bytes(count: usize, max: usize) -> Result<usize, BodyError> {
        read(&HeaderMap::new(), Body::from(vec![b'x'; count]), max).await.map(|bytes| bytes.len())
    }

    #[tokio::test]
    async fn the_limit_is_exact() {
        assert_eq!(read_bytes(0, 10).await, Ok(0));
        assert_eq!(read_bytes(10, 10).await, Ok(10));
        assert_eq!(read_bytes(11, 10).await, Err(BodyError::TooLarge(10)));
        assert_eq!(read_bytes(40_000_000, 10).await, Err(BodyError::TooLarge(10)));
    }

    #[tokio::test]
    async fn only_the_beginning_is_held() {
        let chunks = futures_util::stream::iter(["abc", "def", "ghi"].map(Ok::<_, std::io::Error>));
        let read = read_beginning(&HeaderMap::new(), Body::from_stream(chunks), 9, 5).await.unwrap();
        assert_eq!(read, (Bytes::from("abcde"), 9));
    }

    #[tokio::test]
    async fn a_declared_length_is_enough_to_refuse() {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_LENGTH, "11".parse().unwrap());
        headers.insert(EXPECT, "100-continue".parse().unwrap());
        assert_eq!(read(&headers, Body::empty(), 10).await, Err(BodyError::TooLarge(10)));
    }
}
