//! Heartbeats of many monitors at random, for a while: how many per second are durable, how long one commit takes, and how
//! large the files become.
//!
//! ```sh
//! cargo run --release -p heartbeat-storage-sqlite --example sustained -- --monitors 1000000 --seconds 60
//! ```
//!
//! `--callers` commit at once, `--batch` heartbeats each; `--payload` is the length of their message in bytes, `--rate` a
//! limit per second, `--log-mib` the size of the log, `--db` a file that is kept, and used again when it is there. It ends
//! after `--beats` heartbeats of each monitor on average, if that is sooner. With `--interval` so many seconds lie between
//! the heartbeats of a monitor by their stamps, and each says how long its run took; `--counts-days` is for how many days they
//! stay counted, 0 for not at all.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program for people who measure"
)]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use heartbeat_engine::testing::fixtures::{at, batch, create, ping, record};
use heartbeat_engine::{Change, MonitorId, Outcome, PingEntry, Record, Storage, Timestamp, Transition, Version};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};

/// What is asked for on the command line.
struct Wish {
    monitors: u64,
    seconds: u64,
    callers: u64,
    batch: usize,
    payload: usize,
    rate: u64,
    log_mib: u64,
    beats: u64,
    interval: u64,
    counts_days: u32,
    db: Option<PathBuf>,
}

impl Wish {
    fn read() -> Self {
        let mut words = std::env::args().skip(1);
        let mut found = HashMap::new();
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            found.insert(name, value);
        }
        let number = |name: &str, default: u64| {
            found.get(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} {value}")))
        };
        Self {
            monitors: number("--monitors", 1_000_000),
            seconds: number("--seconds", 60),
            callers: number("--callers", 4),
            batch: number("--batch", 256) as usize,
            payload: number("--payload", 64) as usize,
            rate: number("--rate", u64::MAX),
            log_mib: number("--log-mib", 128),
            beats: number("--beats", u64::MAX),
            interval: number("--interval", 0),
            counts_days: number("--counts-days", 366) as u32,
            db: found.get("--db").map(PathBuf::from),
        }
    }
}

/// A small generator of numbers that are random enough.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

/// The `n`-th monitor; neighbours are far apart, as random ids are.
fn made(n: u64) -> Record {
    let mut made = record(n);
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    Arc::make_mut(&mut made.monitor).id = MonitorId::from_bytes(bytes);
    made
}

/// The next heartbeat of a monitor, as the engine makes it.
fn beat(now: &mut Record, message: &str, time: Timestamp, interval: u64) -> Transition {
    let expected = Some(now.version);
    now.version = Version(now.version.0 + 1);
    now.health.ping_count += 1;
    let count = now.health.ping_count;
    let time = if interval > 0 { at((count * interval).cast_signed()) } else { time };
    now.health.based_at = time;
    now.health.latest_at = time;
    if let Some(expectation) = &mut now.health.expectation {
        expectation.deadline = time + Duration::from_secs(4320);
        expectation.occurrence = time + Duration::from_secs(3600);
    }
    let entry = PingEntry {
        arrived_at: time,
        at: time,
        message: (!message.is_empty()).then(|| message.to_owned()),
        run_duration: (interval > 0).then(|| Duration::from_millis(60_000 + count * 7919 % 10_000)),
        ..ping(count)
    };
    Transition {
        monitor: now.id(),
        expected,
        change: Change::Put(now.clone().into()),
        pings: vec![entry],
        changes: Vec::new(),
        incidents: Vec::new(),
        notifications: Vec::new(),
    }
}

async fn load(storage: &SqliteStorage) -> Vec<Record> {
    let mut records = Vec::new();
    loop {
        let page = storage.monitors(records.last().map(Record::id), 4096).await.unwrap();
        records.extend(page.items);
        if !page.more {
            return records;
        }
    }
}

async fn create_all(storage: &SqliteStorage, wish: &Wish) {
    let (began, cpu) = (Instant::now(), Cpu::now());
    let mut n = 0;
    while n < wish.monitors {
        let some: Vec<_> = (n..wish.monitors.min(n + 2000)).map(|n| create(&made(n))).collect();
        n += some.len() as u64;
        let applied = storage.commit(&batch(some)).await.unwrap();
        assert!(applied.transitions.iter().all(|outcome| *outcome == Outcome::Committed));
    }
    println!("{} monitors made in {:.1} s; {}", wish.monitors, began.elapsed().as_secs_f64(), Cpu::now().since(&cpu));
}

