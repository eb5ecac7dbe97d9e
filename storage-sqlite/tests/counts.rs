//! However heartbeats are folded, and whenever the process dies: each is counted once, in the hour in which it arrived.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heartbeat_engine::testing::fixtures::{at, batch, create, monitor_id, next, ping, record, remove, replace};
use heartbeat_engine::testing::run;
use heartbeat_engine::{
    Batch, Counts, CountsPer, HistoryItem, HistoryQuery, Outcome, Page, PingEntry, Record, Signal, Storage,
    StorageError, Timestamp, Transition,
};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage, Synchronous};
use proptest::prelude::*;
use rusqlite::Connection;
use tempfile::TempDir;

const MONITORS: u64 = 4;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

fn options(log_bytes: u64) -> SqliteOptions {
    SqliteOptions::new().synchronous(Synchronous::Normal).readers(1).pings_per_monitor(5).log_bytes(log_bytes)
}

/// Until everything is folded, and so much of it forgotten as may be.
async fn settle(storage: &SqliteStorage) {
    let settled = tokio::time::timeout(Duration::from_secs(60), async {
        while storage.stats().log_bytes > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assert!(settled.await.is_ok(), "it is not folded: {:?}", storage.stats());
}

async fn query(storage: &SqliteStorage, query: &HistoryQuery, limit: usize) -> Result<Page<Counts>, StorageError> {
    let counts = |item| match item {
        HistoryItem::Counts(counts) => counts,
        other => panic!("{other:?}"),
    };
    let page = storage.history(query, limit).await?;
    Ok(Page { items: page.items.into_iter().map(counts).collect(), more: page.more })
}

/// All hours of a monitor, newest first.
async fn hours(storage: &SqliteStorage, n: u64) -> Vec<Counts> {
    let wanted = HistoryQuery::Counts { monitor: monitor_id(n), per: CountsPer::Hour, since: None, before: None };
    query(storage, &wanted, 100_000).await.unwrap().items
}

/// One heartbeat, so many seconds after the one before it.
type Beat = (i64, Signal, Option<u64>, usize);

#[derive(Clone, Debug)]
enum Step {
    Beats(Vec<(u64, Vec<Beat>)>),
    Remove(u64),
    Settle,
    Reopen {
        log_bytes: u64,
    },
    /// What a killed process leaves, at any point of folding.
    Kill {
        log_bytes: u64,
    },
}

fn beats() -> impl Strategy<Value = Beat> {
    let distance = prop_oneof![
        8 => 0..300_i64,
        8 => HOUR..2 * HOUR,
        3 => DAY - 60..DAY + 60,
        1 => 20 * DAY..70 * DAY,
        // The clock is set back.
        1 => -3 * HOUR..0,
        1 => -40 * DAY..-HOUR,
    ];
    let took = prop_oneof![Just(None), Just(Some(1500)), (0..90_000_u64).prop_map(Some)];
    (distance, prop::sample::select(Signal::ALL.to_vec()), took, prop::sample::select(vec![0, 0, 20, 900, 3000]))
}

fn steps() -> impl Strategy<Value = Step> {
    let log_bytes = prop::sample::select(vec![1, 1, 3000, 1 << 20]);
    let some = prop_oneof![8 => prop::collection::vec(beats(), 0..4), 1 => prop::collection::vec(beats(), 60..90)];
    prop_oneof![
        20 => prop::collection::btree_map(0..MONITORS, some, 1..4).prop_map(|found| Step::Beats(found.into_iter().collect())),
        1 => (0..MONITORS).prop_map(Step::Remove),
        3 => Just(Step::Settle),
        1 => log_bytes.clone().prop_map(|log_bytes| Step::Reopen { log_bytes }),
        2 => log_bytes.prop_map(|log_bytes| Step::Kill { log_bytes }),
    ]
}

/// The storage, and every heartbeat that ever came to it.
struct World {
    directory: TempDir,
    opened: u32,
    path: PathBuf,
    log_bytes: u64,
    sqlite: Option<SqliteStorage>,
    monitors: BTreeMap<u64, (Record, Vec<PingEntry>)>,
    now: i64,
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.db");
        let sqlite = Some(SqliteStorage::open(&path, options(1)).unwrap());
        Self { directory, opened: 0, path, log_bytes: 1, sqlite, monitors: BTreeMap::new(), now: 0 }
    }

    fn sqlite(&self) -> &SqliteStorage {
        self.sqlite.as_ref().unwrap()
    }

    /// Each monitor that is named gets its heartbeats in one transition, and is made if there is none.
    fn beat(&mut self, n: u64, beats: &[Beat]) -> Transition {
        let found = self.monitors.remove(&n);
        let is_new = found.is_none();
        let (now, mut all) = found.unwrap_or_else(|| (record(n), Vec::new()));
        let mut pings = Vec::new();
        for (index, (distance, signal, took, message)) in beats.iter().enumerate() {
            self.now += distance;
            let (arrived_at, took) = (at(self.now), took.map(Duration::from_millis));
            pings.push(PingEntry {
                arrived_at,
                at: at(self.now / 2),
                signal: *signal,
                run_duration: took.filter(|_| index % 2 == 0),
                duration: took,
                message: Some("m".repeat(*message)),
                ..ping((all.len() + index + 1) as u64)
            });
        }
        all.extend(pings.iter().cloned());
        let after = if is_new { now } else { next(&now, |_, _| ()) };
        self.monitors.insert(n, (after.clone(), all));
        Transition { pings, ..if is_new { create(&after) } else { replace(&after) } }
    }

    async fn step(&mut self, step: &Step) {
        let transitions = match step {
            Step::Beats(beats) => beats.iter().map(|(n, beats)| self.beat(*n, beats)).collect(),
            Step::Remove(n) => self.monitors.remove(n).iter().map(|(now, _)| remove(now)).collect(),
            Step::Settle if self.log_bytes == 1 => return settle(self.sqlite()).await,
            Step::Settle => return,
            Step::Reopen { log_bytes } => {
                self.sqlite = None;
                self.sqlite = Some(SqliteStorage::open(&self.path, options(*log_bytes)).unwrap());
                self.log_bytes = *log_bytes;
                return;
            }
            Step::Kill { log_bytes } => return self.kill(*log_bytes),
        };
        let written: Vec<Transition> = transitions;
        let applied = self.sqlite().commit(&batch(written.clone())).await.unwrap();
        assert_eq!(applied.transitions, vec![Outcome::Committed; written.len()]);
    }

    fn kill(&mut self, log_bytes: u64) {
        self.opened += 1;
        let left = self.directory.path().join(format!("{}.db", self.opened));
        for suffix in ["", "-wal"] {
            let name = |path: &Path| format!("{}{suffix}", path.display());
            fs::copy(name(&self.path), name(&left)).unwrap();
        }
        self.sqlite = Some(SqliteStorage::open(&left, options(log_bytes)).unwrap());
        (self.path, self.log_bytes) = (left, log_bytes);
    }

    /// What is to be answered, from all heartbeats.
    fn expected(&self, n: u64, per: CountsPer, (since, before): (Option<Timestamp>, Option<Timestamp>)) -> Vec<Counts> {
        let mut found: BTreeMap<Timestamp, Counts> = BTreeMap::new();
        for ping in self.monitors.get(&n).into_iter().flat_map(|(_, pings)| pings) {
            let millis = ping.arrived_at.as_millis();
            let begins_at = Timestamp::from_millis(millis - millis.rem_euclid(per.millis()));
            let took = ping.run_duration.or(ping.duration);
            found.entry(begins_at).or_insert_with(|| Counts::new(begins_at)).add(ping.signal, took);
        }
        found.retain(|begins_at, _| since.is_none_or(|since| *begins_at >= since));
        found.retain(|begins_at, _| before.is_none_or(|before| *begins_at < before));
        found.into_values().rev().collect()
    }

    async fn check(&self) {
        for n in 0..MONITORS {
            for per in [CountsPer::Hour, CountsPer::Day] {
                let middle = Some(at(self.now / 2));
                for (since, before) in [(None, None), (middle, None), (None, middle), (Some(at(0)), Some(at(40 * DAY)))]
                {
                    let expected = self.expected(n, per, (since, before));
                    for limit in [1, 3, 40, 10_000] {
                        let wanted = HistoryQuery::Counts { monitor: monitor_id(n), per, since, before };
                        let found = query(self.sqlite(), &wanted, limit).await.unwrap();
                        let cut = Page::cut(expected.iter().copied(), limit);
                        assert_eq!(found, cut, "{n} {per:?} {since:?} {before:?} {limit}");
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_are_those_of_all_heartbeats_that_ever_came(steps in prop::collection::vec(steps(), 1..60)) {
        run(async {
            let mut world = World::new();
            for (index, step) in steps.iter().enumerate() {
                world.step(step).await;
                if index % 8 == 7 || index + 1 == steps.len() {
                    world.check().await;
                }
            }
        });
    }
}

/// One heartbeat for each of these seconds after the beginning.
async fn beat_at(storage: &SqliteStorage, now: &mut Record, seconds: impl IntoIterator<Item = i64>, mark: i64) {
    let mut pings = Vec::new();
    let after = next(now, |_, health| {
        for seconds in seconds {
            health.ping_count += 1;
            let took = Some(Duration::from_millis(600_000 + health.ping_count % 9000));
            let arrived_at = at(seconds);
            pings.push(PingEntry { arrived_at, at: arrived_at, run_duration: took, ..ping(health.ping_count) });
        }
    });
    let transition = Transition { pings, ..replace(&after) };
    storage.commit(&Batch { mark: Some(at(mark)), ..batch([transition]) }).await.unwrap();
    *now = after;
}

/// A reader who sees that a heartbeat was committed sees that it is counted, and none is ever counted twice.
#[test]
fn readers_see_each_heartbeat_counted_once_while_it_is_folded() {
    const ROUNDS: i64 = 300;
    let directory = tempfile::tempdir().unwrap();
    let storage = Arc::new(SqliteStorage::open(directory.path().join("heartbeat.db"), options(1)).unwrap());
    let done = Arc::new(AtomicBool::new(false));
    run(async {
        storage.commit(&batch([create(&record(0)), create(&record(1))])).await.unwrap();
        let (seen, told) = (Arc::clone(&storage), Arc::clone(&done));
        let reader = tokio::spawn(async move {
            let count = async || seen.load(&[monitor_id(0)]).await.unwrap().remove(0).unwrap().health.ping_count;
            let mut reads = 0;
            while !told.load(Ordering::Relaxed) || reads < 20 {
                let before = count().await;
                let counted: u64 = hours(&seen, 0).await.iter().map(Counts::total).sum();
                let after = count().await;
                assert!((before..=after).contains(&counted), "{counted} of {before} to {after}");
                reads += 1;
            }
        });
        let (mut one, mut other) = (record(0), record(1));
        for round in 0..ROUNDS {
            beat_at(&storage, &mut one, [round * HOUR, round * HOUR + 1], 0).await;
            beat_at(&storage, &mut other, [round], 0).await;
        }
        done.store(true, Ordering::Relaxed);
        reader.await.unwrap();
        settle(&storage).await;
        assert_eq!(hours(&storage, 0).await.len() as i64, ROUNDS);
    });
}

fn rows(path: &Path) -> (i64, i64) {
    let connection = Connection::open(path).unwrap();
    let sql = "SELECT count(*), coalesce(sum(length(hours)), 0) FROM counts";
    connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap()
}

/// A heartbeat an hour, a run of ten minutes each: a year of hours.
#[test]
fn a_year_of_hours_is_kept_in_few_bytes_and_older_ones_are_forgotten() {
    const HOURS: i64 = 366 * 24;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    let storage = SqliteStorage::open(&path, options(1)).unwrap();
    run(async {
        let mut now = record(1);
        storage.commit(&batch([create(&now), create(&record(2))])).await.unwrap();
        for first in (0..HOURS).step_by(20) {
            beat_at(&storage, &mut now, (first..HOURS.min(first + 20)).map(|hour| hour * HOUR), HOURS * HOUR).await;
            settle(&storage).await;
        }
        assert_eq!(hours(&storage, 1).await.len() as i64, HOURS);
        let (count, bytes) = rows(&path);
        // The key and SQLite's own take about 30 bytes.
        let each = (bytes + count * 30) as f64 / HOURS as f64;
        assert!(each < 6.0, "{count} rows with {bytes} bytes, {each} for an hour");
        // Half a year later the first half is gone, but for up to a span.
        beat_at(&storage, &mut now, [HOURS * HOUR], (HOURS + 183 * 24) * HOUR).await;
        settle(&storage).await;
        until(async || hours(&storage, 1).await.len() < 185 * 24 + 30 * 24).await;
        let kept = hours(&storage, 1).await;
        assert_eq!(kept[0].begins_at, at(HOURS * HOUR));
        assert!(kept.last().unwrap().begins_at <= at(183 * DAY), "{:?}", kept.last());
        drop(storage);
        // Nothing is counted any more, and all is forgotten, when it is turned off.
        let storage = SqliteStorage::open(&path, options(1).counts_days(0)).unwrap();
        assert_eq!(hours(&storage, 1).await, []);
        beat_at(&storage, &mut now, [HOURS * HOUR + 7], 0).await;
        settle(&storage).await;
        until(async || rows(&path).0 == 0).await;
        drop(storage);
        let storage = SqliteStorage::open(&path, options(1)).unwrap();
        assert_eq!(hours(&storage, 1).await, []);
        beat_at(&storage, &mut now, [HOURS * HOUR + 9], 0).await;
        assert_eq!(hours(&storage, 1).await.len(), 1);
    });
}

async fn until(is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting).await.expect("it never comes about");
}

/// With a monitor go the hours of all spans, and those of others stay.
#[test]
fn nothing_is_left_of_a_removed_monitor() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    let storage = SqliteStorage::open(&path, options(1)).unwrap();
    run(async {
        let (mut one, mut other) = (record(1), record(2));
        storage.commit(&batch([create(&one), create(&other)])).await.unwrap();
        beat_at(&storage, &mut one, (0..200).map(|day| day * DAY), 200 * DAY).await;
        beat_at(&storage, &mut other, (0..200).map(|day| day * DAY), 200 * DAY).await;
        settle(&storage).await;
        let (all, expected) = (rows(&path), hours(&storage, 2).await);
        storage.commit(&batch([remove(&one)])).await.unwrap();
        assert_eq!(hours(&storage, 1).await, []);
        assert_eq!((rows(&path).0, hours(&storage, 2).await), (all.0 / 2, expected));
    });
}

/// Damage is told to whoever asks, and neither stops folding nor keeps the monitor from being counted and removed.
#[test]
fn damaged_hours_stop_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    let storage = SqliteStorage::open(&path, options(1)).unwrap();
    run(async {
        let mut now = record(1);
        storage.commit(&batch([create(&now)])).await.unwrap();
        beat_at(&storage, &mut now, [0], 0).await;
        settle(&storage).await;
        let other = Connection::open(&path).unwrap();
        let asked = HistoryQuery::Counts { monitor: monitor_id(1), per: CountsPer::Day, since: None, before: None };
        assert_eq!(other.execute("UPDATE recent SET counts = x'ff'", []).unwrap(), 1);
        let error = query(&storage, &asked, 10).await.unwrap_err();
        assert!(matches!(&error, StorageError::Corrupt(text) if text.contains("counts of monitor")), "{error:?}");
        beat_at(&storage, &mut now, [HOUR], 0).await;
        settle(&storage).await;
        assert_eq!(hours(&storage, 1).await.len(), 1);
        beat_at(&storage, &mut now, (0..200).map(|n| n * HOUR), 0).await;
        settle(&storage).await;
        assert!(other.execute("UPDATE counts SET hours = x'00ff'", []).unwrap() > 0);
        assert!(matches!(query(&storage, &asked, 10).await, Err(StorageError::Corrupt(_))));
        storage.commit(&batch([remove(&now)])).await.unwrap();
        assert_eq!(rows(&path).0, 0);
    });
}
