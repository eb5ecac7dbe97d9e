//! Heartbeats beyond those that are kept are counted and forgotten.

use heartbeat_engine::testing::fixtures::record;
use heartbeat_engine::{HistoryQuery, Outcome, Record, Storage};
use heartbeat_storage_redis::RedisStorage;

use super::proxy::{Proxy, Rule};
use super::support::Server;
use super::{assert_is, commit, hear, heartbeat, make, open};

/// The newest 100; up to 31 for which it was not looked yet, and 7 that lie together with one that is kept.
const KEPT_MAX: usize = 138;

async fn kept(storage: &RedisStorage) -> usize {
    let query = HistoryQuery::Pings { monitor: record(1).id(), before: None };
    storage.history(&query, 1000).await.unwrap().items.len()
}

#[tokio::test]
async fn of_a_thousand_heartbeats_the_newest_are_kept_and_all_are_counted() {
    let server = Server::start();
    let storage = open(&server.url(), "").await;
    let mut job = make(&storage, 1).await;
    for n in 1..=1000 {
        hear(&storage, &mut job).await;
        if n % 50 == 0 {
            assert!(kept(&storage).await <= KEPT_MAX);
        }
    }
    assert_is(&storage, &job).await;
}

#[tokio::test]
async fn what_was_folded_already_is_not_folded_again() {
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let storage = open(&proxy.url(), "").await;
    let mut job = make(&storage, 1).await;
    for _ in 1..160 {
        hear(&storage, &mut job).await;
    }
    // The commit passes, and the folding behind it is sent twice: the first one arrives last.
    proxy.set(Rule::Hold { after: 1 });
    hear(&storage, &mut job).await;
    assert!(proxy.is_done());
    let direct = open(&server.url(), "").await;
    assert!((100..=107).contains(&kept(&direct).await));
    assert_eq!(proxy.release(), ":0\r\n");
    assert_is(&storage, &job).await;
}

/// Hears `times` heartbeats of the first monitor, which others hear, too.
async fn hear_among_others(storage: &RedisStorage, times: usize) {
    let mut heard = 0;
    while heard < times {
        let found = storage.load(&[record(1).id()]).await.unwrap().pop().flatten().unwrap();
        let (_, batch) = heartbeat(&found);
        match commit(storage, &batch).await.unwrap() {
            Outcome::Committed => heard += 1,
            conflict => assert!(matches!(conflict, Outcome::Conflict { found: Some(_) }), "{conflict:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_storages_count_each_heartbeat_once() {
    let server = Server::start();
    let (one, two) = (open(&server.url(), "").await, open(&server.url(), "").await);
    make(&one, 1).await;
    tokio::join!(hear_among_others(&one, 500), hear_among_others(&two, 500));
    let found: Record = one.load(&[record(1).id()]).await.unwrap().pop().flatten().unwrap();
    assert_eq!(found.health.ping_count, 1000);
    assert!(kept(&one).await <= KEPT_MAX);
    for storage in [&one, &two] {
        assert_is(storage, &found).await;
    }
}
