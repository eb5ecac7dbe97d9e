//! The feed: changes of state of all monitors in one order.

use std::sync::Arc;

use super::super::fixtures::{batch, change, create, monitor_id, next, record, remove, replace};
use super::{StorageHarness, apply, history, put};
use crate::{Batch, HistoryItem, HistoryQuery, Page, StateChange, Storage, Transition, Version};

async fn feed(storage: &impl Storage, after: u64, limit: usize) -> Page<(u64, StateChange)> {
    events(history(storage, HistoryQuery::Feed { after }, limit).await)
}

async fn latest(storage: &impl Storage) -> Option<(u64, StateChange)> {
    let page = events(history(storage, HistoryQuery::LatestEvent, 10).await);
    assert!(page.items.len() <= 1 && !page.more, "there is one newest event: {page:?}");
    page.items.into_iter().next()
}

fn events(page: Page<HistoryItem>) -> Page<(u64, StateChange)> {
    let event = |item| match item {
        HistoryItem::Event { seq, change } => (seq, change),
        other => panic!("a page of the feed holds {other:?}"),
    };
    Page { items: page.items.into_iter().map(event).collect(), more: page.more }
}

/// A change of the `n`-th monitor that is named so.
fn named(n: u64, version: u64, name: &str) -> StateChange {
    StateChange { reason: name.to_owned(), ..change(monitor_id(n), version) }
}

fn names(page: &Page<(u64, StateChange)>) -> (String, bool) {
    (page.items.iter().map(|(_, change)| change.reason.as_str()).collect(), page.more)
}

/// Makes three monitors and changes them by turns; the events are `a` to `g`.
async fn write_a_to_g(storage: &impl Storage) {
    // The order of the ids is not that of the commits.
    put(storage, [Transition { changes: vec![named(3, 1, "a")], ..create(&record(3)) }]).await;
    let folded = vec![named(1, 1, "b"), named(1, 1, "c")];
    let second = Transition { changes: vec![named(2, 1, "d")], ..create(&record(2)) };
    put(storage, [Transition { changes: folded, ..create(&record(1)) }, second]).await;
    let third = next(&record(3), |_, _| ());
    put(storage, [Transition { changes: vec![named(3, 2, "e")], ..replace(&third) }]).await;
    let first = next(&record(1), |_, _| ());
    put(storage, [Transition { changes: vec![named(1, 2, "f"), named(1, 2, "g")], ..replace(&first) }]).await;
}

/// Changes of all monitors come oldest first in the order of their commits, those of one batch in its order.
pub async fn the_feed_is_in_the_order_of_commits<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    assert_eq!(latest(&*storage).await, None);
    write_a_to_g(&*storage).await;
    let all = feed(&*storage, 0, 100).await;
    assert_eq!(names(&all), ("abcdefg".to_owned(), false));
    assert!(all.items.is_sorted_by(|a, b| a.0 < b.0) && all.items[0].0 > 0, "places count up from 1: {all:?}");
    assert_eq!(all.items[5].1, named(1, 2, "f"), "every field is kept");
    assert_eq!(latest(&*storage).await, all.items.last().cloned());
}

/// The feed is read on from behind the last event seen, page by page, each event once.
pub async fn the_feed_is_paged_oldest_first<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    write_a_to_g(&*storage).await;
    let (mut after, mut seen) = (0, String::new());
    loop {
        let page = feed(&*storage, after, 3).await;
        let (found, more) = names(&page);
        seen.push_str(&found);
        seen.push('|');
        after = page.items.last().map_or(after, |(seq, _)| *seq);
        if !more {
            break;
        }
    }
    assert_eq!(seen, "abc|def|g|");
    assert_eq!(feed(&*storage, after, 3).await, Page::empty());
    assert_eq!(feed(&*storage, u64::MAX, 3).await, Page::empty());
    assert!(!feed(&*storage, 0, 7).await.more, "an exact page has no successor");
}

