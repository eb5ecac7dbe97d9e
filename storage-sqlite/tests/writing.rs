//! Group commit, a full disk, old databases, and how much is kept.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use heartbeat_engine::testing::fixtures::{
    batch, change, closed, create, full_ping, incident, monitor_id, next, notification, ping, record, replace,
    settlement,
};
use heartbeat_engine::testing::run;
use heartbeat_engine::{
    Batch, DeliveryState, HistoryItem, HistoryQuery, Outcome, StateChange, Storage, StorageError, Transition,
};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage, Synchronous};
use rusqlite::Connection;
use tempfile::TempDir;

fn fresh(options: SqliteOptions) -> (TempDir, SqliteStorage) {
    let directory = tempfile::tempdir().unwrap();
    let storage = SqliteStorage::open(directory.path().join("heartbeat.db"), options).unwrap();
    (directory, storage)
}

async fn count(storage: &SqliteStorage, query: HistoryQuery) -> usize {
    storage.history(&query, 10_000).await.unwrap().items.len()
}

#[test]
fn many_concurrent_commits_share_few_transactions() {
    let (_directory, storage) = fresh(SqliteOptions::new());
    let storage = Arc::new(storage);
    run(async {
        let tasks: Vec<_> = (0..2000)
            .map(|n| {
                let storage = Arc::clone(&storage);
                tokio::spawn(async move { storage.commit(&batch([create(&record(n))])).await.unwrap().transitions })
            })
            .collect();
        for task in tasks {
            assert_eq!(task.await.unwrap(), [Outcome::Committed]);
        }
        let stats = storage.stats();
        assert_eq!((stats.writes, stats.failed_transactions), (2000, 0));
        assert!(stats.transactions < 1000, "{} transactions for 2000 writes", stats.transactions);
    });
}

#[test]
fn a_fenced_batch_spoils_no_other_of_its_transaction() {
    let (_directory, storage) = fresh(SqliteOptions::new().synchronous(Synchronous::Normal));
    let storage = Arc::new(storage);
    run(async {
        let tasks: Vec<_> = (0..500)
            .map(|n| {
                let storage = Arc::clone(&storage);
                let epoch = heartbeat_engine::Epoch(n % 2);
                let batch = Batch { epoch, ..batch([create(&record(n))]) };
                tokio::spawn(async move { (n, storage.commit(&batch).await) })
            })
            .collect();
        for task in tasks {
            let (n, result) = task.await.unwrap();
            assert_eq!(result.is_err(), n % 2 == 1, "batch {n}: {result:?}");
            let stored = storage.load(&[monitor_id(n)]).await.unwrap().remove(0);
            assert_eq!(stored, (n % 2 == 0).then(|| record(n)));
        }
    });
}

#[test]
fn a_full_disk_loses_nothing_and_heals() {
    let (_directory, storage) = fresh(SqliteOptions::new().max_file_bytes(2 << 20));
    run(async {
        let laden = |n: u64| Transition { pings: vec![full_ping(1)], ..create(&record(n)) };
        let mut written = Vec::new();
        let (refused, refusal) = loop {
            let n = written.len() as u64;
            let batch = batch([laden(n)]);
            match storage.commit(&batch).await {
                Ok(applied) => {
                    assert_eq!(applied.transitions, [Outcome::Committed]);
                    written.push(record(n));
                }
                Err(error) => break (batch, error),
            }
        };
        assert!(matches!(&refusal, StorageError::Unavailable(text) if text.contains("no room")), "{refusal}");
        assert!(written.len() > 5, "only {} fitted", written.len());
        assert_eq!(storage.monitors(None, 1000).await.unwrap().items, written, "what was written is there, all of it");
        let id = refused.transitions[0].monitor;
        assert_eq!(storage.load(&[id]).await.unwrap(), [None], "what was refused is not there");
        // Small things may still fit; large ones do again when something else is gone.
        for gone in &written[..3] {
            let applied = storage.commit(&batch([heartbeat_engine::testing::fixtures::remove(gone)])).await.unwrap();
            assert_eq!(applied.transitions, [Outcome::Committed]);
        }
        let applied = storage.commit(&refused).await.expect("there is room again");
        assert_eq!(applied.transitions, [Outcome::Committed]);
        let expected = record(written.len() as u64);
        let slug = heartbeat_engine::Name::Slug(expected.spec().slug.as_str().to_owned());
        assert_eq!(storage.find(&slug).await.unwrap(), Some(id), "its names are written, too");
        assert_eq!(storage.load(&[id]).await.unwrap(), [Some(expected)], "all of it is written");
    });
}

