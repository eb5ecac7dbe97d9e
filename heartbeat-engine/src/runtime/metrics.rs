//! What the engine counts and how it stands; no global recorder.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::{Signal, State, StatusWord, Timestamp};

/// A snapshot of what the engine counted since it started, and of how it stands.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// Monitors by status: `new`, `up`, `late`, `down`, `paused`, in this order.
    pub monitors: Vec<(StatusWord, u64)>,
    /// Monitors that a maintenance window covers now (S5.3).
    pub in_maintenance: u64,
    /// Monitors that flap.
    pub flapping: u64,
    /// Open incidents that somebody has acknowledged.
    pub acknowledged: u64,
    /// Open incidents whose messages are held back, because a monitor that theirs depends on is down (S5.4).
    pub held: u64,
    /// Heartbeats that were stored, by signal.
    pub pings: Vec<(Signal, u64)>,
    /// Batches that were committed.
    pub batches: u64,
    /// Transitions that were committed.
    pub transitions: u64,
    /// Commits that failed.
    pub commit_errors: u64,
    /// Changes of state that were committed, by the new state.
    pub changes: Vec<(State, u64)>,
    /// Outages of the watcher that were found.
    pub outages: u64,
    /// Notifications that were delivered.
    pub delivered: u64,
    /// Attempts to deliver that failed.
    pub delivery_errors: u64,
    /// Notifications that were given up.
    pub dead: u64,
    /// Notifications that wait, by what is known in memory.
    pub undelivered: u64,
    /// How long the oldest undelivered notification has been owed.
    pub oldest_undelivered: Option<Duration>,
    /// Calls that wait to be decided.
    pub inbox: u64,
    /// Monitors whose deadline has passed and is not judged yet.
    pub overdue: u64,
    /// How long ago the last batch became durable.
    pub last_commit_age: Option<Duration>,
}

/// Whether the engine does its work.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Readiness {
    /// Every part is well.
    pub ready: bool,
    /// Monitors read so far, while loading.
    pub loaded: u64,
    /// How many there are in all: while loading about, judged by how many of all ids are read.
    pub expected: u64,
    /// `None` when well, else what is wrong with the store.
    pub store: Option<String>,
    /// `None` when well, else what is wrong with the evaluator.
    pub evaluator: Option<String>,
    /// `None` when well, else what is wrong with the delivery.
    pub delivery: Option<String>,
}

/// The counters behind [`Metrics`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) pings: [AtomicU64; 5],
    pub(crate) changes: [AtomicU64; 4],
    pub(crate) batches: AtomicU64,
    pub(crate) transitions: AtomicU64,
    pub(crate) commit_errors: AtomicU64,
    pub(crate) outages: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) delivery_errors: AtomicU64,
    pub(crate) dead: AtomicU64,
    pub(crate) loaded: AtomicU64,
    pub(crate) expected: AtomicU64,
    standing: Mutex<Standing>,
    troubles: Mutex<HashMap<String, Trouble>>,
    backlogs: Mutex<HashMap<String, Backlog>>,
}

/// A channel whose every attempt fails.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) since: Timestamp,
    pub(crate) error: String,
}

/// What the driver last reported of itself.
#[derive(Debug, Default, Clone)]
pub(crate) struct Standing {
    pub(crate) committed_at: Option<Timestamp>,
    pub(crate) store_error: Option<String>,
}

/// What waits to be delivered.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Backlog {
    pub(crate) count: u64,
    pub(crate) oldest: Option<Timestamp>,
    /// Since when an attempt has been due and none began or ended.
    pub(crate) idle_since: Option<Timestamp>,
}

pub(crate) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}

pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

const SIGNALS: [Signal; 5] = [Signal::Success, Signal::Start, Signal::Fail, Signal::Log, Signal::Report];
const STATES: [State; 4] = [State::New, State::Up, State::Down, State::Paused];

impl Counters {
    pub(crate) fn count_ping(&self, signal: Signal) {
        add(&self.pings[signal as usize], 1);
    }

    pub(crate) fn count_change(&self, to: State) {
        add(&self.changes[to as usize], 1);
    }

    /// Counts monitors that were read, with how much of all ids has been read then, from 0 to 1.
    pub(crate) fn count_loaded(&self, count: usize, covered: f64) {
        let loaded = self.loaded.fetch_add(count as u64, Ordering::Relaxed) + count as u64;
        // A few ids read of very many foretell nothing; a ratio of 0 would foretell infinity.
        let expected = (loaded as f64 / covered.max(f64::MIN_POSITIVE)).round();
        self.expected.store(if expected < 1e12 { expected as u64 } else { loaded }, Ordering::Relaxed);
    }

    pub(crate) fn pings(&self) -> Vec<(Signal, u64)> {
        SIGNALS.into_iter().map(|signal| (signal, read(&self.pings[signal as usize]))).collect()
    }

    pub(crate) fn changes(&self) -> Vec<(State, u64)> {
        STATES.into_iter().map(|state| (state, read(&self.changes[state as usize]))).collect()
    }

    pub(crate) fn trouble(&self, channel: &str) -> Option<Trouble> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).get(channel).cloned()
    }

    /// Notes that a channel fails, or (`None`) that it works.
    pub(crate) fn set_trouble(&self, channel: &str, trouble: Option<Trouble>) {
        let mut troubles = self.troubles.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(trouble) => troubles.insert(channel.to_owned(), trouble),
            None => troubles.remove(channel),
        };
    }

    /// Notes what waits for a channel.
    pub(crate) fn set_backlog(&self, channel: &str, backlog: Backlog) {
        self.backlogs.lock().unwrap_or_else(PoisonError::into_inner).insert(channel.to_owned(), backlog);
    }

    /// What waits for all channels together.
    pub(crate) fn backlog(&self) -> Backlog {
        let backlogs = self.backlogs.lock().unwrap_or_else(PoisonError::into_inner);
        Backlog {
            count: backlogs.values().map(|backlog| backlog.count).sum(),
            oldest: backlogs.values().filter_map(|backlog| backlog.oldest).min(),
            idle_since: backlogs.values().filter_map(|backlog| backlog.idle_since).min(),
        }
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn report(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
