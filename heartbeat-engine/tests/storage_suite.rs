//! The suite finds storages that break a promise: each of these breaks one on purpose.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::panic::{self, AssertUnwindSafe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use heartbeat_engine::testing::{Check, StorageHarness, run, storage_promises};
use heartbeat_engine::{
    Applied, Batch, Change, DeliveryState, Document, Epoch, HistoryItem, HistoryQuery, Lease, MemoryStorage, MonitorId,
    Name, OutboxEntry, Outcome, Page, PartitionId, Record, Storage, StorageError, Timestamp, WatchLog,
};

/// What a [`Broken`] storage does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    ForgetsOnCrash,
    IgnoresEpochs,
    OverwritesOtherVersions,
    WritesPingsOfConflicts,
    StopsAtTheFirstConflict,
    LetsNamesBeTakenOver,
    OwesAgain,
    LosesBodies,
    CountsPagesWrong,
    KeepsTheLatestMark,
    IsDueTooLate,
    SwapsAnyLease,
    KeepsIncidentsOpen,
    TakesLargeDocuments,
    RemovesNothing,
    SplitsFolds,
    MixesPartitions,
    FindsAnyCase,
    OverwritesDocuments,
    RepeatsTheCursor,
    ForgetsIncidentsOfTheRemoved,
    TurnsTheFeedRound,
    RepeatsAnEvent,
    CountsTheFeedAnew,
    ShowsAnEventLate,
    RenumbersOnCrash,
    PublishesConflicts,
    KeepsTheFuture,
    ForgetsTheNewOutage,
}

struct Broken {
    fault: Fault,
    crashes: AtomicU64,
    inner: MemoryStorage,
}

impl Broken {
    /// The batch as a storage with the fault would treat it.
    async fn spoiled(&self, batch: &Batch) -> Result<Batch, StorageError> {
        let mut batch = batch.clone();
        match self.fault {
            Fault::IgnoresEpochs => {
                let leases = self.inner.leases().await?;
                let lease = leases.into_iter().find(|lease| lease.partition == batch.partition);
                batch.epoch = lease.map_or(Epoch(0), |lease| lease.epoch);
            }
            Fault::OverwritesOtherVersions => {
                for transition in &mut batch.transitions {
                    transition.expected = self.inner.load(&[transition.monitor]).await?[0].as_ref().map(|r| r.version);
                }
            }
            Fault::LetsNamesBeTakenOver => {
                for transition in &mut batch.transitions {
                    let Change::Put(record) = &mut transition.change else { continue };
                    let owner = self.inner.find(&Name::Slug(record.spec().slug.clone())).await?;
                    if owner.is_some_and(|owner| owner != transition.monitor) {
                        Arc::make_mut(&mut record.monitor).spec.slug.push_str("-again");
                    }
                }
            }
            Fault::LosesBodies => {
                batch.transitions.iter_mut().flat_map(|t| &mut t.pings).for_each(|ping| ping.body = None);
            }
            Fault::KeepsTheLatestMark => batch.mark = batch.mark.max(self.inner.watch_log().await?.mark),
            Fault::KeepsIncidentsOpen => {
                batch.transitions.iter_mut().for_each(|t| t.incidents.retain(heartbeat_engine::Incident::is_open));
            }
            Fault::TakesLargeDocuments => {
                for document in &mut batch.documents {
                    let large = document.body.as_ref().is_some_and(|body| body.to_string().len() > 64 * 1024);
                    document.body = document.body.take().map(|body| if large { "cut".into() } else { body });
                }
            }
            Fault::RemovesNothing => batch.transitions.retain(|t| matches!(t.change, Change::Put(_))),
            Fault::SplitsFolds => {
                batch.transitions.iter_mut().for_each(|t| t.pings.truncate(1));
            }
            Fault::ForgetsIncidentsOfTheRemoved => {
                let removed = batch.transitions.iter_mut().filter(|t| matches!(t.change, Change::Remove));
                removed.for_each(|t| t.incidents.clear());
            }
            Fault::KeepsTheFuture => batch.forget_outages_after = None,
            Fault::ForgetsTheNewOutage if batch.forget_outages_after.is_some() => batch.outage = None,
            Fault::OverwritesDocuments => {
                for write in &mut batch.documents {
                    let found = self.inner.documents(&write.kind).await?;
                    write.expected = found.into_iter().find(|found| found.id == write.id).map(|found| found.version);
                }
            }
            _ => (),
        }
        Ok(batch)
    }

    /// The feed as a storage with the fault gives it.
    async fn feed(&self, after: u64, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        let mut all = self.inner.history(&HistoryQuery::Feed { after: 0 }, usize::MAX).await?.items;
        let place = |item: &HistoryItem| if let HistoryItem::Event { seq, .. } = item { *seq } else { 0 };
        let newest = all.last().map_or(0, place);
        match self.fault {
            Fault::TurnsTheFeedRound => all.reverse(),
            Fault::ShowsAnEventLate => all.retain(|item| place(item) % 8 != 3 || newest >= place(item) + 4),
            Fault::CountsTheFeedAnew | Fault::RenumbersOnCrash => {
                let crashes = self.crashes.load(Ordering::Relaxed);
                for (n, item) in all.iter_mut().enumerate() {
                    if let HistoryItem::Event { seq, .. } = item {
                        *seq = if self.fault == Fault::RenumbersOnCrash { *seq + crashes } else { n as u64 + 1 };
                    }
                }
            }
            _ => (),
        }
        let from = after.saturating_sub(u64::from(self.fault == Fault::RepeatsAnEvent));
        Ok(Page::cut(all.into_iter().filter(|item| place(item) > from), limit))
    }

