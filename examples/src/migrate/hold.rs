//! The leases of the target's partitions, held while it is written: nobody else works on it meanwhile.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_engine::{Clock, Epoch, Import, Lease, PartitionId, Storage, StorageError, SystemClock, Timestamp};
use tokio::task::JoinHandle;

/// How nodes begin that are migrations.
const NODE: &str = "migration ";
/// How long a lease lasts that is not renewed any more…
const TTL: Duration = Duration::from_secs(30);
/// …and how often it is renewed.
const EVERY: Duration = Duration::from_secs(5);

/// All leases of a storage.
pub(super) struct Hold {
    storage: Arc<dyn Import>,
    leases: Vec<Lease>,
    renewing: JoinHandle<()>,
}

/// Whether a migration holds it: it may be taken over at once, because what the former holder still writes is fenced.
pub(super) fn is_of_migration(lease: &Lease) -> bool {
    lease.node.starts_with(NODE)
}

impl Hold {
    /// Takes every lease, whoever had it.
    pub(super) async fn take(storage: &Arc<dyn Import>) -> Result<Self, StorageError> {
        let node = format!("{NODE}{}-{}", std::process::id(), now().as_millis());
        let stored = storage.leases().await?;
        let mut leases = Vec::new();
        for partition in (0..storage.partitions()).map(PartitionId) {
            let before = stored.iter().find(|lease| lease.partition == partition).cloned().unwrap_or_else(|| Lease {
                partition,
                epoch: Epoch(0),
                node: String::new(),
                expires_at: Timestamp::MIN,
            });
            let epoch = Epoch(before.epoch.0 + 1);
            let next = Lease { partition, epoch, node: node.clone(), expires_at: now() + TTL };
            if !storage.swap_lease(&before, &next).await? {
                return Err(StorageError::Fenced);
            }
            leases.push(next);
        }
        let renewing = tokio::spawn(renew(Arc::clone(storage), leases.clone()));
        Ok(Self { storage: Arc::clone(storage), leases, renewing })
    }

    /// The epoch under which a partition is written.
    pub(super) fn epoch(&self, partition: PartitionId) -> Epoch {
        self.leases.get(usize::from(partition.0)).map_or(Epoch(0), |lease| lease.epoch)
    }

    /// Where everything is written that belongs to no partition.
    pub(super) fn first(&self) -> (PartitionId, Epoch) {
        (PartitionId(0), self.epoch(PartitionId(0)))
    }

    /// Gives every lease up, so that a server may take it at once.
    pub(super) async fn let_go(&self) -> Result<(), StorageError> {
        self.renewing.abort();
        for lease in &self.leases {
            let free = Lease { expires_at: Timestamp::MIN, ..lease.clone() };
            self.storage.swap_lease(lease, &free).await?;
        }
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}

/// What cannot be renewed is noticed when something is written: it is fenced.
async fn renew(storage: Arc<dyn Import>, leases: Vec<Lease>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        for lease in &leases {
            let next = Lease { expires_at: now() + TTL, ..lease.clone() };
            if let Err(error) = storage.swap_lease(lease, &next).await {
                tracing::warn!(%error, partition = lease.partition.0, "a lease could not be renewed");
            }
        }
    }
}

fn now() -> Timestamp {
    SystemClock::new().now()
}
