//! A channel that keeps failing, or gave something up: who is told, and what (S7.4).

use std::time::Duration;

use crate::{Notification, NotificationId, NotificationKind, Timestamp};

/// How long a channel may fail before that is told (S7.4).
const TOLD_AFTER: Duration = Duration::from_secs(300);

/// Since when every attempt of a channel has failed, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failing {
    /// When the first of them failed.
    pub since: Timestamp,
    /// What went wrong last.
    pub error: String,
}

/// How a channel fares.
#[derive(Debug, Default)]
pub(super) struct Fortune {
    pub(super) failing: Option<Failing>,
    told: bool,
}

impl Fortune {
    /// Notes a failure; says since when the channel has failed when that is to be told now.
    pub(super) fn failed(&mut self, reason: &str, now: Timestamp) -> Option<Timestamp> {
        let since = self.failing.as_ref().map_or(now, |failing| failing.since);
        self.failing = Some(Failing { since, error: reason.to_owned() });
        let telling = now.since(since) >= TOLD_AFTER && !self.told;
        self.told |= telling;
        telling.then_some(since)
    }

    /// The channel works, or is another one now.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What is owed to these channels about another one. Nothing is when they would be told of a channel that could not be
/// told of a channel.
pub(super) fn owed(to: Vec<String>, about: &Notification, message: &str, now: Timestamp) -> Vec<Notification> {
    if is_about_channels(about) {
        return Vec::new();
    }
    let notification = |channel: String| Notification {
        id: NotificationId::named(&[
            b"channel failing",
            about.id.as_bytes(),
            &now.as_millis().to_be_bytes(),
            channel.as_bytes(),
        ])
        .beside_channel(&channel),
        channel,
        kind: NotificationKind::ChannelFailing,
        created_at: now,
        monitor: about.monitor.clone(),
        incident: about.incident.clone(),
        message: message.to_owned(),
        ping: None,
        digest: None,
    };
    to.into_iter().map(notification).collect()
}

fn is_about_channels(about: &Notification) -> bool {
    match &about.digest {
        Some(digest) => digest.items.iter().all(|item| item.kind == NotificationKind::ChannelFailing),
        None => about.kind == NotificationKind::ChannelFailing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_minutes_of_failure_are_told_once() {
        let mut fortune = Fortune::default();
        let at = Timestamp::from_secs;
        assert_eq!([0, 299, 300, 301].map(|s| fortune.failed("no", at(s))), [None, None, Some(at(0)), None]);
        assert_eq!(fortune.failing, Some(Failing { since: at(0), error: "no".to_owned() }));
        fortune.clear();
        assert_eq!([400, 700].map(|s| fortune.failed("no", at(s))), [None, Some(at(400))]);
    }
}
