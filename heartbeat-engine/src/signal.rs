//! What a job says.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::optional_duration_ms;
use crate::{RunId, Timestamp};

/// The kind of a heartbeat (S4).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Signal {
    /// The job did its work: ends a run, resets the failures, moves the deadline (S4.1).
    #[default]
    Success,
    /// A run begins; the schedule's deadline stays (S4.2).
    Start,
    /// The job failed: one failure at once; the deadline moves as for a success (S4.3).
    Fail,
    /// Recorded, changes nothing (S4.4).
    Log,
    /// A success with a message that somebody must see (S4.5).
    Report,
}

impl Signal {
    /// Every signal. Stores write their places here: the order stays, and what is new comes last.
    pub const ALL: [Self; 5] = [Self::Success, Self::Start, Self::Fail, Self::Log, Self::Report];

    /// Its name: `success`, `start`, `fail`, `log` or `report`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Start => "start",
            Self::Fail => "fail",
            Self::Log => "log",
            Self::Report => "report",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One heartbeat as it arrives, with what it carries (S4.7).
///
/// ```
/// use heartbeat_engine::{Ping, Signal};
///
/// let mut ping = Ping::new(Signal::Fail);
/// ping.exit_status = Some(2);
/// ping.message = Some("disk full".to_owned());
/// ```
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Ping {
    /// What the job says.
    pub signal: Signal,
    /// Names the run that this heartbeat begins or ends.
    pub run: Option<RunId>,
    /// A text for people.
    pub message: Option<String>,
    /// Bytes that came along, already cut to the limit of the host.
    pub body: Option<Vec<u8>>,
    /// Whether `body` was longer and has been cut.
    pub body_cut: bool,
    /// A measured value; finite (S4.9).
    pub value: Option<f64>,
    /// How long the job took or the latency that it saw.
    pub duration: Option<Duration>,
    /// The exit status of the job.
    pub exit_status: Option<u8>,
    /// The sender's own time of the event (S4.8).
    pub claimed_at: Option<Timestamp>,
    /// Where it came from, such as an IP address.
    pub source: Option<String>,
    /// The sender's software.
    pub user_agent: Option<String>,
    /// A success that says the service is degraded.
    pub degraded: bool,
    /// Without a run id it ends every open run, as Healthchecks does, instead of one (S4.6).
    pub ends_all_runs: bool,
}

impl Ping {
    /// A heartbeat that says this and nothing more.
    #[must_use]
    pub fn new(signal: Signal) -> Self {
        Self { signal, ..Self::default() }
    }
}

/// What a heartbeat did to its monitor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It counted.
    Counted,
    /// It only ended its run or said something: a `log`, a `start` that was known already, a late `fail` of a run
    /// that had overrun (S4.2).
    Noted,
    /// It was about a time before the latest state, and was only recorded (S4.8).
    Older,
    /// The monitor is paused until it is resumed by hand (S5.1).
    Ignored,
}

/// One heartbeat as it is kept.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct PingEntry {
    /// Its place among the pings of its monitor, from 1.
    pub n: u64,
    /// When it arrived.
    pub arrived_at: Timestamp,
    /// The time that it stands for: the sender's where that counts, else its arrival (S4.8).
    pub at: Timestamp,
    /// What the job said; a success outside the limits of the value is kept as a `fail` (S4.9).
    pub signal: Signal,
    /// What it did.
    pub effect: Effect,
    /// See [`Ping::run`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<RunId>,
    /// How long the run lasted that it ended.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration_ms")]
    pub run_duration: Option<Duration>,
    /// See [`Ping::message`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// See [`Ping::body`]. A storage may keep it apart.
    #[serde(skip)]
    pub body: Option<Vec<u8>>,
    /// See [`Ping::body_cut`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub body_cut: bool,
    /// See [`Ping::value`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// See [`Ping::duration`].
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_duration_ms")]
    pub duration: Option<Duration>,
    /// See [`Ping::exit_status`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<u8>,
    /// See [`Ping::claimed_at`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claimed_at: Option<Timestamp>,
    /// See [`Ping::source`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// See [`Ping::user_agent`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
    /// See [`Ping::degraded`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub degraded: bool,
}
