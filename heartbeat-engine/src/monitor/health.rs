//! The stored fact: how a monitor stands.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::circumstances::{Circumstances, RareCircumstances};
use super::forms::HealthForm;
use crate::time::duration_ms;
use crate::{Incident, RunId, Signal, Timestamp};

/// The stored state (S3.1). `late` and `running` are derived, see [`crate::Status`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing was heard since it was made or resumed.
    New,
    /// It reports.
    Up,
    /// An incident is open.
    Down,
    /// Nothing is expected.
    Paused,
}

/// What is expected next: the awaited occurrence and when its silence counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Expectation {
    /// The awaited occurrence.
    pub occurrence: Timestamp,
    /// When its silence is judged.
    pub deadline: Timestamp,
    /// For `at` and cron: an outage touched its window, so its silence counts no failure (S6.2).
    pub excused: bool,
}

/// What the watcher's outages did to the expectations since the last heartbeat (S6.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct OutageMoves {
    /// The window, from and to, of the first occurrence that was moved (`every`) or excused (`at`, cron).
    pub first: Option<(Timestamp, Timestamp)>,
    /// How often the awaited deadline fell inside an outage and was put behind it; at most twice.
    pub extended: u8,
    /// The awaited deadline that a maintenance window in force holds back until its end; it counts again when the window is
    /// ended early (S5.3).
    pub held: Option<Timestamp>,
}

/// An open run of the job (S4.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Run {
    /// Its name; `None` for the run without an id.
    pub id: Option<RunId>,
    /// When it began, by the heartbeat's time.
    pub began_at: Timestamp,
    /// When it counts as an overrun.
    pub limit_at: Option<Timestamp>,
}

/// A run that has ended, remembered for a while so that a late or repeated heartbeat of it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EndedRun {
    /// Its name; `None` for the run without an id.
    pub id: Option<RunId>,
    /// Whether it ended as an overrun, which a later `fail` of it must not count again.
    pub overran: bool,
}

/// What is still due of an open incident (S7.7, S7.8).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Pursuit {
    /// When people are reminded next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remind_at: Option<Timestamp>,
    /// Whom it tells of the going down once no monitor that it depends on is down (S5.4).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub held: Vec<String>,
    /// Routes that wait, soonest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub escalations: Vec<Escalation>,
}

impl Pursuit {
    /// Whether nothing is due.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remind_at.is_none() && self.held.is_empty() && self.escalations.is_empty()
    }

    /// The first instant at which something is due.
    #[must_use]
    pub fn next_at(&self) -> Option<Timestamp> {
        self.escalations.iter().map(|escalation| escalation.due_at).chain(self.remind_at).min()
    }
}

/// A route that tells more people if an incident is neither over nor acknowledged by then (S7.8).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Escalation {
    /// The name of the route.
    pub route: String,
    /// The channels that it tells.
    pub channels: Vec<String>,
    /// When.
    pub due_at: Timestamp,
    /// How long after the incident was detected that was meant to be.
    #[serde(default, with = "duration_ms")]
    pub after: Duration,
}

/// How often a monitor went down lately, and whether it flaps.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Flaps {
    /// When it went down lately, oldest first; at most as many as its limit counts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub downs: Vec<Timestamp>,
    /// Present while it flaps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flapping: Option<Box<Flapping>>,
}

impl Flaps {
    /// Whether it did not go down lately.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.downs.is_empty() && self.flapping.is_none()
    }
}

/// A monitor flaps: single changes are not told until it settles.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Flapping {
    /// Since when.
    pub since: Timestamp,
    /// The channels that were told so; they are told when it settles.
    pub told: Vec<String>,
    /// When it has settled, unless it changes again before.
    pub settles_at: Timestamp,
}

/// The latest heartbeat in short.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LastPing {
    /// Its place among the pings of the monitor.
    pub n: u64,
    /// When it arrived.
    pub arrived_at: Timestamp,
    /// The time that it stands for.
    pub at: Timestamp,
    /// What it said.
    pub signal: Signal,
    /// Whether the service is degraded by what was said last: by it, or where it is a `log`, a `start` or did not count,
    /// by the one before.
    pub degraded: bool,
}

