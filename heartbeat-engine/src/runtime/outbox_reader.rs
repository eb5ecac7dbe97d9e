//! Reads what is stored and owed when partitions are taken over: once for all that are taken at the same time.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::runtime::inbox::Work;
use crate::runtime::shared::Shared;
use crate::{OutboxEntry, PartitionId, Storage, StorageError};

/// How many owed notifications are read at a time.
const PAGE: usize = 512;
/// How long it waits for more partitions that are taken at the same time, and after a failure.
const GATHER: Duration = Duration::from_millis(5);
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// The partitions for whose channels it is to be read.
#[derive(Debug, Default)]
pub(crate) struct OutboxReader {
    wanted: Mutex<BTreeSet<PartitionId>>,
    asked: Notify,
}

impl OutboxReader {
    /// Has what is owed to the channels of a partition read, and handed to its seat as [`Work::Stored`], then
    /// [`Work::OutboxRead`].
    pub(crate) fn ask(&self, partition: PartitionId) {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).insert(partition);
        self.asked.notify_one();
    }

    /// Works as long as it is polled.
    pub(crate) async fn attend(&self, shared: &Shared) {
        loop {
            self.asked.notified().await;
            tokio::time::sleep(GATHER).await;
            let wanted = std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
            while let Err(error) = read(shared, &wanted).await {
                tracing::warn!(%error, "what is owed could not be read; it is tried again");
                tokio::time::sleep(AGAIN_AFTER).await;
            }
        }
    }
}

async fn read(shared: &Shared, wanted: &BTreeSet<PartitionId>) -> Result<(), StorageError> {
    let hand = |partition, work| shared.inbox(partition).push_inner(&*shared.clock, work);
    let hand_over = |entry: OutboxEntry| {
        let partition = shared.partition_of_channel(&entry.notification.channel);
        if wanted.contains(&partition) {
            hand(partition, Work::Stored(Box::new(entry.into())));
        }
    };
    each_owed(&*shared.storage, hand_over).await?;
    wanted.iter().for_each(|partition| hand(*partition, Work::OutboxRead));
    Ok(())
}

/// Visits everything that is owed, in the order in which it came to be.
pub(crate) async fn each_owed(storage: &dyn Storage, mut visit: impl FnMut(OutboxEntry)) -> Result<(), StorageError> {
    let mut after = 0;
    loop {
        let page = storage.outbox(after, PAGE).await?;
        for entry in page.items {
            after = entry.seq;
            visit(entry);
        }
        if !page.more {
            return Ok(());
        }
    }
}
