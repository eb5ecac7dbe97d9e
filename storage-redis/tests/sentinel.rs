//! A primary dies, sentinels make its replica the primary, and the storage goes on with that one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::time::Duration;

use heartbeat_engine::testing::fixtures::{batch, create, next, ping, record, replace};
use heartbeat_engine::{Batch, HistoryItem, HistoryQuery, Outcome, Record, Storage, StorageError, Transition};
use heartbeat_storage_redis::{RedisOptions, RedisStorage};

use self::support::{Watched, until_it_follows, within};

async fn open(watched: &Watched, parameters: &str) -> RedisStorage {
    RedisStorage::open(RedisOptions::parse(&format!("{}?{parameters}", watched.url())).unwrap()).await.unwrap()
}

fn heartbeat(record: &Record) -> (Record, Batch) {
    let next = next(record, |_, health| health.ping_count += 1);
    let pings = vec![ping(next.health.ping_count)];
    (next.clone(), batch([Transition { pings, ..replace(&next) }]))
}

/// Writes the next heartbeat, and tries on for as long as nobody answers.
async fn hear(storage: &impl Storage, record: &mut Record) {
    let (next, batch) = heartbeat(record);
    let written = async {
        loop {
            match storage.commit(&batch).await.map(|applied| applied.transitions) {
                Ok(outcomes) if outcomes == [Outcome::Committed] => return,
                // An attempt before, of which that was not known.
                Ok(outcomes) => return assert_eq!(outcomes, [Outcome::Conflict { found: Some(next.version) }]),
                Err(StorageError::Unknown(_) | StorageError::Unavailable(_)) => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        }
    };
    within("a heartbeat to be written", written).await;
    *record = next;
}

async fn assert_is(storage: &impl Storage, record: &Record) {
    assert_eq!(storage.load(&[record.id()]).await.unwrap(), [Some(record.clone())]);
    let query = HistoryQuery::Pings { monitor: record.id(), before: None };
    let page = storage.history(&query, 1000).await.unwrap();
    let number = |item| match item {
        HistoryItem::Ping(ping) => ping.n,
        other => panic!("{other:?}"),
    };
    let found: Vec<u64> = page.items.into_iter().map(number).collect();
    assert_eq!(found, (1..=record.health.ping_count).rev().collect::<Vec<_>>());
}

#[tokio::test]
async fn a_replica_takes_over_with_what_was_acknowledged() {
    let mut watched = Watched::start();
    let careful = open(&watched, "wait_replicas=1&timeout_ms=1000").await;
    let quick = open(&watched, "timeout_ms=1000").await;
    let mut job = record(1);
    assert_eq!(careful.commit(&batch([create(&job)])).await.unwrap().transitions, [Outcome::Committed]);
    let begin = quick.news(None).await.unwrap().position;
    for _ in 0..20 {
        let (next, batch) = heartbeat(&job);
        assert_eq!(careful.commit(&batch).await.unwrap().transitions, [Outcome::Committed]);
        job = next;
    }
    watched.primary.kill();
    // What was acknowledged is the version that the next one is built upon.
    hear(&quick, &mut job).await;
    assert_eq!(watched.replica.info("role"), "master");
    assert_is(&quick, &job).await;
    // It has the news, too; the newest heartbeat is the reader's own.
    let news = quick.news(Some(&begin)).await.unwrap();
    let told: Vec<u64> = news.monitors.iter().map(|told| told.version.0).collect();
    assert_eq!((told, news.missed), ((2..=21).collect(), false));

    // The new primary has no replica yet.
    let (next, batch) = heartbeat(&job);
    let error = within("an answer", careful.commit(&batch)).await.unwrap_err();
    assert!(matches!(error, StorageError::Unknown(_)), "{error}");
    hear(&quick, &mut job).await;
    assert_eq!(job, next);
    watched.primary.restart();
    watched.primary.tell(&["REPLICAOF", "127.0.0.1", &watched.replica.port.to_string()]);
    until_it_follows(&watched.primary, &watched.replica);
    let (next, batch) = heartbeat(&job);
    assert_eq!(within("an answer", careful.commit(&batch)).await.unwrap().transitions, [Outcome::Committed]);
    assert_is(&careful, &next).await;
}
