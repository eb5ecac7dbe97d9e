//! Answers get lost, requests come late, scripts are forgotten.

use heartbeat_engine::testing::fixtures::{batch, next, notification, replace, settlement};
use heartbeat_engine::{Batch, DeliveryState, Outcome, Storage, StorageError};

use super::proxy::{Proxy, Rule};
use super::support::{Server, within};
use super::{assert_is, hear, heartbeat, make, open};

#[tokio::test]
async fn a_commit_whose_answer_got_lost_is_answered_and_written_once() {
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let storage = open(&proxy.url(), "").await;
    let mut job = make(&storage, 1).await;
    for _ in 0..5 {
        hear(&storage, &mut job).await;
        proxy.set(Rule::LoseAnswer("EVALSHA"));
        // Sent again; without what Redis keeps of the first answer it would be a conflict.
        hear(&storage, &mut job).await;
        assert!(proxy.is_done());
        proxy.set(Rule::Cut("EVALSHA"));
        hear(&storage, &mut job).await;
        assert!(proxy.is_done());
    }
    assert_is(&storage, &job).await;
}

#[tokio::test]
async fn a_request_that_comes_late_undoes_nothing() {
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let storage = open(&proxy.url(), "").await;
    let owed = Batch { notifications: vec![notification(1)], ..Batch::default() };
    storage.commit(&owed).await.unwrap();
    let settle = |state| Batch { settlements: vec![settlement(1, state)], ..Batch::default() };
    proxy.set(Rule::Hold { after: 0 });
    storage.commit(&settle(DeliveryState::Pending)).await.unwrap();
    assert!(proxy.is_done());
    storage.commit(&settle(DeliveryState::Delivered)).await.unwrap();
    let answer = proxy.release();
    assert!(answer.starts_with("-LATE"), "{answer}");
    assert!(storage.outbox(0, 10).await.unwrap().items.is_empty(), "it is delivered, and not owed again");
}

#[tokio::test]
async fn a_commit_that_broke_off_in_the_middle_does_not_say_that_nothing_was_written() {
    let server = Server::start();
    let proxy = Proxy::to(server.port);
    let storage = open(&proxy.url(), "timeout_ms=500").await;
    let (mut job, other) = (make(&storage, 1).await, make(&storage, 2).await);
    // One call writes the heartbeat and finds that the other monitor's wish changed; two more would write that.
    let (heard, mut both) = heartbeat(&job);
    let renamed = next(&other, |monitor, _| monitor.spec.slug = "renamed".into());
    both.transitions.push(replace(&renamed));
    proxy.set(Rule::Refuse { after: 1 });
    let error = within("an answer", storage.commit(&both)).await.unwrap_err();
    assert!(matches!(error, StorageError::Unknown(_)), "{error}");
    proxy.set(Rule::Pass);
    job = heard;
    assert_is(&storage, &job).await;
    assert_is(&storage, &other).await;
    let applied = storage.commit(&both).await.unwrap();
    assert_eq!(applied.transitions, [Outcome::Conflict { found: Some(job.version) }, Outcome::Committed]);
    assert_is(&storage, &job).await;
}

#[tokio::test]
async fn forgotten_scripts_are_sent_again() {
    let server = Server::start();
    let storage = open(&server.url(), "").await;
    let mut job = make(&storage, 1).await;
    for round in 0..3 {
        server.tell(&["SCRIPT", "FLUSH"]);
        hear(&storage, &mut job).await;
        server.tell(&["SCRIPT", "FLUSH"]);
        job = next(&job, |monitor, _| monitor.spec.name = format!("round {round}").into());
        let applied = storage.commit(&batch([replace(&job)])).await.unwrap();
        assert_eq!(applied.transitions, [Outcome::Committed]);
    }
    assert_is(&storage, &job).await;
}
