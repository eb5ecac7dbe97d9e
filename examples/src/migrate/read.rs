//! Reads a storage through, a page at a time.

use std::sync::Arc;

use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use heartbeat_engine::{
    Counts, CountsPer, HistoryItem, HistoryQuery, Incident, IncidentId, MonitorId, OutboxEntry, PingEntry, Record,
    StateChange, Storage, StorageError, Timestamp,
};

/// So many records, incidents, notifications or changes are read at a time.
pub(super) const PAGE: usize = 500;
/// So many heartbeats or hours of a monitor are.
const OF_MONITOR: usize = 1000;
/// The histories of so many monitors are read side by side.
const SIDE_BY_SIDE: usize = 16;

pub(super) type Store = Arc<dyn Storage>;

/// A monitor with its heartbeats and counted hours.
pub(super) struct Whole {
    pub(super) record: Record,
    /// Oldest first.
    pub(super) pings: Vec<PingEntry>,
    /// Newest first.
    pub(super) hours: Vec<Counts>,
}

/// Every record, page by page in the order of ids.
pub(super) fn records(store: &Store) -> impl Stream<Item = Result<Vec<Record>, StorageError>> + use<> {
    let store = Arc::clone(store);
    stream::try_unfold(Some(None), move |after: Option<Option<MonitorId>>| {
        let store = Arc::clone(&store);
        async move {
            let Some(after) = after else { return Ok(None) };
            let page = store.monitors(after, PAGE).await?;
            let last = page.items.last().map(Record::id);
            let next = last.filter(|_| page.more).map(Some);
            Ok(Some((page.items, next)))
        }
    })
}

/// Records with what is kept of each, in their order.
pub(super) fn whole(
    store: &Store,
    records: Vec<Record>,
) -> impl Stream<Item = Result<Whole, StorageError>> + Send + use<> {
    let store = Arc::clone(store);
    let read = move |record: Record| {
        let store = Arc::clone(&store);
        async move {
            let id = record.id();
            let (pings, hours) = futures_util::try_join!(pings(&*store, id), hours(&*store, id))?;
            Ok(Whole { record, pings, hours })
        }
    };
    stream::iter(records.into_iter().map(read)).buffered(SIDE_BY_SIDE)
}

async fn pings(store: &dyn Storage, monitor: MonitorId) -> Result<Vec<PingEntry>, StorageError> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let page = store.history(&HistoryQuery::Pings { monitor, before }, OF_MONITOR).await?;
        found.extend(page.items.into_iter().filter_map(|item| match item {
            HistoryItem::Ping(ping) => Some(*ping),
            _ => None,
        }));
        before = found.last().map(|ping: &PingEntry| ping.n);
        if !page.more || before.is_none() {
            found.reverse();
            return Ok(found);
        }
    }
}

async fn hours(store: &dyn Storage, monitor: MonitorId) -> Result<Vec<Counts>, StorageError> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let query = HistoryQuery::Counts { monitor, per: CountsPer::Hour, since: None, before };
        let page = store.history(&query, OF_MONITOR).await?;
        found.extend(page.items.into_iter().filter_map(|item| match item {
            HistoryItem::Counts(counts) => Some(counts),
            _ => None,
        }));
        before = found.last().map(|hour: &Counts| hour.begins_at);
        if !page.more || before.is_none() {
            return Ok(found);
        }
    }
}

/// Changes of state with their places, page by page in the order of the feed.
pub(super) fn events(
    store: &Store,
    after: u64,
) -> impl Stream<Item = Result<Vec<(u64, StateChange)>, StorageError>> + use<> {
    let store = Arc::clone(store);
    stream::try_unfold(Some(after), move |after| {
        let store = Arc::clone(&store);
        async move {
            let Some(after) = after else { return Ok(None) };
            let page = store.history(&HistoryQuery::Feed { after }, PAGE).await?;
            let events: Vec<_> = page.items.into_iter().filter_map(event).collect();
            let next = events.last().map(|(seq, _)| *seq).filter(|_| page.more);
            Ok(Some((events, next)))
        }
    })
}

pub(super) fn event(item: HistoryItem) -> Option<(u64, StateChange)> {
    match item {
        HistoryItem::Event { seq, change } => Some((seq, change)),
        _ => None,
    }
}

/// A kind of history that is listed newest first.
pub(super) trait Listed: Sized + Send + 'static {
    /// Where a page begins.
    type Cursor: Clone + Send + 'static;

    fn query(before: Option<Self::Cursor>) -> HistoryQuery;
    fn of(item: HistoryItem) -> Option<Self>;
    fn cursor(&self) -> Self::Cursor;
}

impl Listed for Incident {
    type Cursor = (Timestamp, IncidentId);

    fn query(before: Option<Self::Cursor>) -> HistoryQuery {
        HistoryQuery::Incidents { monitor: None, open: None, before }
    }

    fn of(item: HistoryItem) -> Option<Self> {
        match item {
            HistoryItem::Incident(incident) => Some(incident),
            _ => None,
        }
    }

    fn cursor(&self) -> Self::Cursor {
        (self.opened_at, self.id)
    }
}

impl Listed for OutboxEntry {
    type Cursor = u64;

    fn query(before: Option<u64>) -> HistoryQuery {
        HistoryQuery::Notifications { state: None, incident: None, before }
    }

    fn of(item: HistoryItem) -> Option<Self> {
        match item {
            HistoryItem::Notification(entry) => Some(*entry),
            _ => None,
        }
    }

    fn cursor(&self) -> u64 {
        self.seq
    }
}

/// Pages of it, newest first.
pub(super) fn newest_first<T: Listed>(store: &Store) -> impl Stream<Item = Result<Vec<T>, StorageError>> + use<T> {
    let store = Arc::clone(store);
    stream::try_unfold(Some(None), move |before| {
        let store = Arc::clone(&store);
        async move {
            let Some(before) = before else { return Ok(None) };
            let (items, more) = page::<T>(&*store, before).await?;
            let next = items.last().map(T::cursor).filter(|_| more).map(Some);
            Ok(Some((items, next)))
        }
    })
}

/// Pages of it, oldest first, each in that order. Storages list it the other way round, so it is read through once to learn
/// where pages begin.
pub(super) async fn oldest_first<T: Listed>(
    store: &Store,
) -> Result<impl Stream<Item = Result<Vec<T>, StorageError>> + use<T>, StorageError> {
    let mut begins: Vec<Option<T::Cursor>> = vec![None];
    let mut pages = Box::pin(newest_first::<T>(store));
    while let Some(page) = pages.try_next().await? {
        begins.extend(page.last().map(|item| Some(item.cursor())));
    }
    let store = Arc::clone(store);
    Ok(stream::iter(begins.into_iter().rev()).then(move |before| {
        let store = Arc::clone(&store);
        async move {
            let (mut items, _) = page::<T>(&*store, before).await?;
            items.reverse();
            Ok(items)
        }
    }))
}

async fn page<T: Listed>(store: &dyn Storage, before: Option<T::Cursor>) -> Result<(Vec<T>, bool), StorageError> {
    let page = store.history(&T::query(before), PAGE).await?;
    Ok((page.items.into_iter().filter_map(T::of).collect(), page.more))
}
