//! Writes of a channel's outbox whose parts different partitions keep. They cannot be stored in one step, so each part is
//! stored where it belongs, one after the other: new messages first, then outcomes, those of digests last.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::Seat;
use crate::outbox::OutboxWrite;
use crate::runtime::inbox::{Apart, Work};
use crate::runtime::shared::Shared;
use crate::{Notification, PartitionId, Settlement};

/// The writes that are under way, by channel, each with what waits behind it.
#[derive(Debug, Default)]
pub(super) struct WritesApart(BTreeMap<String, Option<OutboxWrite>>);

impl WritesApart {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Seat {
    /// Has a channel's write stored, behind those before.
    pub(super) fn write_apart(&mut self, channel: String, write: OutboxWrite) {
        match self.writes_apart.0.get_mut(&channel) {
            Some(Some(waiting)) => waiting.absorb(write),
            Some(none) => *none = Some(write),
            None => self.begin_apart(channel, write),
        }
    }

    /// A channel's write is stored: the next one begins.
    pub(super) fn written_apart(&mut self, channel: &str, number: u64) {
        self.deliveries.written(channel, number);
        if let Some((channel, Some(write))) = self.writes_apart.0.remove_entry(channel) {
            self.begin_apart(channel, write);
        }
    }

    fn begin_apart(&mut self, channel: String, write: OutboxWrite) {
        self.writes_apart.0.insert(channel.clone(), None);
        let (shared, partition) = (self.shared.clone(), self.partition);
        tokio::spawn(async move {
            let number = write.number;
            store(&shared, partition, write).await;
            shared.inbox(partition).push_inner(&*shared.clock, Work::Written(channel, number));
        });
    }
}

/// The parts of one partition.
#[derive(Default)]
struct Parts {
    notifications: Vec<Notification>,
    settlements: Vec<Settlement>,
}

async fn store(shared: &Arc<Shared>, own: PartitionId, write: OutboxWrite) {
    let home = |id| PartitionId::of_notification(id, shared.partitions());
    let mut messages: BTreeMap<PartitionId, Parts> = BTreeMap::new();
    for notification in write.notifications {
        messages.entry(home(notification.id)).or_default().notifications.push(notification);
    }
    let mut outcomes: BTreeMap<PartitionId, Parts> = BTreeMap::new();
    for settlement in write.settlements {
        outcomes.entry(home(settlement.id)).or_default().settlements.push(settlement);
    }
    // The digests of a channel are kept in its own partition.
    let last = outcomes.remove(&own).map(|parts| BTreeMap::from([(own, parts)]));
    for step in [messages, outcomes, last.unwrap_or_default()] {
        let mut waiting = Vec::new();
        for (partition, Parts { notifications, settlements }) in step {
            let (stored, answer) = oneshot::channel();
            let apart = Apart { notifications, settlements, stored };
            shared.inbox(partition).push_inner(&*shared.clock, Work::Apart(apart));
            waiting.push(answer);
        }
        for answer in waiting {
            // A seat that has ended stores nothing more: whoever starts next finds it owed.
            if answer.await.is_err() {
                return;
            }
        }
    }
}
