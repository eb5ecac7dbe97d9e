//! Why a run ended early.

use std::fmt::Display;

/// A broken promise, or something that kept the run from going on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A promise is broken.
    #[error("{rule} is broken: {account}")]
    Broken {
        /// The rule that promises it.
        rule: &'static str,
        /// What was seen.
        account: String,
    },
    /// The run itself failed.
    #[error("{0}")]
    Harness(String),
    /// One of the two, with where it was seen.
    #[error("{place}: {failure}")]
    At {
        /// Which server, which kill, where its files are.
        place: String,
        /// What happened.
        failure: Box<Failure>,
    },
}

impl Failure {
    /// A promise is broken.
    pub fn broken(rule: &'static str, account: impl Into<String>) -> Self {
        Self::Broken { rule, account: account.into() }
    }

    /// The run itself failed at something.
    pub fn harness(what: &str, error: &dyn Display) -> Self {
        Self::Harness(format!("{what}: {error}"))
    }

    /// The same with where it was seen.
    #[must_use]
    pub fn at(self, place: impl Into<String>) -> Self {
        Self::At { place: place.into(), failure: Box::new(self) }
    }
}
