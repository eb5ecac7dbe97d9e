//! Channels: who can be told, by name. They are stored as documents, or given by the host when it builds the engine.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::outbox::Grouping;
use crate::{
    Attempt, ChannelKind, DeliveryError, Document, FieldError, Notification, Notifier, Receipt, Version,
    describe_duration,
};

/// The kind of the documents that hold channels.
pub(crate) const DOCUMENT_KIND: &str = "channel";

/// The longest window for grouping.
const GROUP_WAIT_MAX: Duration = Duration::from_secs(3600);

/// A channel as somebody wishes it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ChannelSpec {
    /// The kind that makes its notifier: `webhook`, `email`, …
    pub kind: String,
    /// The settings of that kind: a JSON object.
    pub settings: Value,
    /// How messages are grouped (S7.9).
    #[serde(default)]
    pub grouping: Grouping,
    /// The channel that is told when this one keeps failing (S7.4).
    #[serde(default)]
    pub fallback: Option<String>,
    /// The file that declares it; then it is edited there and nowhere else.
    #[serde(default)]
    pub declared_in: Option<String>,
}

/// A channel as people may see it: its secrets are masked.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct ChannelInfo {
    /// Its name.
    pub name: String,
    /// What it is, with masked secrets. Channels that the host gave have the kind `host`.
    pub spec: ChannelSpec,
    /// Counts its changes; `None` for a channel that the host gave.
    pub version: Option<Version>,
    /// Since when every attempt has failed.
    pub failing_since: Option<crate::Timestamp>,
    /// What went wrong last, while it fails.
    pub last_error: Option<String>,
}

struct Channel {
    spec: ChannelSpec,
    version: Option<Version>,
    notifier: Arc<dyn Notifier>,
    /// The change that made it.
    change: u64,
}

/// The channels of this engine.
#[derive(Default)]
pub(crate) struct Channels {
    kinds: HashMap<&'static str, Arc<dyn ChannelKind>>,
    by_name: RwLock<BTreeMap<String, Channel>>,
    /// Counts the changes of all channels.
    changes: watch::Sender<u64>,
}

impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channels").field("kinds", &self.kinds.keys()).field("names", &self.names()).finish()
    }
}

impl Channels {
    pub(crate) fn add_kind(&mut self, kind: Arc<dyn ChannelKind>) {
        self.kinds.insert(kind.name(), kind);
    }

    /// A channel that the host gives and that no document describes.
    pub(crate) fn add_fixed(&self, name: &str, notifier: Arc<dyn Notifier>) {
        let grouping = Grouping::default();
        let spec =
            ChannelSpec { kind: "host".to_owned(), settings: Value::Null, grouping, fallback: None, declared_in: None };
        self.change(|channels, change| {
            channels.insert(name.to_owned(), Channel { spec, version: None, notifier, change });
        });
    }

    pub(crate) fn notifier(&self, name: &str) -> Option<Arc<dyn Notifier>> {
        self.read().get(name).map(|channel| channel.notifier.clone())
    }

    /// How a channel's messages are grouped, its fallback, and the number of the change that made it; 0 when there is none.
    pub(crate) fn delivery(&self, name: &str) -> (Grouping, Option<String>, u64) {
        let channels = self.read();
        let found = channels.get(name);
        found.map_or_else(Default::default, |channel| {
            (channel.spec.grouping, channel.spec.fallback.clone(), channel.change)
        })
    }

    /// Tells when a channel was made, changed or removed.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Groups the messages of a channel that the host gave in another way.
    pub(crate) fn set_grouping(&self, name: &str, grouping: Grouping) {
        self.change(|channels, change| {
            if let Some(channel) = channels.get_mut(name) {
                channel.spec.grouping = grouping;
                channel.change = change;
            }
        });
    }

    /// A channel that names this one as its fallback.
    pub(crate) fn falling_back_to(&self, name: &str) -> Option<String> {
        let channels = self.read();
        let (other, _) = channels.iter().find(|(_, channel)| channel.spec.fallback.as_deref() == Some(name))?;
        Some(other.clone())
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.read().contains_key(name)
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.read().keys().cloned().collect()
    }

    /// The channel with its secrets in clear and its version; `None` where the host gave it or there is none.
    pub(crate) fn stored(&self, name: &str) -> Option<(ChannelSpec, Version)> {
        self.read().get(name).and_then(|channel| Some((channel.spec.clone(), channel.version?)))
    }

    /// The channel with its secrets masked, its version, and nothing of its fate.
    pub(crate) fn info(&self, name: &str) -> Option<ChannelInfo> {
        let channels = self.read();
        let channel = channels.get(name)?;
        let mut spec = channel.spec.clone();
        if let Some(kind) = self.kinds.get(spec.kind.as_str()) {
            spec.settings = kind.redacted(&spec.settings);
        }
        Some(ChannelInfo {
            name: name.to_owned(),
            spec,
            version: channel.version,
            failing_since: None,
            last_error: None,
        })
    }