#[test]
fn in_a_group_only_what_does_not_fit_is_refused() {
    let (_directory, storage) = fresh(SqliteOptions::new().max_file_bytes(2 << 20));
    let storage = Arc::new(storage);
    run(async {
        let tasks: Vec<_> = (0..64_u64)
            .map(|n| {
                let storage = Arc::clone(&storage);
                let pings = if n % 8 == 0 { (1..=30).map(full_ping).collect() } else { vec![ping(1)] };
                let batch = batch([Transition { pings, ..create(&record(n)) }]);
                tokio::spawn(async move { (n, storage.commit(&batch).await) })
            })
            .collect();
        for task in tasks {
            let (n, result) = task.await.unwrap();
            assert_eq!(result.is_ok(), n % 8 != 0, "batch {n} {result:?}");
        }
    });
}

fn size(directory: &TempDir) -> u64 {
    std::fs::metadata(directory.path().join("heartbeat.db")).unwrap().len()
}

#[test]
fn heartbeats_of_few_monitors_never_fill_a_file_that_must_not_grow() {
    const LIMIT: u64 = 2 << 20;
    let (directory, storage) = fresh(SqliteOptions::new().max_file_bytes(LIMIT).synchronous(Synchronous::Normal));
    run(async {
        let mut current = record(1);
        storage.commit(&batch([create(&current)])).await.unwrap();
        // Four times what fits.
        for n in 1..=4 * LIMIT / 1000 {
            current = next(&current, |_, health| health.ping_count = n);
            let entry = heartbeat_engine::PingEntry { message: Some("m".repeat(1000)), ..ping(n) };
            let beat = batch([Transition { pings: vec![entry], ..replace(&current) }]);
            assert_eq!(storage.commit(&beat).await.unwrap().transitions, [Outcome::Committed], "heartbeat {n}");
        }
        assert_eq!(storage.load(&[current.id()]).await.unwrap(), [Some(current.clone())]);
    });
    drop(storage);
    assert!(size(&directory) <= LIMIT);
}

/// The file is filled again and again; each time what the log has goes into the rows, which makes room for some more.
#[test]
fn a_full_file_can_always_be_folded() {
    const LIMIT: u64 = 2 << 20;
    let (directory, storage) = fresh(SqliteOptions::new().max_file_bytes(LIMIT).synchronous(Synchronous::Normal));
    run(async {
        let mut made = 0;
        for round in 0..8 {
            loop {
                let laden = Transition { pings: vec![full_ping(1)], ..create(&record(made)) };
                match storage.commit(&batch([laden])).await {
                    Ok(_) => made += 1,
                    Err(error) => break assert!(matches!(error, StorageError::Unavailable(_)), "{error}"),
                }
            }
            // The check is given up when that takes for ever.
            while storage.stats().log_bytes > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
            assert_eq!(count(&storage, HistoryQuery::Pings { monitor: monitor_id(made - 1), before: None }).await, 1);
            assert!(made > 5, "{made} fit in round {round}");
        }
    });
    drop(storage);
    assert!(size(&directory) <= LIMIT);
}

