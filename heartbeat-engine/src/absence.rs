//! The watcher's own absences (S6).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// A stretch of time in which the watcher may have missed heartbeats: from the last mark of its life to its return.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outage {
    /// The last mark of life before it.
    pub from: Timestamp,
    /// When the watcher was back.
    pub to: Timestamp,
}

impl Outage {
    /// How long it lasted.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.to.since(self.from)
    }

    /// Whether it touches the window from `start` to `deadline`. A deadline at or before the outage's start counted
    /// already, and what ended before the window began took nothing from it.
    #[must_use]
    pub fn touches(&self, (start, deadline): (Timestamp, Timestamp)) -> bool {
        self.from < deadline && self.to > start
    }

    /// Whether the whole window lies in it.
    #[must_use]
    pub fn covers(&self, (start, deadline): (Timestamp, Timestamp)) -> bool {
        self.from <= start && deadline <= self.to
    }
}
