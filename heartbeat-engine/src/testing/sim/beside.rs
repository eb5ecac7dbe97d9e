//! A storage that runs beside the model: every operation is carried out on both, what they answer must be the same, and the nodes
//! are given what the storage answered.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use crate::{
    Applied, Batch, CountsPer, Document, HistoryItem, HistoryQuery, Lease, MonitorId, MonitorNews, Name, News,
    NotificationId, OutboxEntry, Page, PartitionId, Record, Storage, StorageError, WatchLog,
};

/// What is promised of a storage that a world runs on.
pub(super) const PROMISE: &str = "the storage does what its model does";
/// How much is read at a time: so little that several pages are needed.
const PAGE: usize = 5;

/// Makes another handle to the storage, as another process would have one.
pub(super) type Open = Box<dyn FnMut(u16) -> Arc<dyn Storage>>;

/// See the module.
pub(super) struct Beside {
    runtime: tokio::runtime::Handle,
    open: Open,
    partitions: u16,
    handles: BTreeMap<u64, Arc<dyn Storage>>,
    /// The first difference.
    pub(super) difference: Option<String>,
}

impl Beside {
    pub(super) fn new(runtime: tokio::runtime::Handle, open: Open, partitions: u16) -> Self {
        Self { runtime, open, partitions, handles: BTreeMap::new(), difference: None }
    }

    /// Does something with one handle; a failure is a difference.
    fn ask<T, F: Future<Output = Result<T, StorageError>>>(
        &mut self,
        by: u64,
        what: &str,
        ask: impl FnOnce(Arc<dyn Storage>) -> F,
    ) -> Option<T> {
        let answer = self.runtime.clone().block_on(ask(self.handle(by)));
        answer.map_err(|error| self.differs(format!("{what}: {error}"))).ok()
    }

    fn handle(&mut self, by: u64) -> Arc<dyn Storage> {
        let (open, partitions) = (&mut self.open, self.partitions);
        self.handles.entry(by).or_insert_with(|| open(partitions)).clone()
    }

    fn differs(&mut self, text: String) {
        self.difference.get_or_insert(text);
    }

    fn compare<T: PartialEq + std::fmt::Debug + ?Sized>(&mut self, what: &str, storage: &T, model: &T) {
        if storage != model {
            self.differs(format!("{what}:\n  the storage: {storage:?}\n  its model:   {model:?}"));
        }
    }

    pub(super) fn commit(
        &mut self,
        by: u64,
        batch: &Batch,
        model: &Result<Applied, StorageError>,
    ) -> Result<Applied, StorageError> {
        let handle = self.handle(by);
        let answer = self.runtime.block_on(handle.commit(batch));
        self.compare("a commit", &answer, model);
        answer
    }

    pub(super) fn swap_lease(&mut self, by: u64, expected: &Lease, next: &Lease, model: bool) -> bool {
        let answer = self.ask(by, "a swap of a lease", |s| async move { s.swap_lease(expected, next).await });
        if let Some(answer) = answer {
            self.compare("a swap of a lease", &answer, &model);
        }
        answer.unwrap_or(model)
    }

    pub(super) fn leases(&mut self, by: u64, model: &[Lease]) -> Vec<Lease> {
        let answer = self.ask(by, "the leases", |s| async move { s.leases().await });
        let mut leases = answer.unwrap_or_default();
        leases.sort_by_key(|lease| lease.partition);
        self.compare("the leases", &leases[..], model);
        leases
    }

    pub(super) fn documents(&mut self, by: u64, kind: &str, model: &[Document]) -> Vec<Document> {
        let documents = self.ask(by, "documents", |s| async move { s.documents(kind).await }).unwrap_or_default();
        self.compare("documents", &documents[..], model);
        documents
    }

    pub(super) fn watch_log(&mut self, by: u64, model: &WatchLog) -> WatchLog {
        let log = self.ask(by, "the watch log", |s| async move { s.watch_log().await }).unwrap_or_default();
        self.compare("the watch log", &log, model);
        log
    }

    pub(super) fn load(&mut self, by: u64, ids: &[MonitorId], model: &[Option<Record>]) -> Vec<Option<Record>> {
        let records = self.ask(by, "records", |s| async move { s.load(ids).await }).unwrap_or_default();
        self.compare("records", &records[..], model);
        records
    }

