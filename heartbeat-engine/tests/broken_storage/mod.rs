//! Storages that break a promise on purpose.
#![allow(unreachable_pub)]

mod rumour;
mod spoil;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use heartbeat_engine::{
    Applied, Batch, Document, Durations, Epoch, HistoryItem, HistoryQuery, IncidentId, Lease, MemoryStorage, MonitorId,
    MonitorNews, Name, News, OutboxEntry, Page, PartitionId, Record, Storage, StorageError, Timestamp, WatchLog,
};

/// What a [`Broken`] storage does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
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
    ClipsTimes,
    LoadsInItsOwnOrder,
    KeepsTheOldName,
    CreatesAnew,
    MakesWhatIsMissing,
    TakesAnyEpochWithoutALease,
    ComparesBeforeWriting,
    DropsWhatComesAtOnce,
    CutsLargeBatches,
    ForgetsLeasesOnCrash,
    LetsTokensBeTakenOver,
    WritesMessagesOfTakenNames,
    RemembersOldSlugs,
    BelievesEveryName,
    TakesEmptyForNone,
    KeepsFewPings,
    LosesDurations,
    CountsHoursWrong,
    CountsTwiceAfterACrash,
    CountsChangesWrong,
    SplitsVersions,
    TakesLargeCursorsForNegative,
    KeepsTheFirstForm,
    SkipsIncidentsOfOneInstant,
    IgnoresOpen,
    LosesDigests,
    LosesWhoWasTold,
    FailsOnUnknownSettlements,
    ListsEveryState,
    LosesErrors,
    RoundsNumbers,
    ListsDocumentsBackwards,
    OrdersOutagesByStart,
    KeepsOldOutages,
    IsDueById,
    RemembersDeadlines,
    IgnoresTheMonitorCursor,
    ComparesLeasesBeforeSwapping,
    FlattersTheNewer,
    TakesNewerEpochs,
    RunsOutOfPlaces,
    LetsNamesBeTakenTwiceAtOnce,
    RemembersOldTokens,
    IsConfusedBySwaps,
    CountsPingsWrong,
    BreaksTiesBackwards,
    LosesWhenItWasSeen,
    CountsTheFeedWrong,
    LosesANeighbour,
    GivesPlacesAgain,
    TellsWhatWasBefore,
    TellsNoWishes,
    TellsRemovalsWithoutAVersion,
    TellsNoChanges,
    TellsEverySettlement,
    TellsKindsAgain,
    TellsFencedBatches,
    TellsItsOwn,
    TellsNewestFirst,
    SkipsBetweenPortions,
    TellsNothingAfterACrash,
    TellsNothing,
    TellsAgainWhatIsOwed,
    TellsConflicts,
}

/// A storage in memory with a fault.
pub struct Broken {
    fault: Fault,
    /// Of all handles.
    pub crashes: Arc<AtomicU64>,
    /// The fault has begun to show.
    busy: AtomicBool,
    /// Who had a name last.
    names: Mutex<BTreeMap<String, MonitorId>>,
    removals: AtomicU64,
    deadlines: Mutex<BTreeMap<MonitorId, Timestamp>>,
    /// What is told to all handles, although it is no news.
    rumours: Arc<Mutex<News>>,
    /// What is told to this handle alone, although it wrote it.
    own: Mutex<Vec<MonitorNews>>,
    inner: MemoryStorage,
}

impl Broken {
    pub fn new(fault: Fault) -> Self {
        Self {
            fault,
            crashes: Arc::default(),
            busy: AtomicBool::new(false),
            names: Mutex::default(),
            removals: AtomicU64::new(0),
            deadlines: Mutex::default(),
            rumours: Arc::default(),
            own: Mutex::default(),
            inner: MemoryStorage::new().with_partitions(4),
        }
    }

    /// Another handle to the same store, with the same fault.
    pub fn another_handle(&self) -> Self {
        let (crashes, rumours) = (Arc::clone(&self.crashes), Arc::clone(&self.rumours));
        Self { crashes, rumours, inner: self.inner.another_handle(), ..Self::new(self.fault) }
    }

