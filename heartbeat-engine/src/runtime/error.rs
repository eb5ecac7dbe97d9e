//! Why a call to the engine was not done.

use crate::{FieldError, StorageError, Version};

/// The engine cannot take the call now; the same call may work later.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// It still reads what is stored.
    #[error("the engine is still loading")]
    Loading,
    /// Too much waits already; the limit is [`crate::Limits::inbox`].
    #[error("the engine is overloaded")]
    Overloaded,
    /// It was shut down, or its driver was dropped.
    #[error("the engine has stopped")]
    Stopped,
    /// The store did not take it.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Why a heartbeat was not taken. Nothing of it is stored, unless the storage says `Unknown`.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// No monitor has this id, slug or token.
    #[error("there is no such monitor")]
    NotFound,
    /// Something that it carries is wrong.
    #[error(transparent)]
    Invalid(FieldError),
    /// Not now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why an edit was not done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Fields are wrong: all of them.
    #[error("{}", summary(.0))]
    Invalid(Vec<FieldError>),
    /// There is no such thing.
    #[error("there is no such {0}")]
    NotFound(&'static str),
    /// It exists already, or another monitor has the name.
    #[error("the {field} is taken already")]
    Taken {
        /// `slug`, `token`, `id` or `name`.
        field: &'static str,
    },
    /// It was edited since: another revision is stored.
    #[error("it was edited meanwhile: revision {found} is stored")]
    Revision {
        /// The stored revision.
        found: Version,
    },
    /// Something else needs it still.
    #[error("{0}")]
    InUse(String),
    /// Not now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

fn summary(faults: &[FieldError]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Why the engine did not start.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The storage cannot be read or written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Not everything was finished when the time was over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the engine did not stop in time; what was acknowledged is stored")]
pub struct ShutdownError;
