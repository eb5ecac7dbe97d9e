//! What was acknowledged survives `kill -9`, and two processes never share a file.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use heartbeat_engine::testing::fixtures::{batch, create, monitor_id, next, ping, record, replace};
use heartbeat_engine::testing::run;
use heartbeat_engine::{HistoryItem, HistoryQuery, MonitorId, Storage, Transition};
use heartbeat_storage_sqlite::{OpenError, SqliteOptions, SqliteStorage};

const DATABASE: &str = "HEARTBEAT_TEST_DATABASE";
const WRITERS: u64 = 4;

/// Not a test of its own: the process that is killed. It writes for ever and prints what was acknowledged.
#[test]
fn child_process() {
    let Ok(path) = std::env::var(DATABASE) else { return };
    let storage = Arc::new(SqliteStorage::open(path, SqliteOptions::new()).unwrap());
    run(async {
        let writers: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(write_for_ever(Arc::clone(&storage), n))).collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

async fn write_for_ever(storage: Arc<SqliteStorage>, n: u64) {
    let (mut current, expected) = match storage.load(&[monitor_id(n)]).await.unwrap().remove(0) {
        Some(found) => (found, true),
        None => (record(n), false),
    };
    if !expected {
        storage.commit(&batch([create(&current)])).await.unwrap();
    }
    loop {
        current = next(&current, |_, health| health.ping_count += 1);
        let count = current.health.ping_count;
        let transition = Transition { pings: vec![ping(count)], ..replace(&current) };
        let applied = storage.commit(&batch([transition])).await.unwrap();
        assert_eq!(applied.transitions, [heartbeat_engine::Outcome::Committed]);
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {n} {count}").unwrap();
        out.flush().unwrap();
    }
}

fn start(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["child_process", "--exact", "--nocapture", "--test-threads=1"])
        .env(DATABASE, path)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Reads acknowledgements until there are `enough`, kills the process, and reads what it had printed before its end.
fn acknowledged_until_killed(path: &Path, enough: usize, meanwhile: impl FnOnce(u32)) -> [u64; WRITERS as usize] {
    let mut child = start(path);
    let mut last = [0; WRITERS as usize];
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut note = |line: String| {
        let words: Vec<_> = line.split(' ').collect();
        // A line that was cut by the kill lacks its end and says nothing.
        if let ["acknowledged", n, count] = words[..]
            && let (Ok(n), Ok(count)) = (n.parse::<usize>(), count.parse::<u64>())
        {
            last[n] = last[n].max(count);
            return 1;
        }
        0
    };
    let mut seen = 0;
    while seen < enough {
        seen += note(lines.next().expect("the child writes on").unwrap());
    }
    meanwhile(child.id());
    child.kill().unwrap();
    child.wait().unwrap();
    let mut rest: Vec<String> = lines.map_while(Result::ok).collect();
    rest.pop();
    rest.into_iter().for_each(|line| _ = note(line));
    last
}

async fn newest_ping(storage: &SqliteStorage, monitor: MonitorId) -> u64 {
    let page = storage.history(&HistoryQuery::Pings { monitor, before: None }, 1).await.unwrap();
    match &page.items[..] {
        [HistoryItem::Ping(ping)] => ping.n,
        other => panic!("one ping was asked for, not {other:?}"),
    }
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    for round in 1..=3 {
        let last = acknowledged_until_killed(&path, 100 * round, |_| ());
        let storage = SqliteStorage::open(&path, SqliteOptions::new()).expect("nobody holds the lock of the dead");
        run(async {
            for n in 0..WRITERS {
                let record = storage.load(&[monitor_id(n)]).await.unwrap().remove(0).expect("the monitor is there");
                let acknowledged = last[usize::try_from(n).unwrap()];
                assert!(record.health.ping_count >= acknowledged, "monitor {n}: {acknowledged} were acknowledged");
                assert_eq!(newest_ping(&storage, monitor_id(n)).await, record.health.ping_count, "both or none");
            }
        });
    }
}

#[test]
fn a_second_process_is_refused_and_told_who_has_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    acknowledged_until_killed(&path, 1, |holder| {
        let error = SqliteStorage::open(&path, SqliteOptions::new()).expect_err("the child has it");
        assert!(matches!(error, OpenError::Locked { .. }), "{error}");
        assert!(error.to_string().contains(&format!("in use by process {holder}")), "{error}");
    });
}
