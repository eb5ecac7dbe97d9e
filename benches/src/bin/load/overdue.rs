//! Many monitors whose deadlines are one instant: when all are decided and stored, and when somebody is told.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heartbeat_engine::Timestamp;
use serde_json::{Value, json};

use crate::alerts::{make, text};
use crate::api::Api;
use crate::arguments::Arguments;
use crate::clock::{Clock, wall_ms};
use crate::failure::{Failure, Outcome};
use crate::receiver::{Arrival, Receiver};

const PATH: &str = "/overdue";
const CHANNEL: &str = "load-overdue";
const PER_BATCH: u32 = 1000;
/// How long making them takes at most, unless told: this and a second for so many monitors.
const LEAD_S: f64 = 5.0;
const MADE_PER_SECOND: u32 = 2000;
/// How long the server may take to decide and to tell.
const PATIENCE: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(20);
/// `/metrics` looks at every monitor: it gets at most this part of the time.
const LOOKS_PART: u32 = 10;
const DAY_S: i64 = 86_400;

/// Monitors that are overdue at one instant.
#[derive(Debug)]
pub(crate) struct Overdue {
    receiver: Receiver,
    count: u32,
    /// Their deadline.
    pub(crate) deadline: Timestamp,
}

/// What was seen, in milliseconds after the deadline.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Seen {
    /// When the server's metrics counted all of them; as exact as they were looked at.
    pub(crate) counted_ms: f64,
    /// When the first message came.
    pub(crate) first_ms: f64,
    /// When the first digest came.
    pub(crate) digest_ms: Option<f64>,
    /// When all were told.
    pub(crate) told_ms: f64,
    /// How many messages and digests came.
    pub(crate) messages: usize,
}

/// What the messages of a channel tell.
#[derive(Debug, Default)]
struct Told {
    ids: HashSet<String>,
    monitors: u64,
    first_ms: Option<f64>,
    digest_ms: Option<f64>,
    last_ms: f64,
}

impl Overdue {
    /// Makes the monitors that the arguments ask for.
    pub(crate) fn plan(api: &mut Api, receiver: &Receiver, arguments: &Arguments) -> Outcome<Self> {
        let count = arguments.overdue;
        let making = f64::from(count) / f64::from(MADE_PER_SECOND);
        let after = Duration::from_secs_f64(arguments.overdue_after.unwrap_or(LEAD_S + making));
        let url = receiver.url(PATH);
        let channel = json!({"kind": "webhook", "url": url, "allow_private": true, "group_wait": arguments.group_wait});
        api.must("PUT", &format!("/api/channels/{CHANNEL}"), Some(&channel))?;
        let deadline = Timestamp::from_secs((wall_ms() / 1000.0) as i64) + Duration::from_secs(1 + after.as_secs());
        let (of_day, grace) = (time_of_day(deadline - Duration::from_secs(1)), "1s");
        for from in (0..count).step_by(PER_BATCH as usize) {
            let monitor = |n: u32| {
                json!({"slug": format!("overdue-{n}"), "schedule": {"at": [of_day], "timezone": "UTC"},
                       "grace": grace, "channels": [CHANNEL]})
            };
            let batch: Value = (from..count.min(from + PER_BATCH)).map(monitor).collect();
            for item in make(api, &batch)? {
                if text(&item, "/deadline").parse::<Timestamp>().ok() != Some(deadline) {
                    return Err(Failure::new("the monitors are made too slowly; allow more with --overdue-after"));
                }
            }
        }
        Ok(Self { receiver: receiver.clone(), count, deadline })
    }

