//! A key as it is stored: its hash and what it may do.

use std::fmt;
use std::time::Duration;

use heartbeat_engine::{MonitorSpec, Record, Timestamp, Version};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::{Scope, sha256};

/// The SHA-256 of a key. A key has 160 random bits, so that nothing slower is needed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct KeyHash([u8; 32]);

impl KeyHash {
    pub(crate) fn of(text: &str) -> Self {
        Self(sha256(text))
    }

    /// Compares in constant time.
    pub(crate) fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl From<KeyHash> for String {
    fn from(hash: KeyHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for KeyHash {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        crate::hex::decode(&text).map(Self).ok_or("a hash has 64 hexadecimal digits")
    }
}

/// What is stored of a key, as a document of the kind `key`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct KeyRecord {
    pub(crate) name: String,
    pub(crate) scope: Scope,
    /// Ids and slugs of the monitors that it is limited to.
    #[serde(default)]
    pub(crate) monitors: Vec<String>,
    /// The tags that it is limited to.
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    pub(crate) created_at: Timestamp,
    #[serde(default)]
    pub(crate) expires_at: Option<Timestamp>,
    #[serde(default)]
    pub(crate) last_used_at: Option<Timestamp>,
    pub(crate) hash: KeyHash,
    /// The key before it, and until when that is valid still.
    #[serde(default)]
    pub(crate) retiring: Option<(KeyHash, Timestamp)>,
}

impl KeyRecord {
    pub(crate) fn new(name: &str, scope: Scope, hash: KeyHash, now: Timestamp) -> Self {
        Self {
            name: name.to_owned(),
            scope,
            monitors: Vec::new(),
            tags: Vec::new(),
            created_at: now,
            expires_at: None,
            last_used_at: None,
            hash,
            retiring: None,
        }
    }

    pub(crate) fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// Whether a key with this hash is this key, or the one before it in its overlap.
    pub(crate) fn accepts(&self, hash: &KeyHash, now: Timestamp) -> bool {
        let retiring = self.retiring.as_ref().filter(|(_, ends)| *ends > now);
        self.hash.is(hash) | retiring.is_some_and(|(old, _)| old.is(hash))
    }

    pub(crate) fn rotate(&mut self, hash: KeyHash, overlap: Duration, now: Timestamp) {
        self.retiring = (!overlap.is_zero()).then_some((self.hash, now + overlap));
        self.hash = hash;
    }

    pub(crate) fn is_limited(&self) -> bool {
        !self.monitors.is_empty() || !self.tags.is_empty()
    }

    /// Whether it may deal with this monitor.
    pub(crate) fn covers(&self, monitor: &Record) -> bool {
        self.covers_as(monitor, monitor.spec())
    }

    /// Whether it may deal with this monitor once that is as wished.
    pub(crate) fn covers_as(&self, monitor: &Record, wish: &MonitorSpec) -> bool {
        self.covers_tags(&wish.tags)
            || self.monitors.iter().any(|slug| wish.slug == *slug)
            || self.monitors.contains(&monitor.id().to_string())
    }

    /// Whether it may deal with every monitor that has these tags.
    pub(crate) fn covers_tags(&self, tags: &[String]) -> bool {
        !self.is_limited() || tags.iter().any(|tag| self.tags.contains(tag))
    }
}

/// A stored key with its id and the version of its document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct StoredKey {
    pub(crate) id: String,
    pub(crate) version: Version,
    pub(crate) record: KeyRecord,
}
