//! What is owed and how its delivery goes.

use super::super::fixtures::{
    at, batch, create, full_digest, full_notification, incident, incident_id, monitor_id, notification,
    notification_id, record, settlement,
};
use super::{StorageHarness, history, outbox, put, write};
use crate::{
    Batch, Delivery, DeliveryState, HistoryItem, HistoryQuery, IncidentId, Notification, NotificationId, OutboxEntry,
    Page, Settlement, Storage, Transition,
};

fn owing(notifications: Vec<Notification>) -> Batch {
    Batch { notifications, ..batch([]) }
}

fn settling(settlements: Vec<Settlement>) -> Batch {
    Batch { settlements, ..batch([]) }
}

async fn entry(storage: &impl Storage, n: u64) -> Option<OutboxEntry> {
    match history(storage, HistoryQuery::Notification(notification_id(n)), 10).await.items.pop() {
        Some(HistoryItem::Notification(entry)) => Some(*entry),
        None => None,
        other => panic!("a notification was asked for, not {other:?}"),
    }
}

fn ids(page: &Page<OutboxEntry>) -> Vec<NotificationId> {
    page.items.iter().map(|entry| entry.notification.id).collect()
}

/// The outbox has pending notifications in the order in which they came to be owed, page by page.
pub async fn notifications_are_owed_in_order<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let laden = Transition { notifications: vec![notification(5), notification(3)], ..create(&record(1)) };
    put(&*storage, [laden]).await;
    write(&*storage, &owing(vec![notification(4)])).await;
    write(&*storage, &owing(vec![notification(1), notification(2)])).await;
    let order = [5, 3, 4, 1, 2].map(notification_id);
    let all = outbox(&*storage, 0, 10).await;
    assert_eq!((ids(&all), all.more), (order.to_vec(), false));
    assert!(all.items[0].seq > 0 && all.items.is_sorted_by(|a, b| a.seq < b.seq), "seq grows from above 0");
    let page = outbox(&*storage, 0, 2).await;
    assert_eq!((ids(&page), page.more), (order[..2].to_vec(), true));
    let page = outbox(&*storage, page.items[1].seq, 3).await;
    assert_eq!((ids(&page), page.more), (order[2..].to_vec(), false));
    assert_eq!(outbox(&*storage, page.items[2].seq, 3).await, Page::empty());
}

/// A notification comes back equal in every field, pending and due when it came to be owed.
pub async fn a_notification_is_kept_with_all_that_it_tells<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let full = full_notification(1, &incident(1, monitor_id(1)));
    let digest = full_digest(3, 2);
    write(&*storage, &owing(vec![full.clone(), notification(2), digest.clone()])).await;
    let found = outbox(&*storage, 0, 10).await.items;
    assert_eq!(found[0].notification, full);
    assert_eq!(found[0].delivery, Delivery::pending(full.created_at));
    assert_eq!(found[1].notification, notification(2));
    assert_eq!(found[2].notification, digest);
    assert_eq!(entry(&*storage, 1).await.as_ref(), Some(&found[0]));
}

/// An id that is stored already is left as it is, pending or settled, whatever comes under it.
pub async fn a_notification_that_is_stored_already_changes_nothing<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    write(&*storage, &owing(vec![notification(1), notification(2)])).await;
    write(&*storage, &settling(vec![settlement(1, DeliveryState::Delivered)])).await;
    let before = (entry(&*storage, 1).await, entry(&*storage, 2).await);
    let again = |n| Notification { message: "again".to_owned(), ..notification(n) };
    write(&*storage, &owing(vec![again(1), again(2), again(2), notification(3)])).await;
    let laden = Transition { notifications: vec![again(1)], ..create(&record(1)) };
    put(&*storage, [laden]).await;
    assert_eq!((entry(&*storage, 1).await, entry(&*storage, 2).await), before);
    assert_eq!(ids(&outbox(&*storage, 0, 10).await), [notification_id(2), notification_id(3)]);
}

