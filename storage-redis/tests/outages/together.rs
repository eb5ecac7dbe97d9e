//! What goes to Redis together: heartbeats of one batch, and batches of several partitions.

use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::join_all;
use heartbeat_engine::testing::fixtures::{
    at, batch, change, create, monitor_id_in, next, ping, record, replace, with_id,
};
use heartbeat_engine::{
    Batch, CountsPer, Epoch, HistoryItem, HistoryQuery, MemoryStorage, Outcome, PartitionId, PingEntry, Record,
    Storage, StorageError, Timestamp, Transition, Version,
};
use heartbeat_storage_redis::RedisStorage;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::open;
use super::support::Server;

const MONITORS: u64 = 5;

/// What a batch has of a monitor.
#[derive(Clone, Debug)]
struct Share {
    /// How long the bodies of its heartbeats are.
    bodies: Vec<usize>,
    /// Its version is not the one that is stored.
    stale: bool,
    /// A change of state comes with it.
    changes: bool,
    wakes_at: i64,
}

fn share() -> impl Strategy<Value = Option<Share>> {
    let body = prop_oneof![4 => Just(0_usize), 1 => 50..100_usize, 1 => 900..1200_usize, 1 => Just(5000_usize)];
    let bodies =
        prop_oneof![6 => proptest::collection::vec(body.clone(), 1), 1 => proptest::collection::vec(body, 0..4)];
    let share = (bodies, prop::bool::weighted(0.1), prop::bool::weighted(0.1), 0..5000_i64);
    let share = share.prop_map(|(bodies, stale, changes, wakes_at)| Share { bodies, stale, changes, wakes_at });
    prop_oneof![3 => share.prop_map(Some), 1 => Just(None)]
}

/// The batch of these shares, and the records that it writes.
fn batch_of(records: &[Record], shares: &[Option<Share>]) -> (Batch, Vec<Record>) {
    let mut after = records.to_vec();
    let mut transitions = Vec::new();
    for (n, share) in shares.iter().enumerate().filter_map(|(n, share)| Some((n, share.as_ref()?))) {
        let heard = records[n].health.ping_count;
        let pings = (heard + 1..).zip(&share.bodies);
        let pings = pings.map(|(n, length)| PingEntry { body: Some(vec![7; *length]), ..ping(n) }).collect();
        let record = next(&records[n], |_, health| {
            health.ping_count += share.bodies.len() as u64;
            if let Some(awaited) = &mut health.expectation {
                awaited.deadline = at(share.wakes_at);
            }
        });
        let changes = if share.changes { vec![change(record.id(), record.version.0)] } else { Vec::new() };
        let transition = Transition { pings, changes, ..replace(&record) };
        if share.stale {
            transitions.push(Transition { expected: Some(Version(99_999)), ..transition });
        } else {
            transitions.push(transition);
            after[n] = record;
        }
    }
    (batch(transitions), after)
}

async fn history(storage: &impl Storage, query: HistoryQuery, limit: usize) -> Vec<HistoryItem> {
    storage.history(&query, limit).await.unwrap().items
}

/// Both answer each batch alike, and have the same in the end; who listens hears every record as it is then.
async fn are_alike(
    redis: &RedisStorage,
    other: &RedisStorage,
    batches: &[Vec<Option<Share>>],
) -> Result<(), TestCaseError> {
    let model = MemoryStorage::new();
    let mut records: Vec<Record> = (0..MONITORS).map(record).collect();
    let made = batch(records.iter().map(create).collect::<Vec<_>>());
    prop_assert_eq!(redis.commit(&made).await, model.commit(&made).await);
    let mut position = other.news(None).await.unwrap().position;
    let mut told = records.clone();
    for shares in batches {
        let (batch, after) = batch_of(&records, shares);
        prop_assert_eq!(redis.commit(&batch).await, model.commit(&batch).await);
        records = after;
        let news = other.news(Some(&position)).await.unwrap();
        position = news.position;
        for news in news.monitors {
            let place = told.iter().position(|record| record.id() == news.monitor).unwrap();
            let form = news.form.unwrap();
            told[place] = Record { version: news.version, health: form.health, ..told[place].clone() };
        }
        prop_assert_eq!(&told, &records);
    }
    for record in &records {
        let monitor = record.id();
        prop_assert_eq!(redis.load(&[monitor]).await.unwrap(), [Some(record.clone())]);
        for before in [None, Some(record.health.ping_count / 2 + 1)] {
            let query = HistoryQuery::Pings { monitor, before };
            prop_assert_eq!(history(redis, query.clone(), 30).await, history(&model, query, 30).await);
        }
        let query = HistoryQuery::Counts { monitor, per: CountsPer::Hour, since: None, before: None };
        prop_assert_eq!(history(redis, query.clone(), 100).await, history(&model, query, 100).await);
    }
    let due = |before| async move { (redis.due(PartitionId(0), before, 100).await, before) };
    for (found, before) in [due(at(2500)).await, due(Timestamp::MAX).await] {
        prop_assert_eq!(found.unwrap(), model.due(PartitionId(0), before, 100).await.unwrap());
    }
    Ok(())
}

#[test]
fn heartbeats_of_any_size_are_kept_told_and_counted_as_a_model_does() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(async { Server::start() });
    let prefixes = AtomicU32::new(0);
    let batches = proptest::collection::vec(proptest::collection::vec(share(), MONITORS as usize), 1..60);
    proptest!(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() }, |(batches in batches)| {
        let prefix = format!("prefix=p{}&partitions=1", prefixes.fetch_add(1, Ordering::Relaxed));
        runtime.block_on(async {
            let (one, other) = (open(&server.url(), &prefix).await, open(&server.url(), &prefix).await);
            are_alike(&one, &other, &batches).await
        })?;
    });
}

/// How many calls of scripts the server has taken.
fn calls(server: &Server) -> u64 {
    let stats: String = server.ask(&["INFO", "commandstats"]).unwrap();
    let calls = stats.split("cmdstat_evalsha:calls=").nth(1).and_then(|rest| rest.split(',').next());
    calls.map_or(0, |digits| digits.parse().unwrap())
}

fn heartbeat(partition: u16, record: &Record) -> (Record, Batch) {
    let next = next(record, |_, health| health.ping_count += 1);
    let pings = vec![ping(next.health.ping_count)];
    let transitions = vec![Transition { pings, ..replace(&next) }];
    (next, Batch { partition: PartitionId(partition), ..batch(transitions) })
}

#[tokio::test]
async fn batches_of_several_partitions_are_one_call_and_each_is_answered_for_itself() {
    let server = Server::start();
    let storage = open(&server.url(), "partitions=4").await;
    let mut batches = Vec::new();
    for partition in 0..4 {
        let made = with_id(monitor_id_in(PartitionId(partition), 1), &record(u64::from(partition)));
        let create = Batch { partition: PartitionId(partition), ..batch([create(&made)]) };
        assert_eq!(storage.commit(&create).await.unwrap().transitions, [Outcome::Committed]);
        batches.push(heartbeat(partition, &made).1);
    }
    batches[1].epoch = Epoch(7);
    server.tell(&["SET", "{heartbeat:2}:news-last", "no number"]);
    let before = calls(&server);
    let results = join_all(batches.iter().map(|batch| storage.commit(batch))).await;
    assert_eq!(calls(&server) - before, 1);
    for partition in [0, 3] {
        assert_eq!(results[partition].as_ref().unwrap().transitions, [Outcome::Committed]);
    }
    assert_eq!(results[1], Err(StorageError::Fenced));
    assert!(matches!(results[2], Err(StorageError::Corrupt(_))), "{:?}", results[2]);
}