/// Commits batches of its own monitors until the time is over; how long each took, in microseconds.
async fn call(storage: Arc<SqliteStorage>, mut records: Vec<Record>, wish: Arc<Wish>, seed: u64) -> Vec<u32> {
    let mut random = Random(seed * 2 + 1);
    let message = "x".repeat(wish.payload);
    let (began, mut took, mut sent) = (Instant::now(), Vec::new(), 0);
    let span = Duration::from_secs(wish.seconds);
    let most = wish.beats.saturating_mul(records.len() as u64);
    while began.elapsed() < span && sent < most {
        let mut transitions = Vec::with_capacity(wish.batch);
        let mut chosen = std::collections::HashSet::with_capacity(wish.batch);
        let time = at(i64::try_from(began.elapsed().as_secs()).unwrap());
        while transitions.len() < wish.batch.min(records.len()) {
            let index = random.below(records.len() as u64) as usize;
            if chosen.insert(index) {
                transitions.push(beat(&mut records[index], &message, time, wish.interval));
            }
        }
        let both = batch(transitions);
        let start = Instant::now();
        let applied = storage.commit(&both).await.unwrap();
        took.push(u32::try_from(start.elapsed().as_micros()).unwrap());
        assert!(applied.transitions.iter().all(|outcome| *outcome == Outcome::Committed));
        sent += both.transitions.len() as u64;
        let due = Duration::from_secs_f64(sent as f64 * wish.callers as f64 / wish.rate as f64);
        if let Some(early) = due.checked_sub(began.elapsed()) {
            tokio::time::sleep(early).await;
        }
    }
    took
}

fn mib(path: &Path, suffix: &str) -> u64 {
    std::fs::metadata(format!("{}{suffix}", path.display())).map_or(0, |found| found.len() >> 20)
}

/// Prints every few seconds how things stand.
async fn watch(storage: Arc<SqliteStorage>) {
    let (began, mut before) = (Instant::now(), storage.stats());
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let (now, path) = (storage.stats(), storage.path());
        println!(
            "{:4.0} s: file {} MiB, write-ahead log {} MiB ({} pages in use), log {} MiB, {} folded/s, {} transactions/s, {} MiB resident",
            began.elapsed().as_secs_f64(),
            mib(path, ""),
            mib(path, "-wal"),
            now.wal_pages,
            now.log_bytes >> 20,
            (now.folded - before.folded) / 5,
            (now.transactions - before.transactions) / 5,
            resident_mib(),
        );
        before = now;
    }
}

fn resident_mib() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    (text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096) >> 20
}

/// Seconds of processor time by the name of the thread: on a busy machine they say more than the clock.
#[derive(Clone, Default)]
struct Cpu(BTreeMap<String, f64>);

impl Cpu {
    fn now() -> Self {
        let mut found = Self::default();
        for task in std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            let read = |file: &str| std::fs::read_to_string(task.path().join(file)).unwrap_or_default();
            // The fields behind the name, which may hold anything.
            let stat = read("stat");
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
            let ticks: u64 = fields.iter().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
            *found.0.entry(read("comm").trim().to_owned()).or_default() += ticks as f64 / 100.0;
        }
        found
    }

    fn since(&self, before: &Self) -> String {
        let spent = self.0.iter().map(|(name, now)| (name, now - before.0.get(name).copied().unwrap_or(0.0)));
        let text: Vec<_> =
            spent.filter(|(_, spent)| *spent > 0.0).map(|(name, spent)| format!("{name} {spent:.2} s")).collect();
        text.join(", ")
    }
}

async fn measure(wish: Wish) {
    let directory = tempfile::tempdir().unwrap();
    let path = wish.db.clone().unwrap_or_else(|| directory.path().join("heartbeat.db"));
    let options = || SqliteOptions::new().log_bytes(wish.log_mib << 20).counts_days(wish.counts_days);
    if !path.exists() {
        create_all(&SqliteStorage::open(&path, options()).unwrap(), &wish).await;
    }
    let (began, before, cpu) = (Instant::now(), resident_mib(), Cpu::now());
    let storage = Arc::new(SqliteStorage::open(&path, options()).unwrap());
    let (opened, memory) = (began.elapsed(), resident_mib() - before);
    let mut records = load(&storage).await;
    let loaded = began.elapsed();
    println!("opened in {opened:.2?} with {memory} MiB, and {} monitors loaded after {loaded:.2?}", records.len());
    println!("processor time: {}", Cpu::now().since(&cpu));
    let wish = Arc::new(wish);
    let share = records.len().div_ceil(wish.callers as usize);
    let watching = tokio::spawn(watch(Arc::clone(&storage)));
    let (start, cpu) = (Instant::now(), Cpu::now());
    let callers: Vec<_> = (0..wish.callers)
        .map(|seed| {
            let own = records.split_off(records.len().saturating_sub(share));
            tokio::spawn(call(Arc::clone(&storage), own, Arc::clone(&wish), seed + 1))
        })
        .collect();
    let mut took = Vec::new();
    for caller in callers {
        took.extend(caller.await.unwrap());
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu = Cpu::now().since(&cpu);
    watching.abort();
    drop(watching.await);
    took.sort_unstable();
    let percentile = |part: f64| f64::from(took[((took.len() - 1) as f64 * part) as usize]) / 1000.0;
    println!(
        "{:.0} heartbeats/s; commits of {}: p50 {:.2} ms, p90 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, longest {:.2} ms",
        (took.len() * wish.batch) as f64 / seconds,
        wish.batch,
        percentile(0.5),
        percentile(0.9),
        percentile(0.99),
        percentile(0.999),
        percentile(1.0),
    );
    println!("processor time for {} heartbeats: {cpu}", took.len() * wish.batch);
    let closing = Instant::now();
    drop(storage);
    println!("closed in {:.2?}; file {} MiB", closing.elapsed(), mib(&path, ""));
}

fn main() {
    let wish = Wish::read();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(measure(wish));
}
