//! Atomicity, versions, fencing, durability.

use std::sync::Arc;

use serde_json::json;

use super::super::fixtures::{
    at, batch, change, closed, create, full_ping, full_record, incident, incident_id, lease, monitor_id, next,
    notification, notification_id, ping, record, remove, replace, settlement, write_document,
};
use super::{StorageHarness, apply, history, load, outbox, outcome, pings, put, write};
use crate::{
    Batch, Change, DeliveryState, Epoch, HistoryQuery, Name, Outage, Outcome, Page, PartitionId, Record, Storage,
    StorageError, Timestamp, Transition, Version,
};

/// A record comes back equal in every field, numbers and difficult texts included.
pub async fn a_new_record_is_loaded_as_it_was_written<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let mut paused = record(2);
    paused.health.expectation = None;
    paused.health.latest_at = Timestamp::MAX;
    for record in [full_record(1), paused] {
        assert_eq!(outcome(&*storage, create(&record)).await, Outcome::Committed);
        assert_eq!(load(&*storage, record.id()).await, Some(record));
    }
}

/// `load` answers each id in its place, unknown and repeated ones too.
pub async fn records_are_loaded_in_the_order_asked_for<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    put(&*storage, [create(&record(1)), create(&record(2))]).await;
    let found = storage.load(&[monitor_id(2), monitor_id(9), monitor_id(1), monitor_id(2)]).await.unwrap();
    assert_eq!(found, [Some(record(2)), None, Some(record(1)), Some(record(2))]);
    assert_eq!(storage.load(&[]).await.unwrap(), []);
}

/// A replacement of the stored version is written, with the wish and the fact both new.
pub async fn a_record_is_replaced_under_its_version<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    put(&*storage, [create(&record(1))]).await;
    let fact = next(&record(1), |_, health| health.failures = 3);
    put(&*storage, [replace(&fact)]).await;
    assert_eq!(load(&*storage, monitor_id(1)).await.as_ref(), Some(&fact));
    let wish = next(&fact, |monitor, _| monitor.spec.name = "another".into());
    put(&*storage, [replace(&wish)]).await;
    assert_eq!(load(&*storage, monitor_id(1)).await.as_ref(), Some(&wish));
    put(&*storage, [create(&full_record(2))]).await;
    assert_eq!(load(&*storage, monitor_id(1)).await, Some(wish), "writing one monitor changes no other");
}

/// A transition with everything that can go with it.
fn laden(n: u64, base: Transition) -> Transition {
    Transition {
        pings: vec![full_ping(n)],
        changes: vec![change(base.monitor, n)],
        incidents: vec![incident(n, base.monitor)],
        notifications: vec![notification(n)],
        ..base
    }
}

/// Whether exactly nothing of `laden(n, …)` is there.
async fn assert_nothing_laden(storage: &impl Storage, n: u64, monitor: crate::MonitorId) {
    assert_eq!(pings(storage, monitor, None, 10).await, Page::empty(), "no ping is written");
    let changes = HistoryQuery::Changes { monitor, before: None };
    assert_eq!(history(storage, changes, 10).await, Page::empty(), "no change is written");
    let incident = HistoryQuery::Incident(incident_id(n));
    assert_eq!(history(storage, incident, 10).await, Page::empty(), "no incident is written");
    let notification = HistoryQuery::Notification(notification_id(n));
    assert_eq!(history(storage, notification, 10).await, Page::empty(), "no notification is written");
}

/// Older and newer versions conflict, the stored one is named, and nothing of the transition is written.
pub async fn a_wrong_version_conflicts_and_nothing_of_it_is_written<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let stored = next(&record(1), |_, _| ());
    put(&*storage, [create(&record(1))]).await;
    put(&*storage, [replace(&stored)]).await;
    for expected in [None, Some(Version(1)), Some(Version(3)), Some(Version(0))] {
        let wrong = next(&stored, |monitor, health| {
            monitor.spec.slug = "wrong".into();
            health.failures = 99;
        });
        for base in [Transition { expected, ..replace(&wrong) }, Transition { expected, ..remove(&wrong) }] {
            let conflict = Outcome::Conflict { found: Some(Version(2)) };
            assert_eq!(outcome(&*storage, laden(5, base)).await, conflict, "expected {expected:?}, stored is 2");
            assert_eq!(load(&*storage, monitor_id(1)).await.as_ref(), Some(&stored));
            assert_nothing_laden(&*storage, 5, monitor_id(1)).await;
        }
    }
    assert_eq!(storage.find(&Name::Slug("wrong".to_owned())).await.unwrap(), None, "no name is written");
    assert_eq!(storage.find(&Name::Slug("monitor-1".to_owned())).await.unwrap(), Some(monitor_id(1)));
}