    pub(super) fn monitors(&mut self, by: u64, model: &[Record]) -> Vec<Record> {
        let all = |s: Arc<dyn Storage>| async move {
            let (mut all, mut more) = (Vec::<Record>::new(), true);
            while more {
                let page = s.monitors(all.last().map(Record::id), PAGE).await?;
                more = page.more;
                all.extend(page.items);
            }
            Ok(all)
        };
        let records = self.ask(by, "the monitors", all).unwrap_or_default();
        self.compare("the monitors", &records[..], model);
        records
    }

    /// Everything that is owed; the places of a storage are its own.
    pub(super) fn outbox(&mut self, by: u64, model: &[OutboxEntry]) -> Vec<OutboxEntry> {
        let all = |s: Arc<dyn Storage>| async move {
            let (mut all, mut more) = (Vec::<OutboxEntry>::new(), true);
            while more {
                let page = s.outbox(all.last().map_or(0, |entry| entry.seq), PAGE).await?;
                more = page.more;
                all.extend(page.items);
            }
            Ok(all)
        };
        let entries = self.ask(by, "the outbox", all).unwrap_or_default();
        let apart = |entries: &[OutboxEntry]| by_home(entries, self.partitions);
        let (found, meant) = (apart(&entries), apart(model));
        self.compare("the outbox", &found, &meant);
        entries
    }

    /// A page of what is owed, behind a place of the storage, by everything that the model says is owed.
    pub(super) fn outbox_page(
        &mut self,
        by: u64,
        after: u64,
        limit: usize,
        model: &[OutboxEntry],
    ) -> Page<OutboxEntry> {
        let page = self.ask(by, "a page of the outbox", |s| async move { s.outbox(after, limit).await });
        let page = page.unwrap_or_else(Page::empty);
        let mut last = after;
        for entry in &page.items {
            let meant = model.iter().find(|meant| meant.notification.id == entry.notification.id);
            let same = meant.is_some_and(|meant| without_place(meant) == without_place(entry));
            if !same || entry.seq <= last {
                self.differs(format!("a page behind {after} has {entry:?}; its model has {meant:?}"));
            }
            last = entry.seq;
        }
        page
    }

    pub(super) fn notifications(&mut self, by: u64, ids: &[NotificationId], model: &[OutboxEntry]) -> Vec<OutboxEntry> {
        let mut found = Vec::new();
        for id in ids {
            let query = HistoryQuery::Notification(*id);
            let page = self.ask(by, "a notification", |s| async move { s.history(&query, 1).await });
            let items = page.map(|page| page.items).unwrap_or_default();
            found.extend(items.into_iter().filter_map(notification));
        }
        let plain = |entries: &[OutboxEntry]| entries.iter().map(without_place).collect::<Vec<_>>();
        self.compare("notifications", &plain(&found), &plain(model));
        found
    }

    /// The position where news begin.
    pub(super) fn news_begin(&mut self, by: u64, model: &News) -> News {
        let news = self.ask(by, "where news begin", |s| async move { s.news(None).await }).unwrap_or_default();
        let position = format!("{}\n{}", model.position, news.position);
        News { position, ..news }
    }

    /// Everything that is news behind a position that this gave; `model` is asked with its own.
    pub(super) fn news(&mut self, by: u64, after: &str, mut model: impl FnMut(&str) -> News) -> News {
        let (of_model, of_storage) = after.split_once('\n').unwrap_or((after, after));
        let meant = gather(of_model, |after| Some(model(after)));
        let told = gather(of_storage, |after| self.ask(by, "news", |s| async move { s.news(Some(after)).await }));
        let position = format!("{}\n{}", meant.position, told.position);
        // News are kept for a while only, and that by the true time.
        if !told.missed && !meant.missed {
            self.compare_news(&told, &meant);
        }
        News { position, ..told }
    }

    fn compare_news(&mut self, told: &News, meant: &News) {
        let forms = |news: &News| {
            let mut of_monitors: BTreeMap<MonitorId, Vec<MonitorNews>> = BTreeMap::new();
            news.monitors.iter().for_each(|told| of_monitors.entry(told.monitor).or_default().push(told.clone()));
            of_monitors
        };
        let (mut told_forms, mut meant_forms) = (forms(told), forms(meant));
        // The wish need not be told where it stayed the same.
        for (told, meant) in told_forms.values_mut().flatten().zip(meant_forms.values_mut().flatten()) {
            if let (Some(told), Some(meant)) = (&mut told.form, &mut meant.form)
                && told.monitor.is_none()
            {
                meant.monitor = None;
            }
        }
        self.compare("news of monitors", &told_forms, &meant_forms);
        let changes = |news: &News| {
            let mut changes = news.changes.clone();
            changes.sort_by_key(|change| change.monitor);
            changes
        };
        self.compare("news of changes", &changes(told), &changes(meant));
        let owed = |news: &News| {
            let mut owed = news.owed.clone();
            owed.sort_unstable();
            owed
        };
        self.compare("news of what is owed", &owed(told), &owed(meant));
        self.compare("news of documents", &told.documents, &meant.documents);
    }

