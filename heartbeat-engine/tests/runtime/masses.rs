//! Many monitors at once: deadlines of one instant, and many that are read at the start.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_engine::testing::TokioClock;
use heartbeat_engine::{
    Clock, Engine, Filter, Limits, MemoryStorage, MonitorSpec, Ping, PutMode, Schedule, Signal, StatusWord, Target,
};

const HOUR: Duration = Duration::from_secs(3600);

fn clock() -> TokioClock {
    TokioClock::new("2026-11-20T08:00:00Z".parse().unwrap())
}

async fn put(engine: &Engine, slugs: impl Iterator<Item = String>) {
    let wish = |slug: String| (MonitorSpec::new(&slug, Schedule::every(HOUR).unwrap()), PutMode::Upsert);
    for put in engine.put_many(slugs.map(wish)).await {
        put.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn deadlines_of_one_instant_do_not_keep_heartbeats_waiting() {
    const MONITORS: u64 = 3_000;
    const BATCH: usize = 50;
    let clock = clock();
    let mut limits = Limits::default();
    limits.batch = BATCH;
    let engine = Engine::builder(MemoryStorage::new()).clock(clock.clone()).limits(limits).spawn().await.unwrap();
    put(&engine, (0..MONITORS).map(|number| format!("job-{number}"))).await;
    let fresh = MonitorSpec::new("fresh", Schedule::every(24 * HOUR).unwrap());
    engine.put(fresh, PutMode::Upsert).await.unwrap();

    let deadline = engine.status("job-0").unwrap().deadline.unwrap();
    tokio::time::sleep(deadline.since(clock.now()) + Duration::from_millis(1)).await;
    let mut heartbeats = 0;
    loop {
        let before = engine.metrics();
        if before.overdue == 0 {
            break;
        }
        engine.ping("fresh", Ping::new(Signal::Success)).await.unwrap();
        let batches = engine.metrics().batches - before.batches;
        assert!(batches <= 2, "a heartbeat waited for {batches} batches, {} monitors were overdue", before.overdue);
        heartbeats += 1;
    }
    assert!(heartbeats >= MONITORS / BATCH as u64 / 2, "they were decided in {heartbeats} heartbeats, nearly at once");
    let down = Filter { status: Some(StatusWord::Down), ..Filter::default() };
    assert_eq!(engine.list(&down, usize::MAX).items.len() as u64, MONITORS);
    assert!(clock.now().since(deadline) <= Duration::from_millis(10), "prompt (S8.5)");
}

#[tokio::test(start_paused = true)]
async fn all_that_is_stored_is_found_and_listed_after_a_start() {
    let (clock, storage) = (clock(), Arc::new(MemoryStorage::new()));
    let first = Engine::builder(storage.clone()).clock(clock.clone()).spawn().await.unwrap();
    put(&first, (0..500).map(|number| format!("job-{number:03}"))).await;
    let expected = first.list(&Filter::default(), usize::MAX).items;
    first.shutdown(Duration::from_secs(5)).await.unwrap();

    for page in [1, 7, 500, 4096] {
        let mut limits = Limits::default();
        limits.load_page = page;
        let engine = Engine::builder(storage.clone()).clock(clock.clone()).limits(limits).spawn().await.unwrap();
        let readiness = engine.readiness();
        assert_eq!((readiness.loaded, readiness.expected), (500, 500));
        let listed = engine.list(&Filter::default(), usize::MAX).items;
        assert_eq!(listed.len(), 500, "{page} at a time");
        for (record, (number, before)) in listed.iter().zip((0..).zip(&expected)) {
            assert_eq!(record.spec().slug, format!("job-{number:03}"));
            assert_eq!(record, before);
            assert!(engine.find(record.id()).is_some());
            assert!(engine.find(Target::token(&record.monitor.token.current.reveal())).is_some());
            assert!(engine.find(record.spec().slug.as_str()).is_some());
        }
        engine.shutdown(Duration::from_secs(5)).await.unwrap();
    }
}
