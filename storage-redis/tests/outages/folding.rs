//! Heartbeats beyond those that are kept are counted and forgotten.

use heartbeat_engine::testing::fixtures::record;
use heartbeat_engine::{Outcome, Record, Storage};
use heartbeat_storage_redis::RedisStorage;

use super::proxy::{Proxy, Rule};
use super::support::Server;
use super::{assert_is, commit, hear, heartbeat, make, open};

/// The newest 100, and up to 31 that wait to be counted.
const KEPT_MAX: usize = 131;

fn kept(server: &Server) -> usize {
    let keys: Vec<Vec<u8>> = server.ask(&["KEYS", "{heartbeat:0}:pings:*"]).unwrap();
    let [key] = &keys[..] else { panic!("{keys:?}") };
    let client = redis::Client::open(server.url()).unwrap();
    redis::cmd("LLEN").arg(&key[..]).query(&mut client.get_connection().unwrap()).unwrap()
}

#[tokio::test]
async fn of_a_thousand_heartbeats_the_newest_are_kept_and_all_are_counted() {
    let server = Server::start();
    let storage = open(&server.url(), "").await;
    let mut job = make(&storage, 1).await;
    for n in 1..=1000 {
        hear(&storage, &mut job).await;
        if n % 50 == 0 {
            assert!(kept(&server) <= KEPT_MAX);
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
    for _ in 0..KEPT_MAX {
        hear(&storage, &mut job).await;
    }
    // The commit passes, and the folding behind it is sent twice: the first one arrives last.
    proxy.set(Rule::Hold { after: 1 });
    hear(&storage, &mut job).await;
    assert!(proxy.is_done());
    assert_eq!(kept(&server), 100);
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
    assert!(kept(&server) <= KEPT_MAX);
    for storage in [&one, &two] {
        assert_is(storage, &found).await;
    }
}
