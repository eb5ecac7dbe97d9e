//! Slugs and tokens.

use super::super::fixtures::{at, create, monitor_id, next, notification, ping, record, remove, replace, token};
use super::{StorageHarness, load, outbox, outcome, pings, put};
use crate::{MonitorId, Name, Outcome, Page, Record, Rotating, Storage, TokenHash, Transition};

async fn by_slug(storage: &impl Storage, slug: &str) -> Option<MonitorId> {
    storage.find(&Name::Slug(slug.to_owned())).await.unwrap()
}

async fn by_token(storage: &impl Storage, n: u64) -> Option<MonitorId> {
    storage.find(&Name::Token(token(n).hash())).await.unwrap()
}

fn with_slug(n: u64, slug: &str) -> Record {
    let mut record = record(n);
    std::sync::Arc::make_mut(&mut record.monitor).spec.slug = slug.into();
    record
}

fn rotated(record: &Record, token: crate::Token) -> Record {
    next(record, |monitor, _| monitor.token = monitor.token.clone().rotated(token, at(100)))
}

/// A slug and the hashes of the current and the retiring token lead to the monitor; a slug is case-sensitive.
pub async fn a_monitor_is_found_by_slug_and_by_every_token<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    put(&*storage, [create(&with_slug(1, "60y4E")), create(&record(2))]).await;
    put(&*storage, [replace(&rotated(&record(2), token(22)))]).await;
    assert_eq!(by_slug(&*storage, "60y4E").await, Some(monitor_id(1)));
    assert_eq!(by_slug(&*storage, "60Y4e").await, None);
    assert_eq!(by_slug(&*storage, "").await, None);
    assert_eq!(by_token(&*storage, 1).await, Some(monitor_id(1)));
    assert_eq!(by_token(&*storage, 2).await, Some(monitor_id(2)), "the retiring token");
    assert_eq!(by_token(&*storage, 22).await, Some(monitor_id(2)), "the current token");
    assert_eq!(storage.find(&Name::Token(TokenHash::of("nobody's"))).await.unwrap(), None);
    put(&*storage, [create(&with_slug(3, "60Y4e"))]).await;
    assert_eq!(by_slug(&*storage, "60Y4e").await, Some(monitor_id(3)));
}

/// Neither a new monitor nor a changed one gets the slug of another, also not within one batch.
pub async fn slugs_are_unique<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let taken = Outcome::NameTaken { field: "slug" };
    put(&*storage, [create(&with_slug(1, "one")), create(&with_slug(2, "two"))]).await;
    assert_eq!(outcome(&*storage, create(&with_slug(3, "one"))).await, taken);
    let renamed = next(&with_slug(2, "two"), |monitor, _| monitor.spec.slug = "one".into());
    assert_eq!(outcome(&*storage, replace(&renamed)).await, taken);
    assert_eq!(by_slug(&*storage, "one").await, Some(monitor_id(1)));
    assert_eq!(by_slug(&*storage, "two").await, Some(monitor_id(2)));
    let twice = super::apply(
        &*storage,
        &super::fixtures::batch([create(&with_slug(4, "new")), create(&with_slug(5, "new")), create(&record(6))]),
    )
    .await;
    assert_eq!(twice.transitions, [Outcome::Committed, taken, Outcome::Committed]);
    assert_eq!(by_slug(&*storage, "new").await, Some(monitor_id(4)));
    assert_eq!(load(&*storage, monitor_id(5)).await, None);
}

/// No monitor gets a token that another one has or is retiring.
pub async fn tokens_are_unique_while_they_are_kept<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let taken = Outcome::NameTaken { field: "token" };
    put(&*storage, [create(&record(1)), create(&record(2))]).await;
    let current = rotated(&record(1), token(11));
    put(&*storage, [replace(&current)]).await;
    for n in [1, 11] {
        assert_eq!(outcome(&*storage, replace(&rotated(&record(2), token(n)))).await, taken, "token {n}");
        let mut third = record(3);
        std::sync::Arc::make_mut(&mut third.monitor).token = Rotating::new(token(n));
        assert_eq!(outcome(&*storage, create(&third)).await, taken, "token {n}");
    }
    assert_eq!(by_token(&*storage, 1).await, Some(monitor_id(1)));
    // A monitor may keep and rotate its own, back to the old one too.
    put(&*storage, [replace(&rotated(&current, token(1)))]).await;
    assert_eq!(by_token(&*storage, 11).await, Some(monitor_id(1)));
}

/// Nothing is written of a transition whose name is taken: no record, ping or notification.
pub async fn a_taken_name_writes_nothing_of_its_transition<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    put(&*storage, [create(&with_slug(1, "one"))]).await;
    let laden =
        Transition { pings: vec![ping(1)], notifications: vec![notification(1)], ..create(&with_slug(2, "one")) };
    assert_eq!(outcome(&*storage, laden).await, Outcome::NameTaken { field: "slug" });
    assert_eq!(load(&*storage, monitor_id(2)).await, None);
    assert_eq!(by_token(&*storage, 2).await, None, "not even its token");
    assert_eq!(pings(&*storage, monitor_id(2), None, 10).await, Page::empty());
    assert_eq!(outbox(&*storage, 0, 10).await, Page::empty());
}

/// A slug that was changed, a token that has retired and the names of what was removed lead nowhere and are free.
pub async fn names_are_freed_by_changes_and_removal<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let first = with_slug(1, "one");
    put(&*storage, [create(&first)]).await;
    let renamed = next(&first, |monitor, _| {
        monitor.spec.slug = "uno".into();
        monitor.token = Rotating::new(token(11));
    });
    put(&*storage, [replace(&renamed)]).await;
    assert_eq!((by_slug(&*storage, "one").await, by_token(&*storage, 1).await), (None, None));
    let mut second = with_slug(2, "one");
    std::sync::Arc::make_mut(&mut second.monitor).token = Rotating::new(token(1));
    put(&*storage, [create(&second)]).await;
    assert_eq!(
        (by_slug(&*storage, "one").await, by_token(&*storage, 1).await),
        (Some(monitor_id(2)), Some(second.id()))
    );
    put(&*storage, [remove(&second)]).await;
    assert_eq!((by_slug(&*storage, "one").await, by_token(&*storage, 1).await), (None, None));
    put(&*storage, [create(&with_slug(3, "one"))]).await;
    assert_eq!(by_slug(&*storage, "one").await, Some(monitor_id(3)));
    assert_eq!(by_slug(&*storage, "uno").await, Some(monitor_id(1)));
}

/// Whatever a storage answers to a swap of names within one batch, names and records agree afterwards.
pub async fn names_never_lead_to_two_monitors<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let (one, two) = (with_slug(1, "one"), with_slug(2, "two"));
    put(&*storage, [create(&one), create(&two)]).await;
    let to = |record: &Record, slug: &str| replace(&next(record, |monitor, _| monitor.spec.slug = slug.into()));
    super::apply(&*storage, &super::fixtures::batch([to(&one, "two"), to(&two, "one")])).await;
    super::apply(&*storage, &super::fixtures::batch([to(&one, "three"), to(&two, "one")])).await;
    let records = storage.monitors(None, 10).await.unwrap().items;
    assert_eq!(records.len(), 2);
    for slug in ["one", "two", "three"] {
        let owners: Vec<_> = records.iter().filter(|record| record.spec().slug == slug).map(Record::id).collect();
        assert!(owners.len() <= 1, "`{slug}` belongs to {owners:?}");
        assert_eq!(by_slug(&*storage, slug).await, owners.first().copied(), "`{slug}` leads to its owner");
    }
}
