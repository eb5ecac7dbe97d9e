//! What a storage promises that can take in what another one kept.

use std::time::Duration;

use super::StorageHarness;
use super::fixtures::{at, batch, change, closed, create, incident, lease, monitor_id, next, ping, record, replace};
use crate::{
    Change, Counts, CountsPer, Document, Epoch, HistoryItem, HistoryQuery, Import, Imported, MonitorId, PingEntry,
    Signal, Storage, StorageError, Transition, Version,
};

const HOUR: i64 = 3600;

/// Checks that whatever is imported can be read as if it had been written here, that writing it twice is as writing it once, and
/// that only who holds the lease may do it.
///
/// # Panics
/// When the promise is broken.
pub async fn import_promises<H: StorageHarness>(harness: &H)
where
    H::Storage: Import,
{
    let storage = harness.fresh().await;
    assert!(storage.swap_lease(&lease(0, 0, ""), &lease(0, 1, "a")).await.unwrap());
    let stale = Imported { documents: vec![document(1)], ..Imported::default() };
    assert_eq!(storage.import(&stale).await, Err(StorageError::Fenced));
    assert_eq!(storage.documents("route").await.unwrap(), []);
    hours_come_to_the_heartbeats(&*storage).await;
    events_keep_their_places(&*storage).await;
    let storage = harness.reopen(storage).await;
    the_rest_takes_the_place_of_itself(&*storage).await;
    let storage = harness.reopen(storage).await;
    assert_eq!(events(&*storage).await.len(), 4, "what was imported outlives the process");
}

async fn import(storage: &impl Import, imported: Imported) {
    let imported = Imported { epoch: Epoch(1), ..imported };
    storage.import(&imported).await.unwrap();
    storage.import(&imported).await.unwrap();
}

async fn commit(storage: &impl Storage, transitions: impl Into<Vec<Transition>>) {
    storage.commit(&crate::Batch { epoch: Epoch(1), ..batch(transitions) }).await.unwrap();
}

async fn items(storage: &impl Storage, query: HistoryQuery) -> Vec<HistoryItem> {
    storage.history(&query, 1000).await.unwrap().items
}

async fn hours(storage: &impl Storage, monitor: MonitorId) -> Vec<Counts> {
    let items = items(storage, HistoryQuery::Counts { monitor, per: CountsPer::Hour, since: None, before: None }).await;
    let counts = items.into_iter().map(|item| match item {
        HistoryItem::Counts(counts) => counts,
        other => panic!("{other:?}"),
    });
    counts.collect()
}

fn hour(begin: i64, successes: u64, took: &[u64]) -> Counts {
    let mut counts = Counts::new(at(begin * HOUR));
    counts.add_many(Signal::Success, successes - took.len() as u64);
    took.iter().for_each(|ms| counts.add(Signal::Success, Some(Duration::from_millis(*ms))));
    counts
}

/// Of the first monitor hours are written before it, over several months; of the second, when it is there already.
async fn hours_come_to_the_heartbeats(storage: &impl Import) {
    let [first, second] = [record(1), record(2)];
    let wrong = vec![(first.id(), vec![hour(-5, 9, &[]), hour(0, 7, &[])])];
    import(storage, Imported { counts: wrong, ..Imported::default() }).await;
    let old: Vec<Counts> = (0..600).map(|n| hour(n * 10 - 6000, 2 + n.unsigned_abs() % 3, &[9, 5])).collect();
    let right = old.iter().copied().chain([hour(0, 2, &[40, 60])]).collect();
    import(storage, Imported { counts: vec![(first.id(), right)], ..Imported::default() }).await;
    let beat =
        |n| PingEntry { arrived_at: at(30), duration: Some(Duration::from_millis(50)), run_duration: None, ..ping(n) };
    let pings = || vec![beat(1), beat(2)];
    commit(
        storage,
        [Transition { pings: pings(), ..create(&first) }, Transition { pings: pings(), ..create(&second) }],
    )
    .await;
    let late = vec![(first.id(), vec![hour(0, 100, &[])]), (second.id(), vec![hour(0, 100, &[])])];
    import(storage, Imported { counts: late, ..Imported::default() }).await;
    let mut expected: Vec<Counts> = [hour(0, 4, &[40, 60, 50, 50])].into_iter().chain(old.into_iter().rev()).collect();
    let found = hours(storage, first.id()).await;
    assert_eq!(found.len(), 601);
    assert_eq!(found, expected);
    expected = vec![hour(0, 2, &[50, 50])];
    assert_eq!(hours(storage, second.id()).await, expected, "hours of a monitor that is stored stay");
}

