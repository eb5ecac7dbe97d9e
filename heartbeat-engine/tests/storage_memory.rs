//! The storage in memory keeps the promises of a storage, and its limits.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use heartbeat_engine::testing::fixtures::{batch, closed, create, incident, monitor_id, next, ping, record, replace};
use heartbeat_engine::testing::fixtures::{notification, settlement};
use heartbeat_engine::testing::{StorageHarness, import_promises, run};
use heartbeat_engine::{
    Batch, DeliveryState, HistoryItem, HistoryQuery, MemoryLimits, MemoryStorage, Storage, Transition,
};

struct Memory;

impl StorageHarness for Memory {
    type Storage = MemoryStorage;

    async fn fresh(&self) -> Arc<MemoryStorage> {
        Arc::new(MemoryStorage::new().with_partitions(8))
    }

    async fn reopen(&self, storage: Arc<MemoryStorage>) -> Arc<MemoryStorage> {
        storage
    }

    async fn another(&self, storage: &Arc<MemoryStorage>) -> Option<Arc<MemoryStorage>> {
        Some(Arc::new(storage.another_handle()))
    }
}

heartbeat_engine::storage_suite!(Memory);

fn limited() -> MemoryStorage {
    let mut limits = MemoryLimits::default();
    limits.pings_per_monitor = 3;
    limits.incidents_per_monitor = 2;
    limits.incidents_closed = 3;
    limits.notifications_settled = 2;
    MemoryStorage::with_limits(limits)
}

async fn items(storage: &MemoryStorage, query: HistoryQuery) -> Vec<HistoryItem> {
    storage.history(&query, 100).await.unwrap().items
}

#[test]
fn only_the_newest_pings_and_closed_incidents_are_kept() {
    run(async {
        let storage = limited();
        let incidents = |monitor: u64, numbers: std::ops::RangeInclusive<u64>| {
            numbers.map(move |n| closed(incident(n, monitor_id(monitor))))
        };
        let open = incident(1, monitor_id(1));
        let first = Transition {
            pings: (1..=5).map(ping).collect(),
            incidents: [open].into_iter().chain(incidents(1, 2..=4)).collect(),
            ..create(&record(1))
        };
        storage.commit(&batch([first])).await.unwrap();
        let pings = items(&storage, HistoryQuery::Pings { monitor: monitor_id(1), before: None }).await;
        assert_eq!(pings, [5, 4, 3].map(|n| HistoryItem::Ping(Box::new(ping(n)))));
        let of_all = HistoryQuery::Incidents { monitor: None, open: None, before: None };
        let kept = [closed(incident(4, monitor_id(1))), closed(incident(3, monitor_id(1))), incident(1, monitor_id(1))];
        assert_eq!(items(&storage, of_all.clone()).await, kept.map(HistoryItem::Incident), "the open one is kept");
        let second = Transition { incidents: incidents(2, 5..=6).collect(), ..create(&record(2)) };
        let third = Transition { pings: vec![ping(6)], ..replace(&next(&record(1), |_, _| ())) };
        storage.commit(&batch([second, third])).await.unwrap();
        assert_eq!(items(&storage, of_all).await.len(), 4, "three closed and one open of all monitors");
    });
}

#[test]
fn only_the_newest_settled_notifications_are_kept() {
    run(async {
        let storage = limited();
        storage.commit(&Batch { notifications: (1..=5).map(notification).collect(), ..batch([]) }).await.unwrap();
        let settlements = (2..=5).map(|n| settlement(n, DeliveryState::Delivered)).collect();
        storage.commit(&Batch { settlements, ..batch([]) }).await.unwrap();
        let all = HistoryQuery::Notifications { state: None, incident: None, before: None };
        let kept: Vec<_> = (items(&storage, all).await.into_iter())
            .map(|item| match item {
                HistoryItem::Notification(entry) => entry.notification.message,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(kept, ["notification 5", "notification 4", "notification 1"], "the pending one is kept");
    });
}

#[test]
fn who_stayed_away_for_too_long_is_told() {
    run(async {
        let storage = MemoryStorage::new();
        let other = storage.another_handle();
        let begin = other.news(None).await.unwrap();
        for n in 1..=10_001 {
            storage.commit(&Batch { notifications: vec![notification(n)], ..batch([]) }).await.unwrap();
        }
        let news = other.news(Some(&begin.position)).await.unwrap();
        assert!(news.missed && news.owed.is_empty() && !news.more, "{news:?}");
        storage.commit(&batch([create(&record(1))])).await.unwrap();
        let news = other.news(Some(&news.position)).await.unwrap();
        assert_eq!((news.monitors.len(), news.missed), (1, false), "{news:?}");
        for nowhere in ["", "here", "999999"] {
            let news = other.news(Some(nowhere)).await.unwrap();
            assert!(news.missed && news.monitors.is_empty(), "{nowhere}: {news:?}");
        }
    });
}

#[test]
fn it_takes_in_what_another_storage_kept() {
    run(import_promises(&Memory));
}
