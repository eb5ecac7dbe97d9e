//! Monitors that fall silent while heartbeats go on, one after the other, and how long after its deadline each webhook came.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heartbeat_engine::Timestamp;
use serde_json::{Value, json};

use crate::api::Api;
use crate::clock::Clock;
use crate::failure::{Failure, Outcome};
use crate::receiver::{Arrival, Receiver};

const PATH: &str = "/alerts";
const CHANNEL: &str = "load-alerts";
const PER_BATCH: u32 = 1000;
/// No deadline is sooner, so that all monitors are made before.
const FIRST_MS: u64 = 1200;
const PERIOD_MS: u64 = 1000;
/// How long after the last deadline a webhook may come.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(20);

/// The deadlines that are told of.
#[derive(Debug)]
pub(crate) struct Alerts {
    receiver: Receiver,
    deadlines: HashMap<String, Timestamp>,
}

/// How late the webhooks were, in milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Lags(Vec<f64>);

impl Alerts {
    /// Makes `count` monitors whose deadlines are spread over the time `within` from now.
    pub(crate) fn plan(api: &mut Api, receiver: &Receiver, count: u32, within: Duration) -> Outcome<Self> {
        let url = receiver.url(PATH);
        let channel = json!({"kind": "webhook", "url": url, "allow_private": true, "group_wait": "0s"});
        api.must("PUT", &format!("/api/channels/{CHANNEL}"), Some(&channel))?;
        let clock = Clock::start();
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let span = within.saturating_sub(FIRST_MS).max(500);
        let mut deadlines = HashMap::new();
        for from in (0..count).step_by(PER_BATCH as usize) {
            // Those of a later batch were made later.
            let made = u64::try_from(clock.elapsed().as_millis()).unwrap_or_default();
            let monitor = |n: u32| {
                let offset = FIRST_MS + span * u64::from(n) / u64::from(count);
                let grace = offset.saturating_sub(PERIOD_MS + made);
                let every = format!("{PERIOD_MS}ms");
                json!({"slug": format!("alert-{n}"), "schedule": {"every": every}, "grace": format!("{grace}ms"),
                       "channels": [CHANNEL]})
            };
            let batch: Value = (from..count.min(from + PER_BATCH)).map(monitor).collect();
            for item in make(api, &batch)? {
                let deadline = text(&item, "/deadline").parse().map_err(Failure::of("a deadline"))?;
                deadlines.insert(text(&item, "/slug").to_owned(), deadline);
            }
        }
        Ok(Self { receiver: receiver.clone(), deadlines })
    }

    /// Waits until every webhook has come, and says how late they were.
    pub(crate) fn wait(self, interrupted: &AtomicBool) -> Outcome<Lags> {
        let (mut waiting, mut seen, mut lags) = (self.deadlines, 0, Vec::new());
        let clock = Clock::start();
        while !waiting.is_empty() {
            let (arrivals, now_seen) = self.receiver.since(seen, PATH);
            seen = now_seen;
            for arrival in &arrivals {
                lags.extend(lag(arrival, &mut waiting)?);
            }
            if clock.elapsed() > PATIENCE {
                return Err(Failure::new(format!(
                    "{} of {} webhooks did not come",
                    waiting.len(),
                    waiting.len() + lags.len()
                )));
            }
            if interrupted.load(Ordering::Relaxed) {
                return Err(Failure::new("interrupted"));
            }
            std::thread::sleep(LOOK);
        }
        Ok(Lags(lags))
    }
}

/// Makes monitors, each of which must succeed, and gives them as the server shows them.
pub(crate) fn make(api: &mut Api, batch: &Value) -> Outcome<Vec<Value>> {
    let mut answer = api.must("POST", "/api/monitors/batch", Some(batch))?;
    let Some(Value::Array(items)) = answer.get_mut("items").map(Value::take) else {
        return Err(Failure::new(format!("a batch was answered {answer}")));
    };
    let monitor = |mut item: Value| match item.get_mut("monitor").map(Value::take) {
        Some(monitor) => Ok(monitor),
        None => Err(Failure::new(format!("a monitor was not made: {item}"))),
    };
    items.into_iter().map(monitor).collect()
}

/// How late a webhook is about a monitor that is waited for; a repeated one counts once.
fn lag(arrival: &Arrival, waiting: &mut HashMap<String, Timestamp>) -> Outcome<Option<f64>> {
    let told: Value = serde_json::from_slice(&arrival.body).map_err(Failure::of("a webhook"))?;
    if text(&told, "/type") != "monitor.down" {
        return Ok(None);
    }
    let slug = text(&told, "/data/monitor/slug");
    let Some(deadline) = waiting.remove(slug) else { return Ok(None) };
    let opened: Timestamp = text(&told, "/data/incident/opened_at").parse().map_err(Failure::of("a webhook"))?;
    if opened != deadline {
        return Err(Failure::new(format!("{slug} went down at {opened}; its deadline was {deadline}")));
    }
    Ok(Some(arrival.at_ms - deadline.as_millis() as f64))
}

/// A text of a JSON value, empty where there is none.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

impl Lags {
    /// The lag that this part of the webhooks did not exceed.
    pub(crate) fn part(&self, part: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() as f64 * part).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_lags() {
        let lags = Lags((1..=100).rev().map(f64::from).collect());
        assert_eq!((lags.part(0.5), lags.part(0.99), lags.part(1.0)), (Some(50.0), Some(99.0), Some(100.0)));
        assert_eq!(Lags(vec![3.0]).part(0.5), Some(3.0));
        assert_eq!(Lags(Vec::new()).part(0.5), None);
    }

    #[test]
    fn a_webhook_counts_once_and_must_tell_the_deadline() {
        let deadline = Timestamp::from_millis(1_000_000);
        let waiting = || HashMap::from([("alert-1".to_owned(), deadline)]);
        let arrival = |kind: &str, opened: Timestamp| {
            let told = json!({"type": kind, "data": {"monitor": {"slug": "alert-1"},
                "incident": {"opened_at": opened.to_string()}}});
            Arrival { at_ms: 1_000_002.5, path: PATH.to_owned(), body: told.to_string().into_bytes().into() }
        };
        let mut left = waiting();
        assert_eq!(lag(&arrival("monitor.recovered", deadline), &mut left).unwrap(), None);
        assert_eq!(lag(&arrival("monitor.down", deadline), &mut left).unwrap(), Some(2.5));
        assert_eq!(lag(&arrival("monitor.down", deadline), &mut left).unwrap(), None);
        let other = deadline + Duration::from_millis(1);
        assert!(lag(&arrival("monitor.down", other), &mut waiting()).is_err());
    }
}