    /// Makes the notifier that a wish describes.
    pub(crate) fn build(&self, name: &str, spec: &ChannelSpec) -> Result<Arc<dyn Notifier>, Vec<FieldError>> {
        let mut faults = name_faults(name);
        if spec.grouping.wait > GROUP_WAIT_MAX {
            let message = format!("{} is too long; it must be at most 1 h", describe_duration(spec.grouping.wait));
            faults.push(FieldError::new("group_wait", message));
        }
        if let Some(fallback) = &spec.fallback
            && fallback == name
        {
            faults.push(FieldError::new("fallback", "a channel cannot be its own fallback"));
        }
        let notifier = match self.kinds.get(spec.kind.as_str()) {
            Some(kind) => kind.build(name, &spec.settings).map_err(|more| faults.extend(more)).ok(),
            None => {
                let mut known: Vec<_> = self.kinds.keys().copied().collect();
                known.sort_unstable();
                let known = known.join(", ");
                faults.push(FieldError::new(
                    "kind",
                    format!("`{}` is not a kind of channel; there are: {known}", spec.kind),
                ));
                None
            }
        };
        notifier.filter(|_| faults.is_empty()).ok_or(faults)
    }

    pub(crate) fn privileged_setting(&self, spec: &ChannelSpec) -> Option<&'static str> {
        self.kinds.get(spec.kind.as_str())?.privileged_setting(&spec.settings)
    }

    pub(crate) fn put(&self, name: &str, spec: ChannelSpec, version: Version, notifier: Arc<dyn Notifier>) {
        self.change(|channels, change| {
            channels.insert(name.to_owned(), Channel { spec, version: Some(version), notifier, change });
        });
    }

    pub(crate) fn remove(&self, name: &str) {
        self.change(|channels, _| drop(channels.remove(name)));
    }

    /// Takes over a stored channel. One that cannot be made any more (a file that its settings name is gone) is kept and
    /// fails at every attempt, so that it can be seen and mended while everything else works.
    pub(crate) fn load(&self, document: &Document) {
        let (spec, notifier) = match serde_json::from_value::<ChannelSpec>(document.body.clone()) {
            Ok(spec) => {
                let notifier = self.build(&document.id, &spec);
                (spec, notifier)
            }
            Err(error) => {
                let unreadable = ChannelSpec {
                    kind: String::new(),
                    settings: Value::Null,
                    grouping: Grouping::default(),
                    fallback: None,
                    declared_in: None,
                };
                (unreadable, Err(vec![FieldError::new("settings", format!("what is stored cannot be read: {error}"))]))
            }
        };
        let notifier = notifier.unwrap_or_else(|faults| {
            let reasons: Vec<String> = faults.iter().map(ToString::to_string).collect();
            let reason = reasons.join("; ");
            tracing::error!(channel = %document.id, %reason, "a stored channel cannot be made; it fails until it is mended");
            Arc::new(Broken { reason })
        });
        self.put(&document.id, spec, document.version, notifier);
    }

    /// Forgets the channels that are stored, before they are loaded anew.
    pub(crate) fn forget_stored(&self) {
        self.change(|channels, _| channels.retain(|_, channel| channel.version.is_none()));
    }

    /// Takes over all stored channels as they are now.
    pub(crate) fn reload(&self, documents: &[Document]) {
        let gone = |name: &String| !documents.iter().any(|document| document.id == *name);
        for name in self.names().iter().filter(|name| gone(name) && self.stored(name).is_some()) {
            self.remove(name);
        }
        for document in documents {
            let known = self.stored(&document.id).map(|(_, version)| version);
            if known != Some(document.version) {
                self.load(document);
            }
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<String, Channel>> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes channels under the next number, and tells it when that is done.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Channel>, u64)) {
        let mut channels = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let number = *self.changes.borrow() + 1;
        change(&mut channels, number);
        self.changes.send_replace(number);
    }
}

/// Stands in for a channel that cannot be made.
struct Broken {
    reason: String,
}

#[async_trait]
impl Notifier for Broken {
    async fn deliver(&self, _: &Notification, _: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        Err(DeliveryError::retry(format!("the channel cannot be made: {}", self.reason)))
    }
}

fn name_faults(name: &str) -> Vec<FieldError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=100).contains(&name.len()) && name.chars().all(allowed) {
        return Vec::new();
    }
    let shown: String = name.chars().take(64).collect();
    vec![FieldError::new(
        "name",
        format!("`{shown}` is not a channel name: 1 to 100 of A-Z, a-z, 0-9, `-`, `_` and `.`"),
    )]
}