/// How a monitor stands: everything that a decision needs and nothing that can be computed.
///
/// What few monitors have at a time lies in its [`Circumstances`], which take memory only while there are any. They are read
/// and written as if they were fields of it:
///
/// ```
/// # use heartbeat_engine::{Health, Timestamp};
/// let mut health = Health::new(Timestamp::EPOCH);
/// assert!(health.runs.is_empty() && health.incident.is_none());
/// health.successes += 1;
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(from = "HealthForm", into = "HealthForm")]
pub struct Health {
    /// The stored state.
    pub state: State,
    /// While paused: only a person resumes it (S5.1).
    pub manual_resume: bool,
    /// Whether it expects its job; `first_ping` monitors do so from their first heartbeat on (S3.2).
    pub armed: bool,
    /// Whether `based_at` is a heartbeat and not something that serves as one.
    pub heard: bool,
    /// Failures in a row (S3.3).
    pub failures: u32,
    /// The last heartbeat for the schedule; creation, resume or an edit may serve as one.
    pub based_at: Timestamp,
    /// The latest time that a claimed one is compared with (S4.8).
    pub latest_at: Timestamp,
    /// What is expected; `None` while paused or not armed.
    pub expectation: Option<Expectation>,
    /// Outages of the watcher that ended at or before this instant have been applied (S6.2).
    pub outages_seen: Timestamp,
    /// How many heartbeats it got.
    pub ping_count: u64,
    /// The latest heartbeat.
    pub last_ping: Option<LastPing>,
    /// What few monitors have at a time.
    pub circumstances: RareCircumstances,
}

impl Health {
    /// How a monitor stands that begins at `now`: new, neither armed nor heard of.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self {
            state: State::New,
            manual_resume: false,
            armed: false,
            heard: false,
            failures: 0,
            based_at: now,
            latest_at: now,
            expectation: None,
            outages_seen: now,
            ping_count: 0,
            last_ping: None,
            circumstances: RareCircumstances::NONE,
        }
    }

    /// The same health in other circumstances.
    #[must_use]
    pub fn with(mut self, circumstances: Circumstances) -> Self {
        *self.circumstances = circumstances;
        self.settle();
        self
    }

    /// Whether it has circumstances.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self.circumstances == Circumstances::NONE
    }

    /// Gives back the memory of circumstances that are over.
    pub(crate) fn settle(&mut self) {
        if self.is_plain() {
            self.circumstances = RareCircumstances::NONE;
        }
    }

    /// Whether what is due of the open incident is done when its time comes: nobody has acknowledged the incident, no
    /// monitor that it depends on holds it back, and the monitor does not flap.
    #[must_use]
    pub fn is_pursued(&self) -> bool {
        let pursued = |incident: &Incident| incident.acknowledged.is_none() && incident.held_by.is_empty();
        self.incident.as_deref().is_some_and(pursued) && self.flaps.flapping.is_none()
    }

    /// When the engine must look at the monitor next without a heartbeat: its deadline while not down, the first limit of
    /// a run, a reminder or an escalation, or when it settles; [`Timestamp::MAX`] when never. All are judged once they have
    /// *passed* (S3.7).
    #[must_use]
    pub fn wake_at(&self) -> Timestamp {
        let judged = matches!(self.state, State::New | State::Up);
        let deadline = self.expectation.filter(|_| judged).map(|e| e.deadline);
        let limit = self.runs.iter().filter_map(|run| run.limit_at).min();
        let pursued = self.pursuit.next_at().filter(|_| self.is_pursued());
        let settles = self.flaps.flapping.as_ref().map(|flapping| flapping.settles_at);
        deadline.into_iter().chain(limit).chain(pursued).chain(settles).min().unwrap_or(Timestamp::MAX)
    }
}

impl Deref for Health {
    type Target = Circumstances;

    fn deref(&self) -> &Circumstances {
        &self.circumstances
    }
}

impl DerefMut for Health {
    fn deref_mut(&mut self) -> &mut Circumstances {
        &mut self.circumstances
    }
}