    /// Waits until all are counted and told, and at least `stay` after the deadline.
    pub(crate) fn watch(&self, api: &mut Api, stay: Duration, interrupted: &AtomicBool) -> Outcome<Seen> {
        while wall_ms() < self.deadline.as_millis() as f64 && !interrupted.load(Ordering::Relaxed) {
            std::thread::sleep(LOOK);
        }
        let clock = Clock::start();
        let (mut told, mut seen, mut counted_ms) = (Told::default(), 0, None);
        let after = |at_ms: f64| at_ms - self.deadline.as_millis() as f64;
        let count = u64::from(self.count);
        loop {
            let (arrivals, now_seen) = self.receiver.since(seen, PATH);
            seen = now_seen;
            for arrival in &arrivals {
                told.take(arrival)?;
            }
            if let (Some(counted_ms), true, true) = (counted_ms, told.monitors >= count, clock.elapsed() >= stay) {
                let (first_ms, digest_ms) = (after(told.first_ms.unwrap_or_default()), told.digest_ms.map(after));
                let (told_ms, messages) = (after(told.last_ms), told.ids.len());
                return Ok(Seen { counted_ms, first_ms, digest_ms, told_ms, messages });
            }
            if clock.elapsed() > PATIENCE {
                let counted = if counted_ms.is_some() { "all were counted" } else { "not all were counted" };
                return Err(Failure::new(format!("{} of {count} monitors were told, {counted}", told.monitors)));
            }
            if interrupted.load(Ordering::Relaxed) {
                return Err(Failure::new("interrupted"));
            }
            let look = Clock::start();
            if counted_ms.is_none() && went_down(&api.send("GET", "/metrics", None)?.text) >= count {
                counted_ms = Some(after(wall_ms()));
            }
            std::thread::sleep(LOOK.max(look.elapsed() * LOOKS_PART));
        }
    }
}

impl Told {
    /// Takes a message; one that came before counts once.
    fn take(&mut self, arrival: &Arrival) -> Outcome<()> {
        let told: Value = serde_json::from_slice(&arrival.body).map_err(Failure::of("a webhook"))?;
        if !self.ids.insert(text(&told, "/data/id").to_owned()) {
            return Ok(());
        }
        self.first_ms.get_or_insert(arrival.at_ms);
        self.last_ms = arrival.at_ms;
        if text(&told, "/type") == "digest" {
            self.digest_ms.get_or_insert(arrival.at_ms);
            self.monitors += told.pointer("/data/digest_total").and_then(Value::as_u64).unwrap_or_default();
        } else {
            self.monitors += 1;
        }
        Ok(())
    }
}

/// `HH:MM:SS` in UTC.
fn time_of_day(at: Timestamp) -> String {
    let seconds = at.as_secs().rem_euclid(DAY_S);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// How many changes to `down` the metrics count.
fn went_down(metrics: &str) -> u64 {
    const NAME: &str = "heartbeat_state_changes_total{state=\"down\"}";
    let value = metrics.lines().find_map(|line| line.strip_prefix(NAME));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_and_digests_add_up_and_repeated_ones_count_once() {
        let arrival = |at_ms: f64, body: Value| Arrival {
            at_ms,
            path: PATH.to_owned(),
            body: body.to_string().into_bytes().into(),
        };
        let mut told = Told::default();
        for (at_ms, body) in [
            (10.0, json!({"type": "monitor.down", "data": {"id": "a", "digest_total": 0}})),
            (11.0, json!({"type": "monitor.down", "data": {"id": "b", "digest_total": 0}})),
            (12.0, json!({"type": "monitor.down", "data": {"id": "a", "digest_total": 0}})),
            (20.0, json!({"type": "digest", "data": {"id": "c", "digest_total": 98}})),
        ] {
            told.take(&arrival(at_ms, body)).unwrap();
        }
        assert_eq!((told.monitors, told.ids.len()), (100, 3));
        assert_eq!((told.first_ms, told.digest_ms, told.last_ms), (Some(10.0), Some(20.0), 20.0));
    }

    #[test]
    fn reads_the_metrics_and_writes_times() {
        let metrics = "# TYPE x counter\nheartbeat_state_changes_total{state=\"up\"} 7\n\
                       heartbeat_state_changes_total{state=\"down\"} 42\n";
        assert_eq!((went_down(metrics), went_down("")), (42, 0));
        assert_eq!(time_of_day(Timestamp::from_secs(DAY_S * 20_000 + 3661)), "01:01:01");
    }
}
