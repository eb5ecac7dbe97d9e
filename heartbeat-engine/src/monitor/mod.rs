//! Monitors: the wish ([`MonitorSpec`], [`Monitor`]), the stored fact ([`Health`]), both with a version ([`Record`]),
//! and the view ([`Status`]).

mod circumstances;
mod forms;
mod health;
mod secret;
mod spec;
mod status;
mod terms;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use circumstances::{Circumstances, RareCircumstances};
pub use health::{
    EndedRun, Escalation, Expectation, Flapping, Flaps, Health, LastPing, OutageMoves, Pursuit, Run, State,
};
pub use secret::{Rotating, Secret, Token, TokenError, TokenHash};
pub use spec::{Arm, FieldError, FlapLimit, MonitorSpec, Severity, slug_from_name};
pub(crate) use spec::{is_slug, list_faults};
pub use status::{Status, StatusWord};
pub use terms::{CommonTerms, Terms};

use crate::{MonitorId, Timestamp, Version};

/// A monitor: what somebody wishes to be watched, with its identity.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Monitor {
    /// Its name for ever.
    pub id: MonitorId,
    /// The secret part of its ping URL.
    pub token: Rotating<Token>,
    /// What its heartbeats are signed with; present from the first time that `require_signature` was set.
    pub signing_secret: Option<Box<Rotating<Secret>>>,
    /// The wish.
    pub spec: MonitorSpec,
    /// Counts its edits from 1; unlike the record's version it stays the same over heartbeats. Of one monitor, all records with
    /// the same revision have the same wish, so a storage needs to write a wish only when this changed.
    pub revision: Version,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was edited last.
    pub updated_at: Timestamp,
}

/// A monitor, its health and the version of both: what a storage keeps under one compare-and-swap.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// The wish.
    #[serde(with = "shared")]
    pub monitor: Arc<Monitor>,
    /// The fact.
    pub health: Health,
    /// Counts the changes.
    pub version: Version,
}

impl Record {
    /// The monitor's id.
    #[must_use]
    pub fn id(&self) -> MonitorId {
        self.monitor.id
    }

    /// The wish.
    #[must_use]
    pub fn spec(&self) -> &MonitorSpec {
        &self.monitor.spec
    }
}

/// The form of a thing that many may hold: its own.
pub(crate) mod shared {
    use std::sync::Arc;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<T: Serialize, S: Serializer>(thing: &Arc<T>, serializer: S) -> Result<S::Ok, S::Error> {
        (**thing).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Arc<T>, D::Error> {
        T::deserialize(deserializer).map(Arc::new)
    }
}
