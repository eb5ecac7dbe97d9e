//! What is committed can be read at any time: from the log, from the rows, and while it moves from one to the other.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use heartbeat_engine::testing::fixtures::{
    at, batch, change, create, full_ping, health, incident, monitor_id, next, ping, record, remove, replace, token,
};
use heartbeat_engine::testing::run;
use heartbeat_engine::{
    Batch, CountsPer, Health, HistoryItem, HistoryQuery, MemoryStorage, Name, Outcome, PartitionId, PingEntry, Record,
    Rotating, State, StateChange, Storage, Timestamp, Transition,
};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage, Synchronous};
use proptest::prelude::*;
use tempfile::TempDir;

const MONITORS: u64 = 5;
/// As many as [`MemoryStorage`] keeps.
const KEPT: u32 = 100;

/// What happens to one monitor. What does not fit how it stands, such as removing one that is not there, is left out.
#[derive(Clone, Debug)]
enum Event {
    Create { pings: u64 },
    Beat { pings: u64, message: usize },
    Large,
    Fail,
    Edit,
    Rotate,
    Remove,
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<(u64, Event)>),
    /// Until everything is folded, if it is folded at all.
    Settle,
    Reopen {
        log_bytes: u64,
    },
    /// What a killed process leaves, at any point of folding.
    Kill {
        log_bytes: u64,
    },
}

fn events() -> impl Strategy<Value = Event> {
    let message = prop::sample::select(vec![0, 0, 10, 60, 300, 1500, 5000]);
    prop_oneof![
        3 => (0..3_u64).prop_map(|pings| Event::Create { pings }),
        12 => (0..4_u64, message).prop_map(|(pings, message)| Event::Beat { pings, message }),
        1 => (40..140_u64).prop_map(|pings| Event::Beat { pings, message: 20 }),
        1 => Just(Event::Large),
        2 => Just(Event::Fail),
        1 => Just(Event::Edit),
        1 => Just(Event::Rotate),
        1 => Just(Event::Remove),
    ]
}

fn steps() -> impl Strategy<Value = Step> {
    let log_bytes = prop::sample::select(vec![1, 1, 3000, 1 << 20]);
    prop_oneof![
        20 => prop::collection::vec((0..MONITORS, events()), 1..6).prop_map(Step::Commit),
        2 => Just(Step::Settle),
        1 => log_bytes.clone().prop_map(|log_bytes| Step::Reopen { log_bytes }),
        1 => log_bytes.prop_map(|log_bytes| Step::Kill { log_bytes }),
    ]
}

/// Both storages, and what is in them.
struct World {
    directory: TempDir,
    opened: u32,
    path: PathBuf,
    log_bytes: u64,
    sqlite: Option<SqliteStorage>,
    memory: MemoryStorage,
    records: BTreeMap<u64, Record>,
}

