//! One attempt to deliver, and what its outcome makes of the delivery (S7.4).

use std::sync::Arc;
use std::time::Duration;

use super::Owed;
use super::lane::Lane;
use crate::runtime::random;
use crate::runtime::shared::Shared;
use crate::{Attempt, Delivery, DeliveryError, DeliveryState, Receipt, Timestamp, pause_after};

/// How long a notification is tried before it is given up (S7.4).
const GIVEN_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How often it is tried at least: about eight minutes' worth.
const ATTEMPTS_MIN: u32 = 10;

/// An attempt that has ended.
pub(super) struct Attempted {
    pub(super) lane: Lane,
    pub(super) outcome: Result<Receipt, DeliveryError>,
}

/// One attempt; a notifier that panics has failed like any other.
pub(super) async fn attempt(shared: Arc<Shared>, lane: Lane, owed: Owed, now: Timestamp) -> Attempted {
    let Some(notifier) = shared.channels.notifier(&owed.notification.channel) else {
        let reason = format!("there is no channel `{}`", owed.notification.channel);
        return Attempted { lane, outcome: Err(DeliveryError::refused(reason)) };
    };
    let timeout = shared.limits.attempt_timeout;
    let delivered = tokio::spawn(async move {
        let attempt = Attempt::new(owed.delivery.attempts + 1, now, timeout).sparing(&owed.delivery.recipients_done);
        tokio::time::timeout(timeout, notifier.deliver(&owed.notification, attempt)).await
    });
    let outcome = match delivered.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(DeliveryError::unknown(format!("no answer within {} s", timeout.as_secs()))),
        Err(_) => Err(DeliveryError::retry("the notifier panicked")),
    };
    Attempted { lane, outcome }
}

/// Puts an attempt's outcome into the delivery's state; answers what went wrong, if something did.
pub(super) fn record(
    delivery: &mut Delivery,
    outcome: &Result<Receipt, DeliveryError>,
    created_at: Timestamp,
    now: Timestamp,
) -> Option<String> {
    let error = match outcome {
        Ok(receipt) => {
            delivery.state = DeliveryState::Delivered;
            delivery.settled_at = Some(now);
            let refused: Vec<String> =
                receipt.refused_recipients.iter().map(|(who, why)| format!("{who}: {why}")).collect();
            delivery.last_error = (!refused.is_empty()).then(|| refused.join("; "));
            return delivery.last_error.clone();
        }
        Err(error) => error,
    };
    let reason = error.to_string();
    delivery.last_error = Some(reason.clone());
    let mut pause = pause_after(delivery.attempts, random::unit());
    // What lay in the store for a day, while nobody tried, gets its chance.
    let mut dead = now.since(created_at) >= GIVEN_UP_AFTER && delivery.attempts >= ATTEMPTS_MIN;
    match error {
        DeliveryError::Refused { .. } => dead = true,
        DeliveryError::Retry { after, recipients_done, .. } => {
            pause = pause.max(after.unwrap_or_default());
            for recipient in recipients_done {
                if !delivery.recipients_done.contains(recipient) {
                    delivery.recipients_done.push(recipient.clone());
                }
            }
        }
        DeliveryError::Unknown { .. } => {}
    }
    if dead {
        delivery.state = DeliveryState::Dead;
        delivery.settled_at = Some(now);
    } else {
        // Whatever a far end asks for, it is tried once more before it is given up.
        let latest = (created_at + GIVEN_UP_AFTER).max(now + pause_after(delivery.attempts, 0.0));
        delivery.next_attempt_at = (now + pause).min(latest);
    }
    Some(reason)
}
