//! The engine's calls around monitors: channels, documents, notifications, and how the engine itself is.

use std::time::Duration;

use tokio::sync::oneshot;

use crate::runtime::channels::{ChannelInfo, ChannelSpec, DOCUMENT_KIND};
use crate::runtime::engine::Engine;
use crate::runtime::error::{EditError, Unavailable};
use crate::runtime::inbox::Work;
use crate::runtime::metrics::{ChannelMetrics, Metrics, Readiness, read};
use crate::runtime::random;
use crate::{
    Attempt, DOCUMENT_BYTES_MAX, Delivery, DeliveryError, DeliveryState, Document, DocumentWrite, FieldError,
    HistoryItem, HistoryQuery, Notification, NotificationId, NotificationKind, OutboxEntry, Outcome, PartitionId,
    Receipt, Status, StatusWord, StorageError, Version,
};

const STATUS_WORDS: [StatusWord; 5] =
    [StatusWord::New, StatusWord::Up, StatusWord::Late, StatusWord::Down, StatusWord::Paused];

/// How old the last commit may be before the evaluator counts as stuck: three marks of life (S6.1).
const COMMIT_AGE_MAX: Duration = Duration::from_secs(15);

impl Engine {
    /// Every channel, in the order of names, with its secrets masked.
    #[must_use]
    pub fn channels(&self) -> Vec<ChannelInfo> {
        self.shared.channels.names().iter().filter_map(|name| self.channel(name)).collect()
    }

    /// One channel with its secrets masked.
    #[must_use]
    pub fn channel(&self, name: &str) -> Option<ChannelInfo> {
        let mut info = self.shared.channels.info(name)?;
        if let Some(trouble) = self.shared.counters.trouble(name) {
            info.failing_since = Some(trouble.since);
            info.last_error = Some(trouble.error);
        }
        Some(info)
    }