/// What stands beside a conflict in its batch is written: other transitions, documents, settlements, the mark.
pub async fn conflicts_spare_the_rest_of_the_batch<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    write(&*storage, &Batch { notifications: vec![notification(9)], ..batch([create(&record(2))]) }).await;
    let mixed = Batch {
        documents: vec![
            write_document("key", "a", Some(7), Some(json!(1))),
            write_document("key", "b", None, Some(json!(2))),
        ],
        settlements: vec![settlement(9, DeliveryState::Delivered)],
        mark: Some(at(5)),
        ..batch([laden(1, create(&record(1))), laden(2, create(&record(2))), laden(3, create(&record(3)))])
    };
    let applied = apply(&*storage, &mixed).await;
    let conflict = Outcome::Conflict { found: Some(Version(1)) };
    assert_eq!(applied.transitions, [Outcome::Committed, conflict, Outcome::Committed]);
    assert_eq!(applied.documents, [Outcome::Conflict { found: None }, Outcome::Committed]);
    for n in [1, 3] {
        assert_eq!(load(&*storage, monitor_id(n)).await, Some(record(n)));
        assert_eq!(pings(&*storage, monitor_id(n), None, 10).await.items, [full_ping(n)]);
    }
    assert_nothing_laden(&*storage, 2, monitor_id(2)).await;
    let owed = outbox(&*storage, 0, 10).await.items;
    let owed: Vec<_> = owed.iter().map(|entry| entry.notification.id).collect();
    assert_eq!(owed, [notification_id(1), notification_id(3)]);
    assert_eq!(storage.documents("key").await.unwrap().len(), 1);
    assert_eq!(storage.watch_log().await.unwrap().mark, Some(at(5)));
}

/// Creating what exists is a conflict with the stored version.
pub async fn what_exists_cannot_be_created<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    put(&*storage, [create(&record(1))]).await;
    let again = next(&record(1), |_, health| health.failures = 1);
    let found = outcome(&*storage, Transition { expected: None, ..replace(&again) }).await;
    assert_eq!(found, Outcome::Conflict { found: Some(Version(1)) });
    assert_eq!(load(&*storage, monitor_id(1)).await, Some(record(1)));
}

/// Replacing or removing what does not exist is a conflict with nothing.
pub async fn what_does_not_exist_cannot_be_changed<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let unknown = next(&record(1), |_, _| ());
    for base in [replace(&unknown), remove(&unknown)] {
        assert_eq!(outcome(&*storage, laden(5, base)).await, Outcome::Conflict { found: None });
        assert_nothing_laden(&*storage, 5, monitor_id(1)).await;
    }
    assert_eq!(load(&*storage, monitor_id(1)).await, None);
}

/// A batch of another epoch, older or newer, is fenced and leaves no trace.
pub async fn a_fenced_batch_writes_nothing<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    write(&*storage, &Batch { notifications: vec![notification(9)], mark: Some(at(1)), ..batch([]) }).await;
    assert!(storage.swap_lease(&lease(0, 0, ""), &lease(0, 2, "a")).await.unwrap());
    for epoch in [0, 1, 3] {
        let fenced = Batch {
            epoch: Epoch(epoch),
            documents: vec![write_document("key", "a", None, Some(json!(1)))],
            settlements: vec![settlement(9, DeliveryState::Delivered)],
            notifications: vec![notification(8)],
            mark: Some(at(5)),
            outage: Some(Outage { from: at(2), to: at(3) }),
            ..batch([laden(1, create(&record(1)))])
        };
        assert_eq!(storage.commit(&fenced).await, Err(StorageError::Fenced), "epoch {epoch} under a lease of 2");
        assert_eq!(load(&*storage, monitor_id(1)).await, None);
        assert_nothing_laden(&*storage, 1, monitor_id(1)).await;
        assert_eq!(storage.documents("key").await.unwrap(), []);
        let owed = outbox(&*storage, 0, 10).await.items;
        assert_eq!(owed.iter().map(|entry| entry.notification.id).collect::<Vec<_>>(), [notification_id(9)]);
        let log = storage.watch_log().await.unwrap();
        assert_eq!((log.mark, log.outages), (Some(at(1)), vec![]));
    }
    write(&*storage, &Batch { epoch: Epoch(2), ..batch([create(&record(1))]) }).await;
}

