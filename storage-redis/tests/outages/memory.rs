//! The memory of Redis is full, or is kept from being full by throwing keys away.

use heartbeat_engine::testing::fixtures::{at, batch, change, create, lease, next, notification, record, replace};
use heartbeat_engine::{
    Batch, HistoryQuery, Outcome, PartitionId, Storage, StorageError, Timestamp, Transition, WatchLog,
};
use heartbeat_storage_redis::{OpenError, RedisOptions, RedisStorage};

use super::support::Server;
use super::{assert_is, commit, hear, heartbeat, make, open};

#[tokio::test]
async fn a_full_redis_takes_nothing_and_loses_nothing() {
    let server = Server::start();
    let storage = open(&server.url(), "").await;
    let mut job = make(&storage, 1).await;
    hear(&storage, &mut job).await;
    let changed = next(&job, |_, _| ());
    let changed = Transition { changes: vec![change(job.id(), changed.version.0)], ..replace(&changed) };
    let told = Batch { notifications: vec![notification(1)], mark: Some(at(5)), ..batch([changed]) };
    assert_eq!(commit(&storage, &told).await, Ok(Outcome::Committed));
    job = next(&job, |_, _| ());
    server.tell(&["CONFIG", "SET", "maxmemory", "1"]);
    for refused in [heartbeat(&job).1, batch([create(&record(2))])] {
        let error = commit(&storage, &refused).await.unwrap_err();
        assert!(matches!(error, StorageError::Unavailable(_)), "{error}");
    }
    // What is stored can be read, the work can be kept or taken over, and a server can start.
    assert_is(&storage, &job).await;
    let again = open(&server.url(), "").await;
    assert_eq!(again.monitors(None, 10).await.unwrap().items, [job.clone()]);
    assert_eq!(again.watch_log().await.unwrap(), WatchLog { mark: Some(at(5)), outages: Vec::new() });
    assert_eq!(again.outbox(0, 10).await.unwrap().items.len(), 1);
    assert_eq!(again.due(PartitionId(0), Timestamp::MAX, 10).await.unwrap().len(), 1);
    assert_eq!(again.history(&HistoryQuery::Feed { after: 0 }, 10).await.unwrap().items.len(), 1);
    assert_eq!(again.swap_lease(&lease(0, 0, ""), &lease(0, 0, "b")).await, Ok(true));
    server.tell(&["CONFIG", "SET", "maxmemory", "0"]);
    hear(&storage, &mut job).await;
    assert_is(&storage, &job).await;
    make(&storage, 2).await;
}

#[tokio::test]
async fn a_redis_that_throws_keys_away_is_taken_only_when_told() {
    let server = Server::start();
    server.tell(&["CONFIG", "SET", "maxmemory", "100mb"]);
    server.tell(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let options = RedisOptions::parse(&server.url()).unwrap();
    let error = RedisStorage::open(options).await.unwrap_err();
    assert!(matches!(&error, OpenError::Eviction(eviction) if eviction.policy == "allkeys-lru"), "{error:?}");
    assert_eq!(
        error.to_string(),
        "the Redis throws keys away when its memory is full (maxmemory-policy allkeys-lru); set it to noeviction or a \
         volatile policy, or say allow_eviction=true if monitors and heartbeats may be lost"
    );
    make(&open(&server.url(), "allow_eviction=true").await, 1).await;
}

#[tokio::test]
async fn a_store_of_another_format_is_left_alone() {
    let server = Server::start();
    for format in [1, 3] {
        server.tell(&["HSET", "{jobs:meta}:store", "format", &format.to_string(), "partitions", "1"]);
        let options = RedisOptions::parse(&format!("{}?prefix=jobs", server.url())).unwrap();
        let error = RedisStorage::open(options).await.unwrap_err();
        assert!(matches!(error, OpenError::Format { found, .. } if found == format), "{error:?}");
        assert!(error.to_string().contains(&format!("prefix `jobs` is a store of format {format}")), "{error}");
        let keys: Vec<String> = server.ask(&["KEYS", "*"]).unwrap();
        assert_eq!(keys, ["{jobs:meta}:store"], "nothing is written");
    }
}