    /// The setting of this wish that only an administrator may choose, where there is one.
    #[must_use]
    pub fn privileged_setting(&self, spec: &ChannelSpec) -> Option<&'static str> {
        self.shared.channels.privileged_setting(spec)
    }

    /// Every setting of this wish that is wrong; empty when the channel can be made.
    #[must_use]
    pub fn channel_faults(&self, name: &str, spec: &ChannelSpec) -> Vec<FieldError> {
        self.shared.channels.build(name, spec).err().unwrap_or_default()
    }

    /// Makes a channel or replaces it; says whether it was made. What is begun is finished even when the caller goes away.
    ///
    /// # Errors
    /// [`EditError::Invalid`] with every setting that is wrong, [`EditError::InUse`] when the host gave the channel, and
    /// those of [`Engine::write_document`].
    pub async fn put_channel(&self, name: &str, spec: ChannelSpec) -> Result<bool, EditError> {
        let notifier = self.shared.channels.build(name, &spec).map_err(EditError::Invalid)?;
        let stored = self.shared.channels.stored(name);
        if stored.is_none() && self.shared.channels.contains(name) {
            return Err(belongs_to_host(name));
        }
        if let Some((same, _)) = &stored
            && *same == spec
        {
            return Ok(false);
        }
        let body = serde_json::to_value(&spec)
            .map_err(|error| EditError::Invalid(vec![FieldError::new("", error.to_string())]))?;
        let expected = stored.map(|(_, version)| version);
        let (engine, name) = (self.clone(), name.to_owned());
        finished(async move {
            let version = engine.write_channel(&name, expected, Some(body)).await?;
            engine.shared.channels.put(&name, spec, version.unwrap_or(Version::FIRST), notifier);
            Ok(expected.is_none())
        })
        .await
    }

    /// Removes a channel. What is still owed to it is given up.
    ///
    /// # Errors
    /// [`EditError::InUse`] while a monitor, a route, another channel or the watcher itself names it, or when the host gave it.
    pub async fn remove_channel(&self, name: &str) -> Result<(), EditError> {
        let Some((_, version)) = self.shared.channels.stored(name) else {
            let known = self.shared.channels.contains(name);
            return Err(if known { belongs_to_host(name) } else { EditError::NotFound("channel") });
        };
        let mut user = None;
        self.shared.directory.for_each(|record| {
            if user.is_none() && record.spec().channels.iter().any(|channel| channel == name) {
                user = Some(record.spec().slug.as_str().to_owned());
            }
        });
        if let Some(slug) = user {
            return Err(EditError::InUse(format!("monitor `{slug}` tells channel `{name}`; take it out there first")));
        }
        if let Some(other) = self.shared.channels.falling_back_to(name) {
            return Err(EditError::InUse(format!("channel `{other}` falls back to `{name}`; take it out there first")));
        }
        if self.shared.watcher_channels.iter().any(|channel| channel == name) {
            return Err(EditError::InUse(format!(
                "the watcher itself tells channel `{name}`; take it out there first"
            )));
        }
        if let Some(route) = self.shared.policies.route_to(name) {
            return Err(EditError::InUse(format!("route `{route}` tells channel `{name}`; take it out there first")));
        }
        let (engine, name) = (self.clone(), name.to_owned());
        finished(async move {
            engine.write_channel(&name, Some(version), None).await?;
            engine.shared.channels.remove(&name);
            Ok(())
        })
        .await
    }

    /// Writes a channel's document. When somebody else wrote it meanwhile, or nobody knows, the stored one is taken over.
    async fn write_channel(
        &self,
        name: &str,
        expected: Option<Version>,
        body: Option<serde_json::Value>,
    ) -> Result<Option<Version>, EditError> {
        let write = DocumentWrite { kind: DOCUMENT_KIND.to_owned(), id: name.to_owned(), expected, body };
        let outcome = self.write_document(write).await;
        if outcome.is_err()
            && let Ok(documents) = self.documents(DOCUMENT_KIND).await
        {
            match documents.iter().find(|document| document.id == name) {
                Some(document) => self.shared.channels.load(document),
                None => self.shared.channels.remove(name),
            }
        }
        outcome
    }

    /// Sends a test message to a channel now, past the outbox, and says how that went; `None` when there is no such channel.
    pub async fn test_channel(&self, name: &str) -> Option<Result<Receipt, DeliveryError>> {
        let notifier = self.shared.channels.notifier(name)?;
        let now = self.now();
        let nonce = random::unit().to_bits().to_be_bytes();
        let notification = Notification {
            id: NotificationId::named(&[b"test", name.as_bytes(), &now.as_millis().to_be_bytes(), &nonce]),
            channel: name.to_owned(),
            kind: NotificationKind::Test,
            created_at: now,
            monitor: None,
            incident: None,
            message: format!("This is a test of channel {name}. If you can read it, alerts will arrive here."),
            ping: None,
            digest: None,
        };
        let timeout = self.shared.limits.attempt_timeout;
        let attempt = Attempt::new(1, now, timeout);
        let outcome = tokio::time::timeout(timeout, notifier.deliver(&notification, attempt)).await;
        Some(
            outcome
                .unwrap_or_else(|_| Err(DeliveryError::unknown(format!("no answer within {} s", timeout.as_secs())))),
        )
    }

    /// Has a dead or waiting notification tried again as soon as its channel is free.
    ///
    /// # Errors
    /// [`EditError::NotFound`] when there is none, [`EditError::InUse`] when it is delivered already.
    pub async fn retry_notification(&self, id: NotificationId) -> Result<OutboxEntry, EditError> {
        let found = self.shared.storage.history(&HistoryQuery::Notification(id), 1).await;
        let Some(HistoryItem::Notification(mut entry)) = found.map_err(Unavailable::from)?.items.pop() else {
            return Err(EditError::NotFound("notification"));
        };
        match entry.delivery.state {
            DeliveryState::Pending | DeliveryState::Dead => {}
            DeliveryState::Delivered => {
                return Err(EditError::InUse("the notification is delivered already".to_owned()));
            }
            DeliveryState::Grouped => return Err(EditError::InUse("a digest tells it; retry that".to_owned())),
        }
        entry.delivery =
            Delivery { recipients_done: entry.delivery.recipients_done.clone(), ..Delivery::pending(self.now()) };
        let partition = PartitionId::of_notification(id, self.shared.partitions());
        self.shared.inbox(partition).push(&*self.shared.clock, Work::Retry(entry.clone()))?;
        Ok(*entry)
    }

    /// The documents of a kind, in the order of their ids.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn documents(&self, kind: &str) -> Result<Vec<Document>, StorageError> {
        self.shared.storage.documents(kind).await
    }

    /// Writes a document under its compare-and-swap; answers its new version, `None` when it was removed.
    ///
    /// # Errors
    /// [`EditError::Taken`] when it must not exist and does, [`EditError::Revision`] when another version is stored,
    /// [`EditError::NotFound`] when it was expected and is not there, [`EditError::Invalid`] above 64 kB.
    pub async fn write_document(&self, write: DocumentWrite) -> Result<Option<Version>, EditError> {
        let next = write.body.is_some().then(|| write.expected.map_or(Version::FIRST, Version::next));
        let expected = write.expected;
        let (answer, answered) = oneshot::channel();
        self.shared.first_inbox().push(&*self.shared.clock, Work::Document(write, answer))?;
        match answered.await.map_err(|_| Unavailable::Stopped)?.map_err(Unavailable::from)? {
            Outcome::Committed => Ok(next),
            Outcome::Conflict { found: Some(found) } if expected.is_some() => Err(EditError::Revision { found }),
            Outcome::Conflict { found: None } => Err(EditError::NotFound("document")),
            Outcome::TooLarge { bytes } => {
                let message = format!("has {bytes} bytes; at most {DOCUMENT_BYTES_MAX} are kept");
                Err(EditError::Invalid(vec![FieldError::new("", message)]))
            }
            Outcome::Conflict { .. } | Outcome::NameTaken { .. } => Err(EditError::Taken { field: "name" }),
        }
    }

    /// What was counted and how things stand.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let now = self.now();
        let counters = &self.shared.counters;
        let standing = counters.standing();
        let channels = counters.channels(now);
        let sum = |of: fn(&ChannelMetrics) -> u64| channels.iter().map(of).sum();
        let mut monitors = [0u64; 5];
        let mut windows = self.maintenance();
        windows.retain(|window| window.spec.current(now).is_some());
        let (mut overdue, mut in_maintenance, mut flapping, mut acknowledged, mut held) = (0, 0, 0, 0, 0);
        self.shared.directory.for_each(|record| {
            in_maintenance += u64::from(windows.iter().any(|window| window.covers(record)));
            flapping += u64::from(record.health.flaps.flapping.is_some());
            if let Some(incident) = &record.health.incident {
                acknowledged += u64::from(incident.acknowledged.is_some());
                held += u64::from(!incident.held_by.is_empty());
            }
            monitors[Status::of(record, now).word as usize] += 1;
            overdue += u64::from(record.health.wake_at() < now);
        });
        Metrics {
            monitors: STATUS_WORDS.into_iter().zip(monitors).collect(),
            in_maintenance,
            flapping,
            acknowledged,
            held,
            pings: counters.pings(),
            changes: counters.changes(),
            batches: read(&counters.batches),
            transitions: read(&counters.transitions),
            commit_errors: read(&counters.commit_errors),
            outages: read(&counters.outages),
            commit_seconds: counters.commits.read(1e6),
            batch_transitions: counters.batch_sizes.read(1.0),
            alert_seconds: counters.alerts.read(1e3),
            delivered: sum(|channel| channel.delivered),
            delivery_errors: sum(|channel| channel.errors),
            dead: sum(|channel| channel.dead),
            undelivered: sum(|channel| channel.waiting),
            oldest_undelivered: channels.iter().filter_map(|channel| channel.oldest_waiting).max(),
            channels,
            inbox: self.shared.inboxes.iter().map(|inbox| inbox.len() as u64).sum(),
            overdue,
            last_commit_age: standing.committed_at.map(|at| now.since(at)),
        }
    }

    /// Whether what is stored has been read; before that, calls answer `Loading`.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.shared.loaded()
    }

    /// Whether store, evaluator and delivery do their work.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        let now = self.now();
        let standing = self.shared.counters.standing();
        let loaded = self.shared.loaded();
        let evaluator = if !loaded {
            Some("loading".to_owned())
        } else if !self.shared.first_inbox().is_open() {
            Some("stopping".to_owned())
        } else {
            standing
                .committed_at
                .map(|at| now.since(at))
                .filter(|age| *age > COMMIT_AGE_MAX)
                .map(|age| format!("nothing was committed for {} s", age.as_secs()))
        };
        let watch = (loaded && !self.shared.knows_life(now))
            .then(|| "it is not known yet whether the watcher was away".to_owned());
        // A far end that fails is no trouble of ours: it is told as a failing channel (S7.4).
        let idle_max = self.shared.limits.attempt_timeout.saturating_mul(3);
        let idle_since = self.shared.counters.idle_since();
        let delivery = idle_since
            .map(|at| now.since(at))
            .filter(|idle| *idle > idle_max)
            .map(|idle| format!("no delivery was tried for {} s although one is due", idle.as_secs()));
        let ready = [&standing.store_error, &evaluator, &watch, &delivery].into_iter().all(Option::is_none);
        Readiness {
            ready,
            loaded: read(&self.shared.counters.loaded),
            expected: read(&self.shared.counters.expected),
            store: standing.store_error,
            evaluator,
            watch,
            delivery,
        }
    }
}

fn belongs_to_host(channel: &str) -> EditError {
    EditError::InUse(format!("channel `{channel}` belongs to the program that runs the engine"))
}

/// Runs to the end even when the caller goes away.
pub(crate) async fn finished<T: Send + 'static>(
    work: impl Future<Output = Result<T, EditError>> + Send + 'static,
) -> Result<T, EditError> {
    tokio::spawn(work).await.unwrap_or(Err(EditError::Unavailable(Unavailable::Stopped)))
}
