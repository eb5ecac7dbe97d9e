//! A sync of the database that fails while its write-ahead log can still be synced: nothing may be built upon it (S8.3).
#![allow(clippy::unwrap_used, clippy::expect_used)]
#![cfg(target_os = "linux")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use heartbeat_engine::testing::fixtures::{batch, create, full_ping, monitor_id, next, record, replace};
use heartbeat_engine::testing::run;
use heartbeat_engine::{HistoryItem, HistoryQuery, PingEntry, Record, Storage, Transition};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};
use rusqlite::Connection;

const DATABASE: &str = "HEARTBEAT_TEST_POWER";
/// What the disk is told, see `disk.c`.
const CONTROL: &str = "DISK_CONTROL";
const READY: &str = "ready for the loss of power";
/// Monitors that are written once, before anything is copied.
const EARLY: u64 = 300;

/// Not a test of its own: the process whose disk fails.
#[test]
fn child_process() {
    let Ok(path) = std::env::var(DATABASE).map(PathBuf::from) else { return };
    // Nothing is folded meanwhile: the test is about the write-ahead log.
    let storage = SqliteStorage::open(&path, SqliteOptions::new().log_bytes(1 << 30)).unwrap();
    run(async move {
        for n in 0..EARLY {
            storage.commit(&batch([create(&early(n))])).await.unwrap();
        }
        let mut filler = Filler { storage: &storage, now: record(EARLY) };
        storage.commit(&batch([create(&filler.now)])).await.unwrap();
        copy_a_part(&path, &mut filler).await;
        command("database");
        while !path.with_extension("db.failed").exists() {
            filler.write().await;
        }
        command("");
        // The disk works again. The write-ahead log may begin anew now, or grow on.
        let mut pages = 0;
        for _ in 0..200 {
            filler.write().await;
            if storage.stats().wal_pages < pages {
                println!("the write-ahead log began anew");
                break;
            }
            pages = storage.stats().wal_pages;
        }
        println!("{READY}: {}", filler.now.health.ping_count);
        std::future::pending::<()>().await;
    });
}

fn early(n: u64) -> Record {
    let mut made = record(n);
    made.health.ping_count = n;
    made
}

/// Writes much.
struct Filler<'a> {
    storage: &'a SqliteStorage,
    now: Record,
}

impl Filler<'_> {
    async fn write(&mut self) {
        self.now = next(&self.now, |_, health| health.ping_count += 20);
        let count = self.now.health.ping_count;
        let laden = |n| PingEntry { body: Some(vec![7; 9000]), ..full_ping(n) };
        let pings = (count - 19..=count).map(laden).collect();
        self.storage.commit(&batch([Transition { pings, ..replace(&self.now) }])).await.unwrap();
    }
}

/// Lets the storage copy what there is now, but nothing that comes later, so that it does not sync what it copied.
async fn copy_a_part(path: &Path, filler: &mut Filler<'_>) {
    let reader = Connection::open(path).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(reader.query_row("SELECT max(version) FROM monitors", [], |row| row.get(0)), Ok(1));
    let other = Connection::open(path).unwrap();
    loop {
        filler.write().await;
        let sql = "PRAGMA wal_checkpoint(NOOP)";
        let row = other.query_row(sql, [], |row| Ok((row.get(1)?, row.get(2)?)));
        let (pages, copied): (i64, i64) = row.unwrap();
        if copied > 0 {
            assert!(copied < pages);
            break;
        }
    }
    reader.execute_batch("COMMIT").unwrap();
}

fn command(mode: &str) {
    let control = PathBuf::from(std::env::var_os(CONTROL).unwrap());
    // In one step: a half-written command would be another one.
    let new = control.with_extension("new");
    fs::write(&new, mode).and_then(|()| fs::rename(&new, control)).unwrap();
}

fn start(folder: &Path) -> Child {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/tests/faults/disk.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(folder.join("disk.so")).arg(source).arg("-pthread");
    assert!(cc.status().expect("cc, which the bundled SQLite needs, too").success());
    Command::new(std::env::current_exe().unwrap())
        .args(["child_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(DATABASE, folder.join("heartbeat.db"))
        .env(CONTROL, folder.join("control"))
        .env("LD_PRELOAD", folder.join("disk.so"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a loss of power leaves: what was synced.
fn lose_power(path: &Path) {
    for suffix in ["", "-wal"] {
        let (file, durable) = (format!("{}{suffix}", path.display()), format!("{}{suffix}.durable", path.display()));
        fs::copy(durable, file).unwrap();
    }
    fs::remove_file(path.with_extension("db-shm")).unwrap();
}

#[test]
fn what_a_failed_sync_of_the_database_left_behind_is_not_built_upon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heartbeat.db");
    let mut child = start(folder.path());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    // The harness of the tests has begun a line already.
    let ready = lines.inspect(|line| println!("child: {line}")).find_map(|line| {
        line.split_once(READY).map(|(_, count)| count.trim_start_matches(": ").parse::<u64>().unwrap())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    let written = ready.expect("the child wrote everything");
    lose_power(&path);
    let storage = SqliteStorage::open(&path, SqliteOptions::new()).unwrap();
    run(async {
        let ids: Vec<_> = (0..EARLY).map(monitor_id).collect();
        let expected: Vec<_> = (0..EARLY).map(|n| Some(early(n))).collect();
        assert!(storage.load(&ids).await.unwrap() == expected, "what was acknowledged first is there");
        let newest = HistoryQuery::Pings { monitor: monitor_id(EARLY), before: None };
        let HistoryItem::Ping(newest) = storage.history(&newest, 1).await.unwrap().items.remove(0) else {
            panic!("a heartbeat was asked for")
        };
        assert_eq!(newest.n, written, "what was acknowledged last is there");
    });
}