fn open(path: &Path, log_bytes: u64) -> SqliteStorage {
    let options = SqliteOptions::new().synchronous(Synchronous::Normal).readers(1);
    SqliteStorage::open(path, options.pings_per_monitor(KEPT).log_bytes(log_bytes)).unwrap()
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

fn pings(record: &Record, count: u64, message: usize) -> Vec<PingEntry> {
    let first = record.health.ping_count + 1;
    let message = (message > 0).then(|| "m".repeat(message));
    (first..first + count).map(|n| PingEntry { message: message.clone(), ..ping(n) }).collect()
}

fn counted(health: &mut Health, count: u64) {
    health.ping_count += count;
    health.expectation = health.expectation.map(|found| heartbeat_engine::Expectation {
        deadline: at(3600 + i64::try_from(health.ping_count).unwrap()),
        ..found
    });
}

impl World {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("0.db");
        let sqlite = Some(open(&path, 1));
        let memory = MemoryStorage::new();
        Self { directory, opened: 0, path, log_bytes: 1, sqlite, memory, records: BTreeMap::new() }
    }

    fn transition(&self, n: u64, event: &Event) -> Option<(Transition, Option<Record>)> {
        let found = self.records.get(&n);
        let now = match (event, found) {
            (Event::Create { pings: count }, None) => {
                let mut made = record(n);
                counted(&mut made.health, *count);
                let pings = pings(&record(n), *count, 5);
                return Some((Transition { pings, ..create(&made) }, Some(made)));
            }
            (_, None) | (Event::Create { .. }, Some(_)) => return None,
            (_, Some(now)) => now,
        };
        let (after, more) = match event {
            Event::Beat { pings: count, message } => {
                // As the engine does it: the same wish again.
                let mut after = Record { version: now.version.next(), ..now.clone() };
                counted(&mut after.health, *count);
                (after, pings(now, *count, *message))
            }
            Event::Large => {
                let after = next(now, |_, health| counted(health, 1));
                let entry = PingEntry { body: Some(vec![7; 9000]), ..full_ping(after.health.ping_count) };
                (after, vec![entry])
            }
            Event::Fail => {
                let opened = incident(now.version.0 * MONITORS + n, monitor_id(n));
                let after = next(now, |_, down| {
                    down.state = State::Down;
                    down.incident = Some(Box::new(opened.clone()));
                });
                let change = StateChange { version: after.version, ..change(monitor_id(n), after.version.0) };
                let base = Transition { changes: vec![change], incidents: vec![opened], ..replace(&after) };
                return Some((base, Some(after)));
            }
            Event::Edit => {
                (next(now, |monitor, _| monitor.spec.slug = format!("edited-{n}-{}", now.version.0).into()), vec![])
            }
            Event::Rotate => {
                let fresh = token(100 + now.version.0 * MONITORS + n);
                (
                    next(now, |monitor, up| {
                        monitor.token = Rotating::new(fresh);
                        *up = Health { ping_count: up.ping_count, ..health(at(50)) };
                    }),
                    vec![],
                )
            }
            Event::Remove | Event::Create { .. } => return Some((remove(now), None)),
        };
        Some((Transition { pings: more, ..replace(&after) }, Some(after)))
    }

    async fn step(&mut self, step: &Step) {
        match step {
            Step::Commit(events) => {
                let mut seen = BTreeSet::new();
                let mut transitions = Vec::new();
                for (n, event) in events {
                    if let Some((transition, after)) = self.transition(*n, event).filter(|_| seen.insert(*n)) {
                        transitions.push(transition);
                        match after {
                            Some(after) => self.records.insert(*n, after),
                            None => self.records.remove(n),
                        };
                    }
                }
                let both = batch(transitions);
                let applied = self.memory.commit(&both).await;
                assert!(applied.as_ref().unwrap().transitions.iter().all(|outcome| *outcome == Outcome::Committed));
                assert_eq!(self.sqlite().commit(&both).await, applied);
            }
            Step::Settle if self.log_bytes == 1 => settle(self.sqlite()).await,
            Step::Settle => (),
            Step::Reopen { log_bytes } => {
                self.sqlite = None;
                self.sqlite = Some(open(&self.path, *log_bytes));
                self.log_bytes = *log_bytes;
            }
            Step::Kill { log_bytes } => {
                self.opened += 1;
                let left = self.directory.path().join(format!("{}.db", self.opened));
                for suffix in ["", "-wal"] {
                    let name = |path: &Path| format!("{}{suffix}", path.display());
                    fs::copy(name(&self.path), name(&left)).unwrap();
                }
                self.sqlite = Some(open(&left, *log_bytes));
                (self.path, self.log_bytes) = (left, *log_bytes);
            }
        }
    }

    fn sqlite(&self) -> &SqliteStorage {
        self.sqlite.as_ref().unwrap()
    }
}

