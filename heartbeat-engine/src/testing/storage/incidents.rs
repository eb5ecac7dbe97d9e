//! Incidents.

use super::super::fixtures::{at, closed, create, incident, incident_id, monitor_id, next, record, replace};
use super::{StorageHarness, history, put};
use crate::{HistoryItem, HistoryQuery, Incident, IncidentId, MonitorId, Page, Storage, Timestamp, Transition};

async fn incidents(
    storage: &impl Storage,
    monitor: Option<MonitorId>,
    open: Option<bool>,
    before: Option<(Timestamp, IncidentId)>,
    limit: usize,
) -> Page<Incident> {
    let page = history(storage, HistoryQuery::Incidents { monitor, open, before }, limit).await;
    let incident = |item| match item {
        HistoryItem::Incident(incident) => incident,
        other => panic!("a page of incidents holds {other:?}"),
    };
    Page { items: page.items.into_iter().map(incident).collect(), more: page.more }
}

/// An incident that is written again is kept once, in its newest form, in every listing.
pub async fn an_incident_is_kept_in_its_newest_form<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let open = incident(1, monitor_id(1));
    put(&*storage, [Transition { incidents: vec![open.clone()], ..create(&record(1)) }]).await;
    let one = async || history(&*storage, HistoryQuery::Incident(incident_id(1)), 10).await.items;
    assert_eq!(one().await, [HistoryItem::Incident(open.clone())]);
    let told = Incident { told: vec!["ops".to_owned(), "mail".to_owned()], ..open };
    let second = next(&record(1), |_, _| ());
    put(&*storage, [Transition { incidents: vec![told.clone()], ..replace(&second) }]).await;
    assert_eq!(one().await, [HistoryItem::Incident(told.clone())]);
    assert_eq!(incidents(&*storage, None, Some(true), None, 10).await.items, std::slice::from_ref(&told));
    let ended = closed(told);
    let third = next(&second, |_, _| ());
    put(&*storage, [Transition { incidents: vec![ended.clone()], ..replace(&third) }]).await;
    assert_eq!(one().await, [HistoryItem::Incident(ended.clone())]);
    for (monitor, open) in [(None, None), (Some(monitor_id(1)), None), (None, Some(false))] {
        assert_eq!(incidents(&*storage, monitor, open, None, 10).await.items, std::slice::from_ref(&ended));
    }
    assert_eq!(incidents(&*storage, None, Some(true), None, 10).await, Page::empty(), "it is open no more");
}

/// Incidents come newest first; of those that opened at once, the largest id first; a page begins behind its cursor.
pub async fn incidents_are_paged_newest_first<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let at_once = |n, monitor| Incident { opened_at: at(50), ..incident(n, monitor_id(monitor)) };
    let first = vec![incident(1, monitor_id(1)), at_once(4, 1), at_once(6, 1)];
    let second = vec![at_once(5, 2), incident(99, monitor_id(2))];
    let create_with = |n, incidents| Transition { incidents, ..create(&record(n)) };
    put(&*storage, [create_with(1, first), create_with(2, second)]).await;
    let order = [99, 6, 5, 4, 1];
    for limit in 1..=6 {
        let (mut before, mut seen) = (None, Vec::new());
        loop {
            let page = incidents(&*storage, None, None, before, limit).await;
            assert!(page.items.len() <= limit);
            seen.extend(page.items.iter().map(|incident| incident.id));
            before = page.items.last().map(|incident| (incident.opened_at, incident.id));
            assert_eq!(page.more, seen.len() < order.len());
            if !page.more {
                break;
            }
        }
        assert_eq!(seen, order.map(incident_id), "{limit} at a time");
    }
}

/// The filters by monitor and by being open hold together, and with the cursor.
pub async fn incidents_are_filtered_by_monitor_and_by_being_open<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let of = |monitor: u64, numbers: [u64; 3]| {
        let id = monitor_id(monitor);
        let [a, b, c] = numbers;
        let incidents = vec![closed(incident(a, id)), closed(incident(b, id)), incident(c, id)];
        Transition { incidents, ..create(&record(monitor)) }
    };
    put(&*storage, [of(1, [1, 3, 5]), of(2, [2, 4, 6])]).await;
    let listed = async |monitor: Option<u64>, open, before: Option<u64>| {
        let before = before.map(|n| (incident(n, monitor_id(1)).opened_at, incident_id(n)));
        let page = incidents(&*storage, monitor.map(monitor_id), open, before, 10).await;
        page.items.iter().map(|incident| incident.opened_at.since(at(0)).as_secs()).collect::<Vec<_>>()
    };
    assert_eq!(listed(Some(1), None, None).await, [5, 3, 1]);
    assert_eq!(listed(Some(2), Some(false), None).await, [4, 2]);
    assert_eq!(listed(Some(2), Some(true), None).await, [6]);
    assert_eq!(listed(None, Some(true), None).await, [6, 5]);
    assert_eq!(listed(None, Some(false), Some(3)).await, [2, 1]);
    assert_eq!(listed(Some(1), Some(false), Some(3)).await, [1]);
    assert_eq!(listed(Some(3), None, None).await, [0_u64; 0]);
}
