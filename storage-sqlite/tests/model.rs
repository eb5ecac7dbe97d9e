//! Whatever is written, in whatever order, with crashes in between: it answers as the storage in memory does.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use heartbeat_engine::testing::fixtures::{
    at, batch, change, closed, full_notification, health, incident, incident_id, lease, monitor_id, monitor_number,
    notification, notification_id, ping, record, settlement, token, transition, write_document,
};
use heartbeat_engine::testing::run;
use heartbeat_engine::{
    Batch, Change, DeliveryState, Epoch, HistoryQuery, Lease, MemoryStorage, Name, Outage, PartitionId, Record,
    Rotating, Storage, Timestamp, Transition, Version,
};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage, Synchronous};
use proptest::prelude::*;

const MONITORS: u64 = 4;

/// What is done to both storages.
#[derive(Clone, Debug)]
enum Step {
    Commit(Box<Batch>),
    Lease(Lease, Lease),
    Crash,
}

fn records() -> impl Strategy<Value = Record> {
    (0..MONITORS, 0..5_u64, 0..6_u64, 0..6_u64, 0..100_i64).prop_map(|(n, slug, current, old, due)| {
        let mut found = record(n);
        let monitor = std::sync::Arc::make_mut(&mut found.monitor);
        monitor.spec.slug = format!("slug-{slug}").into();
        monitor.token = Rotating::new(token(old)).rotated(token(current), at(5));
        if old == current {
            monitor.token.retiring = None;
        }
        Record { health: health(at(due)), ..found }
    })
}

fn transitions() -> impl Strategy<Value = Transition> {
    let numbers = prop::collection::btree_set(0..5_u64, 0..4);
    (records(), any::<bool>(), 0..6_u64, numbers, 0..5_u32).prop_map(|(record, keep, expected, numbers, kind)| {
        let id = record.id();
        // As the engine makes them: versions and pings count up, and things are named after their monitor.
        let version = expected.max(1);
        let own = |n: u64| n * MONITORS + monitor_number(id);
        let put = Change::Put(Arc::new(Record { version: Version(version), ..record }));
        let base = transition(id, expected.checked_sub(1).map(Version), if keep { put } else { Change::Remove });
        let numbers = numbers.into_iter();
        match kind {
            0 if keep => Transition { pings: numbers.map(|n| ping(version * 10 + n)).collect(), ..base },
            1 if keep => Transition { changes: numbers.map(|_| change(id, version)).collect(), ..base },
            2 => Transition { incidents: numbers.map(|n| incident(own(n), id)).collect(), ..base },
            3 => Transition { incidents: numbers.map(|n| closed(incident(own(n), id))).collect(), ..base },
            _ => {
                let told = numbers.map(|n| full_notification(own(n), &incident(own(n % 2), id)));
                Transition { notifications: told.collect(), ..base }
            }
        }
    })
}

fn batches() -> impl Strategy<Value = Batch> {
    let states = prop::sample::select(vec![DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Dead]);
    let documents = prop::collection::btree_map(0..3_u64, (0..4_u64, prop::option::of(0..9_u64)), 0..3);
    let beside = (
        documents,
        prop::collection::vec((0..12_u64, states), 0..3),
        prop::collection::vec(0..12_u64, 0..2),
        prop::option::of(0..50_i64),
        prop::option::of((0..50_i64, 0..50_i64)),
        (prop::option::weighted(0.1, 0..50_i64), prop::option::weighted(0.1, 0..50_i64)),
    );
    let epochs = prop::sample::select(vec![0, 0, 0, 1]);
    (prop::collection::vec(transitions(), 0..4), beside, 0..2_u16, epochs).prop_map(
        |(transitions, (documents, settled, owed, mark, outage, (before, after)), partition, epoch)| {
            let write = |(id, (expected, body)): (u64, (u64, Option<u64>))| {
                let body = body.map(|n| serde_json::json!({ "n": n }));
                write_document("kind", &id.to_string(), u64::checked_sub(expected, 1), body)
            };
            let mut seen = BTreeSet::new();
            let transitions: Vec<_> = transitions.into_iter().filter(|t| seen.insert(t.monitor)).collect();
            Batch {
                partition: PartitionId(partition),
                epoch: Epoch(epoch),
                documents: documents.into_iter().map(write).collect(),
                settlements: settled.into_iter().map(|(n, state)| settlement(n, state)).collect(),
                notifications: owed.into_iter().map(notification).collect(),
                mark: mark.map(at),
                outage: outage.map(|(from, to)| Outage { from: at(from.min(to)), to: at(from.max(to)) }),
                forget_outages_before: before.map(at),
                forget_outages_after: after.map(at),
                ..batch(transitions)
            }
        },
    )
}

