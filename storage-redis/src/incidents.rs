//! Incidents: in each partition those that are open and those that are closed, of all monitors and of each.

use futures_util::future::try_join_all;
use heartbeat_engine::{HistoryItem, Incident, IncidentId, MonitorId, Page, PartitionId, StorageError, Timestamp};

use crate::codec;
use crate::store::Store;

/// Where an incident stands in the order, and its id: 24 bytes.
type Place = Vec<u8>;

/// A page of incidents, newest first.
pub(crate) async fn page(
    store: &Store,
    monitor: Option<MonitorId>,
    open: Option<bool>,
    before: Option<(Timestamp, IncidentId)>,
    limit: usize,
) -> Result<Page<HistoryItem>, StorageError> {
    let end = before.map_or_else(|| b"+".to_vec(), |(at, id)| [b"(", &codec::place(at, id)[..]].concat());
    let states = [("incidents:open", true), ("incidents:closed", false)];
    let mut sets: Vec<(PartitionId, Vec<u8>)> = Vec::new();
    for (set, _) in states.into_iter().filter(|(_, is_open)| open.is_none_or(|open| open == *is_open)) {
        match monitor {
            Some(id) => {
                let partition = store.partition_of(id);
                sets.push((partition, store.keys.of_monitor(partition, set, id)));
            }
            None => sets.extend(store.all_partitions().map(|p| (p, store.keys.of(p, set).into_bytes()))),
        }
    }
    // One more tells whether there is more.
    let parts = sets.into_iter().map(|(partition, set)| newest(store, partition, set, &end, limit + 1));
    let mut places: Vec<(Place, PartitionId)> = try_join_all(parts).await?.into_iter().flatten().collect();
    places.sort_unstable_by(|a, b| b.0.cmp(&a.0));
    let more = places.len() > limit;
    places.truncate(limit);
    let incidents = try_join_all(places.iter().map(|(place, partition)| {
        let id = place.last_chunk().map(|id| IncidentId::from_bytes(*id));
        async move {
            match id {
                Some(id) => load(store, *partition, id).await,
                None => Err(StorageError::Corrupt("the place of an incident ends too soon".to_owned())),
            }
        }
    }));
    let items = incidents.await?.into_iter().flatten().map(HistoryItem::Incident).collect();
    Ok(Page { items, more })
}

async fn newest(
    store: &Store,
    partition: PartitionId,
    set: Vec<u8>,
    end: &[u8],
    limit: usize,
) -> Result<Vec<(Place, PartitionId)>, StorageError> {
    let mut command = redis::cmd("ZREVRANGEBYLEX");
    command.arg(set).arg(end).arg("-").arg("LIMIT").arg(0).arg(limit);
    let places: Vec<Place> = store.read(&command).await?;
    Ok(places.into_iter().map(|place| (place, partition)).collect())
}

/// An incident by its id, whose partition is not known.
pub(crate) async fn one(store: &Store, id: IncidentId) -> Result<Option<Incident>, StorageError> {
    let found = try_join_all(store.all_partitions().map(|partition| load(store, partition, id))).await?;
    Ok(found.into_iter().flatten().next())
}

async fn load(store: &Store, partition: PartitionId, id: IncidentId) -> Result<Option<Incident>, StorageError> {
    let mut command = redis::cmd("HGET");
    command.arg(store.keys.of(partition, "incident")).arg(id.as_bytes());
    let stored: Option<Vec<u8>> = store.read(&command).await?;
    stored.as_deref().map(codec::read_incident).transpose()
}