/// Partitions have leases of their own, and one that was never leased takes batches of epoch 0 only.
pub async fn a_partition_without_a_lease_has_epoch_zero<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    assert!(storage.swap_lease(&lease(0, 0, ""), &lease(0, 1, "a")).await.unwrap());
    write(&*storage, &Batch { partition: PartitionId(1), ..batch([create(&record(1))]) }).await;
    let early = Batch { partition: PartitionId(1), epoch: Epoch(1), ..batch([create(&record(2))]) };
    assert_eq!(storage.commit(&early).await, Err(StorageError::Fenced));
}

/// Of batches that change one version of a monitor at once, one is committed and the others conflict.
pub async fn one_of_many_concurrent_commits_wins<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    put(&*storage, [create(&record(1))]).await;
    let mut current = record(1);
    for round in 0..5 {
        let tasks: Vec<_> = (0..16)
            .map(|n| {
                let storage = Arc::clone(&storage);
                let change = next(&current, |_, health| health.failures = round * 16 + n);
                tokio::spawn(async move { (change.clone(), outcome(&*storage, replace(&change)).await) })
            })
            .collect();
        let mut winners = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                (change, Outcome::Committed) => winners.push(change),
                (_, Outcome::Conflict { found }) => assert_eq!(found, Some(current.version.next())),
                (_, other) => panic!("neither committed nor a conflict: {other:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "exactly one wins");
        assert_eq!(load(&*storage, monitor_id(1)).await.as_ref(), Some(&winners[0]), "what won is stored");
        current = winners.remove(0);
    }
}

/// Batches of different monitors at once are all written, and every notification gets a place of its own.
pub async fn concurrent_batches_are_all_written<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let storage = Arc::clone(&storage);
            tokio::spawn(async move { put(&*storage, [laden(n, create(&record(n)))]).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for n in 0..64 {
        assert_eq!(load(&*storage, monitor_id(n)).await, Some(record(n)));
        assert_eq!(pings(&*storage, monitor_id(n), None, 10).await.items, [full_ping(n)]);
    }
    let owed = outbox(&*storage, 0, 100).await.items;
    assert_eq!(owed.len(), 64);
    assert!(owed.is_sorted_by(|a, b| a.seq < b.seq), "places in the outbox differ");
}

/// A thousand monitors can be written at once.
pub async fn a_large_batch_is_written<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let records: Vec<Record> = (0..1000).map(record).collect();
    let laden = |(n, record): (usize, &Record)| Transition { pings: vec![ping(n as u64 + 1)], ..create(record) };
    put(&*storage, records.iter().enumerate().map(laden).collect::<Vec<_>>()).await;
    let ids: Vec<_> = records.iter().map(Record::id).collect();
    assert_eq!(storage.load(&ids).await.unwrap(), records.into_iter().map(Some).collect::<Vec<_>>());
}

