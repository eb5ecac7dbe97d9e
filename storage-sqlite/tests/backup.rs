//! A backup is whole, also while heartbeats are written, and anything else is an error that changes nothing.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use heartbeat_engine::testing::fixtures::{
    batch, create, full_record, incident, monitor_id, next, notification, ping, record, replace, settlement,
};
use heartbeat_engine::testing::run;
use heartbeat_engine::{Batch, DeliveryState, HistoryItem, HistoryQuery, Storage, Timestamp, Transition};
use heartbeat_storage_sqlite::{BackupError, SqliteOptions, SqliteStorage, Synchronous, backup};
use rusqlite::Connection;
use tempfile::TempDir;

const WRITERS: u64 = 4;

fn open(path: &Path) -> SqliteStorage {
    SqliteStorage::open(path, SqliteOptions::new().synchronous(Synchronous::Normal)).unwrap()
}

/// A closed database with a monitor and a mark.
fn made() -> (TempDir, PathBuf, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let (path, target) = (directory.path().join("heartbeat.db"), directory.path().join("copy.db"));
    let storage = open(&path);
    let transition = Transition { pings: vec![ping(1)], ..create(&full_record(1)) };
    let all = Batch { mark: Some(Timestamp::from_secs(5)), ..batch([transition]) };
    run(async { drop(storage.commit(&all).await.unwrap()) });
    (directory, path, target)
}

/// What lies in a directory, leftovers of backups and locks aside.
fn leftovers(directory: &TempDir) -> Vec<String> {
    let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.contains("partial")).collect()
}

async fn newest_ping(storage: &SqliteStorage, n: u64) -> u64 {
    let query = HistoryQuery::Pings { monitor: monitor_id(n), before: None };
    match &storage.history(&query, 1).await.unwrap().items[..] {
        [HistoryItem::Ping(ping)] => ping.n,
        other => panic!("{other:?}"),
    }
}

/// Writes heartbeats until told to stop, and says which one was acknowledged last.
async fn write(storage: Arc<SqliteStorage>, n: u64, acknowledged: Arc<Vec<AtomicU64>>, stop: Arc<AtomicBool>) {
    let mut current = record(n);
    storage.commit(&batch([create(&current)])).await.unwrap();
    while !stop.load(Ordering::Relaxed) {
        current = next(&current, |_, health| health.ping_count += 1);
        let count = current.health.ping_count;
        storage.commit(&batch([Transition { pings: vec![ping(count)], ..replace(&current) }])).await.unwrap();
        acknowledged[usize::try_from(n).unwrap()].store(count, Ordering::Release);
    }
}

#[test]
fn a_backup_holds_every_heartbeat_acknowledged_before_it_began() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    let storage = Arc::new(open(&path));
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..WRITERS).map(|_| AtomicU64::new(0)).collect());
    let stop = Arc::new(AtomicBool::new(false));
    run(async {
        let writers: Vec<_> = (0..WRITERS)
            .map(|n| tokio::spawn(write(Arc::clone(&storage), n, Arc::clone(&acknowledged), Arc::clone(&stop))))
            .collect();
        for round in 0..5_u64 {
            while acknowledged.iter().any(|count| count.load(Ordering::Acquire) < (round + 1) * 20) {
                tokio::task::yield_now().await;
            }
            let before: Vec<u64> = acknowledged.iter().map(|count| count.load(Ordering::Acquire)).collect();
            let (from, to) = (path.clone(), directory.path().join(format!("copy-{round}.db")));
            let target = to.clone();
            let report = tokio::task::spawn_blocking(move || backup(from, target, false)).await.unwrap().unwrap();
            assert_eq!((report.monitors, report.version), (WRITERS, 6));
            assert_eq!(report.bytes, fs::metadata(&to).unwrap().len());
            let copy = open(&to);
            for (n, acknowledged) in before.iter().enumerate() {
                let found = newest_ping(&copy, n as u64).await;
                assert!(found >= *acknowledged, "heartbeat {acknowledged} of {n} is not in it, but up to {found}");
                let record = copy.load(&[monitor_id(n as u64)]).await.unwrap().remove(0).unwrap();
                assert_eq!(record.health.ping_count, found, "a record and its heartbeats are of one instant");
            }
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
    });
    assert_eq!(leftovers(&directory), [""; 0]);
}

#[test]
fn a_stopped_database_is_backed_up_and_put_back() {
    let (directory, path, target) = made();
    let report = backup(&path, &target, false).unwrap();
    assert_eq!((report.monitors, report.pings, report.incidents, report.notifications_owed), (1, 1, 0, 0));
    assert_eq!(report.mark, Some(Timestamp::from_secs(5)));
    let storage = open(&path);
    run(async { drop(storage.commit(&batch([create(&record(2))])).await.unwrap()) });
    // The process is killed: its log stays. Then the backup is put in place, as the page on upgrading says.
    let log = fs::read(directory.path().join("heartbeat.db-wal")).unwrap();
    drop(storage);
    fs::write(directory.path().join("heartbeat.db-wal"), log).unwrap();
    fs::copy(&target, &path).unwrap();
    for suffix in ["-wal", "-shm"] {
        drop(fs::remove_file(format!("{}{suffix}", path.display())));
    }
    let storage = open(&path);
    run(async { assert_eq!(storage.monitors(None, 10).await.unwrap().items, [full_record(1)]) });
}

