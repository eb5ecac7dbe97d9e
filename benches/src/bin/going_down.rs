//! What a storage takes to write monitors that go down: each writes its row, a change of state, an incident and messages.
//! The monitors are in a fresh SQLite file; all of them go down at one instant, in batches, one after the other.
//!
//! `cargo run --release -p heartbeat-benches --bin going_down -- [MONITORS] [BATCH] [sorted] [at-once]`, 100,000 and 256
//! unless told; `sorted`: in the order of ids; `at-once`: no batch leaves its history to later. It prints microseconds for each transition: until it is
//! durable, in the first and in the last tenth, and until its history is in its tables; and how long all threads ran for it.

use std::error::Error;
use std::time::Duration;

use heartbeat_benches::cpu::process_time;
use heartbeat_benches::{origin, record};
use heartbeat_engine::step::{Draft, Surroundings};
use heartbeat_engine::{Batch, Change, Outcome, Record, Storage, Transition};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};
use tokio::time::Instant;

const MADE_AT_ONCE: usize = 8192;
/// All have missed their deadline by then.
const LATER: Duration = Duration::from_secs(2 * 3600);

fn main() -> Result<(), Box<dyn Error>> {
    let told: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, unless: usize| told.get(at).map_or(Ok(unless), |text| text.parse());
    let (monitors, batch) = (number(0, 100_000)?, number(1, 256)?);
    let sorted = told.iter().any(|text| text == "sorted");
    let mut records = (0..monitors as u64).map(record).collect::<Result<Vec<_>, _>>().map_err(|e| format!("{e:?}"))?;
    if sorted {
        records.sort_unstable_by_key(Record::id);
    }
    let folder = tempfile::tempdir()?;
    let at_once = told.iter().any(|text| text == "at-once");
    let options = if at_once { SqliteOptions::new().large_batch(u32::MAX) } else { SqliteOptions::new() };
    let storage = SqliteStorage::open(folder.path().join("heartbeat.db"), options)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    runtime.block_on(measure(&storage, &records, batch.max(1)))
}

async fn measure(storage: &SqliteStorage, records: &[Record], batch: usize) -> Result<(), Box<dyn Error>> {
    for some in records.chunks(MADE_AT_ONCE) {
        let made = some.iter().map(created).collect();
        storage.commit(&Batch { transitions: made, ..Batch::default() }).await?;
    }
    let downs: Vec<Transition> = records.iter().map(went_down).collect::<Option<_>>().ok_or("nothing was due")?;
    let batches: Vec<Batch> =
        downs.chunks(batch).map(|some| Batch { transitions: some.to_vec(), ..Batch::default() }).collect();
    let (begin, cpu) = (Instant::now(), process_time());
    let mut each = Vec::with_capacity(batches.len());
    for batch in &batches {
        let began = Instant::now();
        let applied = storage.commit(batch).await?;
        if applied.transitions.iter().any(|outcome| *outcome != Outcome::Committed) {
            return Err("it was not committed".into());
        }
        each.push(began.elapsed());
    }
    let micros = |time: Duration, count: usize| time.as_secs_f64() * 1e6 / count.max(1) as f64;
    let tenth = each.len().div_ceil(10);
    let part = |times: &[Duration]| micros(times.iter().sum(), times.len() * batch);
    println!("{} transitions in batches of {batch}, microseconds each", downs.len());
    let ran = || micros(process_time().saturating_sub(cpu), downs.len());
    println!("durable: {:.1}, of which on the processor {:.1}", micros(begin.elapsed(), downs.len()), ran());
    println!("  first tenth: {:.1}, last: {:.1}", part(&each[..tenth]), part(&each[each.len() - tenth..]));
    // Reading waits until everything is in the tables.
    storage.outbox(0, 1).await?;
    println!("in the tables: {:.1}, of which on the processor {:.1}", micros(begin.elapsed(), downs.len()), ran());
    println!("{:?}", storage.stats());
    Ok(())
}

fn created(record: &Record) -> Transition {
    Transition {
        monitor: record.id(),
        expected: None,
        change: Change::Put(record.clone().into()),
        pings: Vec::new(),
        changes: Vec::new(),
        incidents: Vec::new(),
        notifications: Vec::new(),
    }
}

fn went_down(record: &Record) -> Option<Transition> {
    let mut draft = Draft::of(record, Surroundings::default());
    draft.advance(origin() + LATER);
    draft.finish()
}
