//! The mail that tells a notification: headers, a text and the same as HTML.

use std::time::{Duration, UNIX_EPOCH};

use heartbeat_engine::{AboutIncident, AboutMonitor, Notification, PingEntry, Timestamp, describe_duration};
use lettre::Message;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};

use crate::digest::{List, headline, word};
use crate::html::page;
use crate::text::{line, when};

const SUBJECT_CHARS_MAX: usize = 150;
const PING_CHARS_MAX: usize = 500;
/// 9999-12-31T23:59:59Z, the last second that a mail's date can name.
const DATE_MAX_SECS: i64 = 253_402_300_799;

/// What a mail says besides the message: labels and values.
pub(crate) type Facts = Vec<(&'static str, String)>;

/// The whole mail, ASCII with CRLF.
pub(crate) fn compose(
    notification: &Notification,
    from: &Mailbox,
    to: &[Mailbox],
    at: Timestamp,
) -> Result<String, String> {
    let domain = from.email.domain();
    let seconds = u64::try_from(at.as_secs().clamp(0, DATE_MAX_SECS)).unwrap_or(0);
    let mut mail = Message::builder()
        .from(from.clone())
        .date(UNIX_EPOCH + Duration::from_secs(seconds))
        .message_id(Some(format!("<{}@{domain}>", notification.id)))
        .subject(subject(notification))
        .raw_header(HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned()));
    for recipient in to {
        mail = mail.to(recipient.clone());
    }
    if let Some(incident) = &notification.incident {
        // Nobody ever got a mail with this id: it is the common root that makes a thread of an incident's mails.
        let root = format!("<incident-{}@{domain}>", incident.id);
        mail = mail.references(root.clone()).in_reply_to(root);
    }
    let facts = facts(notification);
    let list = notification.digest.as_deref().map(List::of);
    let (plain, page) = (plain(notification, list.as_ref(), &facts), page(notification, list.as_ref(), &facts));
    let parts = MultiPart::alternative_plain_html(plain, page);
    let bytes = mail.multipart(parts).map_err(|error| error.to_string())?.formatted();
    String::from_utf8(bytes).map_err(|error| error.to_string())
}

/// `[down] cert-sync: no heartbeat since 2026-11-20T06:05:00Z, expected every 2 h`.
fn subject(notification: &Notification) -> String {
    let first = headline(notification);
    let told = match &notification.monitor {
        Some(monitor) => about(&monitor.name, &first),
        None => first,
    };
    line(&format!("[{}] {told}", word(notification.kind)), SUBJECT_CHARS_MAX)
}

/// `name: …`, without saying again what the word in front of it says.
fn about(name: &str, told: &str) -> String {
    let Some(rest) = told.strip_prefix(name) else { return format!("{name}: {told}") };
    match [" is down: ", " reports: ", " is flapping: "].into_iter().find_map(|said| rest.strip_prefix(said)) {
        Some(rest) => format!("{name}: {rest}"),
        None => told.to_owned(),
    }
}

/// Whence the mail comes, for its last line.
pub(crate) fn footer(notification: &Notification) -> String {
    format!("Heartbeat, channel {}, notification {}", line(&notification.channel, PING_CHARS_MAX), notification.id)
}

fn plain(notification: &Notification, list: Option<&List>, facts: &Facts) -> String {
    let told = match list {
        Some(list) => format!("{}\n\n{}", headline(notification), list.plain()),
        None => notification.message.trim_end().to_owned(),
    };
    let width = facts.iter().map(|(label, _)| label.len()).max().unwrap_or(0) + 1;
    let rows: String = facts.iter().map(|(label, value)| format!("{:width$} {value}\n", format!("{label}:"))).collect();
    let gap = if rows.is_empty() { "" } else { "\n" };
    format!("{told}\n\n{rows}{gap}-- \n{}\n", footer(notification))
}

fn facts(notification: &Notification) -> Facts {
    let mut facts = Facts::new();
    if let Some(monitor) = &notification.monitor {
        add_monitor(monitor, &mut facts);
    }
    if let Some(incident) = &notification.incident {
        add_incident(incident, &mut facts);
    }
    if let Some(ping) = &notification.ping {
        add_ping(ping, &mut facts);
    }
    for (_, value) in &mut facts {
        *value = line(value, PING_CHARS_MAX);
    }
    facts
}

fn add_monitor(monitor: &AboutMonitor, facts: &mut Facts) {
    let name = if monitor.name == monitor.slug {
        monitor.slug.clone()
    } else {
        format!("{} ({})", monitor.name, monitor.slug)
    };
    facts.push(("Monitor", name));
    facts.push(("Status", monitor.status.to_string()));
    facts.push(("Severity", monitor.severity.to_string()));
    if !monitor.tags.is_empty() {
        facts.push(("Tags", monitor.tags.join(", ")));
    }
}

