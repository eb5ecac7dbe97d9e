//! What all heartbeats have in common, whatever protocol they come by: the request they came in, and how they are taken.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{OriginalUri, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, USER_AGENT, WWW_AUTHENTICATE};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use bytes::Bytes;
use heartbeat_engine::{FieldError, Ping, PingError, PingReceipt, Record, Signal, Unavailable};

use crate::app::App;
use crate::body::{self, BodyError};
use crate::problem::RETRY_AFTER_S;
use crate::query::{Query, cut};
use crate::signature::{self, SignatureError, Signed, Signer};
use crate::source;

/// Characters of a user agent that are kept.
const USER_AGENT_BYTES_MAX: usize = 200;
/// Room for the headers of an answer, so that it is made once.
const HEADERS_USUAL: usize = 10;
/// How much of a body becomes the message of a `fail` or `report` that carries no other.
const MESSAGE_OF_BODY_BYTES_MAX: usize = 1000;

/// A request that carries a heartbeat.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) query: Query,
    /// As much of the body as was to be kept.
    pub(crate) body: Bytes,
    pub(crate) source: Option<IpAddr>,
    body_len: usize,
    /// As the client sent it, also where the router is nested.
    uri: Uri,
}

/// How much of a body is held: strangers must not fill the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Nothing: there is no such monitor. It is read all the same, or the client may miss the answer.
    Nothing,
    /// What is kept with a heartbeat; all where it is signed.
    Beginning,
    /// All, because it says what the heartbeat is.
    All,
}

impl Incoming {
    pub(crate) async fn read(app: &App, request: Request, keep: Keep) -> Result<Self, BodyError> {
        let peer = source::peer(request.extensions());
        Self::read_from(app, request, peer, keep).await
    }

    /// The same where the peer that sent it is known.
    pub(crate) async fn read_from(
        app: &App,
        request: Request,
        peer: Option<IpAddr>,
        keep: Keep,
    ) -> Result<Self, BodyError> {
        let (parts, body) = request.into_parts();
        let max = app.settings.ping_body_max;
        let bytes_kept = match keep {
            Keep::Nothing => 0,
            Keep::Beginning if !signature::is_signed(&parts.headers) => app.settings.ping_body_limit,
            Keep::Beginning | Keep::All => max,
        };
        let (body, body_len) = body::read_beginning(&parts.headers, body, max, bytes_kept).await?;
        Ok(Self {
            query: Query::parse(parts.uri.query()),
            source: source::address(&parts.headers, peer, app.settings.forwarded),
            uri: parts.extensions.get::<OriginalUri>().map_or(parts.uri, |original| original.0.clone()),
            method: parts.method,
            headers: parts.headers,
            body,
            body_len,
        })
    }

    pub(crate) fn user_agent(&self) -> Option<String> {
        let text = String::from_utf8_lossy(self.headers.get(USER_AGENT)?.as_bytes());
        Some(cut(&text, USER_AGENT_BYTES_MAX).to_owned())
    }

    /// A heartbeat with this signal and what every protocol gives: its body, its source, its software.
    pub(crate) fn ping(&self, app: &App, signal: Signal) -> Ping {
        let limit = app.settings.ping_body_limit;
        let mut ping = Ping::new(signal);
        ping.body = (!self.body.is_empty()).then(|| self.body[..self.body.len().min(limit)].to_vec());
        ping.body_cut = self.body_len > limit;
        ping.source = self.source.map(|ip| ip.to_string());
        ping.user_agent = self.user_agent();
        ping
    }
}

/// A text kept as a message: at most as long as a body may be; `None` when it is blank.
pub(crate) fn message(app: &App, text: Option<&str>) -> Option<String> {
    let text = text.filter(|text| !text.trim().is_empty())?;
    Some(cut(text, app.settings.ping_body_limit).to_owned())
}

/// A duration of this many milliseconds, rounded to whole ones; `None` where that is none.
pub(crate) fn milliseconds(ms: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(ms.round() / 1000.0).ok()
}

/// Why a heartbeat was not taken. Each protocol says it in its own words.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Refused {
    /// There is no such monitor.
    NotFound,
    /// Too many of them; come back after this.
    Rate(Duration),
    /// Its signature is not accepted.
    Signature(SignatureError),
    /// Something that it carries is wrong.
    Invalid(FieldError),
    /// Its body cannot be taken.
    Body(BodyError),
    /// Not now.
    Unavailable(Unavailable),
}

