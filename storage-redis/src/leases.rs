//! Leases of partitions.

use futures_util::future::try_join_all;
use heartbeat_engine::{Epoch, Lease, PartitionId, StorageError, Timestamp};

use crate::script::LEASE;
use crate::store::Store;

pub(crate) async fn swap(store: &Store, expected: &Lease, next: &Lease) -> Result<bool, StorageError> {
    let mut call = LEASE.on(&[&store.keys.lease(expected.partition)]);
    call.arg(expected.epoch.0).arg(&expected.node);
    call.arg(next.epoch.0).arg(&next.node).arg(next.expires_at.as_millis());
    let swapped: u8 = store.write(&LEASE, &call).await?;
    Ok(swapped == 1)
}

/// Every lease that was ever swapped in.
pub(crate) async fn all(store: &Store) -> Result<Vec<Lease>, StorageError> {
    let leases = try_join_all(store.all_partitions().map(|partition| one(store, partition))).await?;
    Ok(leases.into_iter().flatten().collect())
}

async fn one(store: &Store, partition: PartitionId) -> Result<Option<Lease>, StorageError> {
    let mut command = redis::cmd("HMGET");
    command.arg(store.keys.lease(partition)).arg("epoch").arg("node").arg("expires_at");
    let (epoch, node, expires_at): (Option<u64>, Option<String>, Option<i64>) = store.read(&command).await?;
    let lease = |epoch| Lease {
        partition,
        epoch: Epoch(epoch),
        node: node.unwrap_or_default(),
        expires_at: expires_at.map_or(Timestamp::MIN, Timestamp::from_millis),
    };
    Ok(epoch.map(lease))
}
