//! Copies everything, so that doing some of it again changes nothing: a monitor is written with its heartbeats in one step and only
//! where it is not stored yet, its hours before; everything else takes the place of itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt};
use heartbeat_engine::{
    Batch, Change, Delivery, Import, Imported, Incident, OutboxEntry, Outcome, PartitionId, Record, Settlement,
    StorageError, Timestamp, Transition,
};

use super::hold::Hold;
use super::note::{Note, Stage};
use super::progress::Progress;
use super::read::{self, Store, Whole};
use super::{DOCUMENT_KINDS, hours};

/// So many pages of monitors are under way at once.
const PAGES: usize = 4;
/// About how many bytes of a page are in memory at once, and written at once, unless one monitor has more.
const PORTION_BYTES: usize = 4 << 20;
/// The place in the feed is noted once for so many pages.
const NOTED_EVERY: u64 = 20;

/// A copy on its way.
pub(super) struct Copy {
    pub(super) source: Store,
    pub(super) target: Arc<dyn Import>,
    pub(super) hold: Hold,
    pub(super) progress: Arc<Progress>,
}

impl Copy {
    /// Goes on from where the note says.
    pub(super) async fn run(self: &Arc<Self>, note: &mut Note) -> Result<(), StorageError> {
        while note.stage < Stage::Comparison {
            let next = match note.stage {
                Stage::Monitors => self.monitors().await.map(|()| Stage::Changes)?,
                Stage::Changes => self.changes(note).await.map(|()| Stage::Incidents)?,
                Stage::Incidents => self.incidents().await.map(|()| Stage::Notifications)?,
                Stage::Notifications => self.notifications().await.map(|()| Stage::Rest)?,
                Stage::Rest | Stage::Comparison | Stage::Finished => self.rest().await.map(|()| Stage::Comparison)?,
            };
            note.stage = next;
            note.write(&*self.target, &self.hold).await?;
        }
        Ok(())
    }

    async fn monitors(self: &Arc<Self>) -> Result<(), StorageError> {
        // A task for each page, so that all processors have something to do, and nothing waits for an answer that is there.
        let pages = read::records(&self.source).map_ok(|records| {
            let page = tokio::spawn(Arc::clone(self).page(records));
            async { page.await.unwrap_or_else(|error| Err(StorageError::Unknown(error.to_string()))) }
        });
        pages.try_buffer_unordered(PAGES).try_for_each(async |()| Ok(())).await?;
        self.progress.end_of_monitors();
        Ok(())
    }

    /// Writes those of a page that are not there yet.
    async fn page(self: Arc<Self>, records: Vec<Record>) -> Result<(), StorageError> {
        let ids: Vec<_> = records.iter().map(Record::id).collect();
        let stored = self.target.load(&ids).await?;
        let (missing, there): (Vec<_>, Vec<_>) =
            records.into_iter().zip(stored).partition(|(_, stored)| stored.is_none());
        self.progress.found(there.len());
        let missing = missing.into_iter().map(|(record, _)| record).collect();
        let mut whole = Box::pin(read::whole(&self.source, missing));
        let (mut portion, mut bytes) = (Vec::new(), 0);
        while let Some(found) = whole.try_next().await? {
            bytes += weight(&found);
            portion.push(found);
            if bytes >= PORTION_BYTES {
                self.portions(std::mem::take(&mut portion)).await?;
                bytes = 0;
            }
        }
        self.portions(portion).await
    }

    async fn portions(&self, found: Vec<Whole>) -> Result<(), StorageError> {
        let parts = self.by_partition(found, |found, count| PartitionId::of(found.record.id(), count));
        let writes = parts.into_iter().map(|(partition, found)| self.portion(partition, found));
        try_join_all(writes).await.map(drop)
    }

    async fn portion(&self, partition: PartitionId, found: Vec<Whole>) -> Result<(), StorageError> {
        let epoch = self.hold.epoch(partition);
        let (monitors, pings) = (found.len(), found.iter().map(|found| found.pings.len()).sum());
        let counts = found.iter().map(|found| (found.record.id(), hours::beside(&found.hours, &found.pings)));
        let counts = counts.filter(|(_, hours)| !hours.is_empty()).collect();
        self.import(Imported { partition, epoch, counts, ..Imported::default() }).await?;
        let transitions = found.into_iter().map(|found| Transition {
            monitor: found.record.id(),
            expected: None,
            change: Change::Put(Arc::new(found.record)),
            pings: found.pings,
            changes: Vec::new(),
            incidents: Vec::new(),
            notifications: Vec::new(),
        });
        let batch = Batch { partition, epoch, transitions: transitions.collect(), ..Batch::default() };
        for (outcome, transition) in self.target.commit(&batch).await?.transitions.iter().zip(&batch.transitions) {
            if let Outcome::NameTaken { field } = outcome {
                let text = format!("another monitor has the {field} of {} there", transition.monitor);
                return Err(StorageError::Corrupt(text));
            }
        }
        self.progress.wrote(monitors, pings);
        Ok(())
    }

