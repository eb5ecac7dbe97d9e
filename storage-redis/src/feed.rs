//! The one order of all events: changes of state of all partitions.
//!
//! A commit numbers the events of its partition, which is all that one slot of a Redis Cluster can do. Whoever reads the feed
//! first gives those that have none yet their places in the order, in one step that compares up to where the partition had
//! them; so once somebody could read an event, no other one appears in front of it.

use futures_util::future::try_join_all;
use heartbeat_engine::{HistoryItem, Page, PartitionId, StateChange, StorageError};

use crate::by_partition::by_partition;
use crate::codec;
use crate::script::FEED;
use crate::store::Store;

/// So many events get their places at once.
const PORTION: u64 = 1000;

/// Where an event lies.
struct Place {
    seq: u64,
    partition: PartitionId,
    number: u64,
    member: String,
}

/// Gives the events places that have none yet.
async fn order(store: &Store) -> Result<(), StorageError> {
    let mut command = redis::cmd("HGETALL");
    command.arg(store.keys.feed("up-to"));
    let ordered: std::collections::HashMap<u16, u64> = store.read(&command).await?;
    let parts = store.all_partitions().map(|partition| {
        let ordered = ordered.get(&partition.0).copied().unwrap_or(0);
        order_of(store, partition, ordered)
    });
    try_join_all(parts).await.map(drop)
}

async fn order_of(store: &Store, partition: PartitionId, mut ordered: u64) -> Result<(), StorageError> {
    let mut command = redis::cmd("GET");
    command.arg(store.keys.of(partition, "events-last"));
    let last: Option<u64> = store.read(&command).await?;
    let last = last.unwrap_or(0);
    while ordered < last {
        let up_to = last.min(ordered + PORTION);
        let numbers: Vec<u64> = (ordered + 1..=up_to).collect();
        let kept = changes(store, partition, &numbers).await?;
        let keys = [store.keys.feed("order"), store.keys.feed("last"), store.keys.feed("up-to")];
        let mut call = FEED.on(&keys.each_ref().map(String::as_str));
        call.arg(partition.0).arg(ordered).arg(up_to);
        for (number, _) in numbers.iter().zip(kept).filter(|(_, kept)| kept.is_some()) {
            call.arg(*number);
        }
        let done: u8 = store.write(&FEED, &call).await?;
        if done == 0 {
            // Somebody else does it, or did.
            let mut command = redis::cmd("HGET");
            command.arg(store.keys.feed("up-to")).arg(partition.0);
            let now: Option<u64> = store.read(&command).await?;
            ordered = now.unwrap_or(0);
        } else {
            ordered = up_to;
        }
    }
    Ok(())
}

/// A page of events behind a place, oldest first.
pub(crate) async fn page(store: &Store, after: u64, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
    order(store).await?;
    let mut items = Vec::new();
    let mut after = after;
    loop {
        // One more tells whether there is more.
        let wanted = limit + 1 - items.len();
        let mut command = redis::cmd("ZRANGEBYSCORE");
        command.arg(store.keys.feed("order")).arg(format!("({after}")).arg("+inf").arg("WITHSCORES");
        command.arg("LIMIT").arg(0).arg(wanted);
        let places = places(store.read(&command).await?)?;
        after = places.last().map_or(after, |place| place.seq);
        let ended = places.len() < wanted;
        items.extend(events(store, places).await?);
        if ended || items.len() > limit {
            return Ok(Page::cut(items, limit));
        }
    }
}

/// The newest event that is kept.
pub(crate) async fn latest(store: &Store) -> Result<Page<HistoryItem>, StorageError> {
    order(store).await?;
    loop {
        let mut command = redis::cmd("ZREVRANGE");
        command.arg(store.keys.feed("order")).arg(0).arg(9).arg("WITHSCORES");
        let found = places(store.read(&command).await?)?;
        if found.is_empty() {
            return Ok(Page::empty());
        }
        // What is gone is taken out of the order, so the next look finds others.
        if let Some(newest) = events(store, found).await?.into_iter().next() {
            return Ok(Page { items: vec![newest], more: false });
        }
    }
}

fn places(found: Vec<(String, u64)>) -> Result<Vec<Place>, StorageError> {
    let place = |(member, seq): (String, u64)| {
        let parts = member.split_once(':').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let (partition, number) =
            parts.ok_or_else(|| StorageError::Corrupt(format!("`{member}` is no place of an event")))?;
        Ok(Place { seq, partition: PartitionId(partition), number, member })
    };
    found.into_iter().map(place).collect()
}

/// The events at places, without those that are gone; the order forgets these.
async fn events(store: &Store, places: Vec<Place>) -> Result<Vec<HistoryItem>, StorageError> {
    let items = places.iter().map(|place| (place.partition, place.number));
    let found =
        by_partition(items, |partition, numbers| async move { changes(store, partition, &numbers).await }).await?;
    let gone: Vec<&str> =
        places.iter().zip(&found).filter(|(_, found)| found.is_none()).map(|(place, _)| &place.member[..]).collect();
    if !gone.is_empty() {
        let mut command = redis::cmd("ZREM");
        command.arg(store.keys.feed("order")).arg(gone);
        store.read::<u64>(&command).await?;
    }
    let item =
        |(place, change): (Place, Option<StateChange>)| Some(HistoryItem::Event { seq: place.seq, change: change? });
    Ok(places.into_iter().zip(found).filter_map(item).collect())
}

/// Changes of a partition by their numbers; `None` for those that are gone.
pub(crate) async fn changes(
    store: &Store,
    partition: PartitionId,
    numbers: &[u64],
) -> Result<Vec<Option<StateChange>>, StorageError> {
    if numbers.is_empty() {
        return Ok(Vec::new());
    }
    let mut command = redis::cmd("HMGET");
    command.arg(store.keys.of(partition, "events")).arg(numbers);
    let found: Vec<Option<Vec<u8>>> = store.read(&command).await?;
    found.into_iter().map(|change| change.as_deref().map(codec::read_change).transpose()).collect()
}
