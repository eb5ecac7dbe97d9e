//! How much of a time a monitor was up, by its changes of state.

use std::time::Duration;

use heartbeat_engine::format_duration;
use heartbeat_engine::{Engine, HistoryItem, HistoryQuery, Record, State, StateChange, StorageError, Timestamp};
use serde_json::{Value, json};

use crate::json::instant;

/// Changes of state that are looked at; a monitor that changes more often is told from the oldest of them on.
const CHANGES_MAX: usize = 20_000;
const CHANGES_PER_READ: usize = 1000;

/// How long a monitor was in each state.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Uptime {
    /// Where what is known begins.
    pub(crate) from: Timestamp,
    pub(crate) to: Timestamp,
    up: Duration,
    down: Duration,
    paused: Duration,
    outages: u32,
}

impl Uptime {
    /// The share of the time in which it was up, of that in which it was up or down; from 0 to 100.
    pub(crate) fn percent(&self) -> Option<f64> {
        let watched = self.up + self.down;
        (!watched.is_zero()).then(|| self.up.as_secs_f64() / watched.as_secs_f64() * 100.0)
    }

    pub(crate) fn to_json(self) -> Value {
        json!({
            "from": instant(self.from),
            "to": instant(self.to),
            "uptime": self.percent(),
            "up": format_duration(self.up),
            "down": format_duration(self.down),
            "paused": format_duration(self.paused),
            "outages": self.outages,
        })
    }
}

/// The uptime from `from`, or from the monitor's creation, to `to`.
pub(crate) async fn uptime(
    engine: &Engine,
    record: &Record,
    from: Timestamp,
    to: Timestamp,
) -> Result<Uptime, StorageError> {
    let from = from.max(record.monitor.created_at);
    let mut changes: Vec<StateChange> = Vec::new();
    let mut before = None;
    let mut known_from = from;
    loop {
        let query = HistoryQuery::Changes { monitor: record.id(), before };
        let page = engine.history(&query, CHANGES_PER_READ).await?;
        changes.extend(page.items.into_iter().filter_map(|item| match item {
            HistoryItem::Change(change) => Some(change),
            _ => None,
        }));
        let Some(oldest) = changes.last() else { break };
        if !page.more || oldest.at < from {
            break;
        }
        if changes.len() >= CHANGES_MAX {
            known_from = from.max(oldest.at);
            break;
        }
        before = Some(oldest.version.0);
    }
    Ok(sum(&changes, record.health.state, known_from, to))
}

/// Adds up the time between changes, which come newest first.
fn sum(changes: &[StateChange], state_now: State, from: Timestamp, to: Timestamp) -> Uptime {
    let mut uptime = Uptime { from, to, up: Duration::ZERO, down: Duration::ZERO, paused: Duration::ZERO, outages: 0 };
    let mut add = |state: State, since: Timestamp, until: Timestamp| {
        let length = until.min(to).since(since.max(from));
        match state {
            State::Up => uptime.up += length,
            State::Down => uptime.down += length,
            State::Paused => uptime.paused += length,
            State::New => {}
        }
    };
    let mut until = to;
    let mut state = state_now;
    let mut outages = 0;
    for change in changes {
        add(state, change.at, until);
        outages += u32::from(change.to == State::Down && change.at >= from && change.at < to);
        until = until.min(change.at);
        state = change.from;
        if change.at < from {
            break;
        }
    }
    add(state, from, until);
    uptime.outages = outages;
    uptime
}

#[cfg(test)]
mod tests {
    use heartbeat_engine::{MonitorId, Version};

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn change(seconds: i64, from: State, to: State) -> StateChange {
        StateChange {
            monitor: MonitorId::from_bytes([1; 16]),
            version: Version(1),
            at: at(seconds),
            detected_at: at(seconds),
            from,
            to,
            reason: String::new(),
        }
    }

    #[test]
    fn time_is_added_up_between_changes() {
        let changes = [
            change(800, State::Paused, State::Up),
            change(700, State::Up, State::Paused),
            change(500, State::Down, State::Up),
            change(400, State::Up, State::Down),
            change(100, State::New, State::Up),
        ];
        let all = sum(&changes, State::Up, at(0), at(1000));
        assert_eq!((all.up.as_secs(), all.down.as_secs(), all.paused.as_secs(), all.outages), (700, 100, 100, 1));
        assert_eq!(all.percent(), Some(87.5));
        let part = sum(&changes, State::Up, at(450), at(1000));
        assert_eq!((part.up.as_secs(), part.down.as_secs(), part.outages), (400, 50, 0));
    }

    #[test]
    fn nothing_known_is_no_percentage() {
        assert_eq!(sum(&[], State::New, at(0), at(1000)).percent(), None);
        assert_eq!(sum(&[], State::Up, at(0), at(1000)).percent(), Some(100.0));
    }
}
