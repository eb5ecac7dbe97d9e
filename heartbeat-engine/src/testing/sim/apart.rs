//! Writes of a channel's outbox whose parts different partitions keep: each part is stored where it belongs, one after the other,
//! as the runtime does it.

use std::collections::{BTreeMap, VecDeque};

use super::among::Among;
use super::world::World;
use crate::outbox::{OutboxWrite, Owed};
use crate::{Batch, Notification, PartitionId, Settlement};

/// A part of a write, on its way to the partition that keeps it.
pub(super) struct Apart {
    notifications: Vec<Notification>,
    settlements: Vec<Settlement>,
    /// The partition of the channel, and the channel.
    from: (u16, usize),
}

/// A channel's write that is under way.
pub(super) struct WriteApart {
    number: u64,
    /// New messages first, then outcomes, those of digests last.
    steps: VecDeque<BTreeMap<u16, Apart>>,
    missing: usize,
    waits: Option<OutboxWrite>,
}

impl Among {
    /// Puts what others' outboxes want to be stored here into a batch.
    pub(super) fn join(&mut self, batch: &mut Batch) {
        self.apart_under_way.append(&mut self.apart);
        for apart in &self.apart_under_way {
            batch.settlements.extend(apart.settlements.iter().cloned());
            batch.notifications.extend(apart.notifications.iter().cloned());
        }
    }

    /// What was under way is not written.
    pub(super) fn put_back(&mut self) {
        let later = std::mem::take(&mut self.apart);
        self.apart = std::mem::take(&mut self.apart_under_way);
        self.apart.extend(later);
    }
}

impl World {
    /// Has a channel's write stored, behind those before.
    pub(super) fn write_apart(&mut self, node: usize, partition: u16, channel: usize, write: OutboxWrite) {
        let Some(service) = self.nodes[node].service(partition) else { return };
        match service.among.writes.get_mut(&channel) {
            Some(WriteApart { waits: Some(waiting), .. }) => waiting.absorb(write),
            Some(WriteApart { waits, .. }) => *waits = Some(write),
            None => self.begin_apart(node, partition, channel, write),
        }
    }

    fn begin_apart(&mut self, node: usize, partition: u16, channel: usize, write: OutboxWrite) {
        let from = (partition, channel);
        let partitions = self.plan.partitions;
        let part = || Apart { notifications: Vec::new(), settlements: Vec::new(), from };
        let home = |id| PartitionId::of_notification(id, partitions).0;
        let (mut messages, mut outcomes) = (BTreeMap::new(), BTreeMap::new());
        for notification in write.notifications {
            messages.entry(home(notification.id)).or_insert_with(part).notifications.push(notification);
        }
        for settlement in write.settlements {
            outcomes.entry(home(settlement.id)).or_insert_with(part).settlements.push(settlement);
        }
        let last: BTreeMap<u16, Apart> = outcomes.remove(&partition).into_iter().map(|own| (partition, own)).collect();
        let steps = VecDeque::from([messages, outcomes, last]);
        let Some(service) = self.nodes[node].service(partition) else { return };
        service.among.writes.insert(channel, WriteApart { number: write.number, steps, missing: 0, waits: None });
        self.next_step(node, from);
    }

    /// Sends the next parts of a write, or ends it.
    fn next_step(&mut self, node: usize, from: (u16, usize)) {
        let (partition, channel) = from;
        let Some(service) = self.nodes[node].service(partition) else { return };
        let Some(write) = service.among.writes.get_mut(&channel) else { return };
        while let Some(step) = write.steps.pop_front() {
            if step.is_empty() {
                continue;
            }
            write.missing = step.len();
            for (home, part) in step {
                if let Some(service) = self.nodes[node].service(home) {
                    service.among.apart.push(part);
                }
                self.see_to(node, home);
            }
            return;
        }
        let Some(write) = service.among.writes.remove(&channel) else { return };
        service.courier.handle_written(channel, write.number);
        if let Some(next) = write.waits {
            self.begin_apart(node, partition, channel, next);
        }
        self.see_to(node, partition);
    }

    /// What was under way of others' writes is stored.
    pub(super) fn apart_written(&mut self, node: usize, partition: u16) {
        let Some(service) = self.nodes[node].service(partition) else { return };
        for apart in std::mem::take(&mut service.among.apart_under_way) {
            for notification in apart.notifications {
                self.owe(node, partition, Owed::fresh(notification));
            }
            let Some(service) = self.nodes[node].service(apart.from.0) else { continue };
            let Some(write) = service.among.writes.get_mut(&apart.from.1) else { continue };
            write.missing -= 1;
            if write.missing == 0 {
                self.next_step(node, apart.from);
            }
        }
    }
}
