//! Reads records: of some ids, of all in the order of their ids, and of those that are due.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::future::try_join_all;
use heartbeat_engine::{MonitorId, Page, PartitionId, Record, StorageError, Timestamp};

use crate::by_partition::by_partition;
use crate::codec;
use crate::script::DUE;
use crate::store::Store;

/// How often records are read at most until no commit comes between state and wish: one does rarely.
const ATTEMPTS: usize = 20;

type Values = Vec<Option<Vec<u8>>>;

/// The records of monitors of one partition, in the order asked for.
///
/// Redis takes no transaction while its memory is full, not even one that reads; so it is read without, and once more where
/// a commit came between.
async fn load_within(
    store: &Store,
    partition: PartitionId,
    ids: &[MonitorId],
) -> Result<Vec<Option<Record>>, StorageError> {
    let fields: Vec<&[u8]> = ids.iter().map(|id| &id.as_bytes()[..]).collect();
    let mut pipeline = redis::pipe();
    for hash in ["state", "wish"] {
        pipeline.cmd("HMGET").arg(store.keys.of(partition, hash)).arg(&fields);
    }
    for _ in 0..ATTEMPTS {
        let (states, wishes): (Values, Values) = store.read_all(&pipeline).await?;
        let read = ids.iter().zip(states.into_iter().zip(wishes)).map(|(id, (state, wish))| match (state, wish) {
            (Some(state), Some(wish)) => read(*id, &state, &wish),
            (None, _) => Ok(Some(None)),
            (Some(_), None) => Ok(None),
        });
        let records: Option<Vec<_>> = read.collect::<Result<_, _>>()?;
        if let Some(records) = records {
            return Ok(records);
        }
    }
    Err(StorageError::Corrupt("the wish of a monitor is not that of its state".to_owned()))
}

/// A record; `None` where state and wish are not of one commit.
fn read(id: MonitorId, state: &[u8], wish: &[u8]) -> Result<Option<Option<Record>>, StorageError> {
    let (version, revision, health, _) = codec::read_state(id, state)?;
    let monitor = codec::read_wish(id, wish)?;
    let fits = monitor.revision == revision;
    Ok(fits.then(|| Some(Record { monitor: Arc::new(monitor), health, version })))
}

/// The records of monitors of any partition, in the order asked for.
pub(crate) async fn load(store: &Store, ids: &[MonitorId]) -> Result<Vec<Option<Record>>, StorageError> {
    let items = ids.iter().map(|id| (store.partition_of(*id), *id));
    by_partition(items, |partition, ids| async move { load_within(store, partition, &ids).await }).await
}

/// A portion of the ids of one partition.
struct Portion {
    partition: PartitionId,
    ids: VecDeque<MonitorId>,
    /// Whether the partition may have more behind them.
    more: bool,
}

/// A page of all records, in the order of their ids.
pub(crate) async fn page(store: &Store, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError> {
    // One more tells whether there is more.
    let ids = ids(store, after, limit + 1).await?;
    let wanted = &ids[..limit.min(ids.len())];
    let records = load(store, wanted).await?;
    // One that was removed meanwhile is left out.
    Ok(Page { items: records.into_iter().flatten().collect(), more: ids.len() > limit })
}

/// The first ids behind one.
async fn ids(store: &Store, after: Option<MonitorId>, limit: usize) -> Result<Vec<MonitorId>, StorageError> {
    // Ids are spread evenly.
    let portion = (limit / usize::from(store.partitions) * 2 + 8).min(limit);
    let first = store.all_partitions().map(|partition| portion_of(store, partition, after, portion));
    let mut portions = try_join_all(first).await?;
    let mut ids = Vec::with_capacity(limit);
    while ids.len() < limit {
        let next = portions.iter_mut().filter(|portion| !portion.ids.is_empty()).min_by_key(|portion| portion.ids[0]);
        let Some(next) = next else { break };
        let Some(id) = next.ids.pop_front() else { break };
        ids.push(id);
        if next.ids.is_empty() && next.more {
            *next = portion_of(store, next.partition, Some(id), portion).await?;
        }
    }
    Ok(ids)
}

async fn portion_of(
    store: &Store,
    partition: PartitionId,
    after: Option<MonitorId>,
    limit: usize,
) -> Result<Portion, StorageError> {
    let from = after.map_or_else(|| b"-".to_vec(), |after| [b"(", &after.as_bytes()[..]].concat());
    let mut command = redis::cmd("ZRANGEBYLEX");
    command.arg(store.keys.of(partition, "ids")).arg(from).arg("+").arg("LIMIT").arg(0).arg(limit);
    let found: Vec<Vec<u8>> = store.read(&command).await?;
    let more = found.len() == limit;
    Ok(Portion { partition, ids: found.iter().map(|id| monitor_id(id)).collect::<Result<_, _>>()?, more })
}

fn monitor_id(bytes: &[u8]) -> Result<MonitorId, StorageError> {
    let id = bytes.try_into().map(MonitorId::from_bytes);
    id.map_err(|_| StorageError::Corrupt("the id of a monitor is not 16 bytes long".to_owned()))
}

/// The monitors of a partition that wake before an instant, soonest first.
pub(crate) async fn due(
    store: &Store,
    partition: PartitionId,
    before: Timestamp,
    limit: usize,
) -> Result<Vec<(MonitorId, Timestamp)>, StorageError> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let before = if before == Timestamp::MAX { "+inf".to_owned() } else { before.as_millis().to_string() };
    let mut call = DUE.on(&[&store.keys.lease(partition)]);
    call.arg(before).arg(limit);
    loop {
        let (again, found): (u8, Vec<Vec<u8>>) = store.read_script(&DUE, &call).await?;
        if again == 0 {
            return found.chunks_exact(2).map(|pair| Ok((monitor_id(&pair[0])?, instant(&pair[1])?))).collect();
        }
    }
}

fn instant(bytes: &[u8]) -> Result<Timestamp, StorageError> {
    let millis = bytes.try_into().map(f64::from_be_bytes);
    let millis = millis.map_err(|_| StorageError::Corrupt("an instant is not 8 bytes long".to_owned()))?;
    Ok(Timestamp::from_millis(millis as i64))
}
