//! What a heartbeat passes through, stage by stage: the look-up of its token, the engine with a storage that does nothing
//! durable, with SQLite, and HTTP around the first.
//!
//! `cargo bench -p heartbeat-benches --bench ping_path`. Of what waits together the time is divided by how many those are, so
//! the figures are costs, not latencies; `load` measures a server as a whole.
#![allow(missing_docs, reason = "criterion makes public functions")]
#![allow(clippy::expect_used, reason = "a benchmark that cannot go on stops")]
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use heartbeat_benches::{id, origin, record};
use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::testing::fixtures::create;
use heartbeat_engine::{Batch, Engine, MemoryStorage, Ping, Signal, Storage, Target};
use heartbeat_http::{HttpSettings, ServeOptions, Site, serve};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

const MONITORS: u64 = 100_000;
/// How many heartbeats wait together.
const AT_ONCE: u64 = 64;

/// An engine on this storage with its monitors.
async fn engine(storage: impl Storage) -> Engine {
    for first in (0..MONITORS).step_by(2_000) {
        let transitions = (first..first + 2_000).map(|n| create(&record(n).expect("a monitor"))).collect();
        storage.commit(&Batch { transitions, ..Batch::default() }).await.expect("they are made");
    }
    // It runs from when they were made: nothing is overdue, whenever this is.
    Engine::builder(storage).clock(TokioClock::new(origin())).spawn().await.expect("the engine starts")
}

/// Which monitors report, in an order that looks random.
struct Reports(u64);

impl Reports {
    fn next(&mut self) -> u64 {
        self.0 += 1;
        self.0.wrapping_mul(7_919) % MONITORS
    }
}

/// So many heartbeats, always [`AT_ONCE`] of them at a time from as many tasks.
async fn heartbeats(engine: &Engine, reports: &mut Reports, count: u64) {
    let each = count.div_ceil(AT_ONCE);
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (engine, targets) = (engine.clone(), (0..each).map(|_| reports.next()).collect::<Vec<_>>());
            tokio::spawn(async move {
                for n in targets {
                    let receipt = engine.ping(id(n), Ping::new(Signal::Success)).await.expect("it is taken");
                    black_box(receipt);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a caller");
    }
}

/// The same over as many connections.
async fn requests(address: SocketAddr, reports: &mut Reports, count: u64) {
    let each = count.div_ceil(AT_ONCE);
    let tasks: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let targets: Vec<u64> = (0..each).map(|_| reports.next()).collect();
            tokio::spawn(async move {
                let mut stream = TcpStream::connect(address).await.expect("a connection");
                stream.set_nodelay(true).expect("no delay");
                let mut answer = [0; 1024];
                for n in targets {
                    let request = format!("GET /ping/token-{n:016} HTTP/1.1\r\nHost: localhost\r\n\r\n");
                    stream.write_all(request.as_bytes()).await.expect("it is sent");
                    let length = stream.read(&mut answer).await.expect("it is answered");
                    assert!(answer[..length].starts_with(b"HTTP/1.1 200"), "a heartbeat was refused");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a caller");
    }
}

/// How long `count` of them take; some more are made, so that each task has as many.
fn timed(runtime: &Runtime, count: u64, work: impl Future<Output = ()>) -> Duration {
    let began = Instant::now();
    runtime.block_on(work);
    let made = count.div_ceil(AT_ONCE) * AT_ONCE;
    began.elapsed().mul_f64(count as f64 / made as f64)
}

async fn serving(engine: Engine) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let mut settings = HttpSettings::default();
    settings.pings_per_minute = 60_000_000;
    tokio::spawn(serve(listener, Site::new(engine, settings), ServeOptions::default()));
    address
}

fn ping_path(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let mut group = criterion.benchmark_group("ping_path");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    let memory = runtime.block_on(engine(MemoryStorage::new()));
    let mut reports = Reports(0);
    group.bench_function("find by token", |bencher| {
        bencher.iter_batched(
            || format!("token-{:016}", reports.next()),
            |token| memory.find(Target::token(&token)).expect("loaded"),
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function(BenchmarkId::new("engine", "memory"), |bencher| {
        bencher.iter_custom(|count| timed(&runtime, count, heartbeats(&memory, &mut reports, count)));
    });
    let address = runtime.block_on(serving(memory.clone()));
    group.bench_function(BenchmarkId::new("http", "memory"), |bencher| {
        bencher.iter_custom(|count| timed(&runtime, count, requests(address, &mut reports, count)));
    });
    let folder = tempfile::tempdir().expect("a folder");
    let storage = SqliteStorage::open(folder.path().join("heartbeat.db"), SqliteOptions::new()).expect("a database");
    let sqlite = runtime.block_on(engine(storage));
    group.bench_function(BenchmarkId::new("engine", "sqlite"), |bencher| {
        bencher.iter_custom(|count| timed(&runtime, count, heartbeats(&sqlite, &mut reports, count)));
    });
    group.finish();
}

criterion_group!(benches, ping_path);
criterion_main!(benches);
