//! What an attempt's outcome makes of a delivery (S7.4).

use std::time::Duration;

use crate::{Delivery, DeliveryError, DeliveryState, Receipt, Timestamp, pause_after};

/// How long a notification is tried before it is given up (S7.4).
const GIVEN_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How often it is tried at least: about eight minutes' worth.
const ATTEMPTS_MIN: u32 = 10;

/// Puts an attempt's outcome into the delivery's state; answers what went wrong, if something did.
pub(super) fn record(
    delivery: &mut Delivery,
    outcome: &Result<Receipt, DeliveryError>,
    created_at: Timestamp,
    now: Timestamp,
    jitter: f64,
) -> Option<String> {
    delivery.attempts = delivery.attempts.saturating_add(1);
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
    let mut pause = pause_after(delivery.attempts, jitter);
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

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn failed(attempts: u32, error: DeliveryError, at: Timestamp) -> Delivery {
        let mut delivery = Delivery { attempts, ..Delivery::pending(Timestamp::EPOCH) };
        let reason = record(&mut delivery, &Err(error), Timestamp::EPOCH, at, 0.0);
        assert_eq!(reason, delivery.last_error);
        delivery
    }

    #[test]
    fn a_day_and_ten_attempts_or_a_refusal_are_the_end() {
        let at = Timestamp::EPOCH + DAY;
        assert_eq!(failed(8, DeliveryError::retry("later"), at).state, DeliveryState::Pending);
        assert_eq!(failed(9, DeliveryError::retry("later"), at).state, DeliveryState::Dead);
        assert_eq!(failed(9, DeliveryError::unknown("lost"), at).settled_at, Some(at));
        let before = at - Duration::from_millis(1);
        assert_eq!(failed(999, DeliveryError::unknown("lost"), before).state, DeliveryState::Pending);
        assert_eq!(failed(0, DeliveryError::refused("no"), Timestamp::EPOCH).state, DeliveryState::Dead);
    }

    #[test]
    fn a_far_end_that_wants_to_be_left_alone_is_within_the_day() {
        let asks = |hours: u64| DeliveryError::Retry {
            reason: "busy".to_owned(),
            after: Some(Duration::from_secs(hours * 3600)),
            recipients_done: vec!["a".to_owned()],
        };
        let at = Timestamp::from_secs(60);
        assert_eq!(failed(0, asks(1), at).next_attempt_at, at + Duration::from_secs(3600));
        assert_eq!(failed(0, asks(48), at).next_attempt_at, Timestamp::EPOCH + DAY);
        assert_eq!(failed(0, asks(1), at).recipients_done, ["a"]);
        let late = Timestamp::EPOCH + DAY * 2;
        assert_eq!(
            failed(0, asks(48), late).next_attempt_at,
            late + Duration::from_secs(1),
            "it gets its ten attempts"
        );
    }
}
