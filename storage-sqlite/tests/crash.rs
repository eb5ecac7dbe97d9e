//! What was acknowledged survives `kill -9`, and two processes never share a file.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use heartbeat_engine::testing::fixtures::{batch, create, monitor_id, next, ping, record, replace};
use heartbeat_engine::testing::run;
use heartbeat_engine::{Applied, HistoryItem, HistoryQuery, MonitorId, Outcome, Storage, Transition};
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
        let mut result = storage.commit(&batch([transition.clone()])).await;
        while let Err(error) = result {
            say(&format!("failed {error}"));
            // As the engine does: read what is stored before trying again.
            match storage.load(&[monitor_id(n)]).await {
                Ok(found) if found[0].as_ref() == Some(&current) => result = Ok(written()),
                Ok(_) => result = storage.commit(&batch([transition.clone()])).await,
                Err(unreadable) => result = Err(unreadable),
            }
        }
        let applied = result.unwrap();
        assert_eq!(applied.transitions, [Outcome::Committed]);
        say(&format!("acknowledged {n} {count}"));
    }
}

fn written() -> Applied {
    Applied { transitions: vec![Outcome::Committed], documents: Vec::new() }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

/// Started by a shell that ignores the signal of a file that grows too large, so that writing fails instead.
fn start(path: &Path) -> Child {
    Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
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

/// The disk fails in earnest: the kernel refuses every write to a file beyond the limit.
#[cfg(target_os = "linux")]
#[test]
fn a_failing_disk_loses_nothing_and_heals_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    let mut child = start(&path);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let limit_files = |bytes: &str| {
        let pid = child.id().to_string();
        let done = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status();
        assert!(done.expect("prlimit of util-linux").success());
    };
    let mut last = [0; WRITERS as usize];
    let mut read_until = |wanted: &str, enough: usize| {
        let mut seen = 0;
        while seen < enough {
            let line = lines.next().expect("the child writes on").unwrap();
            seen += usize::from(line.starts_with(wanted));
            if let ["acknowledged", n, count] = line.split(' ').collect::<Vec<_>>()[..] {
                last[n.parse::<usize>().unwrap()] = count.parse().unwrap();
            }
        }
    };
    for _ in 0..3 {
        read_until("acknowledged", 50);
        limit_files("1000");
        read_until("failed the store", 20);
        limit_files("unlimited");
        read_until("acknowledged", 50);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let storage = SqliteStorage::open(&path, SqliteOptions::new()).unwrap();
    run(async {
        for (n, acknowledged) in last.into_iter().enumerate() {
            let record = storage.load(&[monitor_id(n as u64)]).await.unwrap().remove(0).expect("the monitor is there");
            assert!(record.health.ping_count >= acknowledged, "monitor {n}: {acknowledged} were acknowledged");
            assert_eq!(newest_ping(&storage, record.id()).await, record.health.ping_count, "both or none");
        }
    });
}
