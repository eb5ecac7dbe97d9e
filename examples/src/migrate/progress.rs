//! Lines on stderr that tell how far it is.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use heartbeat_engine::{Clock, SystemClock};

/// How often a line is written at most.
const EVERY: Duration = Duration::from_secs(2);

/// How far it is, and since when.
pub(super) struct Progress {
    clock: SystemClock,
    total: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    monitors: u64,
    pings: u64,
    /// Monitors that an earlier run wrote.
    found: u64,
    what: &'static str,
    steps: u64,
    told: Duration,
}

impl Progress {
    pub(super) fn new(total: u64) -> Self {
        Self { clock: SystemClock::new(), total, state: Mutex::default() }
    }

    /// So many monitors were there already.
    pub(super) fn found(&self, monitors: usize) {
        self.tell(|state| {
            state.monitors += monitors as u64;
            state.found += monitors as u64;
        });
    }

    /// So many monitors were written, with so many heartbeats.
    pub(super) fn wrote(&self, monitors: usize, pings: usize) {
        self.tell(|state| {
            state.monitors += monitors as u64;
            state.pings += pings as u64;
        });
    }

    /// So many more of something else are done.
    pub(super) fn step(&self, what: &'static str, count: usize) {
        self.tell(|state| {
            if state.what != what {
                (state.what, state.steps) = (what, 0);
            }
            state.steps += count as u64;
        });
    }

    /// So many of something else are done.
    pub(super) fn step_to(&self, what: &'static str, count: u64) {
        self.tell(|state| (state.what, state.steps) = (what, count));
    }

    /// All monitors are there.
    pub(super) fn end_of_monitors(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let took = self.clock.monotonic();
        line(&self.monitors(&state, took));
    }

    fn tell(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        let now = self.clock.monotonic();
        if now < state.told + EVERY {
            return;
        }
        state.told = now;
        match state.what {
            "" => line(&self.monitors(&state, now)),
            what => line(&format!("{} {what}", state.steps)),
        }
    }

    fn monitors(&self, state: &State, took: Duration) -> String {
        let seconds = took.as_secs_f64().max(0.001);
        let rate = |count: u64| (count as f64 / seconds).round();
        let written = state.monitors - state.found;
        let found = if state.found > 0 { format!(", {} were there already", state.found) } else { String::new() };
        format!(
            "{} of {} monitors, {} heartbeats ({} monitors/s, {} heartbeats/s{found})",
            state.monitors,
            self.total,
            state.pings,
            rate(written),
            rate(state.pings)
        )
    }
}

/// A terminal that went away is no reason to stop.
pub(super) fn line(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}
