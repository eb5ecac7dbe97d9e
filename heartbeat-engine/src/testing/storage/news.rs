//! What handles to one store tell each other; stores of one process have nothing to tell.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use super::super::fixtures::{
    batch, change, create, lease, monitor_id, next, notification, notification_id, ping, record, remove, replace,
    settlement, write_document,
};
use super::{StorageHarness, apply, put, write};
use crate::{
    Batch, DeliveryState, Epoch, MonitorId, MonitorNews, News, NotificationId, Outcome, Record, Storage, StorageError,
    Transition, Version,
};

/// One who is told what others write.
struct Reader<S> {
    storage: Arc<S>,
    position: String,
}

impl<S: Storage> Reader<S> {
    /// Begins to read here.
    async fn begin(storage: &Arc<S>) -> Self {
        let begin = storage.news(None).await.expect("news must begin");
        assert_eq!(begin, News { position: begin.position.clone(), ..News::default() }, "nothing is news yet");
        Self { storage: Arc::clone(storage), position: begin.position }
    }

    /// One portion, and on.
    async fn portion(&mut self) -> News {
        let news = self.storage.news(Some(&self.position)).await.expect("news must be read");
        assert!(!news.missed, "nothing is missed by one who reads at once");
        self.position.clone_from(&news.position);
        news
    }

    /// All that there is.
    async fn read(&mut self) -> News {
        let mut all = self.portion().await;
        while all.more {
            let portion = self.portion().await;
            all.monitors.extend(portion.monitors);
            all.changes.extend(portion.changes);
            all.owed.extend(portion.owed);
            all.documents.extend(portion.documents);
            (all.position, all.more) = (portion.position, portion.more);
        }
        all
    }

    /// There is nothing.
    async fn read_nothing(&mut self) {
        let news = self.read().await;
        assert_eq!(news, News { position: news.position.clone(), ..News::default() }, "there is no news");
    }
}

/// The ids and versions that are told.
fn versions(news: &News) -> Vec<(MonitorId, u64)> {
    news.monitors.iter().map(|told| (told.monitor, told.version.0)).collect()
}

/// A monitor is told to be as this record says, its wish where it is told.
fn assert_tells(told: &[MonitorNews], record: &Record) {
    let [told] = told else { panic!("one monitor was written, and told is {told:?}") };
    assert_eq!((told.monitor, told.version), (record.id(), record.version));
    let form = told.form.as_ref().expect("it was not removed");
    assert_eq!((form.revision, &form.health), (record.monitor.revision, &record.health));
    assert!(form.monitor.as_ref().is_none_or(|monitor| *monitor == record.monitor), "its wish is told as it is");
}

/// What was committed before it began is no news, what comes after it is; a position can be read from again, as after an answer
/// that got lost.
pub async fn news_begins_where_it_was_asked_to_begin<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let Some(another) = harness.another(&storage).await else { return };
    let documents = vec![write_document("key", "a", None, Some(json!(1)))];
    write(&*storage, &Batch { documents, notifications: vec![notification(1)], ..batch([create(&record(1))]) }).await;
    let mut reader = Reader::begin(&another).await;
    reader.read_nothing().await;
    put(&*storage, [create(&record(2))]).await;
    let before = reader.position.clone();
    assert_eq!(versions(&reader.read().await), [(monitor_id(2), 1)]);
    reader.read_nothing().await;
    let mut again = Reader { position: before, ..Reader::begin(&another).await };
    assert_eq!(versions(&again.read().await), [(monitor_id(2), 1)]);
    again.read_nothing().await;
}

/// Each commit is told as it was written: a new monitor with its wish, a heartbeat with the state, a new wish with the wish.
pub async fn what_another_handle_commits_is_news<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let Some(another) = harness.another(&storage).await else { return };
    let mut reader = Reader::begin(&another).await;
    let wish_of = |news: &News| news.monitors[0].form.as_ref().and_then(|form| form.monitor.clone());

    let new = record(1);
    put(&*storage, [create(&new)]).await;
    let news = reader.read().await;
    assert_tells(&news.monitors, &new);
    assert_eq!(wish_of(&news), Some(Arc::clone(&new.monitor)), "a new monitor is told with its wish");

    let heard = next(&new, |_, health| health.ping_count += 1);
    put(&*storage, [Transition { pings: vec![ping(1)], ..replace(&heard) }]).await;
    assert_tells(&reader.read().await.monitors, &heard);

    let wished = next(&heard, |monitor, health| {
        monitor.spec.tags = vec!["another".to_owned()];
        health.failures = 2;
    });
    put(&*storage, [replace(&wished), create(&record(2))]).await;
    let mut news = reader.read().await;
    // Only those of one monitor have an order.
    news.monitors.sort_by_key(|told| told.monitor);
    assert_eq!(versions(&news), [(monitor_id(1), 3), (monitor_id(2), 1)]);
    assert_tells(&news.monitors[..1], &wished);
    assert_tells(&news.monitors[1..], &record(2));
    assert_eq!(wish_of(&news), Some(Arc::clone(&wished.monitor)), "a new wish is told");
}

