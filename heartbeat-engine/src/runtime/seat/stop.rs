//! A seat's orderly end.

use super::Seat;
use super::role::Role;
use crate::runtime::delivery::Deliveries;
use crate::{Batch, Tenure};

impl Seat {
    /// Everything is decided once more, with a last mark of life (S6.1). From then on heartbeats are refused and so nothing is
    /// judged: what was not tried yet is tried once, and the outcomes are stored as they come.
    pub(super) async fn stop(&mut self) {
        self.receive();
        let may_decide = self.may_decide();
        let decided = if may_decide { self.evaluator.poll_batch() } else { None };
        let mut decided = decided.unwrap_or_else(|| self.evaluator.empty_batch());
        if self.shared.tenure == Tenure::Exclusive {
            decided.mark = decided.mark.or(Some(self.shared.clock.now()));
        }
        self.write_last(decided).await;
        let mut workers = match &mut self.role {
            Role::Leaves { workers, .. } => std::mem::take(workers),
            Role::StandsBy | Role::Judges { .. } => self.deliveries.close(),
        };
        loop {
            tokio::select! {
                ended = workers.join_next() => if ended.is_none() { break },
                () = self.shared.inbox(self.partition).filled() => self.write_outcomes().await,
            }
        }
        self.write_outcomes().await;
        self.wait_for_others().await;
        self.deliveries = Deliveries::new(self.shared.clone());
    }

    /// Stores what the outboxes of other partitions' channels still want to be stored here, until all seats are at this point.
    async fn wait_for_others(&mut self) {
        self.shared.stopping.arrive();
        self.shared.nudge_all();
        while !self.shared.stopping.all_arrived() || !self.writes_apart.is_empty() {
            self.inbox().filled().await;
            self.write_outcomes().await;
        }
    }

    async fn write_outcomes(&mut self) {
        self.take_work();
        let batch = self.evaluator.empty_batch();
        self.write_last(batch).await;
    }

    async fn write_last(&mut self, batch: Batch) {
        let (batch, replies) = self.aside.add_to(batch);
        if !batch.is_empty() {
            // A store that fails now has been told of already; whoever starts next finds an outage.
            let _ = self.commit(batch, replies).await;
            self.publish();
        }
    }
}
