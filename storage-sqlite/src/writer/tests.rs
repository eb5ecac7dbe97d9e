use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;

use heartbeat_engine::testing::fixtures::{batch, change, create, incident, monitor_id, notification, record};
use heartbeat_engine::{Applied, Epoch, Lease, PartitionId, Timestamp, Transition};
use rusqlite::ffi;
use tokio::sync::oneshot;

use super::*;
use crate::encode::Content;

type Swapped = oneshot::Receiver<Result<bool, StorageError>>;

fn swap() -> (Write, Swapped) {
    let lease =
        Lease { partition: PartitionId(0), epoch: Epoch(0), node: String::new(), expires_at: Timestamp::from_secs(0) };
    let (reply, answer) = oneshot::channel();
    (Write::Lease(Box::new((lease.clone(), lease)), reply), answer)
}

fn worker(directory: &tempfile::TempDir) -> Worker {
    worker_with(directory, SqliteOptions::new())
}

fn worker_with(directory: &tempfile::TempDir, options: SqliteOptions) -> Worker {
    let opened = open::open(&directory.path().join("heartbeat.db"), &options).unwrap();
    let index = Arc::new(Index::new(crate::index::Table::with_capacity(0)));
    let deferred = Deferred::open(&opened.connection).unwrap();
    Worker {
        path: opened.path,
        connection: Some(opened.connection),
        tainted: None,
        applier: Applier::new(&options, index, 0, deferred),
        waiting: Vec::new(),
        options,
        counters: Arc::default(),
        gauge: Arc::new(Gauge::new(0, 0, 1000)),
        wal: opened.wal,
    }
}

/// Writes keep coming, each soon after the one before, and nothing is folded: a group ends all the same.
#[test]
fn a_group_waits_once_for_a_slice_however_many_writes_come_meanwhile() {
    let (queue, inbox) = sync_channel(QUEUE_MAX);
    let gauge = Gauge::new(2000, 0, 1000);
    assert!(gauge.is_overdue());
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::Relaxed) && queue.send(swap().0).is_ok() {
                thread::park_timeout(Duration::from_millis(2));
            }
        });
        let group = collect(inbox.recv().unwrap(), &inbox, &gauge);
        ended.store(true, Ordering::Relaxed);
        assert!(group.len() < GROUP_TRANSITIONS_MAX / 2, "{} writes", group.len());
    });
}

#[test]
fn a_group_waits_for_nothing_more_once_it_has_a_slice() {
    let (queue, inbox) = sync_channel(QUEUE_MAX);
    let (reply, _answer) = channel();
    let gauge = Gauge::new(2000, 0, 1000);
    queue.send(swap().0).unwrap();
    let group = collect(Write::Trim(fold::Trim::default(), reply), &inbox, &gauge);
    assert_eq!(group.len(), 2);
}

#[test]
fn what_folds_is_not_counted_among_the_writes_when_it_fails_either() {
    let directory = tempfile::tempdir().unwrap();
    let worker = worker(&directory);
    let ((reply, answer), (lease, mut swapped)) = (channel(), swap());
    worker.refuse(
        vec![Write::Trim(fold::Trim::default(), reply), lease],
        &StorageError::Unavailable("no disk".to_owned()),
    );
    assert_eq!(answer.recv(), Ok(false));
    assert!(swapped.try_recv().unwrap().is_err());
    assert_eq!(worker.counters.snapshot().writes, 1);
}

#[test]
fn nothing_is_written_when_the_write_ahead_log_is_full_and_cannot_be_copied() {
    let directory = tempfile::tempdir().unwrap();
    let mut worker = worker(&directory);
    let wal = Arc::clone(&worker.wal);
    let mut ask = |pages| {
        wal.set(pages);
        let (lease, mut swapped) = swap();
        worker.group(vec![lease]);
        swapped.try_recv().unwrap()
    };
    assert_eq!(ask(1 << 30), Ok(true), "it can be copied");
    wal.note(&rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None));
    assert_eq!(ask(1000), Ok(true));
    let error = ask(1 << 30).unwrap_err();
    assert!(matches!(&error, StorageError::Unavailable(text) if text.contains("restart the program")), "{error}");
}

/// Monitors with these numbers, each with all that going down writes, as one batch.
fn downs(numbers: std::ops::Range<u64>) -> (Write, oneshot::Receiver<Result<Applied, StorageError>>) {
    let down = |n| {
        let id = monitor_id(n);
        let (changes, incidents, notifications) = (vec![change(id, 1)], vec![incident(n, id)], vec![notification(n)]);
        Transition { changes, incidents, notifications, ..create(&record(n)) }
    };
    let (reply, answer) = oneshot::channel();
    let content = Content::encoded(&batch(numbers.map(down).collect::<Vec<_>>())).unwrap();
    (Write::Batch(content, reply), answer)
}

