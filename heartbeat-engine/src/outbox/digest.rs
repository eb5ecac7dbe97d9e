//! Several messages in one (S7.9).

use std::collections::BTreeMap;

use crate::{Delivery, DeliveryState, Digest, DigestItem, Notification, NotificationId, NotificationKind, Timestamp};

/// The digest of these messages, which are in the order in which they came to be owed.
pub(super) fn digest(channel: &str, now: Timestamp, covered: &[Notification]) -> Notification {
    let first = covered.first().map(|notification| *notification.id.as_bytes()).unwrap_or_default();
    let items = covered.iter().take(Digest::ITEMS_MAX).map(|notification| DigestItem {
        kind: notification.kind,
        monitor: notification.monitor.clone(),
        incident: notification.incident.clone(),
        message: notification.message.clone(),
    });
    let covers =
        covered.iter().map(|notification| (notification.id, notification.monitor.as_ref().map(|monitor| monitor.id)));
    Notification {
        id: NotificationId::named(&[b"digest", channel.as_bytes(), &first, &now.as_millis().to_be_bytes()]),
        channel: channel.to_owned(),
        kind: NotificationKind::Digest,
        created_at: now,
        monitor: None,
        incident: None,
        message: message(covered),
        ping: None,
        digest: Some(Box::new(Digest { items: items.collect(), covers: covers.collect() })),
    }
}

/// `12 messages: 10 monitor.down, 2 monitor.recovered`, and each of the first on a line of its own.
fn message(covered: &[Notification]) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for notification in covered {
        *kinds.entry(notification.kind.wire_name()).or_default() += 1;
    }
    let counts: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    let mut lines = vec![format!("{} messages: {}", covered.len(), counts.join(", "))];
    lines.extend(covered.iter().take(Digest::ITEMS_MAX).map(|notification| notification.message.clone()));
    let unlisted = covered.len().saturating_sub(Digest::ITEMS_MAX);
    if unlisted > 0 {
        lines.push(format!("and {unlisted} more"));
    }
    lines.join("\n")
}

/// How a covered notification stands while the digest is under way.
pub(super) fn grouped(notification: &Notification, now: Timestamp) -> Delivery {
    Delivery { state: DeliveryState::Grouped, ..Delivery::pending(notification.created_at.max(now)) }
}
