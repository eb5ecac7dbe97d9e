//! The trait of what delivers notifications, and of the kinds of channel that make such notifiers from settings.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{FieldError, Notification, Timestamp};

/// One attempt to deliver a notification.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Attempt<'a> {
    /// Counts the attempts from 1.
    pub number: u32,
    /// The time of this attempt.
    pub at: Timestamp,
    /// How long it may take; the engine drops it then and counts it as a failure that may be retried.
    pub timeout: Duration,
    /// The recipients that an earlier attempt settled; they must not get it again.
    pub recipients_done: &'a [String],
}

impl<'a> Attempt<'a> {
    /// The `number`-th attempt, at `at`, which may take `timeout`.
    #[must_use]
    pub fn new(number: u32, at: Timestamp, timeout: Duration) -> Self {
        Self { number, at, timeout, recipients_done: &[] }
    }

    /// The same, sparing recipients that have it already.
    #[must_use]
    pub fn sparing(self, recipients_done: &'a [String]) -> Self {
        Self { recipients_done, ..self }
    }
}

/// What the far end said when it took a notification.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Receipt {
    /// A short text of the far end, such as its status line.
    pub answer: Option<String>,
    /// Recipients that will never get it although others did, each with the reason.
    pub refused_recipients: Vec<(String, String)>,
}

/// Why an attempt failed; it decides what the outbox does next (S7.4).
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeliveryError {
    /// It may work later.
    #[error("{reason}")]
    Retry {
        /// What went wrong, for people; never a secret.
        reason: String,
        /// How long the far end asks to be left alone.
        after: Option<Duration>,
        /// Recipients that have it now, or never will, and need no further attempt.
        recipients_done: Vec<String>,
    },
    /// It will never be taken: the notification is dead at once.
    #[error("{reason}")]
    Refused {
        /// What went wrong, for people; never a secret.
        reason: String,
    },
    /// It may have been taken, or not: it is tried again under the same id.
    #[error("{reason}")]
    Unknown {
        /// What went wrong, for people; never a secret.
        reason: String,
    },
}

impl DeliveryError {
    /// A failure that may be mended by time.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry { reason: reason.into(), after: None, recipients_done: Vec::new() }
    }

    /// A failure for good.
    pub fn refused(reason: impl Into<String>) -> Self {
        Self::Refused { reason: reason.into() }
    }

    /// An attempt whose outcome is not known.
    pub fn unknown(reason: impl Into<String>) -> Self {
        Self::Unknown { reason: reason.into() }
    }
}

/// Delivers notifications to one channel.
///
/// It makes one attempt and says how it went. It never retries, sorts, or logs secrets: the outbox retries, keeps the
/// order per monitor, and may call it several times at once for different monitors. The future may be dropped at
/// any await point, when the attempt's time is over.
#[async_trait]
pub trait Notifier: Send + Sync + 'static {
    /// Delivers `notification`, giving its id to the far end so that it can tell a repetition.
    ///
    /// # Errors
    /// See [`DeliveryError`]: choose by what the outbox should do next.
    async fn deliver(&self, notification: &Notification, attempt: Attempt<'_>) -> Result<Receipt, DeliveryError>;
}

/// Makes notifiers of one kind from a channel's settings, so that channels can be made while the engine runs.
pub trait ChannelKind: Send + Sync + 'static {
    /// Its name in the settings: `kind = "webhook"`.
    fn name(&self) -> &'static str;

    /// A notifier for the channel `channel` with these settings (an object, without `name`, `kind` and what the engine
    /// reads itself: `fallback`, `burst` and `group_wait`).
    ///
    /// # Errors
    /// Every field that is wrong, missing or unknown, with what would be right. Dotted paths such as `to.0`.
    fn build(&self, channel: &str, settings: &serde_json::Value) -> Result<Arc<dyn Notifier>, Vec<FieldError>>;

    /// The settings with every secret replaced by `***`, to be shown to people.
    fn redacted(&self, settings: &serde_json::Value) -> serde_json::Value;

    /// Names the first setting that only an administrator may choose, such as `allow_private`.
    fn privileged_setting(&self, settings: &serde_json::Value) -> Option<&'static str>;
}