    /// The feed as a storage with the fault gives it.
    async fn feed(&self, after: u64, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        let mut all = self.inner.history(&HistoryQuery::Feed { after: 0 }, usize::MAX).await?.items;
        let place = |item: &HistoryItem| if let HistoryItem::Event { seq, .. } = item { *seq } else { 0 };
        let newest = all.last().map_or(0, place);
        let removals = self.removals.load(Ordering::Relaxed);
        match self.fault {
            Fault::LosesANeighbour if removals > 0 && all.len() > 2 => drop(all.remove(0)),
            Fault::PublishesConflicts if self.busy.load(Ordering::Relaxed) => {
                if let Some(HistoryItem::Event { seq, change }) = all.last().cloned() {
                    all.push(HistoryItem::Event { seq: seq + 1, change });
                }
            }
            Fault::GivesPlacesAgain if all.len() == 1 => {
                if let HistoryItem::Event { seq, .. } = &mut all[0] {
                    *seq -= removals;
                }
            }
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
        let mut page = Page::cut(all.into_iter().filter(|item| place(item) > from), limit);
        page.more |= self.fault == Fault::CountsTheFeedWrong && page.items.len() == limit;
        Ok(page)
    }

    /// The query as a storage with the fault understands it.
    fn misread(&self, query: &HistoryQuery) -> HistoryQuery {
        match (self.fault, query.clone()) {
            (Fault::TakesLargeCursorsForNegative, HistoryQuery::Pings { monitor, before: Some(u64::MAX) }) => {
                HistoryQuery::Pings { monitor, before: Some(0) }
            }
            (Fault::SkipsIncidentsOfOneInstant, HistoryQuery::Incidents { monitor, open, before: Some((at, _)) }) => {
                HistoryQuery::Incidents { monitor, open, before: Some((at, IncidentId::from_bytes([0; 16]))) }
            }
            (Fault::IgnoresOpen, HistoryQuery::Incidents { monitor: Some(id), before, .. }) => {
                HistoryQuery::Incidents { monitor: Some(id), open: None, before }
            }
            (Fault::ListsEveryState, HistoryQuery::Notifications { incident, before, .. }) => {
                HistoryQuery::Notifications { state: None, incident, before }
            }
            (_, query) => query,
        }
    }
}

/// Lets all others go first.
async fn dawdle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

#[async_trait]
impl Storage for Broken {
    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    async fn commit(&self, batch: &Batch) -> Result<Applied, StorageError> {
        if self.fault == Fault::DropsWhatComesAtOnce {
            if self.busy.swap(true, Ordering::Relaxed) {
                return Ok(self.told(batch, Applied::default()));
            }
            dawdle().await;
        }
        for settlement in batch.settlements.iter().filter(|_| self.fault == Fault::FailsOnUnknownSettlements) {
            let query = HistoryQuery::Notification(settlement.id);
            let new = batch.notifications.iter().any(|notification| notification.id == settlement.id);
            if !new && self.inner.history(&query, 1).await?.items.is_empty() {
                return Err(StorageError::Corrupt("whose is it?".to_owned()));
            }
        }
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
        let applied = self.inner.commit(&spoiled).await.inspect_err(|_| self.spread_refused(batch))?;
        self.spread(batch, &applied);
        if self.fault == Fault::DropsWhatComesAtOnce {
            self.busy.store(false, Ordering::Relaxed);
        }
        self.aftermath(batch, &applied).await?;
        Ok(self.told(batch, applied))
    }

