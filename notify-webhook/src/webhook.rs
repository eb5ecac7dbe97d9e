//! The JSON that a webhook receives.

use std::fmt::Display;
use std::time::Duration;

use heartbeat_engine::{AboutIncident, AboutMonitor, DigestItem, Notification, PingEntry, Timestamp, format_duration};
use serde::{Serialize, Serializer};

/// The body of the request; the same on every attempt.
#[derive(Serialize)]
pub(crate) struct Payload<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Text<Timestamp>,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    id: String,
    monitor: Option<Monitor<'a>>,
    incident: Option<Incident<'a>>,
    message: &'a str,
    ping: Option<Ping<'a>>,
    digest: Vec<Item<'a>>,
    digest_total: usize,
}

/// One message of a digest.
#[derive(Serialize)]
struct Item<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    monitor: Option<Monitor<'a>>,
    incident: Option<Incident<'a>>,
    message: &'a str,
}

#[derive(Serialize)]
struct Monitor<'a> {
    id: String,
    slug: &'a str,
    name: &'a str,
    tags: &'a [String],
    severity: &'static str,
    status: &'static str,
}

#[derive(Serialize)]
struct Incident<'a> {
    id: String,
    opened_at: Text<Timestamp>,
    detected_at: Text<Timestamp>,
    closed_at: Option<Text<Timestamp>>,
    cause: &'static str,
    detail: &'a str,
}

/// A heartbeat without its body, which a storage may keep apart: the payload must not change between attempts.
#[derive(Serialize)]
struct Ping<'a> {
    n: u64,
    arrived_at: Text<Timestamp>,
    at: Text<Timestamp>,
    signal: &'static str,
    run: Option<String>,
    run_duration: Option<String>,
    message: Option<&'a str>,
    value: Option<f64>,
    duration: Option<String>,
    exit_status: Option<u8>,
    claimed_at: Option<Text<Timestamp>>,
    source: Option<&'a str>,
    user_agent: Option<&'a str>,
    degraded: bool,
}

impl<'a> Payload<'a> {
    pub(crate) fn of(notification: &'a Notification) -> Self {
        Self {
            kind: notification.kind.wire_name(),
            timestamp: Text(notification.created_at),
            data: Data {
                id: notification.id.to_string(),
                monitor: notification.monitor.as_ref().map(Monitor::of),
                incident: notification.incident.as_ref().map(Incident::of),
                message: &notification.message,
                ping: notification.ping.as_ref().map(Ping::of),
                digest: notification.digest.iter().flat_map(|digest| &digest.items).map(Item::of).collect(),
                digest_total: notification.digest.as_ref().map_or(0, |digest| digest.total()),
            },
        }
    }
}

impl<'a> Item<'a> {
    fn of(item: &'a DigestItem) -> Self {
        Self {
            kind: item.kind.wire_name(),
            monitor: item.monitor.as_ref().map(Monitor::of),
            incident: item.incident.as_ref().map(Incident::of),
            message: &item.message,
        }
    }
}

impl<'a> Monitor<'a> {
    fn of(monitor: &'a AboutMonitor) -> Self {
        Self {
            id: monitor.id.to_string(),
            slug: &monitor.slug,
            name: &monitor.name,
            tags: &monitor.tags,
            severity: monitor.severity.name(),
            status: monitor.status.name(),
        }
    }
}

impl<'a> Incident<'a> {
    fn of(incident: &'a AboutIncident) -> Self {
        Self {
            id: incident.id.to_string(),
            opened_at: Text(incident.opened_at),
            detected_at: Text(incident.detected_at),
            closed_at: incident.closed_at.map(Text),
            cause: incident.cause.name(),
            detail: &incident.detail,
        }
    }
}

impl<'a> Ping<'a> {
    fn of(ping: &'a PingEntry) -> Self {
        let duration = |d: Option<Duration>| d.map(format_duration);
        Self {
            n: ping.n,
            arrived_at: Text(ping.arrived_at),
            at: Text(ping.at),
            signal: ping.signal.name(),
            run: ping.run.map(|run| run.to_string()),
            run_duration: duration(ping.run_duration),
            message: ping.message.as_deref(),
            value: ping.value,
            duration: duration(ping.duration),
            exit_status: ping.exit_status,
            claimed_at: ping.claimed_at.map(Text),
            source: ping.source.as_deref(),
            user_agent: ping.user_agent.as_deref(),
            degraded: ping.degraded,
        }
    }
}

/// A value that is written as its text.
struct Text<T>(T);

