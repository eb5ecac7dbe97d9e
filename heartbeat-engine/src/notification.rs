//! Messages that are owed to channels. They are stored with the change that owes them, before any is sent (S7.2).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Cause, IncidentId, MonitorId, NotificationId, PingEntry, Severity, StatusWord, Timestamp};

/// What a notification tells (S7.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NotificationKind {
    /// A monitor went down.
    Down,
    /// It is up again.
    Recovered,
    /// Its incident was closed because it was paused or removed (S5.1).
    Closed,
    /// It is still down and nobody has acknowledged that (S7.7).
    Reminder,
    /// It is still down, nobody has acknowledged that, and a route that waited for this tells more people (S7.8).
    Escalated,
    /// It goes down and up so often that single changes are not told until it settles.
    Flapping,
    /// It flapped, and has settled.
    Settled,
    /// A job has something to say (S4.5).
    Report,
    /// The watcher itself was away (S6.3).
    WatcherOutage,
    /// A channel keeps failing, or gave a notification up (S7.4).
    ChannelFailing,
    /// Several messages in one (S7.9).
    Digest,
    /// Somebody tries the channel.
    Test,
}

impl NotificationKind {
    /// Its name on the wire: `monitor.down`, `watcher.outage`, `channel.failing`, `test`, …
    #[must_use]
    pub const fn wire_name(self) -> &'static str {
        match self {
            Self::Down => "monitor.down",
            Self::Recovered => "monitor.recovered",
            Self::Closed => "monitor.closed",
            Self::Reminder => "monitor.reminder",
            Self::Escalated => "monitor.escalated",
            Self::Flapping => "monitor.flapping",
            Self::Settled => "monitor.settled",
            Self::Report => "monitor.report",
            Self::WatcherOutage => "watcher.outage",
            Self::ChannelFailing => "channel.failing",
            Self::Digest => "digest",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for NotificationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wire_name())
    }
}

/// The monitor that a notification is about, as it was then.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AboutMonitor {
    /// Its id.
    pub id: MonitorId,
    /// Its slug.
    pub slug: String,
    /// Its name.
    pub name: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// How grave its going down is.
    pub severity: Severity,
    /// Its status after the change.
    pub status: StatusWord,
}

/// The incident that a notification is about, as it was then.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AboutIncident {
    /// Its id.
    pub id: IncidentId,
    /// See [`crate::Incident::opened_at`].
    pub opened_at: Timestamp,
    /// See [`crate::Incident::detected_at`].
    pub detected_at: Timestamp,
    /// See [`crate::Incident::closed_at`].
    pub closed_at: Option<Timestamp>,
    /// Why the monitor went down.
    pub cause: Cause,
    /// The cause in a few words.
    pub detail: String,
}

/// What a digest says of one message that it covers (S7.9).
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct DigestItem {
    /// What the message tells.
    pub kind: NotificationKind,
    /// The monitor that it is about.
    pub monitor: Option<AboutMonitor>,
    /// The incident that it is about.
    pub incident: Option<AboutIncident>,
    /// The whole message.
    pub message: String,
}

/// The messages that a digest stands for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Digest {
    /// The first [`Digest::ITEMS_MAX`] of them, in the order in which they came to be owed.
    pub items: Vec<DigestItem>,
    /// The notifications that are settled with it, each with its monitor.
    pub covers: Vec<(NotificationId, Option<MonitorId>)>,
}

impl Digest {
    /// How many messages a digest lists.
    pub const ITEMS_MAX: usize = 200;

    /// How many messages it stands for.
    #[must_use]
    pub fn total(&self) -> usize {
        self.covers.len()
    }
}

/// One message owed to one channel.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Notification {
    /// Stays the same over every attempt (S7.3).
    pub id: NotificationId,
    /// The name of the channel that it is owed to.
    pub channel: String,
    /// What it tells.
    pub kind: NotificationKind,
    /// When it came to be owed.
    pub created_at: Timestamp,
    /// The monitor that it is about.
    pub monitor: Option<AboutMonitor>,
    /// The incident that it is about.
    pub incident: Option<AboutIncident>,
    /// The whole message for people, one or more lines of plain text.
    pub message: String,
    /// The heartbeat that caused it.
    pub ping: Option<PingEntry>,
    /// Present when it is a digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Box<Digest>>,
}

/// How far the delivery of a notification is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// It is still to be delivered.
    Pending,
    /// The channel took it.
    Delivered,
    /// It was given up; it is kept and shown (S7.4).
    Dead,
    /// A digest tells it, and it is settled with that (S7.9).
    Grouped,
}

/// A notification and the fate of its delivery, as it is stored.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OutboxEntry {
    /// Its place in the order in which notifications came to be owed; a storage gives it, larger is later.
    pub seq: u64,
    /// What is owed.
    pub notification: Notification,
    /// How it stands.
    pub delivery: Delivery,
}

/// The fate of a notification's delivery so far.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Delivery {
    /// How far it is.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is tried next, while pending.
    pub next_attempt_at: Timestamp,
    /// When it was settled: delivered or given up.
    pub settled_at: Option<Timestamp>,
    /// What went wrong at the latest attempt.
    pub last_error: Option<String>,
    /// Those of a channel's recipients that need no further attempt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients_done: Vec<String>,
}

impl Delivery {
    /// Nothing was tried yet; due at `at`.
    #[must_use]
    pub fn pending(at: Timestamp) -> Self {
        Self {
            state: DeliveryState::Pending,
            attempts: 0,
            next_attempt_at: at,
            settled_at: None,
            last_error: None,
            recipients_done: Vec::new(),
        }
    }
}

/// The outcome of an attempt, to be stored: the delivery's new state.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settlement {
    /// The notification.
    pub id: NotificationId,
    /// How it stands now.
    pub delivery: Delivery,
}