/// What is delivered or dead is owed no more but kept; what is put off is still owed, with its new fate.
pub async fn a_settlement_takes_a_notification_out_of_the_outbox<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    write(&*storage, &owing((1..=4).map(notification).collect())).await;
    let settlements = vec![
        settlement(1, DeliveryState::Delivered),
        settlement(2, DeliveryState::Pending),
        settlement(3, DeliveryState::Dead),
    ];
    write(&*storage, &settling(settlements)).await;
    let owed = outbox(&*storage, 0, 10).await;
    assert_eq!(ids(&owed), [notification_id(2), notification_id(4)]);
    assert_eq!(owed.items[0].delivery, settlement(2, DeliveryState::Pending).delivery);
    for (n, state) in [(1, DeliveryState::Delivered), (3, DeliveryState::Dead)] {
        let kept = entry(&*storage, n).await.expect("it is kept");
        assert_eq!(kept.delivery, settlement(n, state).delivery);
        assert_eq!(kept.notification, notification(n));
    }
    write(&*storage, &settling(vec![settlement(4, DeliveryState::Grouped)])).await;
    assert_eq!(ids(&outbox(&*storage, 0, 10).await), [notification_id(2)], "told within a digest");
    // A dead one can be tried again by hand.
    write(&*storage, &settling(vec![settlement(3, DeliveryState::Pending)])).await;
    assert_eq!(ids(&outbox(&*storage, 0, 10).await), [2, 3].map(notification_id));
}

/// The settlement of a notification that is not stored is no error and makes none.
pub async fn a_settlement_of_what_is_unknown_changes_nothing<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let both = Batch { mark: Some(at(1)), ..settling(vec![settlement(1, DeliveryState::Delivered)]) };
    write(&*storage, &both).await;
    assert_eq!(entry(&*storage, 1).await, None);
    assert_eq!(storage.watch_log().await.unwrap().mark, Some(at(1)), "the rest of the batch is written");
}

/// The history of notifications comes newest first, filtered by state and incident, with a cursor.
pub async fn notifications_are_paged_newest_first_and_filtered<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let (one, two) = (incident(1, monitor_id(1)), incident(2, monitor_id(2)));
    let all = vec![full_notification(1, &one), full_notification(2, &two), full_notification(3, &one), notification(4)];
    write(&*storage, &owing(all)).await;
    let settled = [1, 2].map(|n| settlement(n, DeliveryState::Delivered)).into_iter();
    write(&*storage, &settling(settled.chain([settlement(3, DeliveryState::Dead)]).collect())).await;
    let listed = async |state, incident: Option<IncidentId>, before, limit| {
        let page = history(&*storage, HistoryQuery::Notifications { state, incident, before }, limit).await;
        let entry = |item| match item {
            HistoryItem::Notification(entry) => *entry,
            other => panic!("a page of notifications holds {other:?}"),
        };
        Page { items: page.items.into_iter().map(entry).collect(), more: page.more }
    };
    let page = listed(None, None, None, 3).await;
    assert_eq!((ids(&page), page.more), ([4, 3, 2].map(notification_id).to_vec(), true));
    let page = listed(None, None, Some(page.items[2].seq), 3).await;
    assert_eq!((ids(&page), page.more), (vec![notification_id(1)], false));
    let delivered = listed(Some(DeliveryState::Delivered), None, None, 10).await;
    assert_eq!(ids(&delivered), [2, 1].map(notification_id));
    assert_eq!(ids(&listed(Some(DeliveryState::Pending), None, None, 10).await), [notification_id(4)]);
    assert_eq!(ids(&listed(None, Some(incident_id(1)), None, 10).await), [3, 1].map(notification_id));
    let both = listed(Some(DeliveryState::Dead), Some(incident_id(1)), None, 10).await;
    assert_eq!(ids(&both), [notification_id(3)]);
    let none = listed(Some(DeliveryState::Dead), Some(incident_id(1)), Some(both.items[0].seq), 10).await;
    assert_eq!(none, Page::empty());
}
