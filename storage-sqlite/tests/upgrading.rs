//! Databases of every released version are brought to the present one, whole, also when that is interrupted.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use heartbeat_engine::testing::fixtures::{at, batch, change, create, full_ping, record, with_id};
use heartbeat_engine::{
    Batch, CountsPer, HistoryItem, HistoryQuery, MonitorId, Name, PingEntry, Record, StateChange, Storage, Transition,
    Version,
};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage, backup};
use rusqlite::{Connection, params};
use tempfile::TempDir;

/// The present version.
const VERSION: i32 = 6;
const INTERRUPTED: &str = "HEARTBEAT_TEST_UPGRADE";

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

fn open(path: &Path) -> SqliteStorage {
    SqliteStorage::open(path, SqliteOptions::new()).unwrap()
}

/// A database as version 1 left it on people's disks.
fn version_1() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.execute_batch(include_str!("fixtures/v1.sql")).unwrap();
    (directory, path)
}

/// A database of version 2 with so many monitors beside the one of version 1, each with some heartbeats.
fn version_2(monitors: u64, pings: u64) -> (TempDir, PathBuf) {
    let (directory, path) = version_1();
    let mut connection = Connection::open(&path).unwrap();
    let transaction = connection.transaction().unwrap();
    transaction.execute_batch(include_str!("../src/migrations/002_feed.sql")).unwrap();
    transaction.pragma_update(None, "user_version", 2).unwrap();
    for n in 2..monitors + 2 {
        let made = old_record(n, pings);
        let (id, wake_at) = (made.id(), made.health.wake_at().as_millis());
        let health = serde_json::to_string(&made.health).unwrap();
        let row = params![id.as_bytes(), wake_at, health];
        transaction.prepare_cached("INSERT INTO monitors VALUES (?1, 0, 1, ?2, ?3)").unwrap().execute(row).unwrap();
        let row = params![id.as_bytes(), serde_json::to_string(&*made.monitor).unwrap()];
        transaction.prepare_cached("INSERT INTO specs VALUES (?1, ?2)").unwrap().execute(row).unwrap();
        for ping in old_pings(pings) {
            let row = params![id.as_bytes(), ping.n.cast_signed(), serde_json::to_string(&ping).unwrap(), ping.body];
            transaction.prepare_cached("INSERT INTO pings VALUES (?1, ?2, ?3, ?4)").unwrap().execute(row).unwrap();
        }
    }
    transaction.commit().unwrap();
    (directory, path)
}

/// Ids in old databases end with the number of the monitor; that of version 1 has the first.
fn old_id(n: u64) -> MonitorId {
    let mut id = [1; 16];
    id[8..].copy_from_slice(&n.to_be_bytes());
    MonitorId::from_bytes(id)
}

fn old_record(n: u64, pings: u64) -> Record {
    let mut made = with_id(old_id(n), &record(n));
    made.health.ping_count = pings;
    made
}

fn old_pings(count: u64) -> impl Iterator<Item = PingEntry> {
    (1..=count)
        .map(|n| PingEntry { message: Some(format!("heartbeat {n}")), ..full_ping(n) })
        .map(|ping| PingEntry { body: (ping.n % 3 == 0).then(|| vec![7; 200]), ..ping })
}

/// Adds changes to a database of version 1: monitor, version, count, seconds of `detected_at`, reason.
fn add_changes(path: &Path, changes: &[(u64, u64, i64, i64, &str)]) {
    let mut connection = Connection::open(path).unwrap();
    let transaction = connection.transaction().unwrap();
    for (monitor, version, k, seen, reason) in changes {
        let found =
            StateChange { detected_at: at(*seen), reason: (*reason).to_owned(), ..change(old_id(*monitor), *version) };
        let text = serde_json::to_string(&found).unwrap();
        let monitor = old_id(*monitor);
        let row = params![monitor.as_bytes(), version.cast_signed(), k, text];
        transaction.prepare_cached("INSERT INTO changes VALUES (?1, ?2, ?3, ?4)").unwrap().execute(row).unwrap();
    }
    transaction.commit().unwrap();
}