#[test]
fn the_log_that_a_killed_process_left_is_part_of_a_backup() {
    let (directory, path, target) = made();
    let storage = open(&path);
    run(async { drop(storage.commit(&batch([create(&record(2))])).await.unwrap()) });
    let left = directory.path().join("left.db");
    for suffix in ["", "-wal"] {
        fs::copy(format!("{}{suffix}", path.display()), format!("{}{suffix}", left.display())).unwrap();
    }
    assert_eq!(backup(&left, &target, false).unwrap().monitors, 2);
    run(async { assert_eq!(open(&target).monitors(None, 10).await.unwrap().items.len(), 2) });
    run(async { assert_eq!(open(&left).monitors(None, 10).await.unwrap().items.len(), 2) });
}

#[test]
fn an_existing_file_is_replaced_only_when_told() {
    let (_directory, path, target) = made();
    fs::write(&target, "mine").unwrap();
    let error = backup(&path, &target, false).unwrap_err();
    assert!(matches!(error, BackupError::Exists { .. }), "{error}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "mine");
    backup(&path, &target, true).unwrap();
    assert_eq!(backup(&target, target.with_extension("again"), false).unwrap().monitors, 1);
}

#[test]
fn a_database_in_use_is_never_the_target() {
    let (directory, path, target) = made();
    for overwrite in [false, true] {
        let error = backup(&path, directory.path().join(".").join("heartbeat.db"), overwrite).unwrap_err();
        assert!(matches!(error, BackupError::InUse { .. }), "{error}");
    }
    let other = open(&target);
    let error = backup(&path, &target, true).unwrap_err();
    assert!(error.to_string().contains("copy.db-wal` belongs to a database in use"), "{error}");
    run(async { assert_eq!(other.monitors(None, 10).await.unwrap().items, []) });
}

#[test]
fn what_cannot_be_copied_or_written_is_said_and_leaves_nothing() {
    let (directory, path, target) = made();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("notes.txt"), "these are my notes").unwrap();
    fs::write(at("empty.db"), "").unwrap();
    Connection::open(at("other.db")).unwrap().execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
    for (from, to, part) in [
        (at("none.db"), target.clone(), "there is no database"),
        (at("empty.db"), target.clone(), "there is no database"),
        (at("notes.txt"), target.clone(), "is not a database"),
        (at("other.db"), target.clone(), "another program"),
        (directory.path().to_owned(), target.clone(), "is not a file"),
        (path.clone(), at("no/copy.db"), "no` does not exist"),
        (path.clone(), directory.path().to_owned(), "it is not a file"),
        (path.clone(), "/sys/copy.db".into(), "`/sys/copy.db` cannot be written"),
    ] {
        let error = backup(&from, &to, false).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
    assert!(!target.exists());
    assert_eq!(leftovers(&directory), [""; 0]);
}

#[test]
fn a_newer_database_and_a_damaged_one_give_no_backup() {
    let (directory, path, target) = made();
    fs::write(&target, "an older backup").unwrap();
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let error = backup(&path, &target, true).unwrap_err().to_string();
    assert!(error.contains("version 99"), "{error}");
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "user_version", 6).unwrap();
    let page: i64 = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'monitors'", [], |row| row.get(0))
        .unwrap();
    drop(connection);
    let page = usize::try_from(page).unwrap();
    let mut scribbled = fs::read(&path).unwrap();
    scribbled[(page - 1) * 4096..page * 4096].fill(0xaa);
    fs::write(&path, scribbled).unwrap();
    let error = backup(&path, &target, true).unwrap_err();
    assert!(matches!(error, BackupError::Damaged { .. }), "{error}");
    assert_eq!(fs::read_to_string(&target).unwrap(), "an older backup");
    assert_eq!(leftovers(&directory), [""; 0]);
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_a_backup() {
    use std::os::unix::fs::PermissionsExt;

    let (_directory, path, target) = made();
    backup(&path, &target, false).unwrap();
    assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o077, 0);
}

#[test]
fn a_backup_counts_what_a_large_batch_left_to_later() {
    let (directory, path, target) = made();
    let storage = SqliteStorage::open(&path, SqliteOptions::new().large_batch(1)).unwrap();
    let id = monitor_id(1);
    let owed = Batch {
        transitions: vec![Transition { incidents: vec![incident(7, id)], ..create(&record(2)) }],
        notifications: vec![notification(1), notification(2)],
        settlements: vec![settlement(2, DeliveryState::Delivered)],
        ..Batch::default()
    };
    run(async { drop(storage.commit(&owed).await.unwrap()) });
    let report = backup(&path, &target, false).unwrap();
    assert_eq!((report.incidents, report.notifications_owed), (1, 1));
    assert_eq!(leftovers(&directory), [""; 0]);
    drop(storage);
    let copy = open(&target);
    let query = HistoryQuery::Incident(incident(7, id).id);
    run(async {
        assert_eq!(copy.history(&query, 1).await.unwrap().items, [HistoryItem::Incident(incident(7, id))]);
    });
}
