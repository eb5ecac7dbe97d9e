//! The trait of what keeps everything.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::{
    Applied, Batch, Counts, CountsPer, Document, Epoch, Incident, MonitorId, News, NotificationId, Outage, OutboxEntry,
    PartitionId, PingEntry, Record, StateChange, Timestamp, TokenHash,
};

/// Why a storage did not do it, by what the caller may conclude.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// Nothing was written; it may work later.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// It was written or not: read before trying again.
    #[error("the store did not say whether it wrote: {0}")]
    Unknown(String),
    /// The partition belongs to somebody else now; nothing was written.
    #[error("the partition was taken over by another node")]
    Fenced,
    /// What is stored cannot be read.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
}

/// A name that leads to a monitor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Name {
    /// Its slug, case-sensitive.
    Slug(String),
    /// The hash of its ping token, or of one that is retiring.
    Token(TokenHash),
}

impl Name {
    /// Every name that leads to a monitor: its slug, its token, and the token that is retiring.
    pub fn all_of(record: &Record) -> impl Iterator<Item = Self> {
        let tokens = record.monitor.token.all().map(|token| Self::Token(token.hash()));
        std::iter::once(Self::Slug(record.spec().slug.as_str().to_owned())).chain(tokens)
    }

    /// What [`crate::Outcome::NameTaken`] calls it: `slug` or `token`.
    #[must_use]
    pub const fn field(&self) -> &'static str {
        match self {
            Self::Slug(_) => "slug",
            Self::Token(_) => "token",
        }
    }
}

/// Who works on a partition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Lease {
    /// The partition.
    pub partition: PartitionId,
    /// Counts its holders; 0 when there was none yet.
    pub epoch: Epoch,
    /// The holder; empty when there is none.
    pub node: String,
    /// Until when it holds.
    pub expires_at: Timestamp,
}

/// One page of a listing, in a stable order.
#[derive(Clone, PartialEq, Debug)]
pub struct Page<T> {
    /// The items, at most as many as were asked for.
    pub items: Vec<T>,
    /// Whether there are more behind the last item.
    pub more: bool,
}

impl<T> Page<T> {
    /// A page without items and without a successor.
    #[must_use]
    pub const fn empty() -> Self {
        Self { items: Vec::new(), more: false }
    }

    /// The first `limit` of `items`, and whether there are more.
    pub fn cut(items: impl IntoIterator<Item = T>, limit: usize) -> Self {
        let mut rest = items.into_iter();
        let items: Vec<T> = rest.by_ref().take(limit).collect();
        Self { items, more: rest.next().is_some() }
    }
}

/// What a storage knows of the watcher's own life (S6).
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct WatchLog {
    /// The latest mark of life.
    pub mark: Option<Timestamp>,
    /// Outages that are kept, in order of their end.
    pub outages: Vec<Outage>,
}

