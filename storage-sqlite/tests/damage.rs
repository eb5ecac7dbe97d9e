//! What is damaged hides nothing that is not, stops no folding, and does not keep a database from being opened.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use heartbeat_engine::testing::fixtures::{at, batch, create, monitor_id, next, ping, record, remove, replace};
use heartbeat_engine::testing::run;
use heartbeat_engine::{
    Batch, HistoryItem, HistoryQuery, Outcome, PartitionId, PingEntry, Record, Storage, Timestamp, Transition,
};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage, Synchronous};
use rusqlite::Connection;
use tempfile::TempDir;

/// So large that nothing is folded.
const LARGE: u64 = 1 << 30;

fn fresh() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    (directory, path)
}

fn open(path: &Path, log_bytes: u64) -> SqliteStorage {
    let options = SqliteOptions::new().synchronous(Synchronous::Normal).readers(1);
    SqliteStorage::open(path, options.log_bytes(log_bytes)).unwrap()
}

/// Until everything is folded.
async fn settle(storage: &SqliteStorage) {
    let settled = tokio::time::timeout(Duration::from_secs(60), async {
        while storage.stats().log_bytes > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(settled.await.is_ok(), "it is not folded: {:?}", storage.stats());
}

async fn newest(storage: &SqliteStorage, n: u64, limit: usize) -> Vec<u64> {
    let query = HistoryQuery::Pings { monitor: monitor_id(n), before: None };
    let number = |item: &HistoryItem| match item {
        HistoryItem::Ping(ping) => ping.n,
        other => panic!("{other:?}"),
    };
    storage.history(&query, limit).await.unwrap().items.iter().map(number).collect()
}

/// The next state, with so many heartbeats that have a message of so many bytes.
fn beat(now: &Record, count: u64, message: usize) -> (Transition, Record) {
    let after = next(now, |_, health| health.ping_count += count);
    let message = (message > 0).then(|| "m".repeat(message));
    let numbers = now.health.ping_count + 1..=after.health.ping_count;
    let pings = numbers.map(|n| PingEntry { message: message.clone(), ..ping(n) }).collect();
    (Transition { pings, ..replace(&after) }, after)
}

async fn commit(storage: &SqliteStorage, transition: Transition) {
    assert_eq!(storage.commit(&batch([transition])).await.unwrap().transitions, [Outcome::Committed]);
}

async fn load(storage: &SqliteStorage, n: u64) -> Record {
    storage.load(&[monitor_id(n)]).await.unwrap().remove(0).unwrap()
}

fn rows(connection: &Connection, table: &str) -> Vec<(i64, Vec<u8>)> {
    let mut statement = connection.prepare(&format!("SELECT seq, entries FROM {table} ORDER BY seq")).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Cuts the last byte off a row.
fn cut(connection: &Connection, seq: i64) {
    let sql = "UPDATE log SET entries = substr(entries, 1, length(entries) - 1) WHERE seq = ?1";
    assert_eq!(connection.execute(sql, [seq]).unwrap(), 1);
}

/// Monitor 1 has one heartbeat in a row of the log, and the next in a row that is damaged behind it; monitor 2 lost the only
/// one that it had.
async fn damage_row(storage: &SqliteStorage, path: &Path) -> (Record, Vec<(i64, Vec<u8>)>) {
    storage.commit(&batch([create(&record(1)), create(&record(2))])).await.unwrap();
    let (first, one) = beat(&record(1), 1, 0);
    commit(storage, first).await;
    let ((second, one), (lost, _)) = (beat(&one, 1, 0), beat(&record(2), 1, 0));
    storage.commit(&batch([second, lost])).await.unwrap();
    let other = Connection::open(path).unwrap();
    let seq = rows(&other, "log").last().unwrap().0;
    cut(&other, seq);
    let damaged = rows(&other, "log").into_iter().filter(|(found, _)| *found == seq).collect();
    (one, damaged)
}

#[test]
fn a_damaged_row_of_the_log_costs_only_what_lies_behind_the_damage() {
    let (_directory, path) = fresh();
    run(async {
        let storage = open(&path, LARGE);
        let (one, damaged) = damage_row(&storage, &path).await;
        drop(storage);
        // First it is read from the log, then it is folded.
        for log_bytes in [LARGE, 1] {
            let storage = open(&path, log_bytes);
            if log_bytes == 1 {
                settle(&storage).await;
            }
            assert_eq!((load(&storage, 1).await, newest(&storage, 1, 10).await), (one.clone(), vec![2, 1]));
            assert_eq!((load(&storage, 2).await, newest(&storage, 2, 10).await), (record(2), vec![]));
            assert_eq!(rows(&Connection::open(&path).unwrap(), "log_damaged"), damaged);
        }
        // It goes on from there.
        let storage = open(&path, 1);
        let (third, two) = beat(&record(2), 1, 0);
        commit(&storage, third).await;
        settle(&storage).await;
        assert_eq!((load(&storage, 2).await, newest(&storage, 2, 10).await), (two, vec![1]));
    });
}

#[test]
fn a_row_of_the_log_that_is_damaged_before_it_is_folded_is_kept_and_folding_goes_on() {
    let (_directory, path) = fresh();
    run(async {
        let storage = open(&path, 64 << 10);
        let (one, damaged) = damage_row(&storage, &path).await;
        let (large, one) = beat(&one, 1, 64 << 10);
        commit(&storage, large).await;
        settle(&storage).await;
        assert_eq!((load(&storage, 1).await, newest(&storage, 1, 10).await), (one, vec![3, 2, 1]));
        let other = Connection::open(&path).unwrap();
        assert_eq!((rows(&other, "log_damaged"), rows(&other, "log")), (damaged, vec![]));
    });
}

#[test]
fn damaged_heartbeats_in_the_log_cost_no_others() {
    let (_directory, path) = fresh();
    run(async {
        let storage = open(&path, LARGE);
        let mut now = record(1);
        commit(&storage, create(&now)).await;
        for _ in 0..3 {
            let (transition, after) = beat(&now, 1, 20);
            commit(&storage, transition).await;
            now = after;
        }
        drop(storage);
        let other = Connection::open(&path).unwrap();
        let (seq, mut row) = rows(&other, "log").swap_remove(1);
        // The entry is whole, and the heartbeat is longer than it.
        let length = row.windows(20).position(|bytes| bytes == [b'm'; 20]).unwrap();
        row[length - 1] = 0x7f;
        row[length - 2] = 0x7f;
        row[length - 3] = 0x7f;
        row[length - 4] = 0x7f;
        other.execute("UPDATE log SET entries = ?1 WHERE seq = ?2", (&row, seq)).unwrap();
        let storage = open(&path, 1);
        settle(&storage).await;
        assert_eq!((load(&storage, 1).await, newest(&storage, 1, 10).await), (now, vec![3, 1]));
        assert_eq!(rows(&other, "log_damaged"), [(seq, row)]);
    });
}

#[test]
fn a_monitor_can_be_removed_whatever_of_its_log_is_damaged() {
    let (_directory, path) = fresh();
    let storage = open(&path, LARGE);
    run(async {
        for damage in ["entries", "x''", "x'0102'", "zeroblob(5000)"] {
            let now = record(1);
            commit(&storage, create(&now)).await;
            let (large, now) = beat(&now, 1, 5000);
            commit(&storage, large).await;
            let (small, now) = beat(&now, 1, 0);
            commit(&storage, small).await;
            let other = Connection::open(&path).unwrap();
            assert!(other.execute(&format!("UPDATE log SET entries = {damage}"), []).unwrap() > 0);
            commit(&storage, remove(&now)).await;
            assert_eq!(storage.monitors(None, 1).await.unwrap().items, []);
            if damage == "entries" {
                let large = rows(&other, "log").iter().filter(|(_, row)| row.len() > 2000).count();
                assert_eq!(large, 0, "what is large and whole goes at once");
            }
        }
    });
}

#[test]
fn the_partition_of_the_newest_state_counts_also_after_a_restart() {
    let (_directory, path) = fresh();
    run(async {
        let storage = open(&path, LARGE);
        commit(&storage, create(&record(1))).await;
        let moved = Batch { partition: PartitionId(7), ..batch([beat(&record(1), 1, 0).0]) };
        storage.commit(&moved).await.unwrap();
        drop(storage);
        for log_bytes in [LARGE, 1] {
            let storage = open(&path, log_bytes);
            if log_bytes == 1 {
                settle(&storage).await;
            }
            let due = async |partition| storage.due(PartitionId(partition), Timestamp::MAX, 10).await.unwrap();
            assert_eq!((due(0).await, due(7).await), (vec![], vec![(monitor_id(1), at(3600))]));
        }
    });
}

/// Chunks are found when only the newest are damaged, and the other way round.
#[test]
fn what_is_whole_of_a_history_outlives_what_is_damaged() {
    let (_directory, path) = fresh();
    let storage = open(&path, 1);
    run(async {
        // Too large to stay with the newest.
        let (many, now) = beat(&record(1), 40, 800);
        commit(&storage, create(&record(1))).await;
        commit(&storage, many).await;
        settle(&storage).await;
        let (few, now) = beat(&now, 2, 0);
        commit(&storage, few).await;
        settle(&storage).await;
        let other = Connection::open(&path).unwrap();
        assert_eq!(other.execute("UPDATE recent SET pings = x'ff'", []).unwrap(), 1);
        let (few, now) = beat(&now, 2, 0);
        commit(&storage, few).await;
        settle(&storage).await;
        let expected: Vec<u64> = (43..=44).rev().chain((1..=40).rev()).collect();
        assert_eq!(newest(&storage, 1, 100).await, expected);
        let kept: i64 = other.query_row("SELECT kept FROM recent", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 42);
        assert_eq!(other.execute("UPDATE recent SET chunks = x'ff'", []).unwrap(), 1);
        commit(&storage, beat(&now, 1, 0).0).await;
        settle(&storage).await;
        assert_eq!(newest(&storage, 1, 100).await, [45, 44, 43]);
    });
}

#[test]
fn a_damaged_history_is_healed_by_the_next_heartbeats() {
    let (_directory, path) = fresh();
    let storage = open(&path, 1);
    run(async {
        let first = Transition { pings: vec![ping(1)], ..create(&record(1)) };
        storage.commit(&batch([first, create(&record(2))])).await.unwrap();
        settle(&storage).await;
        let other = Connection::open(&path).unwrap();
        assert_eq!(other.execute("UPDATE recent SET pings = x'ff'", []).unwrap(), 1);
        let query = HistoryQuery::Pings { monitor: monitor_id(1), before: None };
        let error = storage.history(&query, 1).await.unwrap_err().to_string();
        assert!(error.contains(&format!("history of monitor {}", monitor_id(1))), "{error}");
        let after = next(&record(1), |_, _| ());
        storage.commit(&batch([Transition { pings: vec![ping(2)], ..replace(&after) }])).await.unwrap();
        settle(&storage).await;
        assert_eq!(newest(&storage, 1, 10).await, [2]);
        other.execute("UPDATE recent SET pings = x'ff'", []).unwrap();
        let removed = storage.commit(&batch([remove(&after)])).await.unwrap();
        assert_eq!(removed.transitions, [Outcome::Committed]);
    });
}