fn version_of(path: &Path) -> i32 {
    Connection::open(path).unwrap().pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

async fn events(storage: &SqliteStorage) -> Vec<(u64, StateChange)> {
    let page = storage.history(&HistoryQuery::Feed { after: 0 }, 100_000).await.unwrap();
    let event = |item| match item {
        HistoryItem::Event { seq, change } => (seq, change),
        other => panic!("{other:?}"),
    };
    page.items.into_iter().map(event).collect()
}

/// Everything that stands in the database of version 1.
async fn assert_all_is_there(storage: &SqliteStorage) {
    let records = storage.monitors(None, 10).await.unwrap().items;
    assert_eq!(records.iter().map(|r| r.spec().slug.as_str()).collect::<Vec<_>>(), ["cert-sync"]);
    assert_eq!(records[0].version, Version(3));
    assert_eq!(records[0].health.incident.as_ref().unwrap().opened_at, at(3600));
    let slug = Name::Slug("cert-sync".to_owned());
    assert_eq!(storage.find(&slug).await.unwrap(), Some(old_id(1)));
    let monitor = old_id(1);
    let page = storage.history(&HistoryQuery::Pings { monitor, before: None }, 10).await.unwrap();
    let HistoryItem::Ping(newest) = &page.items[0] else { panic!("a ping was asked for") };
    assert_eq!((newest.n, newest.body.as_deref()), (2, Some(&b"disk full"[..])));
    let changes = storage.history(&HistoryQuery::Changes { monitor, before: None }, 10).await.unwrap().items;
    let event = events(storage).await.pop().unwrap();
    assert_eq!((changes, event.0), (vec![HistoryItem::Change(event.1)], 1));
    let open = HistoryQuery::Incidents { monitor: None, open: Some(true), before: None };
    assert_eq!(storage.history(&open, 10).await.unwrap().items.len(), 1);
    assert_eq!(storage.outbox(0, 10).await.unwrap().items.len(), 1);
    assert_eq!(storage.documents("channel").await.unwrap().len(), 1);
    assert_eq!(storage.leases().await.unwrap().len(), 1);
    let log = storage.watch_log().await.unwrap();
    assert_eq!((log.mark, log.outages.len()), (Some(at(7200)), 1));
}

#[test]
fn a_database_of_version_1_is_brought_to_the_present_one_with_all_that_is_in_it() {
    let (_directory, path) = version_1();
    assert_eq!(version_of(&path), 1);
    for _ in 0..2 {
        let storage = open(&path);
        run(assert_all_is_there(&storage));
        drop(storage);
        assert_eq!(version_of(&path), VERSION);
    }
    // It works on from there.
    let storage = open(&path);
    run(async {
        let made = Transition { changes: vec![change(record(2).id(), 1)], ..create(&record(2)) };
        let epoch = storage.leases().await.unwrap()[0].epoch;
        storage.commit(&Batch { epoch, ..batch([made]) }).await.unwrap();
        assert_eq!(events(&storage).await.last().unwrap(), &(2, change(record(2).id(), 1)));
    });
}

#[test]
fn changes_of_version_1_get_places_by_their_time_and_each_monitor_keeps_its_order() {
    let (_directory, path) = version_1();
    // The clock was set back between the second and the third change of monitor 3.
    let changes = [
        (2, 1, 1, 100, "b"),
        (2, 2, 2, 300, "f"),
        (3, 1, 1, 50, "a"),
        (3, 2, 2, 200, "c"),
        (3, 3, 3, 10, "d"),
        (3, 3, 4, 200, "e"),
    ];
    add_changes(&path, &changes);
    let storage = open(&path);
    let found = run(events(&storage));
    assert_eq!(found.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=7).collect::<Vec<_>>());
    let reasons: Vec<_> = found.iter().map(|(_, change)| change.reason.as_str()).collect();
    assert_eq!(reasons, ["a", "b", "c", "d", "e", "f", "disk full"]);
}

#[test]
fn an_old_database_is_backed_up_as_it_is() {
    let (directory, path) = version_1();
    let copy = directory.path().join("copy.db");
    let report = backup(&path, &copy, false).unwrap();
    assert_eq!((report.version, report.monitors, report.pings, report.incidents), (1, 1, 2, 1));
    assert_eq!((version_of(&copy), version_of(&path)), (1, 1), "neither is brought to another version");
    run(assert_all_is_there(&open(&copy)));
}

/// A database as version 3 left it.
fn version_3() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    let connection = Connection::open(&path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.execute_batch(include_str!("fixtures/v3.sql")).unwrap();
    (directory, path)
}

async fn hours(storage: &SqliteStorage, name: &str) -> Vec<(String, u64)> {
    let monitor = storage.find(&Name::Slug(name.to_owned())).await.unwrap().unwrap();
    let query = HistoryQuery::Counts { monitor, per: CountsPer::Hour, since: None, before: None };
    let counts = |item| match item {
        HistoryItem::Counts(counts) => (counts.begins_at.to_string(), counts.total()),
        other => panic!("{other:?}"),
    };
    storage.history(&query, 10).await.unwrap().items.into_iter().map(counts).collect()
}

