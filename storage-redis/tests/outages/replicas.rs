//! Commits that wait until replicas have them.

use heartbeat_engine::{Storage, StorageError};

use super::proxy::{Proxy, Rule};
use super::support::{Server, replica_of};
use super::{assert_is, commit, counted, hear, heartbeat, make, open};

#[tokio::test]
async fn a_commit_waits_for_replicas() {
    let server = Server::start();
    let mut job = make(&open(&server.url(), "").await, 1).await;
    let storage = open(&server.url(), "wait_replicas=1&timeout_ms=500").await;
    let (next, batch) = heartbeat(&job);
    let error = commit(&storage, &batch).await.unwrap_err();
    let StorageError::Unknown(text) = &error else { panic!("{error}") };
    assert!(text.contains("0 of 1 replicas have it"), "{text}");
    // It is written all the same, and says so to whoever looks.
    job = next;
    assert_is(&storage, &job).await;

    let replica = replica_of(&server);
    let storage = open(&server.url(), "wait_replicas=1").await;
    assert!(storage.durability().to_string().ends_with("once 1 replicas have it in memory"));
    hear(&storage, &mut job).await;
    replica.tell(&["REPLICAOF", "NO", "ONE"]);
    assert_is(&open(&replica.url(), "").await, &job).await;
}

/// Redis answers for what was written on one connection; on another one it would answer for nothing, at once.
#[tokio::test]
async fn a_broken_connection_acknowledges_nothing() {
    let server = Server::start();
    let replica = replica_of(&server);
    let proxy = Proxy::to(server.port);
    let storage = open(&proxy.url(), "wait_replicas=1&timeout_ms=1000").await;
    let mut job = make(&storage, 1).await;
    hear(&storage, &mut job).await;
    replica.freeze();
    for broken in ["EVALSHA", "WAIT"] {
        proxy.set(Rule::LoseAnswer(broken));
        let (next, batch) = heartbeat(&job);
        let error = commit(&storage, &batch).await.unwrap_err();
        assert!(matches!(error, StorageError::Unknown(_)), "{broken}: {error}");
        assert!(proxy.is_done());
        job = next;
    }
    replica.wake();
    hear(&storage, &mut job).await;
    assert_is(&storage, &job).await;
}

/// What follows a commit goes to another primary, which does not have it, and whose replica has all that it has.
#[tokio::test]
async fn a_primary_that_took_over_does_not_answer_for_the_one_before() {
    let server = Server::start();
    let successor = replica_of(&server);
    let proxy = Proxy::to(server.port);
    let storage = open(&proxy.url(), "wait_replicas=1").await;
    let mut job = make(&storage, 1).await;
    // The next heartbeat is followed by counting old ones.
    for _ in 1..160 {
        hear(&storage, &mut job).await;
    }
    successor.tell(&["REPLICAOF", "NO", "ONE"]);
    let replica = replica_of(&successor);
    proxy.set(Rule::Switch { after: 1, to: successor.port });
    let (_, batch) = heartbeat(&job);
    let error = commit(&storage, &batch).await.unwrap_err();
    assert!(matches!(error, StorageError::Unknown(_)), "{error}");
    assert!(proxy.is_done());
    let there = open(&replica.url(), "").await;
    assert_eq!(there.load(&[job.id()]).await.unwrap(), [Some(job.clone())]);
    assert_eq!(counted(&there, job.id()).await, 159);
}