/// With a removed monitor go its events, and every other keeps its place.
pub async fn events_of_a_removed_monitor_leave_the_feed<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    write_a_to_g(&*storage).await;
    let before = feed(&*storage, 0, 100).await.items;
    put(&*storage, [remove(&next(&record(1), |_, _| ()))]).await;
    let others: Vec<_> = before.into_iter().filter(|(_, change)| change.monitor != monitor_id(1)).collect();
    assert_eq!(names(&feed(&*storage, 0, 100).await), ("ade".to_owned(), false));
    assert_eq!(feed(&*storage, 0, 100).await.items, others);
    assert_eq!(latest(&*storage).await, others.last().cloned());
}

/// A place is never given twice: not after the removal of what had it, and not after a restart.
pub async fn a_place_in_the_feed_is_never_given_twice<H: StorageHarness>(harness: &H) {
    let mut storage = harness.fresh().await;
    let mut last = 0;
    for crash in [false, true] {
        put(&*storage, [Transition { changes: vec![named(1, 1, "x")], ..create(&record(1)) }]).await;
        let (seq, _) = latest(&*storage).await.expect("it was just written");
        assert!(seq > last, "the place {seq} was given before, or is behind {last}");
        last = seq;
        put(&*storage, [remove(&record(1))]).await;
        assert_eq!(latest(&*storage).await, None);
        if crash {
            storage = harness.reopen(storage).await;
        }
        put(&*storage, [Transition { changes: vec![named(2, 1, "y")], ..create(&record(2)) }]).await;
        assert_eq!(names(&feed(&*storage, last, 10).await).0, "y", "a reader who saw {last} sees what came after it");
        last = latest(&*storage).await.expect("it was just written").0;
        put(&*storage, [remove(&record(2))]).await;
    }
}

/// After a crash every event has the place that it had, and new ones come behind.
pub async fn the_feed_survives_a_crash<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    write_a_to_g(&*storage).await;
    let before = feed(&*storage, 0, 100).await.items;
    let storage = harness.reopen(storage).await;
    assert_eq!(feed(&*storage, 0, 100).await.items, before);
    put(&*storage, [Transition { changes: vec![named(4, 1, "h")], ..create(&record(4)) }]).await;
    assert_eq!(names(&feed(&*storage, before[6].0, 100).await), ("h".to_owned(), false));
}

/// What was not committed is not in the feed.
pub async fn a_conflict_leaves_nothing_in_the_feed<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let made = Transition { changes: vec![named(1, 1, "a")], ..create(&record(1)) };
    let stale = Transition { changes: vec![named(1, 9, "x")], expected: Some(Version(8)), ..create(&record(1)) };
    put(&*storage, [made]).await;
    apply(&*storage, &batch([stale.clone()])).await;
    let fenced = Batch { epoch: crate::Epoch(5), ..batch([Transition { expected: Some(Version(1)), ..stale }]) };
    assert_eq!(storage.commit(&fenced).await, Err(crate::StorageError::Fenced));
    assert_eq!(names(&feed(&*storage, 0, 100).await), ("a".to_owned(), false));
}

/// However many commits are under way: what a reader of the feed has passed does not change, so it misses nothing.
pub async fn nothing_enters_the_feed_behind_a_reader<H: StorageHarness>(harness: &H) {
    const EVENTS: u64 = 96;
    let storage = harness.fresh().await;
    let seen = Arc::new(tokio::sync::Mutex::new(Vec::new()));
    // Whoever has committed reads on from where the last one came to, while others commit.
    let write = |n: u64, storage: Arc<H::Storage>, seen: Arc<tokio::sync::Mutex<Vec<_>>>| async move {
        put(&*storage, [Transition { changes: vec![named(n, 1, "a")], ..create(&record(n)) }]).await;
        let mut seen = seen.lock().await;
        let after = seen.last().map_or(0, |(seq, _)| *seq);
        seen.extend(feed(&*storage, after, 1000).await.items);
    };
    let writers: Vec<_> =
        (0..EVENTS).map(|n| tokio::spawn(write(n, Arc::clone(&storage), Arc::clone(&seen)))).collect();
    for writer in writers {
        writer.await.expect("every batch is taken");
    }
    let seen = seen.lock().await;
    assert_eq!(seen.len() as u64, EVENTS, "a reader who follows the feed sees every event once");
    assert_eq!(*seen, feed(&*storage, 0, 1000).await.items);
}