/// What was folded by version 3 is not counted, what was still in its log is, once, also when it is folded by and by.
#[test]
fn heartbeats_are_counted_from_the_upgrade_of_version_3_on() {
    let (_directory, path) = version_3();
    assert_eq!(version_of(&path), 3);
    for log_bytes in [1 << 20, 1, 1 << 20] {
        let storage = SqliteStorage::open(&path, SqliteOptions::new().log_bytes(log_bytes)).unwrap();
        run(async {
            while log_bytes == 1 && storage.stats().log_bytes > 0 {
                tokio::task::yield_now().await;
            }
            let monitor = storage.find(&Name::Slug("cert-sync".to_owned())).await.unwrap().unwrap();
            let page = storage.history(&HistoryQuery::Pings { monitor, before: None }, 100).await.unwrap();
            assert_eq!(page.items.len(), 33, "all heartbeats are there");
            assert_eq!(hours(&storage, "cert-sync").await, [("2026-11-29T15:00:00Z".to_owned(), 3)]);
            assert_eq!(hours(&storage, "quiet").await, []);
        });
        drop(storage);
        assert_eq!(version_of(&path), VERSION);
    }
}

/// Not a test of its own: the process that is killed while it brings a database to the present version.
#[test]
fn child_process() {
    let Ok(path) = std::env::var(INTERRUPTED) else { return };
    drop(open(Path::new(&path)));
}