impl Refused {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Rate(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Signature(SignatureError::Full) | Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Signature(_) => StatusCode::UNAUTHORIZED,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Body(error) => error.status(),
        }
    }

    /// What is wrong, for people.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::NotFound => "not found".to_owned(),
            Self::Rate(_) => "rate limited".to_owned(),
            Self::Signature(error) => error.to_string(),
            Self::Invalid(error) => format!("invalid {error}"),
            Self::Body(error) => error.to_string(),
            Self::Unavailable(error) => error.to_string(),
        }
    }

    /// Sets what belongs to the status: when to come back, how to authenticate.
    pub(crate) fn dress(&self, response: &mut Response) {
        let headers = response.headers_mut();
        match self.status() {
            StatusCode::TOO_MANY_REQUESTS => {
                let wait = if let Self::Rate(wait) = self { wait.as_millis().div_ceil(1000) } else { 1 };
                headers.insert(RETRY_AFTER, HeaderValue::from(u64::try_from(wait).unwrap_or(1).max(1)));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
            }
            StatusCode::UNAUTHORIZED => {
                headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Heartbeat-Signature"));
            }
            _ => {}
        }
    }
}

impl From<BodyError> for Refused {
    fn from(error: BodyError) -> Self {
        Self::Body(error)
    }
}

impl From<Unavailable> for Refused {
    fn from(error: Unavailable) -> Self {
        Self::Unavailable(error)
    }
}

impl From<PingError> for Refused {
    fn from(error: PingError) -> Self {
        match error {
            PingError::Invalid(error) => Self::Invalid(error),
            PingError::Unavailable(error) => Self::Unavailable(error),
            // A monitor that was removed between the look and the heartbeat, and what later engines may add.
            _ => Self::NotFound,
        }
    }
}

/// A heartbeat that is stored.
#[derive(Debug)]
pub(crate) struct Taken {
    pub(crate) receipt: PingReceipt,
    signer: Option<Signer>,
}

impl Taken {
    /// The answer, signed where the heartbeat was.
    pub(crate) fn answer(
        &self,
        app: &App,
        request: &Method,
        content_type: &'static str,
        body: impl Into<Cow<'static, str>>,
    ) -> Response {
        let body = body.into();
        let signature = self.signer.as_ref().map(|signer| {
            // The body of an answer to HEAD is never sent, so it is not signed.
            let signed = if request == Method::HEAD { "" } else { &*body };
            signer.sign(app.engine.now(), signed.as_bytes())
        });
        let mut response = answer(StatusCode::OK, content_type, body);
        response.headers_mut().extend(signature.into_iter().flatten());
        response
    }
}

/// An answer that no cache keeps.
pub(crate) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Cow<'static, str>>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(HEADERS_USUAL);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=0, no-cache, no-store, must-revalidate, private"));
    response
}

/// Gives a heartbeat to the engine: after its signature and the monitor's rate have been looked at.
pub(crate) async fn take(app: &App, incoming: &Incoming, record: &Record, ping: Ping) -> Result<Taken, Refused> {
    let target = incoming.uri.path_and_query().map_or("", PathAndQuery::as_str);
    let signed = Signed { method: incoming.method.as_str(), target, body: &incoming.body };
    let now = app.engine.now();
    let signer = signature::check(&app.replays, record, &incoming.headers, signed, now).map_err(Refused::Signature)?;
    let taken = match app.rates.take(record.id()) {
        Ok(()) => app.engine.ping(record.id(), ping).await.map_err(Refused::from),
        Err(wait) => Err(Refused::Rate(wait)),
    };
    match taken {
        Ok(receipt) => Ok(Taken { receipt, signer }),
        Err(refused) => {
            if let Some(signer) = &signer {
                app.replays.release(signer);
            }
            Err(refused)
        }
    }
}

/// Lets the body speak for a `fail` or `report` that carries no message: somebody must see what it says.
pub(crate) fn speak_for(ping: &mut Ping) {
    if ping.message.is_none()
        && matches!(ping.signal, Signal::Fail | Signal::Report)
        && let Some(text) = ping.body.as_deref().and_then(readable)
    {
        ping.message = Some(text);
    }
}

/// The beginning of a body that is text.
fn readable(body: &[u8]) -> Option<String> {
    let end = body.len().min(MESSAGE_OF_BODY_BYTES_MAX);
    let text = match std::str::from_utf8(&body[..end]) {
        Ok(text) => text,
        // A character that the cut went through.
        Err(error) if error.error_len().is_none() => std::str::from_utf8(&body[..error.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    let text = text.trim();
    (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_speaks_only_where_it_is_text() {
        assert_eq!(readable(b" disk full\n").as_deref(), Some("disk full"));
        assert_eq!(readable(b"\xff\xfe"), None);
        assert_eq!(readable(b" \n"), None);
        let long = "é".repeat(1000);
        assert_eq!(readable(&long.as_bytes()[..999]).map(|text| text.chars().count()), Some(499));
    }
}