fn steps() -> impl Strategy<Value = Step> {
    let leases = (0..2_u16, 0..2_u64, 0..2_u64)
        .prop_map(|(partition, old, new)| Step::Lease(lease(partition, old, ""), lease(partition, new, "")));
    prop_oneof![30 => batches().prop_map(|batch| Step::Commit(Box::new(batch))), 2 => leases, 1 => Just(Step::Crash)]
}

/// Everything that can be asked, as text.
async fn everything(storage: &dyn Storage) -> Vec<String> {
    let mut found = Vec::new();
    found.push(format!("{:?}", storage.leases().await.unwrap()));
    found.push(format!("{:?}", storage.monitors(None, 3).await.unwrap()));
    found.push(format!("{:?}", storage.monitors(Some(monitor_id(1)), 10).await.unwrap()));
    found.push(format!("{:?}", storage.outbox(0, 5).await.unwrap()));
    found.push(format!("{:?}", storage.documents("kind").await.unwrap()));
    found.push(format!("{:?}", storage.watch_log().await.unwrap()));
    for partition in [0, 1].map(PartitionId) {
        found.push(format!("{:?}", storage.due(partition, at(70), 2).await.unwrap()));
        found.push(format!("{:?}", storage.due(partition, Timestamp::MAX, 10).await.unwrap()));
    }
    let slugs = (0..5).map(|n| Name::Slug(format!("slug-{n}")));
    for name in slugs.chain((0..6).map(|n| Name::Token(token(n).hash()))) {
        found.push(format!("{name:?} {:?}", storage.find(&name).await.unwrap()));
    }
    let mut queries = Vec::new();
    for monitor in (0..MONITORS).map(monitor_id) {
        queries.push(HistoryQuery::Pings { monitor, before: None });
        queries.push(HistoryQuery::Pings { monitor, before: Some(25) });
        queries.push(HistoryQuery::Changes { monitor, before: None });
        queries.push(HistoryQuery::Changes { monitor, before: Some(3) });
        for open in [None, Some(true), Some(false)] {
            queries.push(HistoryQuery::Incidents { monitor: Some(monitor), open, before: None });
            queries.push(HistoryQuery::Incidents { monitor: None, open, before: Some((at(7), incident_id(7))) });
        }
    }
    for state in [None, Some(DeliveryState::Pending), Some(DeliveryState::Delivered), Some(DeliveryState::Dead)] {
        for incident in [None, Some(incident_id(1))] {
            queries.push(HistoryQuery::Notifications { state, incident, before: None });
            queries.push(HistoryQuery::Notifications { state, incident, before: Some(5) });
        }
    }
    queries.extend([0, 3, u64::MAX].map(|after| HistoryQuery::Feed { after }));
    queries.push(HistoryQuery::LatestEvent);
    queries.extend((0..20).map(|n| HistoryQuery::Notification(notification_id(n))));
    queries.extend((0..20).map(|n| HistoryQuery::Incident(incident_id(n))));
    for query in queries {
        for limit in [2, 100] {
            found.push(format!("{query:?} {limit} {:?}", storage.history(&query, limit).await.unwrap()));
        }
    }
    found
}

/// From `large` lines of history on, batches leave them to later.
fn open(path: &Path, large: u32) -> SqliteStorage {
    let options = SqliteOptions::new().synchronous(Synchronous::Normal).readers(1).large_batch(large);
    SqliteStorage::open(path, options).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_answers_as_the_storage_in_memory_does(
        steps in prop::collection::vec(steps(), 1..40),
        large in prop_oneof![Just(1_u32), Just(3), Just(256)],
    ) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heartbeat.db");
        run(async {
            let memory = MemoryStorage::new();
            let mut sqlite = open(&path, large);
            for (index, step) in steps.iter().enumerate() {
                match step {
                    Step::Commit(batch) => {
                        assert_eq!(sqlite.commit(batch).await, memory.commit(batch).await, "step {index}");
                    }
                    Step::Lease(expected, next) => {
                        let swapped = memory.swap_lease(expected, next).await;
                        assert_eq!(sqlite.swap_lease(expected, next).await, swapped, "step {index}");
                    }
                    Step::Crash => {
                        drop(sqlite);
                        sqlite = open(&path, large);
                    }
                }
                if index % 8 == 7 || index + 1 == steps.len() {
                    for (found, expected) in everything(&sqlite).await.iter().zip(everything(&memory).await) {
                        assert_eq!(*found, expected, "after step {index}");
                    }
                }
            }
        });
    }
}