/// Which part of the history is asked for; each page has the newest first, but for [`HistoryQuery::Feed`].
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum HistoryQuery {
    /// Heartbeats of a monitor with `n` below `before`.
    Pings {
        /// The monitor.
        monitor: MonitorId,
        /// Only those before this one.
        before: Option<u64>,
    },
    /// How many heartbeats of a monitor arrived in which hour or day, each as a [`HistoryItem::Counts`]. Hours without
    /// heartbeats are left out. They are kept longer than the heartbeats: every heartbeat of a committed transition is
    /// counted, exactly once, also those that are beyond a storage's limit for [`HistoryQuery::Pings`].
    Counts {
        /// The monitor.
        monitor: MonitorId,
        /// Whether hours or days are wanted.
        per: CountsPer,
        /// Only those that began at this instant or later.
        since: Option<Timestamp>,
        /// Only those that began before this instant.
        before: Option<Timestamp>,
    },
    /// Changes of state of a monitor. `before` is the version of the last one seen. A page never ends between two
    /// changes of one version, so it may hold a few more than were asked for.
    Changes {
        /// The monitor.
        monitor: MonitorId,
        /// Only those whose version is below.
        before: Option<u64>,
    },
    /// Incidents, of one monitor or of all; newest `opened_at` first, ties by id, the largest first.
    Incidents {
        /// Only this monitor's.
        monitor: Option<MonitorId>,
        /// Only open ones (`true`) or closed ones (`false`).
        open: Option<bool>,
        /// Only those behind this one (its `opened_at` and id) in the order.
        before: Option<(Timestamp, crate::IncidentId)>,
    },
    /// One incident.
    Incident(crate::IncidentId),
    /// Notifications, newest first.
    Notifications {
        /// Only those in this state.
        state: Option<crate::DeliveryState>,
        /// Only those about this incident.
        incident: Option<crate::IncidentId>,
        /// Only those with a `seq` below.
        before: Option<u64>,
    },
    /// One notification.
    Notification(NotificationId),
    /// Changes of state of all monitors in the order in which they were committed, **oldest first**, each as a
    /// [`HistoryItem::Event`]. It holds what [`HistoryQuery::Changes`] holds: what is beyond a storage's limit for a
    /// monitor's changes, and what was of a removed monitor, is left out, and the others keep their places.
    Feed {
        /// Only those with a `seq` above; 0 for all that are kept.
        after: u64,
    },
    /// The newest of [`HistoryQuery::Feed`], or nothing: where one begins who wants only what is to come.
    LatestEvent,
}

/// A piece of history.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub enum HistoryItem {
    /// A heartbeat.
    Ping(Box<PingEntry>),
    /// The heartbeats of an hour or a day.
    Counts(Counts),
    /// A change of state.
    Change(StateChange),
    /// An incident.
    Incident(Incident),
    /// A notification and its fate.
    Notification(Box<OutboxEntry>),
    /// A change of state in the order of all monitors' changes.
    Event {
        /// Its place in one order over all monitors, given by the storage, from 1: a later commit gets a larger one, changes
        /// of one transition count up in their order, and none is ever given twice, also after a removal or a restart.
        seq: u64,
        /// The change.
        change: StateChange,
    },
}

