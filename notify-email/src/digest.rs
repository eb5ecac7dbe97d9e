//! What a digest says (S7.9): a headline and a row for each message.

use heartbeat_engine::{Digest, DigestItem, Notification, NotificationKind};

use crate::text::line;

const MONITOR_CHARS_MAX: usize = 60;
const TOLD_CHARS_MAX: usize = 300;
/// Longer names do not push the other rows' messages to the right.
const MONITOR_WIDTH_MAX: usize = 30;

/// The messages of a digest.
pub(crate) struct List {
    pub(crate) rows: Vec<Row>,
    /// How many more there are.
    pub(crate) unlisted: usize,
}

/// One message of a digest.
pub(crate) struct Row {
    pub(crate) kind: NotificationKind,
    /// The monitor's name; empty for a message about none.
    pub(crate) monitor: String,
    /// The message without what the other columns say.
    pub(crate) told: String,
}

impl List {
    pub(crate) fn of(digest: &Digest) -> Self {
        let unlisted = digest.total().saturating_sub(digest.items.len());
        Self { rows: digest.items.iter().map(Row::of).collect(), unlisted }
    }

    /// A line for each message, in columns.
    pub(crate) fn plain(&self) -> String {
        let widest = |length: fn(&Row) -> usize| self.rows.iter().map(length).max().unwrap_or(0);
        let words = widest(|row| word(row.kind).len());
        let names = widest(|row| row.monitor.chars().count()).min(MONITOR_WIDTH_MAX);
        let mut lines: Vec<String> = Vec::new();
        for Row { kind, monitor, told } in &self.rows {
            let word = word(*kind);
            lines.push(match monitor.as_str() {
                "" => format!("{word:words$}  {told}"),
                monitor => format!("{word:words$}  {monitor:names$}  {told}"),
            });
        }
        lines.extend(self.rest());
        lines.join("\n")
    }

    /// `and 100 more` where not every message is listed.
    pub(crate) fn rest(&self) -> Option<String> {
        (self.unlisted > 0).then(|| format!("and {} more", self.unlisted))
    }

    /// The kind that its colour tells: the gravest.
    pub(crate) fn gravest(&self) -> NotificationKind {
        let kinds = [
            NotificationKind::Down,
            NotificationKind::Escalated,
            NotificationKind::Reminder,
            NotificationKind::ChannelFailing,
            NotificationKind::Flapping,
            NotificationKind::WatcherOutage,
            NotificationKind::Recovered,
        ];
        let present = |kind: &NotificationKind| self.rows.iter().any(|row| row.kind == *kind);
        kinds.into_iter().find(present).unwrap_or(NotificationKind::Digest)
    }
}

impl Row {
    fn of(item: &DigestItem) -> Self {
        let (monitor, told) = match &item.monitor {
            Some(monitor) => (monitor.name.as_str(), without_name(&monitor.name, &item.message)),
            None => ("", item.message.as_str()),
        };
        Self { kind: item.kind, monitor: line(monitor, MONITOR_CHARS_MAX), told: line(told, TOLD_CHARS_MAX) }
    }
}

/// `no heartbeat since …` of `cert-sync is down: no heartbeat since …`, `up again after …` of `cert-sync is up again after …`.
fn without_name<'a>(name: &str, told: &'a str) -> &'a str {
    let Some(rest) = told.strip_prefix(name).and_then(|rest| rest.strip_prefix(' ')) else { return told };
    ["is down: ", "reports: ", "is flapping: ", "is "]
        .into_iter()
        .find_map(|words| rest.strip_prefix(words))
        .unwrap_or(rest)
}

/// What happened, in a word.
pub(crate) fn word(kind: NotificationKind) -> &'static str {
    match kind {
        NotificationKind::Down => "down",
        NotificationKind::Recovered => "up",
        NotificationKind::Closed => "closed",
        NotificationKind::Reminder => "reminder",
        NotificationKind::Escalated => "escalated",
        NotificationKind::Flapping => "flapping",
        NotificationKind::Settled => "settled",
        NotificationKind::Report => "report",
        NotificationKind::WatcherOutage => "watcher outage",
        NotificationKind::ChannelFailing => "channel failing",
        NotificationKind::Test => "test",
        other => other.wire_name(),
    }
}

/// The first line of the message; of a digest, `12 messages: 10 down, 2 up`.
pub(crate) fn headline(notification: &Notification) -> String {
    let first = notification.message.lines().next().unwrap_or_default();
    let Some(digest) = &notification.digest else { return first.to_owned() };
    if first.trim().is_empty() {
        return format!("{} messages", digest.total());
    }
    // Only this line counts those too that are not listed.
    let kinds = [
        NotificationKind::Down,
        NotificationKind::Recovered,
        NotificationKind::Closed,
        NotificationKind::Reminder,
        NotificationKind::Escalated,
        NotificationKind::Flapping,
        NotificationKind::Settled,
        NotificationKind::Report,
        NotificationKind::WatcherOutage,
        NotificationKind::ChannelFailing,
    ];
    kinds.into_iter().fold(first.to_owned(), |first, kind| first.replace(kind.wire_name(), word(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_nothing_twice() {
        for (told, row) in [
            ("cert-sync is down: no heartbeat since 06:05: late", "no heartbeat since 06:05: late"),
            ("cert-sync is up again after 5 min", "up again after 5 min"),
            ("cert-sync reports: 3 renewed", "3 renewed"),
            ("cert-sync is degraded: slow", "degraded: slow"),
            ("cert-sync is no longer watched: it was removed", "no longer watched: it was removed"),
            ("cert-sync is still down after 3 h: the job failed", "still down after 3 h: the job failed"),
            ("cert-sync is flapping: it went down 5 times", "it went down 5 times"),
            ("cert-sync: 12 done", "cert-sync: 12 done"),
            ("cert-sync-2 is down: x", "cert-sync-2 is down: x"),
            ("", ""),
        ] {
            assert_eq!(without_name("cert-sync", told), row, "{told}");
        }
    }
}
