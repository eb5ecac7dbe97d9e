//! Several messages in one (S7.9).

use std::collections::BTreeMap;

use crate::{
    Delivery, DeliveryState, Digest, DigestItem, MonitorId, Notification, NotificationId, NotificationKind, Timestamp,
};

/// What a digest needs of a message that it covers.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) id: NotificationId,
    pub(super) monitor: Option<MonitorId>,
    pub(super) created_at: Timestamp,
    kind: NotificationKind,
    /// What is listed; of most nothing is.
    item: Option<Box<DigestItem>>,
}

impl Part {
    /// What is needed of a message; `listed`: it may be among the first.
    pub(super) fn of(notification: Notification, listed: bool) -> Self {
        let Notification { id, created_at, kind, monitor, incident, message, .. } = notification;
        let of_monitor = monitor.as_ref().map(|monitor| monitor.id);
        let item = listed.then(|| Box::new(DigestItem { kind, monitor, incident, message }));
        Self { id, monitor: of_monitor, created_at, kind, item }
    }
}

/// How a message stands while a digest that tells it is under way, since this instant.
pub(super) fn grouped(at: Timestamp) -> Delivery {
    Delivery { state: DeliveryState::Grouped, ..Delivery::pending(at) }
}

/// The digest of these messages, which are in the order in which they came to be owed; `writes` sets it apart from one that
/// was given up and whose messages are tried again, after the clock was set back to its very instant.
pub(super) fn digest(channel: &str, now: Timestamp, writes: u64, parts: Vec<Part>) -> Notification {
    let first = parts.first().map(|part| *part.id.as_bytes()).unwrap_or_default();
    let covers = parts.iter().map(|part| (part.id, part.monitor)).collect();
    let counts = counts(&parts);
    let total = parts.len();
    let items: Vec<DigestItem> =
        parts.into_iter().filter_map(|part| part.item).take(Digest::ITEMS_MAX).map(|item| *item).collect();
    Notification {
        id: NotificationId::named(&[
            b"digest",
            channel.as_bytes(),
            &first,
            &now.as_millis().to_be_bytes(),
            &writes.to_be_bytes(),
        ])
        .beside_channel(channel),
        channel: channel.to_owned(),
        kind: NotificationKind::Digest,
        created_at: now,
        monitor: None,
        incident: None,
        message: message(total, &counts, &items),
        ping: None,
        digest: Some(Box::new(Digest { items, covers })),
    }
}

/// `10 monitor.down, 2 monitor.recovered`.
fn counts(parts: &[Part]) -> String {
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for part in parts {
        *kinds.entry(part.kind.wire_name()).or_default() += 1;
    }
    let counts: Vec<String> = kinds.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    counts.join(", ")
}

/// `12 messages: 10 monitor.down, 2 monitor.recovered`, and each of the first on a line of its own.
fn message(total: usize, counts: &str, items: &[DigestItem]) -> String {
    let mut lines = vec![format!("{total} messages: {counts}")];
    lines.extend(items.iter().map(|item| item.message.clone()));
    let unlisted = total.saturating_sub(items.len());
    if unlisted > 0 {
        lines.push(format!("and {unlisted} more"));
    }
    lines.join("\n")
}