    async fn import(&self, imported: Imported) -> Result<(), StorageError> {
        if imported.is_empty() { Ok(()) } else { self.target.import(&imported).await }
    }

    async fn changes(&self, note: &mut Note) -> Result<(), StorageError> {
        let mut pages = Box::pin(read::events(&self.source, note.events).enumerate());
        while let Some((number, events)) = pages.next().await {
            let events = events?;
            self.progress.step("changes of state", events.len());
            let last = events.last().map(|(seq, _)| *seq);
            let parts = self.by_partition(events, |(_, change), count| PartitionId::of(change.monitor, count));
            try_join_all(parts.into_iter().map(|(partition, events)| {
                let epoch = self.hold.epoch(partition);
                self.import(Imported { partition, epoch, events, ..Imported::default() })
            }))
            .await?;
            note.events = last.unwrap_or(note.events);
            if number as u64 % NOTED_EVERY == NOTED_EVERY - 1 {
                note.write(&*self.target, &self.hold).await?;
            }
        }
        Ok(())
    }

    async fn incidents(&self) -> Result<(), StorageError> {
        let mut pages = Box::pin(read::oldest_first::<Incident>(&self.source).await?);
        while let Some(incidents) = pages.try_next().await? {
            self.progress.step("incidents", incidents.len());
            let parts = self.by_partition(incidents, |incident, count| PartitionId::of(incident.monitor, count));
            try_join_all(parts.into_iter().map(|(partition, incidents)| {
                let epoch = self.hold.epoch(partition);
                self.import(Imported { partition, epoch, incidents, ..Imported::default() })
            }))
            .await?;
        }
        Ok(())
    }

    async fn notifications(&self) -> Result<(), StorageError> {
        let mut pages = Box::pin(read::oldest_first::<OutboxEntry>(&self.source).await?);
        while let Some(entries) = pages.try_next().await? {
            self.progress.step("notifications", entries.len());
            let parts =
                self.by_partition(entries, |entry, count| PartitionId::of_notification(entry.notification.id, count));
            let writes = parts.into_iter().map(|(partition, entries)| self.owed(partition, entries));
            try_join_all(writes).await?;
        }
        Ok(())
    }

    /// What is owed, with what became of it.
    async fn owed(&self, partition: PartitionId, entries: Vec<OutboxEntry>) -> Result<(), StorageError> {
        let (mut notifications, mut settlements) = (Vec::new(), Vec::new());
        for OutboxEntry { notification, delivery, .. } in entries {
            if delivery != Delivery::pending(notification.created_at) {
                settlements.push(Settlement { id: notification.id, delivery });
            }
            notifications.push(notification);
        }
        let epoch = self.hold.epoch(partition);
        let batch = Batch { partition, epoch, notifications, settlements, ..Batch::default() };
        self.target.commit(&batch).await.map(drop)
    }

    /// Documents, outages, and last of all the mark of life.
    async fn rest(&self) -> Result<(), StorageError> {
        let (partition, epoch) = self.hold.first();
        for kind in DOCUMENT_KINDS {
            for documents in self.source.documents(kind).await?.chunks(100) {
                self.progress.step("documents", documents.len());
                let documents = documents.to_vec();
                self.import(Imported { partition, epoch, documents, ..Imported::default() }).await?;
            }
        }
        let log = self.source.watch_log().await?;
        let batch = || Batch { partition, epoch, ..Batch::default() };
        self.target.commit(&Batch { forget_outages_before: Some(Timestamp::MAX), ..batch() }).await?;
        for outage in log.outages {
            self.target.commit(&Batch { outage: Some(outage), ..batch() }).await?;
        }
        self.target.commit(&Batch { mark: log.mark, ..batch() }).await.map(drop)
    }

    fn by_partition<T>(&self, items: Vec<T>, of: impl Fn(&T, u16) -> PartitionId) -> BTreeMap<PartitionId, Vec<T>> {
        let mut parts: BTreeMap<PartitionId, Vec<T>> = BTreeMap::new();
        for item in items {
            parts.entry(of(&item, self.target.partitions())).or_default().push(item);
        }
        parts
    }
}

/// About how many bytes it takes to write.
fn weight(found: &Whole) -> usize {
    let bodies: usize = found.pings.iter().filter_map(|ping| ping.body.as_ref()).map(Vec::len).sum();
    1000 + found.pings.len() * 100 + found.hours.len() * 8 + bodies
}
