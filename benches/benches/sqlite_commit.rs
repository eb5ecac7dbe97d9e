//! Durable heartbeats through `commit`, of random monitors in batches of 256, four batches at once. The log is folded meanwhile
//! as it is in a server. `storage-sqlite/examples/sustained.rs` looks at a longer time.
#![allow(missing_docs, reason = "criterion makes public functions")]
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on stops")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use heartbeat_benches::{origin, record};
use heartbeat_engine::step::{Draft, Surroundings};
use heartbeat_engine::{Batch, Change, Outcome, Ping, Record, Signal, State, Storage};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};
use tokio::runtime::{Builder, Runtime};

const BATCH: usize = 256;
const CALLERS: u64 = 4;

/// One caller with the monitors that are its own.
struct Caller {
    records: Vec<Record>,
    random: u64,
    beats: i64,
}

impl Caller {
    fn batch(&mut self) -> Batch {
        let mut batch = Batch::default();
        let stride = self.records.len() / BATCH;
        for part in 0..BATCH {
            // One monitor of each part of them, so that a batch never holds one twice.
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let chosen = part * stride + (self.random >> 33) as usize % stride;
            self.beats += 1;
            let now = origin() + Duration::from_millis(self.beats.unsigned_abs());
            let mut draft = Draft::of(&self.records[chosen], Surroundings::default());
            draft.ping(&Ping::new(Signal::Success), now).expect("a heartbeat without a claimed time");
            let transition = draft.finish().expect("a heartbeat changes something");
            if let Change::Put(after) = &transition.change {
                self.records[chosen] = Record::clone(after);
            }
            batch.transitions.push(transition);
        }
        batch
    }
}

fn set_up(runtime: &Runtime, storage: &SqliteStorage, monitors: u64) -> Vec<Caller> {
    let reporting = |n| {
        let mut made = record(n).expect("a monitor");
        // Its first heartbeat would be a change of state.
        made.health.state = State::Up;
        made
    };
    let records: Vec<Record> = (0..monitors).map(reporting).collect();
    for some in records.chunks(2000) {
        let transitions = some.iter().map(heartbeat_engine::testing::fixtures::create).collect::<Vec<_>>();
        runtime.block_on(storage.commit(&Batch { transitions, ..Batch::default() })).expect("they are made");
    }
    let share = records.len() / CALLERS as usize;
    let callers = records.chunks_exact(share).zip(1..);
    callers.map(|(own, random)| Caller { records: own.to_vec(), random, beats: 0 }).collect()
}

/// Each caller commits so many batches, one after the other. Making them is not counted.
fn commit(runtime: &Runtime, storage: &Arc<SqliteStorage>, callers: &mut [Caller], each: u64) -> Duration {
    let batches: Vec<Vec<Batch>> =
        callers.iter_mut().map(|caller| (0..each).map(|_| caller.batch()).collect()).collect();
    let began = Instant::now();
    runtime.block_on(async {
        let tasks = batches.into_iter().map(|batches| {
            let storage = Arc::clone(storage);
            tokio::spawn(async move {
                for batch in batches {
                    let applied = storage.commit(&batch).await.expect("it is durable");
                    assert!(applied.transitions.iter().all(|outcome| *outcome == Outcome::Committed));
                    black_box(applied);
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.expect("it ends");
        }
    });
    began.elapsed()
}

fn heartbeats(criterion: &mut Criterion) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let mut group = criterion.benchmark_group("sqlite_commit");
    group.throughput(Throughput::Elements(BATCH as u64 * CALLERS)).sample_size(10);
    for monitors in [100_000, 1_000_000] {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("heartbeat.db");
        let storage = Arc::new(SqliteStorage::open(&path, SqliteOptions::new()).expect("a database"));
        let mut callers = set_up(&runtime, &storage, monitors);
        group.bench_function(monitors.to_string(), |bencher| {
            bencher.iter_custom(|rounds| {
                // What is made at once has to fit into memory.
                let parts = (0..rounds).step_by(500).map(|done| (rounds - done).min(500));
                parts.map(|each| commit(&runtime, &storage, &mut callers, each)).sum()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, heartbeats);
criterion_main!(benches);