    async fn swap_lease(&self, expected: &Lease, next: &Lease) -> Result<bool, StorageError> {
        if self.fault == Fault::SwapsAnyLease && expected.epoch > Epoch(0) {
            let leases = self.inner.leases().await?;
            if let Some(stored) = leases.into_iter().find(|lease| lease.partition == expected.partition) {
                return self.inner.swap_lease(&stored, next).await;
            }
        }
        if self.fault == Fault::ComparesLeasesBeforeSwapping {
            let find = |leases: Vec<Lease>| leases.into_iter().find(|lease| lease.partition == expected.partition);
            let before = find(self.inner.leases().await?);
            dawdle().await;
            if let (None, Some(stored)) = (before, find(self.inner.leases().await?)) {
                return self.inner.swap_lease(&stored, next).await;
            }
        }
        self.inner.swap_lease(expected, next).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, StorageError> {
        if self.fault == Fault::ForgetsLeasesOnCrash && self.crashes.load(Ordering::Relaxed) > 0 {
            return Ok(Vec::new());
        }
        self.inner.leases().await
    }

    async fn load(&self, ids: &[MonitorId]) -> Result<Vec<Option<Record>>, StorageError> {
        let mut ids = ids.to_vec();
        if self.fault == Fault::LoadsInItsOwnOrder {
            ids.sort_unstable();
        }
        self.inner.load(&ids).await
    }

    async fn find(&self, name: &Name) -> Result<Option<MonitorId>, StorageError> {
        if let (Fault::FindsAnyCase, Name::Slug(slug)) = (self.fault, name) {
            let all = self.inner.monitors(None, usize::MAX).await?.items;
            return Ok(all.iter().find(|record| record.spec().slug.eq_ignore_ascii_case(slug)).map(Record::id));
        }
        let found = self.inner.find(name).await?;
        let remembered = self.names.lock().unwrap().get(&format!("{name:?}")).copied();
        let exists = match remembered {
            Some(id) => self.inner.load(&[id]).await?[0].is_some(),
            None => false,
        };
        let confused = self.busy.load(Ordering::Relaxed);
        Ok(match (self.fault, name) {
            (Fault::RemembersOldSlugs, Name::Slug(_)) => found.or(remembered),
            (Fault::RemembersOldTokens, Name::Token(_)) if exists => found.or(remembered),
            (Fault::BelievesEveryName, Name::Slug(_)) => remembered,
            (Fault::IsConfusedBySwaps, _) if confused => remembered,
            _ => found,
        })
    }

    async fn due(
        &self,
        partition: PartitionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(MonitorId, Timestamp)>, StorageError> {
        let early = if self.fault == Fault::IsDueTooLate { Timestamp::from_millis(1) } else { Timestamp::EPOCH };
        let partition = if self.fault == Fault::MixesPartitions { PartitionId(0) } else { partition };
        let mut due = self.inner.due(partition, before - early.since(Timestamp::EPOCH), limit).await?;
        match self.fault {
            Fault::IsDueById => due.sort_unstable(),
            Fault::BreaksTiesBackwards => due.sort_by_key(|(id, at)| (*at, std::cmp::Reverse(*id))),
            Fault::RemembersDeadlines => {
                due = self.inner.due(partition, Timestamp::MAX, usize::MAX).await?;
                let deadlines = self.deadlines.lock().unwrap();
                due.iter_mut().for_each(|(id, at)| *at = deadlines[id]);
                due.retain(|(_, at)| *at < before);
                due.sort_by_key(|(id, at)| (*at, *id));
                due.truncate(limit);
            }
            _ => (),
        }
        Ok(due)
    }

    async fn outbox(&self, after: u64, limit: usize) -> Result<Page<OutboxEntry>, StorageError> {
        let back = u64::from(self.fault == Fault::RepeatsTheCursor);
        let mut page = self.inner.outbox(after.saturating_sub(back), limit).await?;
        if self.fault == Fault::RunsOutOfPlaces {
            page.items.iter_mut().for_each(|entry| entry.seq = entry.seq.min(50));
        }
        Ok(page)
    }

    async fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError> {
        let after = after.filter(|_| self.fault != Fault::IgnoresTheMonitorCursor);
        self.inner.monitors(after, limit).await
    }

    async fn history(&self, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        let mut page = match query {
            HistoryQuery::Feed { after } => self.feed(*after, limit).await?,
            query => self.inner.history(&self.misread(query), limit).await?,
        };
        for item in page.items.iter_mut().filter(|_| self.fault == Fault::LosesWhenItWasSeen) {
            if let HistoryItem::Event { change, .. } = item {
                change.detected_at = change.at;
            }
        }
        match (self.fault, query) {
            (Fault::CountsChangesWrong, HistoryQuery::Changes { .. })
            | (Fault::CountsPingsWrong, HistoryQuery::Pings { .. }) => page.more |= page.items.len() == limit,
            (Fault::SplitsVersions, _) if page.items.len() > limit => {
                page.items.truncate(limit);
                page.more = true;
            }
            (Fault::KeepsFewPings, HistoryQuery::Pings { before: None, .. }) => page.items.truncate(50),
            (Fault::CountsHoursWrong, HistoryQuery::Counts { .. }) => page.more |= page.items.len() == limit,
            (Fault::LosesDurations, HistoryQuery::Counts { .. }) => {
                for item in &mut page.items {
                    if let HistoryItem::Counts(counts) = item {
                        counts.durations = Durations::default();
                    }
                }
            }
            // As one that does not add up what came before and after a crash.
            (Fault::CountsTwiceAfterACrash, HistoryQuery::Counts { .. })
                if self.crashes.load(Ordering::Relaxed) > 0 =>
            {
                page.items.extend(page.items.last().cloned());
            }
            _ => (),
        }
        page.more |= self.fault == Fault::CountsPagesWrong && page.items.len() == limit;
        Ok(page)
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StorageError> {
        let mut documents = self.inner.documents(kind).await?;
        if self.fault == Fault::ListsDocumentsBackwards && documents.len() > 2 {
            documents.reverse();
        }
        Ok(documents)
    }

    async fn watch_log(&self) -> Result<WatchLog, StorageError> {
        let mut log = self.inner.watch_log().await?;
        if self.fault == Fault::OrdersOutagesByStart {
            log.outages.sort_by_key(|outage| outage.from);
        }
        Ok(log)
    }

    async fn news(&self, after: Option<&str>) -> Result<News, StorageError> {
        self.news_with_rumours(after).await
    }
}
