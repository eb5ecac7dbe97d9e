//! What nodes read of the store: what the model keeps, or what a storage beside it answered.

use super::storage::{Handle, Snapshot, Store};
use crate::{Document, Lease, MonitorId, News, NotificationId, OutboxEntry, Page, PartitionId, Record, WatchLog};

impl Store {
    pub(super) fn read_leases(&mut self, by: Handle<'_>, partition: PartitionId) -> Vec<Lease> {
        let leases = self.leases(partition);
        match &mut self.beside {
            Some(beside) => beside.leases(by.number, &leases),
            None => leases,
        }
    }

    pub(super) fn read_documents(&mut self, by: Handle<'_>, partition: PartitionId, kind: &str) -> Vec<Document> {
        let documents = self.documents(partition, kind);
        match &mut self.beside {
            Some(beside) => beside.documents(by.number, kind, &documents),
            None => documents,
        }
    }

    pub(super) fn read_log(&mut self, by: Handle<'_>, partition: PartitionId) -> WatchLog {
        let log = self.watch_log(partition);
        match &mut self.beside {
            Some(beside) => beside.watch_log(by.number, &log),
            None => log,
        }
    }

    pub(super) fn load(
        &mut self,
        by: Handle<'_>,
        partition: PartitionId,
        ids: Vec<MonitorId>,
    ) -> Vec<(MonitorId, Option<Record>)> {
        let mut records: Vec<_> = ids.iter().map(|id| self.record(partition, *id).cloned()).collect();
        if let Some(beside) = &mut self.beside {
            records = beside.load(by.number, &ids, &records);
        }
        ids.into_iter().zip(records).collect()
    }

    /// The records of all partitions beside this one.
    pub(super) fn read_records(&mut self, by: Handle<'_>, partition: PartitionId) -> Vec<Record> {
        let records = self.state(partition).monitors(None, usize::MAX).items;
        match &mut self.beside {
            Some(beside) => beside.monitors(by.number, &records),
            None => records,
        }
    }

    /// Everything that is owed beside this partition.
    pub(super) fn read_outbox(&mut self, by: Handle<'_>, partition: PartitionId) -> Vec<OutboxEntry> {
        let owed = self.state(partition).outbox(0, usize::MAX).items;
        match &mut self.beside {
            Some(beside) => beside.outbox(by.number, &owed),
            None => owed,
        }
    }

    pub(super) fn outbox_page(
        &mut self,
        by: Handle<'_>,
        partition: PartitionId,
        after: u64,
        limit: usize,
    ) -> Page<OutboxEntry> {
        if self.beside.is_none() {
            return self.state(partition).outbox(after, limit);
        }
        let owed = self.state(partition).outbox(0, usize::MAX).items;
        let page = self.beside.as_mut().map(|beside| beside.outbox_page(by.number, after, limit, &owed));
        page.unwrap_or_else(Page::empty)
    }

    pub(super) fn read_owed(
        &mut self,
        by: Handle<'_>,
        partition: PartitionId,
        ids: &[NotificationId],
    ) -> Vec<OutboxEntry> {
        let found: Vec<_> = ids.iter().filter_map(|id| self.notification(partition, *id).cloned()).collect();
        match &mut self.beside {
            Some(beside) => beside.notifications(by.number, ids, &found),
            None => found,
        }
    }

    pub(super) fn read_news(&mut self, by: Handle<'_>, after: Option<&str>) -> News {
        let Self { beside, news, .. } = self;
        match (beside, after) {
            (None, after) => news.read(by.number, after),
            (Some(beside), None) => beside.news_begin(by.number, &news.read(by.number, None)),
            (Some(beside), Some(after)) => beside.news(by.number, after, |after| news.read(by.number, Some(after))),
        }
    }

    pub(super) fn snapshot(&mut self, by: Handle<'_>, partition: PartitionId) -> Snapshot {
        Snapshot {
            log: self.read_log(by, partition),
            records: self.read_records(by, partition),
            outbox: self.read_outbox(by, partition),
        }
    }

    /// Compares everything that is stored with what the storage beside the model keeps.
    pub(super) fn compare_all(&mut self, by: Handle<'_>, kinds: &[&str]) {
        let first = PartitionId(0);
        if self.beside.is_none() {
            return;
        }
        self.read_leases(by, first);
        self.read_log(by, first);
        self.read_outbox(by, first);
        kinds.iter().for_each(|kind| _ = self.read_documents(by, first, kind));
        let records = self.read_records(by, first);
        let Some(mut beside) = self.beside.take() else { return };
        beside.compare_kept(by.number, &records, |query| self.state(first).history(query, usize::MAX));
        self.beside = Some(beside);
    }
}