    /// Compares what is kept of each of these monitors, and what belongs to none.
    pub(super) fn compare_kept(
        &mut self,
        by: u64,
        monitors: &[Record],
        model: impl Fn(&HistoryQuery) -> Page<HistoryItem>,
    ) {
        for record in monitors {
            let monitor = record.id();
            let queries = [
                HistoryQuery::Changes { monitor, before: None },
                HistoryQuery::Counts { monitor, per: CountsPer::Hour, since: None, before: None },
                HistoryQuery::Incidents { monitor: Some(monitor), open: None, before: None },
            ];
            for query in queries {
                let items = self.history(by, &query);
                self.compare(&format!("{query:?}"), &items, &model(&query).items);
            }
            let query = HistoryQuery::Pings { monitor, before: None };
            let (mut found, meant) = (self.history(by, &query), model(&query).items);
            // A storage may keep a few more than it is told to.
            found.truncate(meant.len());
            self.compare(&format!("{query:?}"), &found, &meant);
            for name in Name::all_of(record) {
                let found = self.ask(by, "a name", |s| async move { s.find(&name).await }).flatten();
                self.compare("who has a name", &found, &Some(monitor));
            }
        }
        let query = HistoryQuery::Incidents { monitor: None, open: None, before: None };
        let items = self.history(by, &query);
        self.compare("the incidents", &items, &model(&query).items);
        let query = HistoryQuery::Notifications { state: None, incident: None, before: None };
        let partitions = self.partitions;
        let entries = |items: Vec<HistoryItem>| {
            let entries: Vec<OutboxEntry> = items.into_iter().filter_map(notification).collect();
            by_home(&entries, partitions)
        };
        let (found, meant) = (self.history(by, &query), model(&query).items);
        let (found, meant) = (entries(found), entries(meant));
        self.compare("the notifications", &found, &meant);
        let query = HistoryQuery::Feed { after: 0 };
        let changes = |items: Vec<HistoryItem>| {
            let mut changes: Vec<_> = items
                .into_iter()
                .filter_map(|item| if let HistoryItem::Event { change, .. } = item { Some(change) } else { None })
                .collect();
            // The order of monitors among each other is the storage's own.
            changes.sort_by_key(|change| change.monitor);
            changes
        };
        let (found, meant) = (changes(self.history(by, &query)), changes(model(&query).items));
        self.compare("the feed", &found, &meant);
    }

    fn history(&mut self, by: u64, query: &HistoryQuery) -> Vec<HistoryItem> {
        let page = self.ask(by, "history", |s| async move { s.history(query, 100_000).await });
        page.map(|page| page.items).unwrap_or_default()
    }
}

/// Everything behind a position, as one portion.
fn gather(after: &str, mut read: impl FnMut(&str) -> Option<News>) -> News {
    let mut all = News { position: after.to_owned(), more: true, ..News::default() };
    while all.more && !all.missed {
        let Some(news) = read(&all.position.clone()) else { break };
        all.position = news.position;
        all.monitors.extend(news.monitors);
        all.changes.extend(news.changes);
        all.owed.extend(news.owed);
        all.documents.extend(news.documents);
        (all.more, all.missed) = (news.more, news.missed);
    }
    all.documents.sort_unstable();
    all.documents.dedup();
    all
}

fn notification(item: HistoryItem) -> Option<OutboxEntry> {
    if let HistoryItem::Notification(entry) = item { Some(*entry) } else { None }
}

fn without_place(entry: &OutboxEntry) -> OutboxEntry {
    OutboxEntry { seq: 0, ..entry.clone() }
}

/// Entries by the partition that keeps them, in their order there.
fn by_home(entries: &[OutboxEntry], partitions: u16) -> BTreeMap<PartitionId, Vec<OutboxEntry>> {
    let mut homes: BTreeMap<PartitionId, Vec<OutboxEntry>> = BTreeMap::new();
    for entry in entries {
        let home = PartitionId::of_notification(entry.notification.id, partitions);
        homes.entry(home).or_default().push(without_place(entry));
    }
    homes
}
