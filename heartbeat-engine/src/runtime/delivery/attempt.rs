//! One attempt to deliver.

use std::sync::Arc;

use crate::outbox::Due;
use crate::runtime::shared::Shared;
use crate::{Attempt, DeliveryError, Receipt, Timestamp};

/// Makes the attempt; a notifier that panics has failed like any other.
pub(super) async fn attempt(shared: Arc<Shared>, due: Due, now: Timestamp) -> Result<Receipt, DeliveryError> {
    let Some(notifier) = shared.channels.notifier(&due.notification.channel) else {
        return Err(DeliveryError::refused(format!("there is no channel `{}`", due.notification.channel)));
    };
    let timeout = shared.limits.attempt_timeout;
    let delivered = tokio::spawn(async move {
        let attempt = Attempt::new(due.number, now, timeout).sparing(&due.recipients_done);
        tokio::time::timeout(timeout, notifier.deliver(&due.notification, attempt)).await
    });
    match delivered.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(DeliveryError::unknown(format!("no answer within {} s", timeout.as_secs()))),
        Err(_) => Err(DeliveryError::retry("the notifier panicked")),
    }
}