    /// What it wrongly writes after the batch.
    async fn aftermath(&self, batch: &Batch, applied: &Applied) -> Result<(), StorageError> {
        let conflicts = (batch.transitions.iter().zip(&applied.transitions))
            .filter(|(_, outcome)| matches!(outcome, Outcome::Conflict { .. }))
            .map(|(transition, _)| transition);
        let written = [Fault::WritesPingsOfConflicts, Fault::PublishesConflicts].contains(&self.fault);
        for transition in conflicts.filter(|_| written) {
            if let Some(record) = self.inner.load(&[transition.monitor]).await?.remove(0) {
                let expected = Some(record.version);
                let again = heartbeat_engine::Transition {
                    expected,
                    change: Change::Put(Box::new(record)),
                    pings: if self.fault == Fault::PublishesConflicts { vec![] } else { transition.pings.clone() },
                    changes: if self.fault == Fault::PublishesConflicts { transition.changes.clone() } else { vec![] },
                    incidents: vec![],
                    notifications: vec![],
                    ..transition.clone()
                };
                self.inner.commit(&Batch { transitions: vec![again], epoch: batch.epoch, ..Batch::default() }).await?;
            }
        }
        if self.fault == Fault::OwesAgain {
            for notification in &batch.notifications {
                let delivery = heartbeat_engine::Delivery::pending(notification.created_at);
                let settlements = vec![heartbeat_engine::Settlement { id: notification.id, delivery }];
                self.inner.commit(&Batch { settlements, epoch: batch.epoch, ..Batch::default() }).await?;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Storage for Broken {
    async fn commit(&self, batch: &Batch) -> Result<Applied, StorageError> {
        let mut spoiled = self.spoiled(batch).await?;
        if self.fault == Fault::StopsAtTheFirstConflict {
            let ids: Vec<_> = batch.transitions.iter().map(|t| t.monitor).collect();
            let found = self.inner.load(&ids).await?;
            let stale = |(t, r): (&heartbeat_engine::Transition, &Option<Record>)| {
                t.expected != r.as_ref().map(|record| record.version)
            };
            if batch.transitions.iter().zip(&found).any(stale) {
                spoiled = Batch { transitions: batch.transitions.clone(), epoch: batch.epoch, ..Batch::default() };
            }
        }
        let mut applied = self.inner.commit(&spoiled).await?;
        self.aftermath(batch, &applied).await?;
        applied.documents.resize(batch.documents.len(), Outcome::Committed);
        applied.transitions.resize(batch.transitions.len(), Outcome::Committed);
        Ok(applied)
    }

    async fn swap_lease(&self, expected: &Lease, next: &Lease) -> Result<bool, StorageError> {
        if self.fault == Fault::SwapsAnyLease {
            let leases = self.inner.leases().await?;
            if let Some(stored) = leases.into_iter().find(|lease| lease.partition == expected.partition) {
                return self.inner.swap_lease(&stored, next).await;
            }
        }
        self.inner.swap_lease(expected, next).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StorageError> {
        self.inner.leases().await
    }

    async fn load(&self, ids: &[MonitorId]) -> Result<Vec<Option<Record>>, StorageError> {
        self.inner.load(ids).await
    }

    async fn find(&self, name: &Name) -> Result<Option<MonitorId>, StorageError> {
        if let (Fault::FindsAnyCase, Name::Slug(slug)) = (self.fault, name) {
            let all = self.inner.monitors(None, usize::MAX).await?.items;
            return Ok(all.iter().find(|record| record.spec().slug.eq_ignore_ascii_case(slug)).map(Record::id));
        }
        self.inner.find(name).await
    }

    async fn due(
        &self,
        partition: PartitionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(MonitorId, Timestamp)>, StorageError> {
        let early = if self.fault == Fault::IsDueTooLate { Timestamp::from_millis(1) } else { Timestamp::EPOCH };
        let partition = if self.fault == Fault::MixesPartitions { PartitionId(0) } else { partition };
        self.inner.due(partition, before - early.since(Timestamp::EPOCH), limit).await
    }

    async fn outbox(&self, after: u64, limit: usize) -> Result<Page<OutboxEntry>, StorageError> {
        let back = u64::from(self.fault == Fault::RepeatsTheCursor);
        self.inner.outbox(after.saturating_sub(back), limit).await
    }

    async fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError> {
        self.inner.monitors(after, limit).await
    }

    async fn history(&self, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        if let HistoryQuery::Feed { after } = query {
            return self.feed(*after, limit).await;
        }
        let mut page = self.inner.history(query, limit).await?;
        page.more |= self.fault == Fault::CountsPagesWrong && page.items.len() == limit;
        if let (Fault::OwesAgain, HistoryQuery::Notifications { state: Some(DeliveryState::Dead), .. }) =
            (self.fault, query)
        {
            page.items.clear();
        }
        Ok(page)
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StorageError> {
        self.inner.documents(kind).await
    }

    async fn watch_log(&self) -> Result<WatchLog, StorageError> {
        self.inner.watch_log().await
    }
}

struct Harness(Fault);

impl StorageHarness for Harness {
    type Storage = Broken;

    async fn fresh(&self) -> Arc<Broken> {
        Arc::new(Broken { fault: self.0, crashes: AtomicU64::new(0), inner: MemoryStorage::new() })
    }

    async fn reopen(&self, storage: Arc<Broken>) -> Arc<Broken> {
        storage.crashes.fetch_add(1, Ordering::Relaxed);
        if self.0 == Fault::ForgetsOnCrash { self.fresh().await } else { storage }
    }
}

/// Whether a storage with the fault is found to break a promise.
fn breaks(fault: Fault, check: Check<Harness>) -> bool {
    panic::catch_unwind(AssertUnwindSafe(|| run(check(&Harness(fault))))).is_err()
}

#[test]
fn a_storage_without_a_fault_passes() {
    let broken: Vec<_> = storage_promises().into_iter().filter(|(_, check)| breaks(Fault::None, *check)).collect();
    assert!(broken.is_empty(), "{:?}", broken.iter().map(|(name, _)| name).collect::<Vec<_>>());
}

#[test]
fn every_fault_is_found_by_the_promise_that_it_breaks() {
    let expected = [
        (Fault::ForgetsOnCrash, "everything_survives_a_crash"),
        (Fault::IgnoresEpochs, "a_fenced_batch_writes_nothing"),
        (Fault::OverwritesOtherVersions, "a_wrong_version_conflicts_and_nothing_of_it_is_written"),
        (Fault::OverwritesOtherVersions, "one_of_many_concurrent_commits_wins"),
        (Fault::WritesPingsOfConflicts, "a_wrong_version_conflicts_and_nothing_of_it_is_written"),
        (Fault::StopsAtTheFirstConflict, "conflicts_spare_the_rest_of_the_batch"),
        (Fault::LetsNamesBeTakenOver, "slugs_are_unique"),
        (Fault::OwesAgain, "a_notification_that_is_stored_already_changes_nothing"),
        (Fault::LosesBodies, "a_ping_is_kept_with_all_that_it_carries"),
        (Fault::CountsPagesWrong, "pings_are_paged_newest_first"),
        (Fault::KeepsTheLatestMark, "the_mark_is_what_was_written_last"),
        (Fault::IsDueTooLate, "due_is_by_partition_and_strictly_before"),
        (Fault::SwapsAnyLease, "a_lease_is_swapped_only_when_epoch_and_node_match"),
        (Fault::KeepsIncidentsOpen, "an_incident_is_kept_in_its_newest_form"),
        (Fault::TakesLargeDocuments, "a_document_that_is_too_large_is_refused"),
        (Fault::RemovesNothing, "removing_takes_pings_and_changes_and_keeps_the_rest"),
        (Fault::RemovesNothing, "names_are_freed_by_changes_and_removal"),
        (Fault::SplitsFolds, "pings_are_paged_newest_first"),
        (Fault::MixesPartitions, "due_is_by_partition_and_strictly_before"),
        (Fault::FindsAnyCase, "a_monitor_is_found_by_slug_and_by_every_token"),
        (Fault::OverwritesDocuments, "a_document_is_written_under_its_version"),
        (Fault::RepeatsTheCursor, "notifications_are_owed_in_order"),
        (Fault::ForgetsIncidentsOfTheRemoved, "removing_takes_pings_and_changes_and_keeps_the_rest"),
        (Fault::TurnsTheFeedRound, "the_feed_is_in_the_order_of_commits"),
        (Fault::RepeatsAnEvent, "the_feed_is_paged_oldest_first"),
        (Fault::CountsTheFeedAnew, "events_of_a_removed_monitor_leave_the_feed"),
        (Fault::CountsTheFeedAnew, "a_place_in_the_feed_is_never_given_twice"),
        (Fault::ShowsAnEventLate, "nothing_enters_the_feed_behind_a_reader"),
        (Fault::RenumbersOnCrash, "the_feed_survives_a_crash"),
        (Fault::PublishesConflicts, "a_conflict_leaves_nothing_in_the_feed"),
        (Fault::KeepsTheFuture, "outages_of_the_future_are_forgotten"),
        (Fault::ForgetsTheNewOutage, "outages_of_the_future_are_forgotten"),
    ];
    let promises = storage_promises::<Harness>();
    for (fault, promise) in expected {
        let check = promises.iter().find(|(name, _)| *name == promise).expect("a promise").1;
        assert!(breaks(fault, check), "{fault:?} breaks `{promise}`, but the suite did not find it");
    }
}