/// Everything that heartbeats change, as text.
async fn everything(storage: &dyn Storage) -> Vec<String> {
    let mut found = Vec::new();
    let ids: Vec<_> = (0..MONITORS).rev().map(monitor_id).collect();
    found.push(format!("{:?}", storage.load(&ids).await.unwrap()));
    found.push(format!("{:?}", storage.monitors(None, 2).await.unwrap()));
    found.push(format!("{:?}", storage.monitors(Some(monitor_id(1)), 10).await.unwrap()));
    for limit in [1, 3, 10] {
        found.push(format!("{:?}", storage.due(PartitionId(0), at(3700), limit).await.unwrap()));
        found.push(format!("{:?}", storage.due(PartitionId(0), Timestamp::MAX, limit).await.unwrap()));
    }
    for n in 0..MONITORS {
        found.push(format!("{:?}", storage.find(&Name::Slug(format!("monitor-{n}"))).await.unwrap()));
        found.push(format!("{:?}", storage.find(&Name::Token(token(n).hash())).await.unwrap()));
        let monitor = monitor_id(n);
        for before in [None, Some(0), Some(1), Some(7), Some(30), Some(90), Some(u64::MAX)] {
            for limit in [0, 1, 13, 99, 100, 1000] {
                let page = storage.history(&HistoryQuery::Pings { monitor, before }, limit).await.unwrap();
                found.push(format!("{n} {before:?} {limit} {page:?}"));
            }
        }
        for per in [CountsPer::Hour, CountsPer::Day] {
            let counts = HistoryQuery::Counts { monitor, per, since: None, before: None };
            found.push(format!("{:?}", storage.history(&counts, 100).await.unwrap()));
        }
        let changes = HistoryQuery::Changes { monitor, before: None };
        found.push(format!("{:?}", storage.history(&changes, 100).await.unwrap()));
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_answers_as_the_storage_in_memory_does_whatever_is_folded(steps in prop::collection::vec(steps(), 1..60)) {
        run(async {
            let mut world = World::new();
            for (index, step) in steps.iter().enumerate() {
                world.step(step).await;
                if index % 6 == 5 || index + 1 == steps.len() {
                    let expected = everything(&world.memory).await;
                    for (found, expected) in everything(world.sqlite()).await.iter().zip(expected) {
                        assert_eq!(*found, expected, "after step {index}");
                    }
                }
            }
        });
    }
}

async fn newest(storage: &SqliteStorage, n: u64, limit: usize) -> Vec<u64> {
    let query = HistoryQuery::Pings { monitor: monitor_id(n), before: None };
    let number = |item: &HistoryItem| match item {
        HistoryItem::Ping(ping) => ping.n,
        other => panic!("{other:?}"),
    };
    storage.history(&query, limit).await.unwrap().items.iter().map(number).collect()
}

/// The version in which the wish was written, as the test below writes it.
fn edited_in(record: &Record) -> u64 {
    record.spec().description.parse().unwrap_or(0)
}

/// A reader who sees a heartbeat sees every one before it, and the state that it made, while it is folded all the time; and
/// no wish with a state from before it.
#[test]
fn readers_lose_and_double_nothing_while_it_is_folded() {
    const ROUNDS: u64 = 400;
    let directory = tempfile::tempdir().unwrap();
    let storage = Arc::new(open(&directory.path().join("heartbeat.db"), 1));
    let done = Arc::new(AtomicBool::new(false));
    run(async {
        storage.commit(&batch((0..MONITORS).map(|n| create(&record(n))).collect::<Vec<_>>())).await.unwrap();
        let readers: Vec<_> = (0..2_u64)
            .map(|_| {
                let (storage, done) = (Arc::clone(&storage), Arc::clone(&done));
                tokio::spawn(async move {
                    let mut reads = 0;
                    while !done.load(Ordering::Relaxed) || reads < 20 {
                        let n = reads % MONITORS;
                        let loaded = storage.load(&[monitor_id(n)]).await.unwrap().remove(0).unwrap();
                        assert!(edited_in(&loaded) <= loaded.version.0, "{loaded:?}");
                        let before = loaded.health.ping_count;
                        let numbers = newest(&storage, n, 30).await;
                        let first = numbers.first().copied().unwrap_or(0);
                        assert!(first >= before, "{before} was committed, and {first} is the newest");
                        let expected: Vec<u64> = (1..=first).rev().take(30).collect();
                        assert_eq!(numbers, expected);
                        let page = storage.monitors(None, 10).await.unwrap().items;
                        assert_eq!(page.len() as u64, MONITORS);
                        assert!(page.iter().all(|found| edited_in(found) <= found.version.0), "{page:?}");
                        assert!(page[usize::try_from(n).unwrap()].health.ping_count >= first);
                        reads += 1;
                    }
                })
            })
            .collect();
        let mut records: Vec<Record> = (0..MONITORS).map(record).collect();
        for round in 0..ROUNDS {
            for now in &mut records {
                if round % 3 == 0 {
                    *now = next(now, |monitor, _| monitor.spec.description = (now.version.0 + 1).to_string().into());
                } else {
                    *now = Record { version: now.version.next(), ..now.clone() };
                }
                now.health.ping_count += 1;
            }
            let beat = |now: &Record| Transition { pings: vec![ping(now.health.ping_count)], ..replace(now) };
            storage.commit(&batch(records.iter().map(beat).collect::<Vec<_>>())).await.unwrap();
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.await.unwrap();
        }
    });
}

/// However much waits to be folded, one transaction folds a bounded number of monitors.
#[test]
fn no_commit_folds_more_than_a_slice() {
    const MANY: u64 = 3000;
    let directory = tempfile::tempdir().unwrap();
    let storage = open(&directory.path().join("heartbeat.db"), 1);
    run(async {
        let mut records: Vec<Record> = (0..MANY).map(record).collect();
        storage.commit(&batch(records.iter().map(create).collect::<Vec<_>>())).await.unwrap();
        for _ in 0..4 {
            for now in &mut records {
                *now = Record { version: now.version.next(), ..now.clone() };
                now.health.ping_count += 1;
            }
            for some in records.chunks(500) {
                let beat = |now: &Record| Transition { pings: vec![ping(now.health.ping_count)], ..replace(now) };
                let beats = Batch { mark: Some(at(1)), ..batch(some.iter().map(beat).collect::<Vec<_>>()) };
                storage.commit(&beats).await.unwrap();
            }
        }
        settle(&storage).await;
        let stats = storage.stats();
        assert!(stats.folded >= MANY, "{stats:?}");
        assert!((1..=512).contains(&stats.folded_at_once_max), "{stats:?}");
        for n in [0, 1, 1234, MANY - 1] {
            assert_eq!(newest(&storage, n, 10).await, [4, 3, 2, 1]);
        }
        for limit in [100, 511, 512, 1001, 5000] {
            let mut found: Vec<Record> = Vec::new();
            loop {
                let page = storage.monitors(found.last().map(Record::id), limit).await.unwrap();
                assert!(page.items.len() == limit || !page.more);
                found.extend(page.items);
                if !page.more {
                    break;
                }
            }
            assert!(found == records, "pages of {limit}");
        }
    });
}
