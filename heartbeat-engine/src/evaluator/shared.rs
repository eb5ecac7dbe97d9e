//! A partition among several nodes: one of them judges silence, all take heartbeats, and the watcher's life is theirs together.

use std::time::Duration;

use super::Evaluator;
use crate::absence::{Look, joined};
use crate::{Epoch, MonitorId, NotificationId, Outage, StorageError, Timestamp};

impl Evaluator {
    /// Leaves the watch over the watcher's life to the host, where it is that of several nodes (S6.5): no marks are stored from
    /// here, no outages found, and nothing is decided until [`Evaluator::handle_life`] has told that the watcher lives.
    pub fn leave_watch(&mut self) {
        self.keeps_watch = false;
    }

    /// Takes that the watcher was alive at `mark`, when the clock that is never set showed `monotonic`, and what outages are
    /// stored. What lies longer back than 15 s excuses nothing: then nothing is decided until the watcher is known to have been
    /// alive, or its outage is stored (S6.6).
    pub fn handle_life(&mut self, mark: Timestamp, monotonic: Duration, outages: &[Outage]) {
        let told = self.told_of_life.replace(outages.to_vec());
        self.absence.marked(mark, monotonic, true);
        // Clocks of before that would show a mark and outages that lie in the future, as if they had been set back (S6.7): then the
        // next time that is handed in is looked at.
        let began = self.clocks.0 > Timestamp::MIN && self.clocks.1 >= monotonic;
        if told.as_deref() != Some(outages) {
            self.beforehand.clear();
            self.outages = joined(outages.to_vec());
            if began {
                self.foresee(mark);
            }
        }
        if began {
            self.look_again();
        }
    }

    /// Judges silence from now on, under this lease.
    pub fn judge(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        if !std::mem::replace(&mut self.judges, true) && self.clocks.0 > Timestamp::MIN {
            self.come_back(self.clocks.0);
            self.look_for_held();
            self.look_for_misheld();
        }
    }

    /// Leaves judging silence to the node that holds the lease, which has this epoch, and decides requests only.
    pub fn stand_by(&mut self, epoch: Epoch) {
        self.epoch = epoch;
        self.judges = false;
    }

    /// Takes that the batch under way was fenced: nothing of it was written, and its requests are decided anew, under the epoch
    /// that the host tells by [`Evaluator::judge`] or [`Evaluator::stand_by`].
    pub fn handle_fenced(&mut self) {
        let Some(under_way) = self.under_way.take() else { return };
        for group in under_way.groups.into_iter().rev() {
            self.put_back(group.monitor);
            let requests: Vec<_> = group.requests.into_iter().collect();
            requests.into_iter().rev().for_each(|decided| self.again(decided.pending));
        }
    }

    /// Takes that a monitor was written by somebody else, in a form that has to be read: [`Evaluator::poll_reload`] asks for it.
    pub fn handle_outdated(&mut self, id: MonitorId) {
        self.stale.entry(id).or_default();
    }

    /// Notifications of which nobody knows whether they are stored: the answer to their batch was lost, and another node has
    /// written their monitor since. Whoever delivers finds them in the store, or they never came to be owed.
    pub fn poll_doubtful(&mut self) -> Vec<NotificationId> {
        std::mem::take(&mut self.doubtful)
    }

    /// Whether nothing may be decided until it is known whether the watcher was away.
    #[must_use]
    pub fn awaits_life(&self) -> bool {
        !self.keeps_watch && (self.told_of_life.is_none() || matches!(self.look, Look::Away(_)))
    }

    /// Refuses every request that waits.
    pub fn refuse_waiting(&mut self, error: &StorageError) {
        self.refuse_pending(error);
    }
}
