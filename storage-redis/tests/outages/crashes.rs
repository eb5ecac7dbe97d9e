//! Redis ends, or hangs, and comes back.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use heartbeat_engine::{Outcome, Storage, StorageError};

use super::support::Server;
use super::{assert_is, commit, hear, heartbeat, make, open};

#[tokio::test]
async fn what_was_acknowledged_outlives_a_crash() {
    let mut server = Server::durable();
    let storage = open(&server.url(), "timeout_ms=500").await;
    let mut job = make(&storage, 1).await;
    for _ in 0..20 {
        hear(&storage, &mut job).await;
    }
    // It is killed while heartbeats go on.
    let killing = tokio::task::spawn_blocking(move || {
        server.kill();
        server
    });
    let error = loop {
        let (next, batch) = heartbeat(&job);
        match commit(&storage, &batch).await {
            Ok(outcome) => {
                assert_eq!(outcome, Outcome::Committed);
                job = next;
            }
            Err(error) => break error,
        }
    };
    assert!(matches!(error, StorageError::Unknown(_) | StorageError::Unavailable(_)), "{error}");
    let mut server = killing.await.unwrap();
    let (next, batch) = heartbeat(&job);
    let error = commit(&storage, &batch).await.unwrap_err();
    assert!(matches!(error, StorageError::Unavailable(_)), "nothing can have been written: {error}");

    server.restart();
    // The one that nobody acknowledged may be there, too.
    match commit(&storage, &batch).await.unwrap() {
        Outcome::Committed => {}
        conflict => assert_eq!(conflict, Outcome::Conflict { found: Some(next.version) }),
    }
    job = next;
    assert_is(&storage, &job).await;
    hear(&storage, &mut job).await;
    assert_is(&storage, &job).await;
}

#[tokio::test]
async fn a_commit_to_a_frozen_redis_is_written_once_or_not_at_all() {
    let server = Server::start();
    let storage = open(&server.url(), "timeout_ms=500").await;
    let mut job = make(&storage, 1).await;
    hear(&storage, &mut job).await;
    server.freeze();
    let (next, batch) = heartbeat(&job);
    let error = commit(&storage, &batch).await.unwrap_err();
    assert!(matches!(error, StorageError::Unknown(_)), "{error}");
    // Nothing is sent before there is a connection.
    let error = commit(&storage, &batch).await.unwrap_err();
    assert!(matches!(error, StorageError::Unavailable(_)), "{error}");
    server.wake();
    match commit(&storage, &batch).await.unwrap() {
        Outcome::Committed => {}
        conflict => assert_eq!(conflict, Outcome::Conflict { found: Some(next.version) }),
    }
    job = next;
    assert_eq!(commit(&storage, &batch).await, Ok(Outcome::Conflict { found: Some(job.version) }));
    hear(&storage, &mut job).await;
    assert_is(&storage, &job).await;
}

#[test]
fn another_runtime_goes_on_where_one_ended_in_the_middle_of_a_commit() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let server = Server::start();
    let storage = first.block_on(open(&server.url(), ""));
    let mut job = first.block_on(make(&storage, 1));
    let (next, batch) = heartbeat(&job);
    first.block_on(async {
        let mut begun = pin!(storage.commit(&batch));
        let is_under_way = poll_fn(|context| Poll::Ready(begun.as_mut().poll(context).is_pending())).await;
        assert!(is_under_way);
    });
    drop(first);
    second.block_on(async {
        match commit(&storage, &batch).await.unwrap() {
            Outcome::Committed => {}
            conflict => assert_eq!(conflict, Outcome::Conflict { found: Some(next.version) }),
        }
        job = next;
        assert_is(&storage, &job).await;
    });
}
