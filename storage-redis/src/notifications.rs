//! Notifications: in each partition those that are still owed and those that are settled, by their places.
//!
//! A place within a partition is an eighth of a millisecond of when the notification came to be owed, or behind the last one.
//! The partition makes it unique, and lets the places of all partitions be listed together.

use futures_util::future::try_join_all;
use heartbeat_engine::{
    DeliveryState, HistoryItem, IncidentId, NotificationId, OutboxEntry, Page, PartitionId, StorageError,
};

use crate::by_partition::by_partition;
use crate::codec;
use crate::store::Store;

/// Places leave room for so many partitions.
const PARTITIONS: u64 = 1024;
/// So many notifications are looked at at a time where not all of them are wanted.
const PORTION: usize = 200;

/// A notification's place among all, and its id.
struct Place {
    seq: u64,
    partition: PartitionId,
    id: Vec<u8>,
}

/// From which end places are listed.
#[derive(Clone, Copy)]
enum From {
    /// Those above.
    Oldest(u64),
    /// Those below; all where there is none.
    Newest(Option<u64>),
}

/// Pending notifications behind a place, oldest first.
pub(crate) async fn outbox(store: &Store, after: u64, limit: usize) -> Result<Page<OutboxEntry>, StorageError> {
    let mut places = listed(store, &["outbox"], From::Oldest(after), limit + 1).await?;
    let more = places.len() > limit;
    places.truncate(limit);
    Ok(Page { items: entries(store, &places).await?, more })
}

/// A page of all notifications, newest first.
pub(crate) async fn page(
    store: &Store,
    state: Option<DeliveryState>,
    incident: Option<IncidentId>,
    before: Option<u64>,
    limit: usize,
) -> Result<Page<HistoryItem>, StorageError> {
    let sets: &[&str] = match state {
        None => &["outbox", "settled"],
        Some(DeliveryState::Pending) => &["outbox"],
        Some(_) => &["settled"],
    };
    let wanted = |entry: &OutboxEntry| {
        state.is_none_or(|state| entry.delivery.state == state)
            && incident.is_none_or(|id| entry.notification.incident.as_ref().is_some_and(|found| found.id == id))
    };
    let mut before = before;
    let mut items = Vec::new();
    loop {
        let places = listed(store, sets, From::Newest(before), PORTION.max(limit + 1)).await?;
        let Some(last) = places.last() else { return Ok(Page::cut(items, limit)) };
        before = Some(last.seq);
        let found = entries(store, &places).await?.into_iter().filter(wanted);
        items.extend(found.map(|entry| HistoryItem::Notification(Box::new(entry))));
        if items.len() > limit {
            return Ok(Page::cut(items, limit));
        }
    }
}

/// A notification by its id, whose partition is not known.
pub(crate) async fn one(store: &Store, id: NotificationId) -> Result<Option<OutboxEntry>, StorageError> {
    let parts = store.all_partitions().map(|partition| async move {
        let found = load(store, partition, &[id.as_bytes()]).await?;
        Ok::<_, StorageError>(found.into_iter().flatten().next())
    });
    Ok(try_join_all(parts).await?.into_iter().flatten().next())
}

/// The first places from one end, of all partitions.
async fn listed(store: &Store, sets: &[&str], from: From, limit: usize) -> Result<Vec<Place>, StorageError> {
    let parts = store
        .all_partitions()
        .flat_map(|partition| sets.iter().map(move |set| listed_within(store, partition, set, from, limit)));
    let mut places: Vec<Place> = try_join_all(parts).await?.into_iter().flatten().collect();
    places.sort_unstable_by_key(|place| place.seq);
    if let From::Newest(_) = from {
        places.reverse();
    }
    places.truncate(limit);
    Ok(places)
}

async fn listed_within(
    store: &Store,
    partition: PartitionId,
    set: &str,
    from: From,
    limit: usize,
) -> Result<Vec<Place>, StorageError> {
    let (number, key) = (u64::from(partition.0), store.keys.of(partition, set));
    let mut command = match from {
        // Above `after` in this partition: the same place only where the partition's number is larger.
        From::Oldest(after) => {
            let least = if after % PARTITIONS < number { after / PARTITIONS } else { after / PARTITIONS + 1 };
            let mut command = redis::cmd("ZRANGEBYSCORE");
            command.arg(key).arg(least).arg("+inf");
            command
        }
        From::Newest(before) => {
            let most = match before {
                None => "+inf".to_owned(),
                Some(before) if before % PARTITIONS > number => (before / PARTITIONS).to_string(),
                Some(before) => format!("({}", before / PARTITIONS),
            };
            let mut command = redis::cmd("ZREVRANGEBYSCORE");
            command.arg(key).arg(most).arg("-inf");
            command
        }
    };
    command.arg("WITHSCORES").arg("LIMIT").arg(0).arg(limit);
    let found: Vec<(Vec<u8>, f64)> = store.read(&command).await?;
    Ok(found.into_iter().map(|(id, place)| Place { seq: seq(place as u64, partition), partition, id }).collect())
}

const fn seq(place: u64, partition: PartitionId) -> u64 {
    place * PARTITIONS + partition.0 as u64
}

/// The notifications at places, in their order.
async fn entries(store: &Store, places: &[Place]) -> Result<Vec<OutboxEntry>, StorageError> {
    let items = places.iter().map(|place| (place.partition, &place.id[..]));
    let found = by_partition(items, |partition, ids| async move { load(store, partition, &ids).await }).await?;
    // One that was forgotten meanwhile is left out.
    Ok(found.into_iter().flatten().collect())
}

async fn load(
    store: &Store,
    partition: PartitionId,
    ids: &[impl AsRef<[u8]>],
) -> Result<Vec<Option<OutboxEntry>>, StorageError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<&[u8]> = ids.iter().map(AsRef::as_ref).collect();
    type Values = Vec<Option<Vec<u8>>>;
    let mut pipeline = redis::pipe();
    // Both are forgotten at once: in this order one that is forgotten between is not taken for one that is owed.
    for hash in ["delivery", "notification"] {
        pipeline.cmd("HMGET").arg(store.keys.of(partition, hash)).arg(&ids);
    }
    let (deliveries, notifications): (Values, Values) = store.read_all(&pipeline).await?;
    let entry = |(stored, delivery): (Option<Vec<u8>>, Option<Vec<u8>>)| {
        let Some(stored) = stored else { return Ok(None) };
        let entry = codec::read_entry(&stored, delivery.as_deref())?;
        Ok(Some(OutboxEntry { seq: seq(entry.seq, partition), ..entry }))
    };
    notifications.into_iter().zip(deliveries).map(entry).collect()
}
