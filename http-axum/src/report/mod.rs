//! The report on an incident: everything that is known of it, in the order in which it happened.

mod gather;
mod markdown;

use std::sync::Arc;
use std::time::Duration;

use heartbeat_engine::{
    AboutMonitor, Acknowledgement, DeliveryState, Incident, IncidentNote, OutboxEntry, PingEntry, Record, StateChange,
    StatusWord, Timestamp, describe_duration, format_duration,
};
use serde_json::{Value, json};

use crate::json::{self, instant};

pub(crate) use gather::gather;
pub(crate) use markdown::markdown;

/// Everything that is known of an incident.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Report {
    pub(crate) incident: Incident,
    /// Its monitor, unless that was removed.
    pub(crate) record: Option<Arc<Record>>,
    /// When the report was made.
    pub(crate) at: Timestamp,
    /// What happened, oldest first.
    pub(crate) timeline: Vec<Entry>,
    /// What was left out, because it is too much.
    pub(crate) left_out: LeftOut,
}

/// How many entries were left out, of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct LeftOut {
    pub(crate) heartbeats: usize,
    pub(crate) changes: usize,
    pub(crate) notifications: usize,
}

/// Something that happened.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Entry {
    pub(crate) at: Timestamp,
    pub(crate) what: What,
}

#[derive(Clone, PartialEq, Debug)]
pub(crate) enum What {
    Opened,
    Detected,
    State(StateChange),
    Heartbeat(Box<PingEntry>),
    Notification(Box<OutboxEntry>),
    Acknowledged(Acknowledgement),
    Note(IncidentNote),
    Closed,
}

impl Report {
    /// How long the incident lasted, or lasts already.
    pub(crate) fn lasted(&self) -> Duration {
        self.incident.closed_at.unwrap_or(self.at).since(self.incident.opened_at)
    }

    /// How long after the opening something happened.
    pub(crate) fn after_opening(&self, at: Timestamp) -> Duration {
        at.since(self.incident.opened_at)
    }

    /// What a message about the incident said of its monitor: of one that was removed nothing else is known.
    pub(crate) fn told_monitor(&self) -> Option<&AboutMonitor> {
        self.timeline.iter().find_map(|entry| match &entry.what {
            What::Notification(entry) => entry.notification.monitor.as_ref(),
            _ => None,
        })
    }

    pub(crate) fn to_json(&self) -> Value {
        let Incident { detected_at, closed_at, acknowledged, .. } = &self.incident;
        let after = |at: Option<Timestamp>| at.map(|at| format_duration(self.after_opening(at)));
        let timeline: Vec<_> = self.timeline.iter().map(|entry| self.entry(entry)).collect();
        let mut incident = json::incident(&self.incident, self.record.as_deref(), self.at);
        if let (None, Some(AboutMonitor { slug, name, .. })) = (&self.record, self.told_monitor()) {
            incident["monitor"]["slug"] = slug.as_str().into();
            incident["monitor"]["name"] = name.as_str().into();
        }
        json!({
            "incident": incident,
            "generated_at": instant(self.at),
            "durations": {
                "until_detected": after(Some(*detected_at)),
                "until_acknowledged": after(acknowledged.as_ref().map(|acknowledged| acknowledged.at)),
                "until_closed": after(*closed_at),
                "lasted": format_duration(self.lasted()),
            },
            "timeline": timeline,
            "left_out": {
                "heartbeats": self.left_out.heartbeats,
                "changes": self.left_out.changes,
                "notifications": self.left_out.notifications,
            },
        })
    }

    fn entry(&self, entry: &Entry) -> Value {
        let mut value = json!({"at": instant(entry.at), "kind": entry.what.kind(), "text": self.text(&entry.what)});
        match &entry.what {
            What::State(change) => value["change"] = json::change(change),
            What::Heartbeat(ping) => value["heartbeat"] = json::ping(ping),
            What::Notification(entry) => value["notification"] = json::notification(entry),
            What::Opened | What::Detected | What::Acknowledged(_) | What::Note(_) | What::Closed => {}
        }
        value
    }

    /// What happened, in one or more lines of plain text.
    pub(crate) fn text(&self, what: &What) -> String {
        let Incident { cause, detail, closing, .. } = &self.incident;
        match what {
            What::Opened if detail.is_empty() => format!("went down: {cause}"),
            What::Opened => format!("went down: {cause}: {detail}"),
            What::Detected => "was found to be down".to_owned(),
            What::State(change) if change.from == change.to => change.reason.clone(),
            What::State(change) => {
                format!("became {}: {}", StatusWord::from(change.to).name(), change.reason)
            }
            What::Heartbeat(ping) => heartbeat(ping),
            What::Notification(entry) => notification(entry),
            What::Acknowledged(acknowledged) => format!("acknowledged by {}", acknowledged.by),
            What::Note(note) => format!("{} wrote: {}", note.by, note.text),
            What::Closed => format!("closed: {}", closing.map_or("recovered", heartbeat_engine::Closing::name)),
        }
    }
}

impl What {
    fn kind(&self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Detected => "detected",
            Self::State(_) => "state",
            Self::Heartbeat(_) => "heartbeat",
            Self::Notification(_) => "notification",
            Self::Acknowledged(_) => "acknowledged",
            Self::Note(_) => "note",
            Self::Closed => "closed",
        }
    }

    /// The order of what happened at one instant: what caused it, then it, then what followed.
    pub(crate) fn rank(&self) -> u8 {
        match self {
            Self::Heartbeat(_) => 0,
            Self::Opened | Self::Closed => 1,
            Self::Detected | Self::State(_) => 2,
            Self::Notification(_) => 3,
            Self::Acknowledged(_) | Self::Note(_) => 4,
        }
    }
}

fn heartbeat(ping: &PingEntry) -> String {
    let mut text = format!("heartbeat {}: {}", ping.n, ping.signal);
    if let Some(status) = ping.exit_status {
        text.push_str(&format!(", exit status {status}"));
    }
    if let Some(value) = ping.value {
        text.push_str(&format!(", value {value}"));
    }
    if let Some(duration) = ping.run_duration.or(ping.duration) {
        text.push_str(&format!(", took {}", describe_duration(duration)));
    }
    if let Some(message) = ping.message.as_deref().filter(|message| !message.is_empty()) {
        text.push_str(&format!(": {message}"));
    }
    text
}

fn notification(entry: &OutboxEntry) -> String {
    let (kind, channel) = (entry.notification.kind, &entry.notification.channel);
    let delivery = &entry.delivery;
    let attempts = match delivery.attempts {
        1 => "1 attempt".to_owned(),
        count => format!("{count} attempts"),
    };
    let error = delivery.last_error.as_deref().map(|error| format!(": {error}")).unwrap_or_default();
    let fate = match (delivery.state, delivery.settled_at) {
        (DeliveryState::Delivered, Some(at)) => format!("delivered at {at}, {attempts}"),
        (DeliveryState::Delivered, None) => format!("delivered, {attempts}"),
        (DeliveryState::Dead, _) => format!("given up after {attempts}{error}"),
        (DeliveryState::Grouped, _) => "told in a digest".to_owned(),
        (DeliveryState::Pending, _) => format!("waits, {attempts}{error}"),
    };
    format!("{kind} to {channel}: {fate}")
}