fn add_incident(incident: &AboutIncident, facts: &mut Facts) {
    let cause = incident.cause;
    let cause = if incident.detail.is_empty() { cause.to_string() } else { format!("{cause}: {}", incident.detail) };
    facts.push(("Cause", cause));
    facts.push(("Down since", when(incident.opened_at)));
    if incident.detected_at != incident.opened_at {
        facts.push(("Detected", when(incident.detected_at)));
    }
    if let Some(closed_at) = incident.closed_at {
        let lasted = describe_duration(readable(closed_at.since(incident.opened_at)));
        facts.push(("Ended", format!("{}, after {lasted}", when(closed_at))));
    }
}

/// Without what follows the seconds, if there are any.
fn readable(lasted: Duration) -> Duration {
    if lasted.as_secs() == 0 { lasted } else { Duration::from_secs(lasted.as_secs()) }
}

fn add_ping(ping: &PingEntry, facts: &mut Facts) {
    let degraded = if ping.degraded { ", degraded" } else { "" };
    facts.push(("Last heartbeat", format!("{} at {}{degraded}", ping.signal, when(ping.at))));
    if let Some(message) = ping.message.as_deref().filter(|message| !message.trim().is_empty()) {
        facts.push(("It said", message.to_owned()));
    }
    if let Some(status) = ping.exit_status {
        facts.push(("Exit status", status.to_string()));
    }
    if let Some(value) = ping.value {
        facts.push(("Value", value.to_string()));
    }
    if let Some(duration) = ping.run_duration.or(ping.duration) {
        facts.push(("It took", describe_duration(duration)));
    }
    if let Some(source) = &ping.source {
        facts.push(("From", source.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_engine::{NotificationId, NotificationKind};
    use proptest::prelude::*;

    fn notification(kind: NotificationKind, message: &str) -> Notification {
        Notification {
            id: NotificationId::named(&[b"test"]),
            channel: "mail".to_owned(),
            kind,
            created_at: Timestamp::EPOCH,
            monitor: None,
            incident: None,
            message: message.to_owned(),
            ping: None,
            digest: None,
        }
    }

    #[test]
    fn milliseconds_are_told_of_what_lasted_less_than_a_second_only() {
        assert_eq!(describe_duration(readable(Duration::from_millis(219))), "219 ms");
        assert_eq!(describe_duration(readable(Duration::from_millis(331_917))), "5 min 31 s");
    }

    #[test]
    fn a_name_is_said_once() {
        let told = "cert-sync is down: no heartbeat since 06:05, expected every 2 h";
        assert_eq!(about("cert-sync", told), "cert-sync: no heartbeat since 06:05, expected every 2 h");
        assert_eq!(about("cert-sync", "cert-sync is up again after 5 min"), "cert-sync is up again after 5 min");
        assert_eq!(about("cert-sync", "cert-sync reports: 3 renewed"), "cert-sync: 3 renewed");
        assert_eq!(
            about("cert-sync", "cert-sync is flapping: it went down 3 times"),
            "cert-sync: it went down 3 times"
        );
        assert_eq!(about("cert-sync", "cert-sync is degraded: slow"), "cert-sync is degraded: slow");
        assert_eq!(about("cert-sync", "123"), "cert-sync: 123");
    }

    proptest! {
        #[test]
        fn any_text_and_time_makes_a_mail_without_foreign_headers(message in any::<String>(), at: i64) {
            let from: Mailbox = "Heartbeat <heartbeat@example.org>".parse().unwrap();
            let to: Mailbox = "ops@example.org".parse().unwrap();
            let owed = notification(NotificationKind::Report, &format!("{message}\r\nBcc: evil@example.org"));
            let mail = compose(&owed, &from, &[to], Timestamp::from_millis(at)).unwrap();
            prop_assert!(mail.is_ascii());
            let head = mail.split("\r\n\r\n").next().unwrap();
            let names: Vec<_> =
                head.split("\r\n").filter(|l| !l.starts_with([' ', '\t'])).map(|l| l.split(':').next().unwrap()).collect();
            let expected =
                ["From", "Date", "Message-ID", "Subject", "Auto-Submitted", "To", "MIME-Version", "Content-Type"];
            prop_assert_eq!(names, expected);
            prop_assert!(mail.split("\r\n").all(|line| line.len() <= 998));
        }
    }
}
