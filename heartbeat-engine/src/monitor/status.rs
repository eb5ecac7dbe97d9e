//! The view: how a monitor looks at an instant.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Record, State, Timestamp};

/// A monitor's state as people see it: the stored one, and `late` (S3.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusWord {
    /// Nothing was heard yet.
    New,
    /// All is well.
    Up,
    /// The occurrence has passed, the deadline has not.
    Late,
    /// An incident is open.
    Down,
    /// Nothing is expected.
    Paused,
}

impl StatusWord {
    /// Its name: `new`, `up`, `late`, `down` or `paused`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Up => "up",
            Self::Late => "late",
            Self::Down => "down",
            Self::Paused => "paused",
        }
    }
}

impl fmt::Display for StatusWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<State> for StatusWord {
    fn from(state: State) -> Self {
        match state {
            State::New => Self::New,
            State::Up => Self::Up,
            State::Down => Self::Down,
            State::Paused => Self::Paused,
        }
    }
}

/// How a monitor looks at an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// The state as people see it.
    pub word: StatusWord,
    /// Whether a run is open (S3.1).
    pub running: bool,
    /// The awaited occurrence.
    pub expected_at: Option<Timestamp>,
    /// When its silence counts.
    pub deadline: Option<Timestamp>,
}

impl Status {
    /// How `record` looks at `now`.
    #[must_use]
    pub fn of(record: &Record, now: Timestamp) -> Self {
        let health = &record.health;
        let late = health.state == State::Up && health.expectation.is_some_and(|e| e.occurrence <= now);
        Self {
            word: if late { StatusWord::Late } else { health.state.into() },
            running: !health.runs.is_empty(),
            expected_at: health.expectation.map(|e| e.occurrence),
            deadline: health.expectation.map(|e| e.deadline),
        }
    }
}