#[test]
fn the_oldest_history_is_forgotten() {
    let options = SqliteOptions::new()
        .pings_per_monitor(20)
        .changes_per_monitor(20)
        .incidents_per_monitor(20)
        .notifications_settled(50)
        .synchronous(Synchronous::Normal);
    let (_directory, storage) = fresh(options);
    run(async {
        let mut current = record(1);
        let mut open = create(&current);
        open.incidents = vec![incident(0, monitor_id(1))];
        storage.commit(&batch([open])).await.unwrap();
        for n in 1..=700 {
            current = next(&current, |_, _| ());
            let transition = Transition {
                pings: vec![ping(n)],
                changes: vec![StateChange { version: current.version, ..change(monitor_id(1), n) }],
                incidents: vec![closed(incident(n, monitor_id(1)))],
                notifications: vec![notification(n)],
                ..replace(&current)
            };
            let settlements = (n > 5).then(|| settlement(n, DeliveryState::Delivered)).into_iter().collect();
            storage.commit(&Batch { settlements, ..batch([transition]) }).await.unwrap();
        }
        let monitor = monitor_id(1);
        for query in [
            HistoryQuery::Pings { monitor, before: None },
            HistoryQuery::Changes { monitor, before: None },
            HistoryQuery::Incidents { monitor: Some(monitor), open: Some(false), before: None },
        ] {
            let kept = count(&storage, query.clone()).await;
            assert!((20..=36).contains(&kept), "{kept} are kept of {query:?}");
        }
        let open = HistoryQuery::Incidents { monitor: None, open: Some(true), before: None };
        assert_eq!(count(&storage, open).await, 1, "the open one is kept");
        assert_eq!(storage.outbox(0, 100).await.unwrap().items.len(), 5, "pending ones are kept");
        let delivered =
            HistoryQuery::Notifications { state: Some(DeliveryState::Delivered), incident: None, before: None };
        let kept = count(&storage, delivered).await;
        assert!((50..=562).contains(&kept), "{kept} settled notifications are kept");
        let newest = storage.history(&HistoryQuery::Pings { monitor, before: None }, 1).await.unwrap().items;
        assert_eq!(newest, [HistoryItem::Ping(Box::new(ping(700)))]);
    });
}

#[test]
fn closed_incidents_of_all_monitors_are_bounded() {
    let (_directory, storage) = fresh(SqliteOptions::new().incidents_closed(100));
    run(async {
        let transition = |n: u64| {
            let incidents = (1..=10).map(|i| closed(incident(n * 10 + i, monitor_id(n)))).collect();
            Transition { incidents, ..create(&record(n)) }
        };
        for n in 0..120 {
            storage.commit(&batch([transition(n)])).await.unwrap();
        }
        let all = HistoryQuery::Incidents { monitor: None, open: None, before: None };
        let kept = count(&storage, all.clone()).await;
        assert!((100..=612).contains(&kept), "{kept} of 1200 are kept");
        let newest = storage.history(&all, 1).await.unwrap().items;
        assert_eq!(newest, [HistoryItem::Incident(closed(incident(1200, monitor_id(119))))]);
    });
}

#[test]
fn what_cannot_be_read_is_named_and_hides_nothing_else() {
    let (directory, storage) = fresh(SqliteOptions::new());
    run(async {
        storage.commit(&batch([create(&record(1)), create(&record(2))])).await.unwrap();
        let other = Connection::open(directory.path().join("heartbeat.db")).unwrap();
        other.execute("UPDATE monitors SET health = '{' WHERE id = ?1", [monitor_id(1).as_bytes()]).unwrap();
        let error = storage.load(&[monitor_id(1)]).await.unwrap_err();
        let named = format!("state of monitor {} cannot be read", monitor_id(1));
        assert!(matches!(&error, StorageError::Corrupt(text) if text.contains(&named)), "{error}");
        assert_eq!(storage.load(&[monitor_id(2)]).await.unwrap(), [Some(record(2))]);
        let healed = next(&record(1), |_, _| ());
        assert_eq!(storage.commit(&batch([replace(&healed)])).await.unwrap().transitions, [Outcome::Committed]);
        assert_eq!(storage.load(&[monitor_id(1)]).await.unwrap(), [Some(healed)], "writing it anew heals it");
    });
}