/// Upgrades in a process of its own, which is killed once the write-ahead log is longer than so many bytes: the longer it is,
/// the further the upgrade is.
fn upgrade_until(victim: &Path, bytes: u64) {
    let log = PathBuf::from(format!("{}-wal", victim.display()));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child_process", "--exact"])
        .env(INTERRUPTED, victim)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while child.try_wait().unwrap().is_none() && fs::metadata(&log).map_or(0, |log| log.len()) <= bytes {
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_kill_in_the_middle_of_an_upgrade_leaves_the_old_database_or_the_new_one() {
    const CHANGES: u64 = 20_000;
    let (directory, path) = version_1();
    let many: Vec<_> = (1..=CHANGES).map(|n| (2, n, n.cast_signed(), 1, "x")).collect();
    add_changes(&path, &many);
    let mut versions = std::collections::BTreeMap::new();
    for round in 0..12_u32 {
        let victim = directory.path().join(format!("{round}.db"));
        fs::copy(&path, &victim).unwrap();
        upgrade_until(&victim, u64::from(round) * 400_000);
        *versions.entry(version_of(&victim)).or_insert(0) += 1;
        let storage = open(&victim);
        let found = run(events(&storage));
        assert_eq!(found.len() as u64, CHANGES + 1, "round {round}");
        assert!(found.is_sorted_by(|a, b| a.0 < b.0));
        drop(storage);
        assert_eq!(version_of(&victim), VERSION);
    }
    assert!(versions.contains_key(&1), "no upgrade was cut short: {versions:?}");
    println!("versions after a kill, and how often: {versions:?}");
}

/// What is moved is copied into the file as it goes on, instead of lying twice on the disk until the end.
#[test]
fn the_write_ahead_log_stays_short_while_monitors_are_moved() {
    const MONITORS: u64 = 3000;
    let (_directory, path) = version_2(MONITORS, 1);
    let old = Connection::open(&path).unwrap();
    old.execute("UPDATE pings SET body = randomblob(20000)", []).unwrap();
    old.close().unwrap();
    let storage = open(&path);
    let log = fs::metadata(format!("{}-wal", path.display())).unwrap().len();
    assert!(fs::metadata(&path).unwrap().len() > MONITORS * 20_000);
    assert!(log < MONITORS * 20_000 / 2, "the write-ahead log has {log} bytes");
    let query = HistoryQuery::Pings { monitor: old_id(MONITORS), before: None };
    run(async {
        let HistoryItem::Ping(ping) = storage.history(&query, 1).await.unwrap().items.remove(0) else {
            panic!("a ping")
        };
        assert_eq!(ping.body.map(|body| body.len()), Some(20_000));
    });
}

#[test]
fn a_kill_while_monitors_are_moved_loses_none() {
    const MONITORS: u64 = 3000;
    const PINGS: u64 = 4;
    let (directory, path) = version_2(MONITORS, PINGS);
    for round in 0..8_u64 {
        let victim = directory.path().join(format!("{round}.db"));
        fs::copy(&path, &victim).unwrap();
        // Killed twice: what goes on from the middle may be cut short, too.
        for part in 1..=2 {
            upgrade_until(&victim, (round + part) * 300_000);
        }
        assert_nothing_is_lost(&victim, MONITORS, PINGS);
    }
}

/// What the first transactions moved is in the new tables then, and the rest in the old ones.
#[test]
fn an_upgrade_that_stopped_in_the_middle_goes_on_from_there() {
    const MONITORS: u64 = 700;
    const PINGS: u64 = 3;
    let (_directory, path) = version_2(MONITORS, PINGS);
    let left = |path: &Path| -> i64 {
        let connection = Connection::open(path).unwrap();
        connection.query_row("SELECT count(*) FROM monitors_2", [], |row| row.get(0)).unwrap()
    };
    let id = old_id(400);
    let hex: String = id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let stop = format!(
        "CREATE TRIGGER stop BEFORE DELETE ON monitors WHEN old.id = x'{hex}' BEGIN SELECT RAISE(ABORT, 'stop'); END"
    );
    Connection::open(&path).unwrap().execute_batch(&stop).unwrap();
    for _ in 0..2 {
        let error = SqliteStorage::open(&path, SqliteOptions::new()).unwrap_err().to_string();
        assert!(error.contains("stop"), "{error}");
        // An older program refuses it from here on.
        assert_eq!((version_of(&path), left(&path)), (VERSION, 1 + 700 - 256));
    }
    Connection::open(&path).unwrap().execute_batch("DROP TRIGGER stop").unwrap();
    assert_nothing_is_lost(&path, MONITORS, PINGS);
}

/// Neither in a copy of it nor in itself, once it is opened.
fn assert_nothing_is_lost(path: &Path, monitors: u64, pings: u64) {
    let copy = path.with_extension("copy");
    let report = backup(path, &copy, false).unwrap();
    assert_eq!((report.monitors, report.pings), (monitors + 1, monitors * pings + 2), "in {}", path.display());
    let storage = open(path);
    run(async {
        let records = storage.monitors(None, 10_000).await.unwrap().items;
        let expected: Vec<Record> = (2..monitors + 2).map(|n| old_record(n, pings)).collect();
        assert_eq!(records[1..], expected);
        for n in (2..monitors + 2).step_by(97) {
            let expected: Vec<_> = old_pings(pings).collect();
            assert_eq!(found_pings(&storage, n).await, expected);
        }
    });
}

/// Oldest first.
async fn found_pings(storage: &SqliteStorage, n: u64) -> Vec<PingEntry> {
    let query = HistoryQuery::Pings { monitor: old_id(n), before: None };
    let ping = |item| match item {
        HistoryItem::Ping(ping) => *ping,
        other => panic!("{other:?}"),
    };
    storage.history(&query, 100).await.unwrap().items.into_iter().rev().map(ping).collect()
}

#[test]
fn what_is_damaged_in_an_old_database_does_not_keep_it_from_being_opened() {
    let (_directory, path) = version_2(4, 4);
    let connection = Connection::open(&path).unwrap();
    for (n, ping, damage) in [(2, 1, "'{'"), (3, 4, "cast(x'7bff' AS TEXT)"), (3, 2, "''")] {
        let sql = format!("UPDATE pings SET entry = {damage} WHERE monitor = ?1 AND n = ?2");
        assert_eq!(connection.execute(&sql, params![old_id(n).as_bytes(), ping]).unwrap(), 1);
    }
    let sql = "UPDATE monitors SET health = cast(x'7bff' AS TEXT) WHERE id = ?1";
    assert_eq!(connection.execute(sql, [old_id(4).as_bytes()]).unwrap(), 1);
    drop(connection);
    for _ in 0..2 {
        let storage = open(&path);
        run(async {
            for (n, kept) in [(2, vec![2, 3, 4]), (3, vec![1, 3]), (4, vec![1, 2, 3, 4]), (5, vec![1, 2, 3, 4])] {
                let expected: Vec<_> = old_pings(4).filter(|ping| kept.contains(&ping.n)).collect();
                assert_eq!(found_pings(&storage, n).await, expected, "of {n}");
                let found = storage.load(&[old_id(n)]).await;
                if n == 4 {
                    let error = found.unwrap_err().to_string();
                    assert!(error.contains(&format!("state of monitor {}", old_id(n))), "{error}");
                } else {
                    assert_eq!(found.unwrap(), [Some(old_record(n, 4))]);
                }
            }
        });
    }
}
