//! What the engine counts and how it stands; no global recorder.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::runtime::distribution::{Distribution, Tally};
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
    /// How long commits took until they were durable, also those that failed; seconds.
    pub commit_seconds: Distribution,
    /// Transitions in each batch that was committed.
    pub batch_transitions: Distribution,
    /// How long it took from the moment when a monitor went down ([`crate::Incident::opened_at`]) until a channel had taken the
    /// message of its own that says so; seconds. What a channel's window gathers into digests is not among them.
    pub alert_seconds: Distribution,
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
    /// The same by channel, of every one that had something to deliver since the start, in the order of names.
    pub channels: Vec<ChannelMetrics>,
    /// Calls that wait to be decided.
    pub inbox: u64,
    /// Monitors whose deadline has passed and is not judged yet.
    pub overdue: u64,
    /// How long ago the last batch became durable.
    pub last_commit_age: Option<Duration>,
}

/// What was counted of the deliveries of one channel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct ChannelMetrics {
    /// The channel's name.
    pub name: String,
    /// Notifications that were delivered.
    pub delivered: u64,
    /// Attempts that failed and are made again.
    pub errors: u64,
    /// Notifications that were given up.
    pub dead: u64,
    /// Notifications that wait, by what is known in memory.
    pub waiting: u64,
    /// How long the oldest of them has been owed.
    pub oldest_waiting: Option<Duration>,
    /// Whether its attempts fail so that it counts as failing (S7.4).
    pub failing: bool,
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
    /// `None` when it is known that the watcher was alive within the last 15 s, or with which outage; else nothing is judged or
    /// taken yet (S6.6).
    pub watch: Option<String>,
    /// `None` when well, else what is wrong with the delivery.
    pub delivery: Option<String>,
}

/// The counters behind [`Metrics`].
#[derive(Debug)]
pub(crate) struct Counters {
    pub(crate) pings: [AtomicU64; Signal::ALL.len()],
    pub(crate) changes: [AtomicU64; 4],
    pub(crate) batches: AtomicU64,
    pub(crate) transitions: AtomicU64,
    pub(crate) commit_errors: AtomicU64,
    pub(crate) outages: AtomicU64,
    pub(crate) loaded: AtomicU64,
    pub(crate) expected: AtomicU64,
    /// In microseconds.
    pub(crate) commits: Tally,
    /// In transitions.
    pub(crate) batch_sizes: Tally,
    /// In milliseconds.
    pub(crate) alerts: Tally,
    standing: Mutex<Standing>,
    channels: Mutex<BTreeMap<String, ChannelStanding>>,
}

/// What is known of a channel's deliveries.
#[derive(Debug, Default)]
pub(crate) struct ChannelStanding {
    pub(crate) delivered: u64,
    pub(crate) errors: u64,
    pub(crate) dead: u64,
    pub(crate) backlog: Backlog,
    /// While it fails.
    pub(crate) trouble: Option<Trouble>,
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
    /// When it was heard last what other nodes wrote, by the clock that is never set.
    pub(crate) heard_at: Option<Duration>,
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

const STATES: [State; 4] = [State::New, State::Up, State::Down, State::Paused];

const COMMIT_BOUNDS_US: &[u64] = &[250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 100_000, 500_000, 2_500_000];
const BATCH_BOUNDS: &[u64] = &[1, 4, 16, 64, 256, 1_024, 4_096];
const ALERT_BOUNDS_MS: &[u64] = &[2, 5, 10, 25, 100, 500, 1_000, 5_000, 15_000, 60_000, 300_000];

impl Default for Counters {
    fn default() -> Self {
        Self {
            pings: Default::default(),
            changes: Default::default(),
            batches: AtomicU64::default(),
            transitions: AtomicU64::default(),
            commit_errors: AtomicU64::default(),
            outages: AtomicU64::default(),
            loaded: AtomicU64::default(),
            expected: AtomicU64::default(),
            commits: Tally::new(COMMIT_BOUNDS_US),
            batch_sizes: Tally::new(BATCH_BOUNDS),
            alerts: Tally::new(ALERT_BOUNDS_MS),
            standing: Mutex::default(),
            channels: Mutex::default(),
        }
    }
}

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
        Signal::ALL.into_iter().map(|signal| (signal, read(&self.pings[signal as usize]))).collect()
    }

    pub(crate) fn changes(&self) -> Vec<(State, u64)> {
        STATES.into_iter().map(|state| (state, read(&self.changes[state as usize]))).collect()
    }

    pub(crate) fn trouble(&self, channel: &str) -> Option<Trouble> {
        self.lock_channels().get(channel).and_then(|standing| standing.trouble.clone())
    }

    /// Changes what is known of a channel.
    pub(crate) fn of_channel(&self, channel: &str, change: impl FnOnce(&mut ChannelStanding)) {
        let mut channels = self.lock_channels();
        if !channels.contains_key(channel) {
            channels.insert(channel.to_owned(), ChannelStanding::default());
        }
        channels.get_mut(channel).map(change);
    }

    /// Forgets what waits for these channels and how they fare: another node delivers for them.
    pub(crate) fn leave_channels(&self, left: impl Fn(&str) -> bool) {
        for (_, standing) in self.lock_channels().iter_mut().filter(|(name, _)| left(name)) {
            (standing.backlog, standing.trouble) = Default::default();
        }
    }

    /// The deliveries of every channel, in the order of names.
    pub(crate) fn channels(&self, now: Timestamp) -> Vec<ChannelMetrics> {
        let of = |(name, standing): (&String, &ChannelStanding)| ChannelMetrics {
            name: name.clone(),
            delivered: standing.delivered,
            errors: standing.errors,
            dead: standing.dead,
            waiting: standing.backlog.count,
            oldest_waiting: standing.backlog.oldest.map(|at| now.since(at)),
            failing: standing.trouble.is_some(),
        };
        self.lock_channels().iter().map(of).collect()
    }

    /// Since when some channel has had an attempt due that nobody made.
    pub(crate) fn idle_since(&self) -> Option<Timestamp> {
        self.lock_channels().values().filter_map(|standing| standing.backlog.idle_since).min()
    }

    fn lock_channels(&self) -> MutexGuard<'_, BTreeMap<String, ChannelStanding>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn standing(&self) -> Standing {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn report(&self, change: impl FnOnce(&mut Standing)) {
        change(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
