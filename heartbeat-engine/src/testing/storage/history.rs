//! Pings and changes.

use super::super::fixtures::{change, create, full_ping, monitor_id, next, ping, record, replace};
use super::{StorageHarness, history, pings, put};
use crate::{
    CountsPer, HistoryItem, HistoryQuery, MonitorId, Page, PingEntry, StateChange, Storage, Timestamp, Transition,
    Version,
};

async fn changes(storage: &impl Storage, before: Option<u64>, limit: usize) -> Page<StateChange> {
    let page = history(storage, HistoryQuery::Changes { monitor: monitor_id(1), before }, limit).await;
    let change = |item| match item {
        HistoryItem::Change(change) => change,
        other => panic!("a page of changes holds {other:?}"),
    };
    Page { items: page.items.into_iter().map(change).collect(), more: page.more }
}

fn numbers(page: &Page<PingEntry>) -> (Vec<u64>, bool) {
    (page.items.iter().map(|ping| ping.n).collect(), page.more)
}

/// Pings come newest first, page by page, also those that one transition folds, and each monitor's apart.
pub async fn pings_are_paged_newest_first<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let first = Transition { pings: vec![ping(1), ping(2), ping(3)], ..create(&record(1)) };
    let other = Transition { pings: vec![ping(1)], ..create(&record(2)) };
    put(&*storage, [first, other]).await;
    let second = next(&record(1), |_, _| ());
    put(&*storage, [Transition { pings: vec![ping(4), ping(5)], ..replace(&second) }]).await;
    let page = async |before, limit| numbers(&pings(&*storage, monitor_id(1), before, limit).await);
    assert_eq!(page(None, 10).await, (vec![5, 4, 3, 2, 1], false));
    assert_eq!(page(None, 2).await, (vec![5, 4], true));
    assert_eq!(page(Some(4), 2).await, (vec![3, 2], true));
    assert_eq!(page(Some(2), 2).await, (vec![1], false));
    assert_eq!(page(Some(1), 2).await, (vec![], false));
    assert_eq!(page(None, 5).await, (vec![5, 4, 3, 2, 1], false), "an exact page has no successor");
    assert_eq!(numbers(&pings(&*storage, monitor_id(2), None, 10).await), (vec![1], false));
}

/// A ping comes back equal in every field, with its body; no body is not an empty one.
pub async fn a_ping_is_kept_with_all_that_it_carries<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let empty = PingEntry { body: Some(Vec::new()), message: Some(String::new()), ..ping(3) };
    let written = vec![full_ping(1), ping(2), empty];
    put(&*storage, [Transition { pings: written.clone(), ..create(&record(1)) }]).await;
    let mut found = pings(&*storage, monitor_id(1), None, 10).await.items;
    found.reverse();
    assert_eq!(found, written);
}

/// However many pings come, at least the newest 100 can be read.
pub async fn the_newest_pings_are_kept<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let mut current = record(1);
    put(&*storage, [create(&current), Transition { pings: vec![ping(1)], ..create(&record(2)) }]).await;
    for round in 0..25_u64 {
        current = next(&current, |_, _| ());
        let new = (1..=13).map(|n| ping(round * 13 + n)).collect();
        put(&*storage, [Transition { pings: new, ..replace(&current) }]).await;
    }
    let (found, _) = numbers(&pings(&*storage, monitor_id(1), None, 100).await);
    assert_eq!(found, (226..=325).rev().collect::<Vec<_>>());
    assert_eq!(numbers(&pings(&*storage, monitor_id(2), None, 100).await).0, [1], "each monitor has its own");
}

/// Changes come newest first, page by page.
pub async fn changes_are_paged_newest_first<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let mut current = record(1);
    put(&*storage, [Transition { changes: vec![change(monitor_id(1), 1)], ..create(&current) }]).await;
    put(&*storage, [Transition { changes: vec![change(monitor_id(2), 1)], ..create(&record(2)) }]).await;
    for version in 2..=5 {
        current = next(&current, |_, _| ());
        let changes = vec![change(monitor_id(1), version)];
        put(&*storage, [Transition { changes, ..replace(&current) }]).await;
    }
    let page = async |before, limit| {
        let page = changes(&*storage, before, limit).await;
        (page.items.iter().map(|change| change.version.0).collect::<Vec<_>>(), page.more)
    };
    assert_eq!(page(None, 10).await, (vec![5, 4, 3, 2, 1], false));
    assert_eq!(page(None, 2).await, (vec![5, 4], true));
    assert_eq!(page(Some(4), 2).await, (vec![3, 2], true));
    assert_eq!(page(Some(2), 1).await, (vec![1], false));
    assert_eq!(changes(&*storage, Some(2), 1).await.items, [change(monitor_id(1), 1)], "every field is kept");
}

/// A page holds all changes of a version or none, latest first, so that the next page begins with another version.
pub async fn a_page_of_changes_never_splits_a_version<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let say = |version, reason: &str| StateChange { reason: reason.to_owned(), ..change(monitor_id(1), version) };
    put(&*storage, [Transition { changes: vec![say(1, "a")], ..create(&record(1)) }]).await;
    let second = next(&record(1), |_, _| ());
    let folded = vec![say(2, "b"), say(2, "c"), say(2, "d")];
    put(&*storage, [Transition { changes: folded, ..replace(&second) }]).await;
    let third = next(&second, |_, _| ());
    put(&*storage, [Transition { changes: vec![say(3, "e")], ..replace(&third) }]).await;
    let mut before = None;
    let mut seen = String::new();
    loop {
        let page = changes(&*storage, before.map(|version: Version| version.0), 2).await;
        assert!(!page.items.is_empty());
        seen.extend(page.items.iter().map(|change| change.reason.as_str()));
        seen.push('|');
        before = page.items.last().map(|change| change.version);
        if !page.more {
            break;
        }
    }
    assert_eq!(seen, "edcb|a|");
}

/// Whatever is asked about what does not exist is answered with an empty page.
pub async fn history_of_nothing_is_empty<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let monitor: MonitorId = monitor_id(1);
    for query in [
        HistoryQuery::Pings { monitor, before: None },
        HistoryQuery::Changes { monitor, before: Some(u64::MAX) },
        HistoryQuery::Counts { monitor, per: CountsPer::Hour, since: None, before: None },
        HistoryQuery::Counts {
            monitor,
            per: CountsPer::Day,
            since: Some(Timestamp::MIN),
            before: Some(Timestamp::MAX),
        },
        HistoryQuery::Incidents { monitor: None, open: None, before: None },
        HistoryQuery::Incidents { monitor: Some(monitor), open: Some(true), before: None },
        HistoryQuery::Feed { after: 0 },
        HistoryQuery::LatestEvent,
        HistoryQuery::Incident(super::fixtures::incident_id(1)),
        HistoryQuery::Notifications { state: None, incident: None, before: None },
        HistoryQuery::Notification(super::fixtures::notification_id(1)),
    ] {
        assert_eq!(history(&*storage, query.clone(), 10).await, Page::empty(), "{query:?}");
    }
    let pings = HistoryQuery::Pings { monitor, before: Some(u64::MAX) };
    put(&*storage, [Transition { pings: vec![ping(1)], ..create(&record(1)) }]).await;
    assert_eq!(history(&*storage, pings, 10).await.items.len(), 1, "a cursor beyond everything hides nothing");
}