async fn events(storage: &impl Storage) -> Vec<(u64, MonitorId, u64)> {
    let items = items(storage, HistoryQuery::Feed { after: 0 }).await;
    let events = items.into_iter().map(|item| match item {
        HistoryItem::Event { seq, change } => (seq, change.monitor, change.version.0),
        other => panic!("{other:?}"),
    });
    events.collect()
}

async fn events_keep_their_places(storage: &impl Import) {
    let [first, second, nobody] = [1, 2, 3].map(monitor_id);
    let moved = vec![(7, change(first, 1)), (8, change(nobody, 1)), (40, change(second, 1)), (41, change(first, 1))];
    import(storage, Imported { events: moved.clone(), ..Imported::default() }).await;
    let mut expected = vec![(7, first, 1), (40, second, 1), (41, first, 1)];
    assert_eq!(events(storage).await, expected);
    let latest = items(storage, HistoryQuery::LatestEvent).await;
    assert!(matches!(latest[..], [HistoryItem::Event { seq: 41, .. }]), "{latest:?}");
    let of_first = items(storage, HistoryQuery::Changes { monitor: first, before: None }).await;
    assert_eq!(of_first, [HistoryItem::Change(change(first, 1)), HistoryItem::Change(change(first, 1))]);
    let edited = next(&record(2), |_, _| ());
    commit(storage, [Transition { changes: vec![change(second, 2)], ..replace(&edited) }]).await;
    let found = events(storage).await;
    let new = found.last().copied().expect("an event");
    assert!(new.0 > 41 && (new.1, new.2) == (second, 2), "{found:?}");
    expected.push(new);
    assert_eq!(found, expected);
    import(storage, Imported { events: moved, ..Imported::default() }).await;
    assert_eq!(events(storage).await, expected, "places that were given stay");
}

fn document(version: u64) -> Document {
    Document { kind: "route".to_owned(), id: "night".to_owned(), version: Version(version), body: version.into() }
}

async fn the_rest_takes_the_place_of_itself(storage: &impl Import) {
    for version in [1, 7] {
        import(storage, Imported { documents: vec![document(version)], ..Imported::default() }).await;
        assert_eq!(storage.documents("route").await.unwrap(), [document(version)]);
    }
    // Its monitor was removed long ago, or is there.
    let [of_nobody, of_first] = [incident(1, monitor_id(77)), incident(2, monitor_id(1))];
    import(storage, Imported { incidents: vec![of_nobody.clone(), of_first.clone()], ..Imported::default() }).await;
    let of_nobody = closed(of_nobody);
    import(storage, Imported { incidents: vec![of_nobody.clone()], ..Imported::default() }).await;
    for (monitor, open, expected) in [
        (None, None, vec![&of_first, &of_nobody]),
        (None, Some(true), vec![&of_first]),
        (Some(monitor_id(77)), Some(false), vec![&of_nobody]),
        (Some(monitor_id(1)), None, vec![&of_first]),
    ] {
        let found = items(storage, HistoryQuery::Incidents { monitor, open, before: None }).await;
        assert_eq!(found, expected.into_iter().cloned().map(HistoryItem::Incident).collect::<Vec<_>>());
    }
    let removed = Transition { change: Change::Remove, expected: Some(Version(1)), ..create(&record(1)) };
    commit(storage, [removed]).await;
    assert_eq!(hours(storage, monitor_id(1)).await, [], "imported hours go with their monitor");
    commit(storage, [create(&record(1))]).await;
    assert_eq!(hours(storage, monitor_id(1)).await, []);
    let again = Transition { changes: vec![change(monitor_id(1), 2); 2], ..replace(&next(&record(1), |_, _| ())) };
    commit(storage, [again]).await;
}