impl<T: Display> Serialize for Text<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use heartbeat_engine::{
        Cause, Digest, IncidentId, MonitorId, NotificationId, NotificationKind, Severity, StatusWord, Version,
    };
    use heartbeat_engine::{Effect, Signal};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn notification(text: &str, value: Option<f64>, at: i64) -> Notification {
        let monitor = MonitorId::from_bytes([7; 16]);
        let at = Timestamp::from_millis(at);
        let ping = PingEntry {
            n: 3,
            arrived_at: at,
            at,
            signal: Signal::Fail,
            effect: Effect::Counted,
            run: None,
            run_duration: Some(Duration::from_secs(90)),
            message: Some(text.to_owned()),
            body: Some(text.as_bytes().to_vec()),
            body_cut: false,
            value,
            duration: None,
            exit_status: Some(2),
            claimed_at: None,
            source: Some(text.to_owned()),
            user_agent: None,
            degraded: false,
        };
        Notification {
            id: NotificationId::derive(monitor, Version(4), 0, "ops"),
            channel: "ops".to_owned(),
            kind: NotificationKind::Down,
            created_at: at,
            monitor: Some(AboutMonitor {
                id: monitor,
                slug: "cert-sync".to_owned(),
                name: text.to_owned(),
                tags: vec![text.to_owned()],
                severity: Severity::Critical,
                status: StatusWord::Down,
            }),
            incident: Some(AboutIncident {
                id: IncidentId::derive(monitor, Version(4), 0),
                opened_at: at,
                detected_at: at,
                closed_at: None,
                cause: Cause::Missed,
                detail: text.to_owned(),
            }),
            message: text.to_owned(),
            ping: Some(ping),
            digest: None,
        }
    }

    #[test]
    fn a_digest_lists_what_it_covers_and_gives_the_total() {
        let covered = notification("cert-sync is down", None, 1_795_162_200_000);
        let item = DigestItem {
            kind: covered.kind,
            monitor: covered.monitor.clone(),
            incident: covered.incident.clone(),
            message: covered.message.clone(),
        };
        let covers = (0..7).map(|_| (covered.id, None)).collect();
        let digest = Some(Box::new(Digest { items: vec![item], covers }));
        let owed = Notification {
            kind: NotificationKind::Digest,
            monitor: None,
            incident: None,
            ping: None,
            digest,
            ..covered
        };
        let body: Value = serde_json::from_slice(&serde_json::to_vec(&Payload::of(&owed)).unwrap()).unwrap();
        assert_eq!(body["type"], "digest");
        assert_eq!(body["data"]["digest_total"], 7);
        let item = &body["data"]["digest"][0];
        assert_eq!((&item["type"], &item["message"]), (&json!("monitor.down"), &json!("cert-sync is down")));
        assert_eq!(item["monitor"]["slug"], "cert-sync");
        assert_eq!(item["incident"]["cause"], "missed");
    }

    #[test]
    fn has_the_documented_shape() {
        let mut owed = notification("cert-sync", Some(1.5), 1_795_162_200_000);
        let id = owed.id.to_string();
        let body: Value = serde_json::from_slice(&serde_json::to_vec(&Payload::of(&owed)).unwrap()).unwrap();
        assert_eq!(body["type"], "monitor.down");
        assert_eq!(body["timestamp"], "2026-11-20T08:10:00Z");
        assert_eq!(body["data"]["id"], id);
        assert_eq!(
            body["data"]["incident"],
            json!({
                "id": owed.incident.as_ref().unwrap().id.to_string(), "opened_at": "2026-11-20T08:10:00Z",
                "detected_at": "2026-11-20T08:10:00Z", "closed_at": null, "cause": "missed", "detail": "cert-sync",
            })
        );
        assert_eq!(
            body["data"]["monitor"],
            json!({
                "id": owed.monitor.as_ref().unwrap().id.to_string(), "slug": "cert-sync", "name": "cert-sync",
                "tags": ["cert-sync"], "severity": "critical", "status": "down",
            })
        );
        assert_eq!(body["data"]["ping"]["run_duration"], "1m30s");
        assert_eq!(body["data"]["ping"]["exit_status"], 2);
        assert_eq!(body["data"]["digest"], json!([]));
        assert_eq!(body["data"]["digest_total"], 0);

        owed.kind = NotificationKind::Test;
        (owed.monitor, owed.incident, owed.ping) = (None, None, None);
        let body = serde_json::to_value(Payload::of(&owed)).unwrap();
        assert_eq!(body["type"], "test");
        assert_eq!(
            body["data"],
            json!({ "id": id, "monitor": null, "incident": null, "message": "cert-sync", "ping": null,
                    "digest": [], "digest_total": 0 })
        );
    }

    #[test]
    fn what_follows_a_going_down_is_told_apart_by_its_type() {
        let types = [
            (NotificationKind::Reminder, "monitor.reminder"),
            (NotificationKind::Escalated, "monitor.escalated"),
            (NotificationKind::Flapping, "monitor.flapping"),
            (NotificationKind::Settled, "monitor.settled"),
        ];
        for (kind, expected) in types {
            let mut owed = notification("cert-sync is still down after 3 h", None, 0);
            owed.kind = kind;
            let body = serde_json::to_value(Payload::of(&owed)).unwrap();
            assert_eq!(body["type"], expected);
            assert_eq!(body["data"]["incident"]["cause"], "missed");
            owed.incident = None;
            let body = serde_json::to_value(Payload::of(&owed)).unwrap();
            assert_eq!(body["data"]["incident"], Value::Null, "one that settles while it is up has none");
        }
    }

    #[test]
    fn stays_the_same_when_a_storage_keeps_the_body_apart() {
        let with_body = notification("x", None, 0);
        let mut without = with_body.clone();
        without.ping.as_mut().unwrap().body = None;
        let bytes = |n: &Notification| serde_json::to_vec(&Payload::of(n)).unwrap();
        assert_eq!(bytes(&with_body), bytes(&without));
    }

    proptest! {
        #[test]
        fn any_text_number_and_time_makes_valid_json(text in any::<String>(), value in any::<Option<f64>>(), at: i64) {
            let bytes = serde_json::to_vec(&Payload::of(&notification(&text, value, at))).unwrap();
            let body: Value = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(body["data"]["message"].as_str(), Some(text.as_str()));
            prop_assert_eq!(body["data"]["monitor"]["tags"][0].as_str(), Some(text.as_str()));
            prop_assert!(body["timestamp"].is_string());
        }
    }
}
