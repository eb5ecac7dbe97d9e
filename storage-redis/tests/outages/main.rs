//! What becomes of commits when Redis dies, hangs, is full, or when connections and answers get lost.
#![allow(unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

mod answers;
mod crashes;
mod folding;
mod memory;
mod names;
mod news;
mod proxy;
mod replicas;
mod rights;
#[path = "../support/mod.rs"]
mod support;
mod together;

use heartbeat_engine::testing::fixtures::{batch, create, next, ping, record, replace};
use heartbeat_engine::{
    Batch, CountsPer, HistoryItem, HistoryQuery, MonitorId, Outcome, Record, Storage, StorageError, Transition,
};
use heartbeat_storage_redis::{RedisOptions, RedisStorage};

async fn open(url: &str, parameters: &str) -> RedisStorage {
    RedisStorage::open(RedisOptions::parse(&format!("{url}?{parameters}")).unwrap()).await.unwrap()
}

/// Makes the `n`-th monitor.
async fn make(storage: &impl Storage, n: u64) -> Record {
    let record = record(n);
    assert_eq!(commit(storage, &batch([create(&record)])).await, Ok(Outcome::Committed));
    record
}

/// A monitor with its next heartbeat, and the batch that writes it.
fn heartbeat(record: &Record) -> (Record, Batch) {
    let next = next(record, |_, health| health.ping_count += 1);
    let pings = vec![ping(next.health.ping_count)];
    (next.clone(), batch([Transition { pings, ..replace(&next) }]))
}

/// Writes the next heartbeat of a monitor, which must be acknowledged.
async fn hear(storage: &impl Storage, record: &mut Record) {
    let (next, batch) = heartbeat(record);
    assert_eq!(commit(storage, &batch).await, Ok(Outcome::Committed));
    *record = next;
}

/// Writes a batch of one transition.
async fn commit(storage: &impl Storage, batch: &Batch) -> Result<Outcome, StorageError> {
    let applied = support::within("an answer to a commit", storage.commit(batch)).await?;
    let [outcome] = &applied.transitions[..] else { panic!("{applied:?}") };
    Ok(outcome.clone())
}

/// A monitor is as this record says, with each of its heartbeats exactly once.
async fn assert_is(storage: &impl Storage, record: &Record) {
    let found = storage.load(&[record.id()]).await.unwrap();
    assert_eq!(found, [Some(record.clone())]);
    let heard = record.health.ping_count;
    let newest: Vec<u64> = (1..=heard).rev().take(100).collect();
    assert_eq!(heartbeats(storage, record.id()).await, newest);
    assert_eq!(counted(storage, record.id()).await, heard);
}

/// The numbers of the heartbeats that are kept, at most the newest 100.
async fn heartbeats(storage: &impl Storage, monitor: MonitorId) -> Vec<u64> {
    let page = storage.history(&HistoryQuery::Pings { monitor, before: None }, 100).await.unwrap();
    let number = |item| match item {
        HistoryItem::Ping(ping) => ping.n,
        other => panic!("{other:?}"),
    };
    page.items.into_iter().map(number).collect()
}

/// How many heartbeats were counted, those that are kept and those that are not.
async fn counted(storage: &impl Storage, monitor: MonitorId) -> u64 {
    let query = HistoryQuery::Counts { monitor, per: CountsPer::Hour, since: None, before: None };
    let page = storage.history(&query, 10_000).await.unwrap();
    let count = |item: &HistoryItem| match item {
        HistoryItem::Counts(counts) => counts.total(),
        other => panic!("{other:?}"),
    };
    page.items.iter().map(count).sum()
}
