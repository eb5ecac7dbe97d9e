//! What few monitors have at a time, and nearly none for long.

use std::ops::{Deref, DerefMut};

use super::{EndedRun, Flaps, OutageMoves, Pursuit, Run};
use crate::Incident;

/// What few monitors have at a time: what an outage did, runs, an incident and what follows from it. It is reached through
/// [`crate::Health`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Circumstances {
    /// Successes in a row while down (S3.4).
    pub successes: u32,
    /// What outages did to what is expected.
    pub moves: OutageMoves,
    /// Open runs, oldest first; at most 32.
    pub runs: Vec<Run>,
    /// Runs that ended, oldest first; at most 32.
    pub ended_runs: Vec<EndedRun>,
    /// The open incident; present exactly while down.
    pub incident: Option<Box<Incident>>,
    /// What is due of the open incident: reminders and escalations.
    pub pursuit: Pursuit,
    /// How often it went down lately.
    pub flaps: Flaps,
}

impl Circumstances {
    /// None at all.
    pub const NONE: Self = Self {
        successes: 0,
        moves: OutageMoves { first: None, extended: 0, held: None },
        runs: Vec::new(),
        ended_runs: Vec::new(),
        incident: None,
        pursuit: Pursuit { remind_at: None, held: Vec::new(), escalations: Vec::new() },
        flaps: Flaps { downs: Vec::new(), flapping: None },
    };
}

/// Circumstances that take memory once somebody writes to them.
#[derive(Clone, Debug)]
pub struct RareCircumstances(Option<Box<Circumstances>>);

static NONE: Circumstances = Circumstances::NONE;

impl RareCircumstances {
    /// None at all.
    pub const NONE: Self = Self(None);
}

impl Deref for RareCircumstances {
    type Target = Circumstances;

    fn deref(&self) -> &Circumstances {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for RareCircumstances {
    fn deref_mut(&mut self) -> &mut Circumstances {
        self.0.get_or_insert_default()
    }
}

/// Whether memory was taken makes no difference.
impl PartialEq for RareCircumstances {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}
