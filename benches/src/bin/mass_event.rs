//! Many monitors whose deadlines are one instant, in an engine on a fresh SQLite file without HTTP: how long until all are
//! decided and durable, and how long all threads ran for it.
//!
//! `cargo run --release -p heartbeat-benches --bin mass_event -- [MONITORS]`, 100,000 unless told. It prints seconds, and
//! microseconds for each monitor. Looking whether all are decided takes a fifth of one more processor.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use heartbeat_benches::cpu::process_time;
use heartbeat_benches::made;
use heartbeat_engine::{
    Attempt, Batch, Clock, DeliveryError, Engine, Grace, Metrics, MonitorSpec, Notification, Notifier, Receipt,
    Schedule, State, Storage, SystemClock, Timestamp, Transition,
};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};
use tokio::time::Instant;

const MADE_AT_ONCE: usize = 8192;
/// How long before the instant making them begins: so much, and a second for so many.
const LEAD: Duration = Duration::from_secs(4);
const MADE_PER_SECOND: u64 = 6_000;
const LOOK: Duration = Duration::from_millis(100);

/// Takes whatever it is given.
struct Drain;

#[async_trait]
impl Notifier for Drain {
    async fn deliver(&self, _: &Notification, _: Attempt<'_>) -> Result<Receipt, DeliveryError> {
        Ok(Receipt::default())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let monitors: u64 = std::env::args().nth(1).map_or(Ok(100_000), |text| text.parse())?;
    let folder = tempfile::tempdir()?;
    let storage = SqliteStorage::open(folder.path().join("heartbeat.db"), SqliteOptions::new())?;
    let clock = SystemClock::default();
    let made_at = clock.now();
    let lead = LEAD + Duration::from_secs(monitors / MADE_PER_SECOND);
    let due_at = made_at + lead;
    let all = (0..monitors).map(|n| monitor(n, made_at, lead)).collect::<Result<Vec<_>, _>>()?;
    for some in all.chunks(MADE_AT_ONCE) {
        storage.commit(&Batch { transitions: some.to_vec(), ..Batch::default() }).await?;
    }
    // The engine reads them from the file, as a server does.
    drop(all);
    let engine = Engine::builder(storage).notifier("hook", Drain).spawn().await?;
    if clock.now() >= due_at {
        return Err("the monitors were made too slowly".into());
    }
    tokio::time::sleep(due_at.since(clock.now())).await;
    let (began, cpu, before) = (Instant::now(), process_time(), engine.metrics().batches);
    while went_down(&engine.metrics()) < monitors {
        tokio::time::sleep(LOOK).await;
    }
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / monitors.max(1) as f64;
    println!("{monitors} monitors overdue at one instant, in {} batches", engine.metrics().batches - before);
    println!("all decided and durable: {:.3} s, {:.1} us each", began.elapsed().as_secs_f64(), micros(began.elapsed()));
    println!("all threads: {:.1} us each", micros(process_time().saturating_sub(cpu)));
    engine.shutdown(Duration::from_secs(5)).await?;
    Ok(())
}

fn monitor(n: u64, made_at: Timestamp, lead: Duration) -> Result<Transition, Box<dyn Error>> {
    let mut spec = MonitorSpec::new(format!("job-{n}"), Schedule::every(lead - Duration::from_secs(1))?);
    spec.grace = Grace::Fixed(Duration::from_secs(1));
    spec.channels = vec!["hook".to_owned()];
    made(n, spec, made_at).map_err(|error| format!("{error:?}").into())
}

fn went_down(metrics: &Metrics) -> u64 {
    metrics.changes.iter().find(|(state, _)| *state == State::Down).map_or(0, |(_, count)| *count)
}