/// With a monitor go its record, pings and changes; its incidents, with their end, and its notifications stay.
pub async fn removing_takes_pings_and_changes_and_keeps_the_rest<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    put(&*storage, [laden(1, create(&record(1))), laden(2, create(&record(2)))]).await;
    let farewell = Transition {
        incidents: vec![closed(incident(1, monitor_id(1)))],
        notifications: vec![notification(3)],
        ..remove(&record(1))
    };
    put(&*storage, [farewell]).await;
    assert_eq!(load(&*storage, monitor_id(1)).await, None);
    assert_eq!(pings(&*storage, monitor_id(1), None, 10).await, Page::empty());
    let changes = HistoryQuery::Changes { monitor: monitor_id(1), before: None };
    assert_eq!(history(&*storage, changes, 10).await, Page::empty());
    assert_eq!(storage.due(PartitionId(0), Timestamp::MAX, 10).await.unwrap(), [(monitor_id(2), at(3600))]);
    assert_eq!(storage.monitors(None, 10).await.unwrap().items, [record(2)]);
    let incidents = history(&*storage, HistoryQuery::Incident(incident_id(1)), 10).await.items;
    assert_eq!(incidents, [crate::HistoryItem::Incident(closed(incident(1, monitor_id(1))))]);
    assert_eq!(outbox(&*storage, 0, 10).await.items.len(), 3);
    assert_eq!(pings(&*storage, monitor_id(2), None, 10).await.items, [full_ping(2)], "other monitors keep theirs");
    // It can be made again, and has nothing of its former life.
    put(&*storage, [create(&record(1))]).await;
    assert_eq!(pings(&*storage, monitor_id(1), None, 10).await, Page::empty());
}

/// What was committed before a crash is there after it, and the order of the outbox goes on.
pub async fn everything_survives_a_crash<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    assert!(storage.swap_lease(&lease(0, 0, ""), &lease(0, 7, "a")).await.unwrap());
    let all = Batch {
        epoch: Epoch(7),
        documents: vec![write_document("key", "a", None, Some(json!({"b": [1, null]})))],
        notifications: vec![notification(8), notification(9)],
        settlements: vec![settlement(8, DeliveryState::Dead)],
        mark: Some(at(5)),
        outage: Some(Outage { from: at(2), to: at(3) }),
        ..batch([laden(1, create(&full_record(1))), create(&record(2))])
    };
    write(&*storage, &all).await;
    let owed = outbox(&*storage, 0, 10).await;
    let storage = harness.reopen(storage).await;
    assert_eq!(load(&*storage, monitor_id(1)).await, Some(full_record(1)));
    assert_eq!(storage.monitors(None, 10).await.unwrap().items, [full_record(1), record(2)]);
    assert_eq!(storage.find(&Name::Slug("monitor-2".to_owned())).await.unwrap(), Some(monitor_id(2)));
    assert_eq!(storage.due(PartitionId(0), at(3601), 10).await.unwrap().len(), 2);
    assert_eq!(pings(&*storage, monitor_id(1), None, 10).await.items, [full_ping(1)]);
    for query in [
        HistoryQuery::Changes { monitor: monitor_id(1), before: None },
        HistoryQuery::Incident(incident_id(1)),
        HistoryQuery::Notification(notification_id(8)),
    ] {
        assert_eq!(history(&*storage, query.clone(), 10).await.items.len(), 1, "{query:?}");
    }
    assert_eq!(outbox(&*storage, 0, 10).await, owed);
    assert_eq!(storage.leases().await.unwrap(), [lease(0, 7, "a")]);
    assert_eq!(storage.documents("key").await.unwrap()[0].body, json!({"b": [1, null]}));
    let log = storage.watch_log().await.unwrap();
    assert_eq!((log.mark, log.outages), (Some(at(5)), vec![Outage { from: at(2), to: at(3) }]));
    let later = Batch { epoch: Epoch(7), notifications: vec![notification(10)], ..batch([]) };
    write(&*storage, &later).await;
    let last = outbox(&*storage, 0, 10).await.items.pop().unwrap();
    assert!(last.notification.id == notification_id(10) && last.seq > owed.items.last().unwrap().seq);
    // What was removed before the crash stays removed.
    write(&*storage, &Batch { epoch: Epoch(7), ..batch([remove(&record(2))]) }).await;
    let storage = harness.reopen(storage).await;
    assert_eq!(load(&*storage, monitor_id(2)).await, None);
    let Change::Put(again) = create(&record(2)).change else { unreachable!() };
    write(&*storage, &Batch { epoch: Epoch(7), ..batch([create(&again)]) }).await;
}