/// A removal is told with the version that the monitor had last, and without a form.
pub async fn a_removal_is_news<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let Some(another) = harness.another(&storage).await else { return };
    let mut reader = Reader::begin(&another).await;
    put(&*storage, [create(&record(1))]).await;
    let last = next(&record(1), |_, _| ());
    put(&*storage, [replace(&last)]).await;
    reader.read().await;
    put(&*storage, [remove(&last)]).await;
    let removed = MonitorNews { monitor: monitor_id(1), version: last.version, form: None };
    assert_eq!(reader.read().await.monitors, [removed]);
}

/// Changes of state are told with every field, in their order.
pub async fn changes_of_state_are_news<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let Some(another) = harness.another(&storage).await else { return };
    let mut reader = Reader::begin(&another).await;
    let two = vec![change(monitor_id(1), 1), crate::StateChange { to: crate::State::Up, ..change(monitor_id(1), 1) }];
    put(&*storage, [Transition { changes: two.clone(), ..create(&record(1)) }]).await;
    assert_eq!(reader.read().await.changes, two);
    let one = vec![change(monitor_id(1), 2)];
    let changed = next(&record(1), |_, _| ());
    put(&*storage, [Transition { changes: one.clone(), ..replace(&changed) }, create(&record(2))]).await;
    assert_eq!(reader.read().await.changes, one);
}

/// Notifications are told when they come to be owed, with a monitor or without, and when they are to be tried again; not when
/// they are settled, and not when they were stored already.
pub async fn what_comes_to_be_owed_is_news<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let Some(another) = harness.another(&storage).await else { return };
    let mut reader = Reader::begin(&another).await;
    let owing = Transition { notifications: vec![notification(1), notification(2)], ..create(&record(1)) };
    write(&*storage, &Batch { notifications: vec![notification(3)], ..batch([owing]) }).await;
    let owed: BTreeSet<NotificationId> = reader.read().await.owed.into_iter().collect();
    assert_eq!(owed, [1, 2, 3].map(notification_id).into());

    write(&*storage, &Batch { notifications: vec![notification(3), notification(4)], ..batch([]) }).await;
    assert_eq!(reader.read().await.owed, [notification_id(4)], "the other one is stored already");

    let settling = |states: &[(u64, DeliveryState)]| Batch {
        settlements: states.iter().map(|(n, state)| settlement(*n, *state)).collect(),
        ..batch([])
    };
    let gone = [(1, DeliveryState::Delivered), (2, DeliveryState::Dead), (4, DeliveryState::Grouped)];
    write(&*storage, &settling(&gone)).await;
    assert_eq!(reader.read().await.owed, [], "they are settled");
    write(&*storage, &settling(&[(2, DeliveryState::Pending), (3, DeliveryState::Delivered)])).await;
    assert_eq!(reader.read().await.owed, [notification_id(2)], "it is to be tried again");
}

/// Which kinds of documents were written is told, each once for all that was written of it, removals included.
pub async fn kinds_of_documents_are_news<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let Some(another) = harness.another(&storage).await else { return };
    let mut reader = Reader::begin(&another).await;
    let documents = vec![
        write_document("route", "a", None, Some(json!(1))),
        write_document("key", "a", None, Some(json!(1))),
        write_document("route", "b", None, Some(json!(1))),
        write_document("channel", "a", Some(7), Some(json!(1))),
    ];
    let applied = apply(&*storage, &Batch { documents, ..Batch::default() }).await;
    assert!(matches!(applied.documents[3], Outcome::Conflict { .. }), "it does not exist: {applied:?}");
    let mut told = reader.read().await.documents;
    told.sort_unstable();
    assert_eq!(told, ["key", "route"]);
    let documents = vec![write_document("key", "a", Some(1), None)];
    write(&*storage, &Batch { documents, ..Batch::default() }).await;
    assert_eq!(reader.read().await.documents, ["key"]);
}

/// Conflicts, taken names and fenced batches are not told, and what stands beside them in their batch is.
pub async fn what_is_not_written_is_no_news<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let Some(another) = harness.another(&storage).await else { return };
    let mut reader = Reader::begin(&another).await;
    let stored = next(&record(1), |_, _| ());
    put(&*storage, [create(&record(1))]).await;
    put(&*storage, [replace(&stored)]).await;
    reader.read().await;

    let stale = Transition { changes: vec![change(monitor_id(1), 2)], ..replace(&stored) };
    let late = Transition { notifications: vec![notification(1)], ..remove(&record(1)) };
    let applied = apply(&*storage, &batch([stale, create(&record(2)), late])).await;
    assert!(matches!(applied.transitions[0], Outcome::Conflict { .. }), "{applied:?}");
    assert!(matches!(applied.transitions[2], Outcome::Conflict { .. }), "{applied:?}");
    let mut rival = record(3);
    Arc::make_mut(&mut rival.monitor).spec.slug = "monitor-1".into();
    let nameless = Transition { changes: vec![change(monitor_id(3), 1)], ..create(&rival) };
    let applied = apply(&*storage, &batch([nameless, create(&record(4))])).await;
    assert_eq!(applied.transitions, [Outcome::NameTaken { field: "slug" }, Outcome::Committed]);
    let news = reader.read().await;
    assert_eq!(versions(&news), [(monitor_id(2), 1), (monitor_id(4), 1)]);
    assert_eq!((news.changes, news.owed), (vec![], vec![]), "nothing of what was not written");

    assert!(storage.swap_lease(&lease(0, 0, ""), &lease(0, 2, "a")).await.unwrap());
    let fenced = Batch {
        epoch: Epoch(0),
        documents: vec![write_document("key", "a", None, Some(json!(1)))],
        notifications: vec![notification(2)],
        ..batch([replace(&next(&stored, |_, _| ()))])
    };
    assert_eq!(storage.commit(&fenced).await, Err(StorageError::Fenced));
    reader.read_nothing().await;
}