/// Keeps monitors, their history, owed notifications and documents.
///
/// An implementation promises, and `storage_suite!` checks:
///
/// * `commit` is atomic and durable: when it returns, what it says was committed survives a crash.
/// * A batch whose epoch differs from the lease's is [`StorageError::Fenced`] and writes nothing.
/// * A transition whose version differs is a [`crate::Outcome::Conflict`] and nothing of it is written; the others are.
/// * A record, its pings, changes, incidents and notifications are written together or not at all.
/// * Slugs and token hashes are unique among all monitors. What one batch frees the next one may use; within one batch
///   names are given in the order of its transitions, so two monitors cannot swap theirs in one.
///
/// * The feed ([`HistoryQuery::Feed`]) only grows at its end: once somebody could read an event, no other one appears
///   with a smaller `seq`. A database that draws numbers before it commits has to hold commits in their order.
///
/// It has no clock and no policy. Writing a notification whose id is stored already changes nothing, so a batch
/// may be repeated after [`StorageError::Unknown`].
#[async_trait]
pub trait Storage: Send + Sync + 'static {
    /// How many partitions it has; fixed when the store is made. A monitor belongs to [`PartitionId::of`] its id, and a batch
    /// holds transitions of the monitors of its partition alone. A storage for one process has 1.
    fn partitions(&self) -> u16;

    /// Writes a batch.
    ///
    /// # Errors
    /// See [`StorageError`]; after any error but `Unknown` nothing is written.
    async fn commit(&self, batch: &Batch) -> Result<Applied, StorageError>;

    /// The same, as an engine calls it, for a storage that works on a thread of its own: it may keep the batch, and lets go of it
    /// before it answers. Unless a storage says otherwise, this is [`Storage::commit`].
    ///
    /// # Errors
    /// As [`Storage::commit`].
    async fn commit_shared(&self, batch: Arc<Batch>) -> Result<Applied, StorageError> {
        self.commit(&batch).await
    }

    /// Replaces a lease when the stored one has the epoch and node of `expected`; says whether it did. A partition that
    /// was never leased has epoch 0 and an empty node.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn swap_lease(&self, expected: &Lease, next: &Lease) -> Result<bool, StorageError>;

    /// Every lease that was ever swapped in.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn leases(&self) -> Result<Vec<Lease>, StorageError>;

    /// The records of these monitors, in the same order; `None` for those that do not exist.
    ///
    /// # Errors
    /// When the store cannot be reached or is damaged.
    async fn load(&self, ids: &[MonitorId]) -> Result<Vec<Option<Record>>, StorageError>;

    /// The monitor that has a name.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn find(&self, name: &Name) -> Result<Option<MonitorId>, StorageError>;

    /// Monitors of a partition whose [`crate::Health::wake_at`] is before `before`, soonest first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be reached.
    async fn due(
        &self,
        partition: PartitionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(MonitorId, Timestamp)>, StorageError>;

    /// Pending notifications with a `seq` above `after`, in the order of `seq`, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be reached or is damaged.
    async fn outbox(&self, after: u64, limit: usize) -> Result<Page<OutboxEntry>, StorageError>;

    /// Records in the order of their ids, from behind `after`, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be reached or is damaged.
    async fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError>;

    /// A page of history, at most `limit` items.
    ///
    /// # Errors
    /// When the store cannot be reached or is damaged.
    async fn history(&self, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError>;

    /// The documents of a kind, in the order of their ids.
    ///
    /// # Errors
    /// When the store cannot be reached or is damaged.
    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StorageError>;

    /// The mark of life and the outages of the watcher.
    ///
    /// # Errors
    /// When the store cannot be reached or is damaged.
    async fn watch_log(&self) -> Result<WatchLog, StorageError>;

    /// What was written through other handles to the store behind a position, a portion at a time: what is there to be read
    /// otherwise is news as well, each committed write once, and that of one monitor in the order of its versions. Without a
    /// position nothing yet, but where to begin: what is committed after this call was made is behind it. A storage for one
    /// process has no other handles, and never news.
    ///
    /// # Errors
    /// When the store cannot be reached or is damaged.
    async fn news(&self, after: Option<&str>) -> Result<News, StorageError>;
}

/// A shared storage is a storage, so that a host can keep a handle to the one that it gave to an engine.
#[async_trait]
impl<S: Storage + ?Sized> Storage for Arc<S> {
    fn partitions(&self) -> u16 {
        (**self).partitions()
    }

    async fn commit(&self, batch: &Batch) -> Result<Applied, StorageError> {
        (**self).commit(batch).await
    }

    async fn commit_shared(&self, batch: Arc<Batch>) -> Result<Applied, StorageError> {
        (**self).commit_shared(batch).await
    }

    async fn swap_lease(&self, expected: &Lease, next: &Lease) -> Result<bool, StorageError> {
        (**self).swap_lease(expected, next).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StorageError> {
        (**self).leases().await
    }

    async fn load(&self, ids: &[MonitorId]) -> Result<Vec<Option<Record>>, StorageError> {
        (**self).load(ids).await
    }

    async fn find(&self, name: &Name) -> Result<Option<MonitorId>, StorageError> {
        (**self).find(name).await
    }

    async fn due(
        &self,
        partition: PartitionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(MonitorId, Timestamp)>, StorageError> {
        (**self).due(partition, before, limit).await
    }

    async fn outbox(&self, after: u64, limit: usize) -> Result<Page<OutboxEntry>, StorageError> {
        (**self).outbox(after, limit).await
    }

    async fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError> {
        (**self).monitors(after, limit).await
    }

    async fn history(&self, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        (**self).history(query, limit).await
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StorageError> {
        (**self).documents(kind).await
    }

    async fn watch_log(&self) -> Result<WatchLog, StorageError> {
        (**self).watch_log().await
    }

    async fn news(&self, after: Option<&str>) -> Result<News, StorageError> {
        (**self).news(after).await
    }
}
