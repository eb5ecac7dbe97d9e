//! Delivering one notification by one request.

use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use futures_util::StreamExt;
use heartbeat_engine::{Attempt, DeliveryError, Notification, Notifier, Receipt, Timestamp};
use reqwest::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode};
use url::Url;

use crate::WebhookBuilder;
use crate::signing::{Key, signatures};
use crate::text::{excerpt, hide, place, root_cause, secret_parts};
use crate::webhook::Payload;

/// How much of an answer is read at most, and for how long.
const ANSWER_BYTES_MAX: usize = 4096;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Delivers notifications as JSON by `POST` to one URL, signed as Standard Webhooks says.
///
/// Delivered is what was answered with 2xx. 400, 410, 413 and 422 refuse a notification for good; every other answer
/// and all trouble on the way asks for a later attempt, after `Retry-After` where it is given (S7.4). When the
/// connection ends or the time is over after the request went out, the outcome is unknown. Redirects are not followed.
#[derive(Clone)]
pub struct WebhookNotifier {
    client: Client,
    url: Url,
    keys: std::sync::Arc<[Key]>,
    place: String,
    secret_parts: Vec<String>,
}

impl WebhookNotifier {
    /// Begins a webhook that goes to `url` (`https:` or `http:`; `user:password@` is sent as HTTP Basic).
    pub fn builder(url: impl Into<String>) -> WebhookBuilder {
        WebhookBuilder { url: Some(url.into()), ..WebhookBuilder::default() }
    }

    pub(crate) fn new(client: Client, url: Url, keys: Vec<Key>) -> Self {
        let (place, secret_parts) = (place(&url), secret_parts(&url));
        Self { client, url, keys: keys.into(), place, secret_parts }
    }

    async fn judge(&self, response: Response, now: Timestamp) -> Result<Receipt, DeliveryError> {
        let status = response.status();
        let after = retry_after(&response, now);
        let location = redirect_place(&response);
        let text = excerpt(&hide(&read_answer(response).await, &self.secret_parts));
        let answered = if text.is_empty() { status.to_string() } else { format!("{status}: {text}") };
        let place = &self.place;
        match status {
            status if status.is_success() => Ok(Receipt { answer: Some(answered), ..Receipt::default() }),
            StatusCode::BAD_REQUEST
            | StatusCode::GONE
            | StatusCode::PAYLOAD_TOO_LARGE
            | StatusCode::UNPROCESSABLE_ENTITY => {
                Err(DeliveryError::refused(format!("{place} refused it with {answered}")))
            }
            status if status.is_redirection() => {
                let to = location.map_or_else(String::new, |to| format!(" to {to}"));
                let reason = format!("{place} answered {status}, a redirect{to}; none is followed: set url to its end");
                Err(DeliveryError::Retry { reason, after, recipients_done: Vec::new() })
            }
            _ => {
                let reason = format!("{place} answered {answered}");
                Err(DeliveryError::Retry { reason, after, recipients_done: Vec::new() })
            }
        }
    }

    fn judge_failure(&self, error: &reqwest::Error) -> DeliveryError {
        let place = &self.place;
        let cause = || hide(&root_cause(error), &self.secret_parts);
        if error.is_connect() && error.is_timeout() {
            DeliveryError::retry(format!("no connection to {place} in time"))
        } else if error.is_connect() || error.is_builder() {
            DeliveryError::retry(format!("no connection to {place}: {}", cause()))
        } else if error.is_timeout() {
            DeliveryError::unknown(format!("{place} did not answer in time"))
        } else {
            DeliveryError::unknown(format!("{place} did not answer: {}", cause()))
        }
    }
}

#[async_trait]
impl Notifier for WebhookNotifier {
    async fn deliver(&self, notification: &Notification, attempt: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        let id = notification.id.to_string();
        let body = serde_json::to_vec(&Payload::of(notification))
            .map_err(|error| DeliveryError::refused(format!("it cannot be written as JSON: {error}")))?;
        let seconds = attempt.at.as_secs();
        let mut request = self
            .client
            .post(self.url.clone())
            .timeout(budget(attempt.timeout))
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", seconds)
            .header("idempotency-key", &id);
        if let Some(signatures) = signatures(&self.keys, &id, seconds, &body) {
            request = request.header("webhook-signature", signatures);
        }
        match request.body(body).send().await {
            Ok(response) => self.judge(response, attempt.at).await,
            Err(error) => Err(self.judge_failure(&error)),
        }
    }
}

impl fmt::Debug for WebhookNotifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookNotifier")
            .field("place", &self.place)
            .field("keys", &self.keys.len())
            .finish_non_exhaustive()
    }
}

/// A little less than the attempt may take, so that a timeout is told from here, where it is known what happened.
fn budget(timeout: Duration) -> Duration {
    timeout - timeout / 20
}

/// `Retry-After`: seconds, or the HTTP date when it is over.
fn retry_after(response: &Response, now: Timestamp) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    Some((Timestamp::EPOCH + date.duration_since(UNIX_EPOCH).ok()?).since(now))
}

/// The scheme and host that a redirect leads to.
fn redirect_place(response: &Response) -> Option<String> {
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    let target = response.url().join(location).ok()?;
    Some(target.origin().ascii_serialization())
}

/// The beginning of the answer's body, as much as comes soon.
async fn read_answer(response: Response) -> String {
    let mut bytes = Vec::new();
    let mut chunks = response.bytes_stream();
    let read = async {
        while let Some(Ok(chunk)) = chunks.next().await {
            let room = ANSWER_BYTES_MAX - bytes.len();
            bytes.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if bytes.len() == ANSWER_BYTES_MAX {
                break;
            }
        }
    };
    // What has come until then is enough: the status has decided already.
    let _ = tokio::time::timeout(ANSWER_TIMEOUT, read).await;
    String::from_utf8_lossy(&bytes).into_owned()
}