/// A handle is told nothing of its own, alone or among others; one that has the store to itself is told nothing at all.
pub async fn own_writes_are_no_news<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let mut reader = Reader::begin(&storage).await;
    let all = |n: u64| Batch {
        documents: vec![write_document(&format!("kind-{n}"), "a", None, Some(json!(1)))],
        notifications: vec![notification(n)],
        ..batch([Transition { changes: vec![change(monitor_id(n), 1)], ..create(&record(n)) }])
    };
    write(&*storage, &all(1)).await;
    reader.read_nothing().await;
    let Some(another) = harness.another(&storage).await else { return };
    let mut other = Reader::begin(&another).await;
    write(&*storage, &all(2)).await;
    write(&*another, &all(3)).await;
    write(&*storage, &all(4)).await;
    let news = reader.read().await;
    assert_eq!((versions(&news), &news.owed[..]), (vec![(monitor_id(3), 1)], &[notification_id(3)][..]));
    assert!(news.changes.iter().all(|change| change.monitor == monitor_id(3)), "{:?}", news.changes);
    assert!(news.documents.iter().all(|kind| kind == "kind-3"), "{:?}", news.documents);
    assert_eq!(versions(&other.read().await), [(monitor_id(2), 1), (monitor_id(4), 1)]);
}

/// Two handles commit at once, each monitor by turns; whoever reads meanwhile, or after it, is told every version of each in order.
pub async fn news_of_a_monitor_comes_in_the_order_of_its_versions<H: StorageHarness>(harness: &H) {
    const MONITORS: u64 = 8;
    const VERSIONS: u64 = 16;
    let storage = harness.fresh().await;
    let Some(another) = harness.another(&storage).await else { return };
    let Some(third) = harness.another(&storage).await else { return };
    let (mut reader, mut late_reader) = (Reader::begin(&third).await, Reader::begin(&third).await);
    let writers: Vec<_> = (1..=MONITORS)
        .map(|n| {
            let handles = [Arc::clone(&storage), Arc::clone(&another)];
            tokio::spawn(async move {
                let mut current = record(n);
                put(&*handles[0], [create(&current)]).await;
                for version in 2..=VERSIONS {
                    current = next(&current, |_, health| health.ping_count += 1);
                    put(&*handles[(version % 2) as usize], [replace(&current)]).await;
                }
            })
        })
        .collect();
    let mut told: Vec<(MonitorId, u64)> = Vec::new();
    while writers.iter().any(|writer| !writer.is_finished()) {
        told.extend(versions(&reader.read().await));
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    told.extend(versions(&reader.read().await));
    for told in [told, versions(&late_reader.read().await)] {
        for n in 1..=MONITORS {
            let of_it = told.iter().filter(|(id, _)| *id == monitor_id(n)).map(|(_, version)| *version);
            assert_eq!(of_it.collect::<Vec<_>>(), (1..=VERSIONS).collect::<Vec<_>>(), "the versions of monitor {n}");
        }
    }
}

/// However much there is, reading it in portions misses nothing and repeats nothing.
pub async fn news_is_read_in_portions<H: StorageHarness>(harness: &H) {
    const BATCHES: u64 = 600;
    let storage = harness.fresh().await;
    let Some(another) = harness.another(&storage).await else { return };
    let mut reader = Reader::begin(&another).await;
    for n in 1..=BATCHES {
        write(&*storage, &Batch { notifications: vec![notification(n)], ..batch([]) }).await;
    }
    let news = reader.read().await;
    assert_eq!(news.owed, (1..=BATCHES).map(notification_id).collect::<Vec<_>>());
    reader.read_nothing().await;
}

/// What a process committed before it crashed is news for others, and what it commits when it is back.
pub async fn news_outlives_whoever_wrote_it<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let Some(another) = harness.another(&storage).await else { return };
    let mut reader = Reader::begin(&another).await;
    put(&*storage, [create(&record(1))]).await;
    let storage = harness.reopen(storage).await;
    assert_eq!(versions(&reader.read().await), [(monitor_id(1), 1)]);
    put(&*storage, [replace(&next(&record(1), |_, _| ()))]).await;
    assert_eq!(versions(&reader.read().await), [(monitor_id(1), Version::FIRST.next().0)]);
}
