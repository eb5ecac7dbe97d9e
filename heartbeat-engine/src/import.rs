//! What a storage takes in that another one kept, beyond what a batch can say.

use async_trait::async_trait;

use crate::{Counts, Document, Epoch, Incident, MonitorId, PartitionId, StateChange, Storage, StorageError};

/// What another storage kept, for one partition, as far as a [`crate::Batch`] cannot say it. Records with their heartbeats,
/// notifications with their fate, outages and the mark of life go by batches.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Imported {
    /// The partition that it belongs to.
    pub partition: PartitionId,
    /// The epoch of the lease under which it is written; another one than the stored is fenced.
    pub epoch: Epoch,
    /// Hours of monitors that are **not stored yet**, without the heartbeats that will be written with these: they are counted
    /// then. They take the place of hours that were imported for the monitor before. For a monitor that is stored nothing
    /// changes.
    pub counts: Vec<(MonitorId, Vec<Counts>)>,
    /// Changes of state of monitors that are stored, with their places in the feed, in its order. Where a place is given
    /// already, and for a monitor that is not stored, nothing changes. Later changes get places behind all of these.
    pub events: Vec<(u64, StateChange)>,
    /// Incidents, also of monitors that were removed, the oldest first. Each takes the place of the one with its id.
    pub incidents: Vec<Incident>,
    /// Documents under their versions. Each takes the place of the one with its kind and id.
    pub documents: Vec<Document>,
}

impl Imported {
    /// Whether nothing would be written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.events.is_empty() && self.incidents.is_empty() && self.documents.is_empty()
    }
}

/// A storage into which everything can be moved that another one keeps. It need not be implemented for a storage that is only
/// to be worked with, or moved from.
///
/// Whoever moves may be killed at any instant and begin again, so writing something twice is as writing it once. Nobody else
/// works on the storage meanwhile.
///
/// ```
/// use heartbeat_engine::{Document, HistoryQuery, Import, Imported, MemoryStorage, Storage, Version};
///
/// # #[cfg(feature = "runtime")]
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// let storage = MemoryStorage::new();
/// let route = Document { kind: "route".to_owned(), id: "night".to_owned(), version: Version(7), body: 1.into() };
/// let imported = Imported { documents: vec![route.clone()], ..Imported::default() };
/// storage.import(&imported).await?;
/// storage.import(&imported).await?;
/// assert_eq!(storage.documents("route").await?, [route]);
/// # Ok::<(), heartbeat_engine::StorageError>(())
/// # }).unwrap();
/// ```
#[async_trait]
pub trait Import: Storage {
    /// Writes it, durably. Its parts need not be written in one step: after an error it is written again.
    ///
    /// # Errors
    /// See [`StorageError`]; after [`StorageError::Fenced`] nothing is written.
    async fn import(&self, imported: &Imported) -> Result<(), StorageError>;
}
