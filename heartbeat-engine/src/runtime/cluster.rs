//! What this node knows of the nodes that share the storage, and of who looks after what.

use std::time::Duration;

use crate::runtime::engine::Engine;
use crate::runtime::presence::NodeInfo;
use crate::{Epoch, PartitionId, Tenure};

/// The nodes that share a storage, by what one of them saw within the last second.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Cluster {
    /// [`NodeInfo::id`] of this node.
    pub node: String,
    /// Every node that described itself and did not leave in order, in the order of their ids.
    pub nodes: Vec<NodeInfo>,
    /// The ids of those that may be alive, this one included; the others were silent for the length of a lease.
    pub alive: Vec<String>,
    /// Every partition.
    pub partitions: Vec<PartitionShare>,
    /// How long ago this node heard last what others wrote; `None` before it did.
    pub news_age: Option<Duration>,
}

/// A partition, and who judges its monitors and delivers for its channels.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PartitionShare {
    /// The partition.
    pub partition: PartitionId,
    /// Counts its holders.
    pub epoch: Epoch,
    /// [`NodeInfo::id`] of the node that holds its lease; `None` when nobody does, or that is not known.
    pub holder: Option<String>,
    /// Whether that is this node.
    pub held: bool,
    /// Its monitors.
    pub monitors: u64,
    /// Those of them whose deadline has passed and is not judged yet.
    pub overdue: u64,
    /// Calls that wait to be decided by this node.
    pub inbox: u64,
}

impl Engine {
    /// The nodes that share the storage and their shares of the work; `None` where the storage belongs to one process.
    #[must_use]
    pub fn cluster(&self) -> Option<Cluster> {
        let shared = &self.shared;
        if shared.tenure == Tenure::Exclusive {
            return None;
        }
        let (nodes, alive) = shared.lease.nodes();
        let mut partitions = shared.lease.shares();
        let now = self.now();
        shared.directory.for_each(|record| {
            let partition = PartitionId::of(record.id(), shared.partitions());
            if let Some(share) = partitions.get_mut(usize::from(partition.0)) {
                share.monitors += 1;
                share.overdue += u64::from(record.health.wake_at() < now);
            }
        });
        for (share, inbox) in partitions.iter_mut().zip(&shared.inboxes) {
            share.inbox = inbox.len() as u64;
        }
        let heard_at = shared.counters.standing().heard_at;
        Some(Cluster {
            node: shared.lease.node().to_owned(),
            nodes,
            alive,
            partitions,
            news_age: heard_at.map(|at| shared.clock.monotonic().saturating_sub(at)),
        })
    }
}