fn count(worker: &Worker, table: &str) -> i64 {
    let connection = worker.connection.as_ref().unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

fn execute(worker: &Worker, sql: &str) {
    worker.connection.as_ref().unwrap().execute_batch(sql).unwrap();
}

/// How many steps SQLite's machine makes until so many monitors are down and everything is in its table.
fn steps(monitors: u64, large: u32) -> u64 {
    const EACH: i32 = 16;
    const AT_ONCE: u64 = 250;
    let directory = tempfile::tempdir().unwrap();
    let mut worker = worker_with(&directory, SqliteOptions::new().large_batch(large));
    let steps = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&steps);
    let count = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        false
    };
    worker.connection.as_mut().unwrap().progress_handler(EACH, Some(count)).unwrap();
    for first in (0..monitors).step_by(AT_ONCE as usize) {
        let (write, mut answer) = downs(first..first + AT_ONCE);
        worker.group(vec![write]);
        assert!(answer.try_recv().unwrap().is_ok());
    }
    while !worker.applier.deferred.is_empty() {
        worker.put_some().unwrap();
    }
    assert_eq!(super::tests::count(&worker, "incidents"), monitors.cast_signed());
    steps.load(Ordering::Relaxed)
}

/// Ten times as many cost ten times as much: nothing looks at all of them each time.
#[test]
fn what_going_down_costs_does_not_grow_with_how_many_do() {
    for large in [1, u32::MAX] {
        let (few, many) = (steps(500, large), steps(5_000, large));
        assert!(few > 0 && many < few * 11, "{few} and {many}, large from {large} on");
    }
}

/// Beside others it would need a savepoint, which costs time in the square of what it holds.
#[test]
fn a_large_batch_has_a_transaction_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let mut worker = worker(&directory);
    let savepoints = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&savepoints);
    let count = move |context: rusqlite::hooks::AuthContext<'_>| {
        let is_one = matches!(context.action, rusqlite::hooks::AuthAction::Savepoint { .. });
        counted.fetch_add(u64::from(is_one), Ordering::Relaxed);
        rusqlite::hooks::Authorization::Allow
    };
    worker.connection.as_mut().unwrap().authorizer(Some(count)).unwrap();
    let (queue, inbox) = sync_channel(QUEUE_MAX);
    let ((large, mut applied), (lease, mut swapped)) = (downs(0..100), swap());
    queue.send(lease).unwrap();
    assert!(worker.take(large, &inbox) == Group::Large, "a large batch came");
    assert!(applied.try_recv().unwrap().is_ok() && swapped.try_recv().unwrap().is_ok());
    assert_eq!((worker.counters.snapshot().transactions, savepoints.load(Ordering::Relaxed)), (2, 0));
    let ((small, _applied), (lease, _swapped)) = (downs(100..101), swap());
    queue.send(lease).unwrap();
    assert!(worker.take(small, &inbox) == Group::Steady, "none of the batches was large");
    assert_eq!(worker.counters.snapshot().transactions, 3);
    assert!(savepoints.load(Ordering::Relaxed) > 0, "they share one");
}

#[test]
fn what_cannot_be_put_into_its_table_is_told_to_who_waits_and_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut worker = worker(&directory);
    worker.group(vec![downs(0..200).0]);
    assert_eq!((count(&worker, "incidents"), worker.applier.deferred.is_empty()), (0, false));
    execute(&worker, "CREATE TEMP TRIGGER stop BEFORE INSERT ON main.incidents BEGIN SELECT RAISE(ABORT, 'stop'); END");
    let (reply, mut answer) = oneshot::channel();
    worker.waiting.push((worker.applier.deferred.last(), reply));
    assert_eq!(worker.put_deferred(), PATIENCE);
    let error = answer.try_recv().unwrap().unwrap_err();
    assert!(matches!(&error, StorageError::Unavailable(text) if text.contains("stop")), "{error}");
    execute(&worker, "DROP TRIGGER stop");
    // A small batch that comes meanwhile does not overtake them.
    worker.group(vec![downs(200..201).0]);
    assert_eq!(count(&worker, "incidents"), 0);
    let (reply, mut answer) = oneshot::channel();
    worker.waiting.push((worker.applier.deferred.last(), reply));
    while !worker.waiting.is_empty() {
        assert_eq!(worker.put_deferred(), QUIET);
    }
    assert_eq!(answer.try_recv().unwrap(), Ok(()));
    let counts = ["changes", "incidents", "notifications", "deferred"].map(|table| count(&worker, table));
    assert_eq!(counts, [201, 201, 201, 0]);
}

#[test]
fn a_damaged_row_is_kept_and_all_others_count() {
    let directory = tempfile::tempdir().unwrap();
    let mut worker = worker(&directory);
    worker.group(vec![downs(0..200).0]);
    assert!(count(&worker, "deferred") > 1);
    execute(&worker, "UPDATE deferred SET lines = substr(lines, 1, length(lines) - 3) WHERE seq = 1");
    while !worker.applier.deferred.is_empty() {
        worker.put_some().unwrap();
    }
    let [changes, incidents, notifications, damaged] =
        ["changes", "incidents", "notifications", "deferred_damaged"].map(|table| count(&worker, table));
    assert!((150..200).contains(&changes), "the rest of a row with some monitors: {changes}");
    assert_eq!((incidents, notifications, damaged), (changes, changes, 1));
}
