//! How much of a time a monitor was up, by its changes of state.

use std::time::Duration;

use heartbeat_engine::format_duration;
use heartbeat_engine::{Engine, HistoryItem, HistoryQuery, Record, State, StateChange, StorageError, Timestamp};
use serde_json::{Value, json};

use crate::json::instant;

/// Changes of state that are looked at; of a monitor that changes more often the time before the oldest of them is not told,
/// and neither is that before the oldest one that is kept.
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
        if oldest.at < from {
            break;
        }
        if !page.more || changes.len() >= CHANGES_MAX {
            known_from = from.max(known_since(oldest));
            break;
        }
        before = Some(oldest.version.0);
    }
    Ok(sum(&changes, record.health.state, known_from, to))
}

/// Where what the oldest change that is kept tells begins. A monitor's first state is `new`, so that before one from another
/// state there were others that are forgotten.
fn known_since(oldest: &StateChange) -> Timestamp {
    if oldest.from == State::New { Timestamp::MIN } else { oldest.at }
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
        // Acknowledgements and the like are lines of the history too, from `down` to `down`.
        let went_down = change.to == State::Down && change.from != State::Down;
        outages += u32::from(went_down && (from..=to).contains(&change.at));
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
    use heartbeat_engine::testing::TokioClock;
    use heartbeat_engine::{
        MemoryLimits, MemoryStorage, MonitorId, MonitorSpec, Ping, PutMode, Schedule, Signal, Version,
    };

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
            change(450, State::Down, State::Down),
            change(400, State::Up, State::Down),
            change(100, State::New, State::Up),
        ];
        let all = sum(&changes, State::Up, at(0), at(1000));
        assert_eq!((all.up.as_secs(), all.down.as_secs(), all.paused.as_secs(), all.outages), (700, 100, 100, 1));
        assert_eq!(all.percent(), Some(87.5));
        let part = sum(&changes, State::Up, at(450), at(1000));
        assert_eq!((part.up.as_secs(), part.down.as_secs(), part.outages), (400, 50, 0));
        let just_now = sum(&changes[4..], State::Down, at(0), at(400));
        assert_eq!((just_now.up.as_secs(), just_now.down.as_secs(), just_now.outages), (300, 0, 1));
    }

    #[test]
    fn nothing_known_is_no_percentage() {
        assert_eq!(sum(&[], State::New, at(0), at(1000)).percent(), None);
        assert_eq!(sum(&[], State::Up, at(0), at(1000)).percent(), Some(100.0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_forgotten_is_not_told() {
        const HOUR: Duration = Duration::from_secs(3600);
        let mut limits = MemoryLimits::default();
        limits.changes_per_monitor = 4;
        let made_at = at(1_795_000_000);
        let storage = MemoryStorage::with_limits(limits);
        let engine = Engine::builder(storage).clock(TokioClock::new(made_at)).spawn().await.unwrap();
        let mut spec = MonitorSpec::new("job", Schedule::every(100 * HOUR).unwrap());
        spec.channels.clear();
        engine.put(spec, PutMode::Upsert).await.unwrap();
        let uptime_at = async |now: Timestamp| {
            let record = engine.find(heartbeat_engine::Target::slug("job")).unwrap();
            uptime(&engine, &record, at(0), now).await.unwrap()
        };
        engine.ping("job", Ping::new(Signal::Success)).await.unwrap();
        for _ in 0..2 {
            tokio::time::advance(3 * HOUR).await;
            engine.ping("job", Ping::new(Signal::Fail)).await.unwrap();
            tokio::time::advance(HOUR).await;
            engine.ping("job", Ping::new(Signal::Success)).await.unwrap();
        }
        // Five changes; the first one, from `new` to `up`, is forgotten.
        let told = uptime_at(engine.now()).await;
        assert_eq!((told.from, told.up, told.down), (made_at + 3 * HOUR, 3 * HOUR, 2 * HOUR));
        assert_eq!((told.outages, told.percent()), (2, Some(60.0)));
    }
}
