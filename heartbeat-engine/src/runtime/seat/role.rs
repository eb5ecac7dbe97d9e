//! What a seat does beside taking calls: it judges and delivers under a lease, it stands by, or it leaves that to another
//! node in order.

use std::time::Duration;

use tokio::task::JoinSet;

use super::Seat;
use crate::outbox::Owed;
use crate::runtime::delivery::Deliveries;
use crate::{Epoch, PartitionId, Tenure};

/// How long attempts that are under way may take when the partition is given up to another node.
const LEAVE_MAX: Duration = Duration::from_secs(5);
/// How long it rests at most, and while it waits for attempts to end.
const REST_MAX: Duration = Duration::from_secs(3600);
const REST_LEAVING: Duration = Duration::from_millis(20);

/// See the module.
#[derive(Debug)]
pub(super) enum Role {
    /// Another node judges.
    StandsBy,
    /// It judges under this lease.
    Judges {
        epoch: Epoch,
        /// While what is stored and owed is being read: what came to be owed meanwhile, and whether it is tried again.
        reads: Option<Vec<(Owed, bool)>>,
    },
    /// Attempts that are under way end, and no new ones begin.
    Leaves { workers: JoinSet<()>, until: Duration },
}

impl Role {
    pub(super) fn rest_max(&self) -> Duration {
        if matches!(self, Self::Leaves { .. }) { REST_LEAVING } else { REST_MAX }
    }
}

impl Seat {
    /// Does what the lease says now.
    pub(super) fn mind_lease(&mut self) {
        if self.shared.tenure == Tenure::Exclusive {
            return;
        }
        let (lease, partition) = (&self.shared.lease, self.partition);
        let (held, is_leaving) = (lease.epoch(partition), lease.is_leaving(partition));
        match &mut self.role {
            Role::Judges { epoch, .. } if held == Some(*epoch) => {}
            Role::Judges { .. } if is_leaving => {
                let until = self.shared.clock.monotonic() + LEAVE_MAX;
                self.role = Role::Leaves { workers: self.deliveries.close(), until };
            }
            Role::Judges { .. } => {
                tracing::warn!(partition = partition.0, "the lease is lost: another node judges");
                self.stand_by();
            }
            Role::Leaves { .. } => self.leave(is_leaving),
            Role::StandsBy => {
                if let Some(epoch) = held {
                    self.take_over(epoch);
                } else if is_leaving {
                    // It is to be given up before this seat had looked at it.
                    lease.left(partition);
                }
            }
        }
        if !matches!(self.role, Role::Judges { .. })
            && let Some(epoch) = self.shared.lease.known_epoch(partition)
        {
            self.evaluator.stand_by(epoch);
        }
    }

    /// Whether requests may be decided and written now.
    pub(super) fn may_decide(&self) -> bool {
        self.shared.tenure == Tenure::Exclusive || self.shared.lease.known_epoch(self.partition).is_some()
    }

    /// Hands a stored notification to its channel's task; `again` where somebody may want it to be tried again. While another
    /// node delivers, that one knows it from the store.
    pub(super) fn hand_over(&mut self, owed: Owed, again: bool) {
        match &mut self.role {
            Role::Judges { reads: Some(late), .. } => late.push((owed, again)),
            Role::Judges { reads: None, .. } if again => self.deliveries.retry(owed),
            Role::Judges { reads: None, .. } => self.deliveries.hand_over(owed),
            Role::StandsBy | Role::Leaves { .. } => {}
        }
    }

    /// Hands over what was stored and owed when the partition was taken over, unless that is over.
    pub(super) fn hand_over_stored(&mut self, owed: Owed) {
        if matches!(self.role, Role::Judges { .. }) {
            self.deliveries.hand_over(owed);
        }
    }

    /// What was stored and owed when the partition was taken over has been handed over; the channels begin.
    pub(super) fn outbox_read(&mut self) {
        let Role::Judges { reads, .. } = &mut self.role else { return };
        let late = reads.take().unwrap_or_default();
        self.deliveries.loaded();
        for (owed, again) in late {
            self.hand_over(owed, again);
        }
    }

    fn take_over(&mut self, epoch: Epoch) {
        tracing::debug!(partition = self.partition.0, epoch = epoch.0, "judges from now on");
        self.deliveries = Deliveries::new(self.shared.clone());
        self.role = Role::Judges { epoch, reads: Some(Vec::new()) };
        self.evaluator.judge(epoch);
        self.shared.reader.ask(self.partition);
        if self.partition == PartitionId(0) {
            self.forget_expired_policies();
        }
    }

    /// Leaves the partition when nothing is under way any more.
    fn leave(&mut self, is_leaving: bool) {
        let Role::Leaves { workers, until } = &mut self.role else { return };
        while workers.try_join_next().is_some() {}
        let under_way = !workers.is_empty() || !self.aside.writes.is_empty() || !self.writes_apart.is_empty();
        if under_way && is_leaving && self.shared.clock.monotonic() < *until {
            return;
        }
        self.stand_by();
        if is_leaving {
            self.shared.lease.left(self.partition);
        }
    }

    fn stand_by(&mut self) {
        self.deliveries = Deliveries::new(self.shared.clone());
        self.role = Role::StandsBy;
        let shared = &self.shared;
        shared.counters.leave_channels(|channel| shared.partition_of_channel(channel) == self.partition);
    }
}
