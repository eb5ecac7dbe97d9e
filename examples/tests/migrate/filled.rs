//! A store with some of everything, and what any store holds.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use heartbeat_engine::testing::fixtures::{
    at, batch, change, closed, create, full_notification, full_ping, full_record, incident, monitor_id_in, next,
    notification, ping, record, remove, replace, settlement, with_id, write_document,
};
use heartbeat_engine::{
    Batch, CountsPer, DeliveryState, HistoryItem, HistoryQuery, MonitorId, Outage, Outcome, PartitionId, PingEntry,
    Record, Signal, Storage, Transition,
};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};

/// Monitors that are removed again.
const REMOVED: u64 = 5;

/// Makes a file with so many monitors, and some of everything that there is.
pub(crate) async fn fill(path: &Path, monitors: u64) {
    let storage = SqliteStorage::open(path, SqliteOptions::new().log_bytes(1)).unwrap();
    let numbers: Vec<u64> = (1..=monitors + REMOVED).collect();
    for numbers in numbers.chunks(200) {
        let transitions: Vec<_> =
            numbers.iter().map(|n| Transition { pings: pings(*n), ..create(&first(*n)) }).collect();
        commit(&storage, batch(transitions)).await;
    }
    // Changes of many monitors in turn, so that the feed is in no order of ids.
    for version in 2..=4 {
        for numbers in numbers.chunks(100) {
            let of_these = numbers.iter().rev().filter(|n| n.is_multiple_of(3));
            commit(&storage, batch(of_these.map(|n| later(*n, version)).collect::<Vec<_>>())).await;
        }
    }
    for n in monitors + 1..=monitors + REMOVED {
        let last = if n.is_multiple_of(3) { versions(n).pop().unwrap() } else { first(n) };
        let incidents = vec![closed(incident(1_000_000 + n, last.id())), incident(2_000_000 + n, last.id())];
        commit(&storage, batch([Transition { incidents, ..remove(&last) }])).await;
    }
    let states = [DeliveryState::Delivered, DeliveryState::Dead, DeliveryState::Grouped, DeliveryState::Pending];
    let settled = numbers.iter().filter(|n| n.is_multiple_of(3) && !n.is_multiple_of(5));
    let settlements = settled.map(|n| settlement(*n * 10 + 3, states[usize::try_from(n % 4).unwrap()])).collect();
    commit(&storage, Batch { settlements, ..batch([]) }).await;
    for version in 0..3_u64 {
        let documents = ["channel", "key", "maintenance", "route"].map(|kind| {
            write_document(
                kind,
                "some",
                (version > 0).then_some(version),
                Some(serde_json::json!({"n": version, "x": 0.1})),
            )
        });
        commit(&storage, Batch { documents: documents.into(), ..batch([]) }).await;
    }
    let node = vec![write_document("node", "gone", None, Some(serde_json::json!({})))];
    commit(&storage, Batch { documents: node, ..batch([]) }).await;
    for n in 0..3 {
        let outage = Some(Outage { from: at(n * 1000), to: at(n * 1000 + 500) });
        commit(&storage, Batch { outage, mark: Some(at(600_000 + n)), ..batch([]) }).await;
    }
    while storage.stats().log_bytes > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn first(n: u64) -> Record {
    let record = if n.is_multiple_of(11) { full_record(n) } else { record(n) };
    with_id(monitor_id_in(PartitionId(u16::try_from(n % 977).unwrap()), n), &record)
}

fn versions(n: u64) -> Vec<Record> {
    let mut records = vec![first(n)];
    for _ in 2..=4 {
        records.push(next(&records[records.len() - 1], |_, health| health.ping_count += 1));
    }
    records
}

/// Of every 50th more heartbeats than are kept, of each over many hours.
fn pings(n: u64) -> Vec<PingEntry> {
    let count = if n.is_multiple_of(50) { 150 } else { 20 };
    let ping = |k: u64| PingEntry {
        arrived_at: at(i64::try_from(k * 1800 + n % 60).unwrap()),
        signal: Signal::ALL[usize::try_from((k + n) % 5).unwrap()],
        duration: (!k.is_multiple_of(3)).then(|| Duration::from_millis(k * n)),
        body: (k == 2).then(|| vec![0xff, 0, b'x']),
        ..ping(k)
    };
    let mut pings: Vec<_> = (1..=count).map(ping).collect();
    if n == 1 {
        pings.push(full_ping(21));
    }
    pings
}

fn later(n: u64, version: u64) -> Transition {
    let now = versions(n).swap_remove(usize::try_from(version - 1).unwrap());
    let id = now.id();
    let opened = incident(n, id);
    let (incidents, notifications) = match version {
        2 => {
            let owed = if n == 3 { full_notification(32, &opened) } else { notification(n * 10 + 2) };
            (vec![opened], vec![owed])
        }
        3 if n.is_multiple_of(2) => (vec![closed(opened)], vec![notification(n * 10 + 3)]),
        3 => (Vec::new(), vec![notification(n * 10 + 3)]),
        _ => (Vec::new(), Vec::new()),
    };
    let changes = vec![change(id, version); usize::try_from(1 + n % 2).unwrap()];
    Transition { changes, incidents, notifications, ..replace(&now) }
}

async fn commit(storage: &SqliteStorage, batch: Batch) {
    let applied = storage.commit(&batch).await.unwrap();
    for outcome in applied.transitions.iter().chain(&applied.documents) {
        assert_eq!(*outcome, Outcome::Committed);
    }
}

/// What a file holds, also what its server would not show any more.
pub(crate) async fn of_file(path: &Path) -> Vec<(&'static str, Vec<String>)> {
    let storage = SqliteStorage::open(path, SqliteOptions::new().pings_per_monitor(10_000)).unwrap();
    contents(&storage).await
}

/// Everything that a storage holds, as texts; what has an order in it.
pub(crate) async fn contents(storage: &impl Storage) -> Vec<(&'static str, Vec<String>)> {
    let monitors = storage.monitors(None, 100_000).await.unwrap().items;
    let ids: Vec<MonitorId> = monitors.iter().map(Record::id).collect();
    let (mut pings, mut hours, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    for monitor in ids {
        pings.extend(texts(items(storage, HistoryQuery::Pings { monitor, before: None }).await));
        let query = HistoryQuery::Counts { monitor, per: CountsPer::Hour, since: None, before: None };
        hours.extend(items(storage, query).await.iter().map(|hour| format!("{monitor} {hour:?}")));
        changes.extend(texts(items(storage, HistoryQuery::Changes { monitor, before: None }).await));
    }
    let query = HistoryQuery::Incidents { monitor: None, open: None, before: None };
    let incidents = texts(items(storage, query).await);
    let query = HistoryQuery::Notifications { state: None, incident: None, before: None };
    let notifications = items(storage, query).await.into_iter().map(|item| match item {
        HistoryItem::Notification(entry) => format!("{:?} {:?}", entry.notification, entry.delivery),
        other => panic!("{other:?}"),
    });
    let mut notifications: Vec<_> = notifications.collect();
    notifications.sort();
    let mut documents = Vec::new();
    for kind in ["channel", "key", "maintenance", "route", "node"] {
        documents.extend(texts(storage.documents(kind).await.unwrap()));
    }
    vec![
        ("monitors", texts(monitors)),
        ("heartbeats", pings),
        ("hours", hours),
        ("changes", changes),
        ("feed", texts(items(storage, HistoryQuery::Feed { after: 0 }).await)),
        ("incidents", incidents),
        ("notifications", notifications),
        ("documents", documents),
        ("watch", texts([storage.watch_log().await.unwrap()])),
    ]
}

async fn items(storage: &impl Storage, query: HistoryQuery) -> Vec<HistoryItem> {
    storage.history(&query, 100_000).await.unwrap().items
}

fn texts<T: Debug>(things: impl IntoIterator<Item = T>) -> Vec<String> {
    things.into_iter().map(|thing| format!("{thing:?}")).collect()
}

/// Fails where two stores hold something else; the documents of nodes stay behind.
pub(crate) fn assert_same(source: &[(&str, Vec<String>)], target: &[(&str, Vec<String>)]) {
    for ((kind, source), (_, target)) in source.iter().zip(target) {
        let wanted: Vec<&String> = source.iter().filter(|text| !text.contains("kind: \"node\"")).collect();
        assert!(!wanted.is_empty(), "the test has no {kind}");
        assert_eq!(wanted.len(), target.len(), "{kind}");
        for (source, target) in wanted.into_iter().zip(target) {
            assert_eq!(source, target, "{kind}");
        }
    }
}
