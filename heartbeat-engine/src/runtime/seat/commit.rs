//! Writes batches, with what goes along with them.

use std::collections::HashSet;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::oneshot;

use super::{Aside, Replies, Seat};
use crate::outbox::Owed;
use crate::runtime::inbox::Work;
use crate::runtime::metrics::add;
use crate::runtime::policies::MAINTENANCE;
use crate::{Applied, Batch, DocumentWrite, OutboxEntry, Outcome, Settlement, StorageError, Tenure};

/// How many monitors are decided beforehand before it is seen whether the batch is written.
const BEFOREHAND: usize = 32;

impl Aside {
    /// A batch with what is written along with it, and who waits for the documents in it.
    pub(super) fn add_to(&mut self, mut batch: Batch) -> (Batch, Replies) {
        let mut replies = Vec::new();
        let mut written = HashSet::new();
        let mut later = Vec::new();
        for (write, reply) in self.documents.drain(..) {
            // A batch never holds two writes of one document.
            if written.insert((write.kind.clone(), write.id.clone())) {
                batch.documents.push(write);
                replies.push(reply);
            } else {
                later.push((write, reply));
            }
        }
        self.documents = later;
        // An outcome that comes at the same time as the wish to try again is the newer truth.
        let retried = |entry: &OutboxEntry| Settlement { id: entry.notification.id, delivery: entry.delivery.clone() };
        batch.settlements.extend(self.retries.iter().map(retried));
        for write in self.writes.values() {
            batch.settlements.extend(write.settlements.iter().cloned());
            batch.notifications.extend(write.notifications.iter().cloned());
        }
        for apart in &self.apart {
            batch.settlements.extend(apart.settlements.iter().cloned());
            batch.notifications.extend(apart.notifications.iter().cloned());
        }
        (batch, replies)
    }
}

impl Seat {
    /// Writes a batch; `Err` when the storage, which belongs to one process, was taken over by another.
    pub(super) async fn commit(&mut self, batch: Batch, replies: Replies) -> Result<(), ()> {
        let began = self.shared.clock.monotonic();
        let batch = Arc::new(batch);
        let result = self.store(&batch).await;
        // Whoever kept it has let go of it before the answer.
        let batch = Arc::unwrap_or_clone(batch);
        self.shared.counters.commits.count_us(self.shared.clock.monotonic().saturating_sub(began));
        if result == Err(StorageError::Fenced) && self.shared.tenure != Tenure::Exclusive {
            self.fenced(batch, replies);
            return Ok(());
        }
        match &result {
            Ok(applied) => self.committed(&batch, applied),
            Err(error) => self.commit_failed(error),
        }
        self.evaluator.handle_applied(batch, &result);
        // Who wrote a policy and has the answer can rely on it.
        self.hand_over_policies();
        for (index, reply) in replies.into_iter().enumerate() {
            let outcome = result.as_ref().map_err(Clone::clone).and_then(|applied| {
                applied
                    .documents
                    .get(index)
                    .cloned()
                    .ok_or_else(|| StorageError::Unknown("the document's outcome is missing".to_owned()))
            });
            // The caller may have gone away; the document is written all the same.
            let _ = reply.send(outcome);
        }
        if result.is_err() || !self.may_publish_later() {
            self.publish();
        }
        match result {
            Ok(_) => {
                self.hand_over_aside();
                Ok(())
            }
            Err(StorageError::Fenced) => Err(()),
            Err(_) => {
                self.pause().await;
                Ok(())
            }
        }
    }

    /// Nothing was written, because the lease has another epoch: everything is decided anew under that one.
    fn fenced(&mut self, batch: Batch, replies: Replies) {
        let under = batch.epoch;
        self.evaluator.handle_fenced();
        self.publish();
        let again = batch.documents.into_iter().zip(replies);
        self.aside.documents.splice(0..0, again);
        self.shared.lease.fenced(self.partition, under);
    }

    /// Whether what is committed may be told while the next batch, which is decided already, is being written: nobody waits for
    /// an answer, and nothing of it has to be told in order with what other nodes do.
    fn may_publish_later(&self) -> bool {
        let nobody_waits = self.aside.is_empty() && !self.evaluator.has_answers();
        nobody_waits && self.evaluator.has_decided_beforehand() && self.shared.tenure == Tenure::Exclusive
    }

    async fn store(&mut self, batch: &Arc<Batch>) -> Result<Applied, StorageError> {
        let storage = self.shared.storage.clone();
        let mut commit = storage.commit_shared(Arc::clone(batch));
        let polled_once = polled(&mut commit).await;
        // What the batch before came to, if it was left until now.
        self.publish();
        if let Poll::Ready(result) = polled_once {
            // A storage that never waits would keep everybody else from running, and the next batch small.
            tokio::task::yield_now().await;
            return result;
        }
        // While it is being written, what is due next is decided.
        while self.evaluator.decide_beforehand(BEFOREHAND) {
            if let Poll::Ready(result) = polled(&mut commit).await {
                return result;
            }
        }
        commit.await
    }

    fn committed(&mut self, batch: &Batch, applied: &Applied) {
        self.failed = 0;
        let counters = &self.shared.counters;
        let now = self.shared.clock.now();
        counters.report(|standing| {
            standing.committed_at = Some(now);
            standing.store_error = None;
        });
        add(&counters.batches, 1);
        counters.batch_sizes.count(batch.transitions.len() as u64);
        add(&counters.outages, usize::from(batch.outage.is_some()));
        for (transition, outcome) in batch.transitions.iter().zip(&applied.transitions) {
            if *outcome == Outcome::Committed {
                add(&counters.transitions, 1);
                transition.pings.iter().for_each(|ping| counters.count_ping(ping.signal));
            }
        }
        for (write, outcome) in batch.documents.iter().zip(&applied.documents) {
            if *outcome == Outcome::Committed {
                self.shared.policies.adopt(write);
            }
        }
    }

    pub(super) fn commit_failed(&mut self, error: &StorageError) {
        add(&self.shared.counters.commit_errors, 1);
        if self.failed == 0 || *error == StorageError::Fenced {
            tracing::error!(partition = self.partition.0, %error, "a batch could not be stored");
        }
        self.failed = self.failed.saturating_add(1);
        self.shared.counters.report(|standing| standing.store_error = Some(error.to_string()));
    }

    /// Hands over what was written along with the evaluator's share of a batch, which comes first in the store too.
    fn hand_over_aside(&mut self) {
        for entry in std::mem::take(&mut self.aside.retries) {
            self.try_again(entry);
        }
        for (channel, write) in std::mem::take(&mut self.aside.writes) {
            for notification in write.notifications {
                self.owe(Owed::fresh(notification));
            }
            self.deliveries.written(&channel, write.number);
        }
        for apart in std::mem::take(&mut self.aside.apart) {
            for notification in apart.notifications {
                self.owe(Owed::fresh(notification));
            }
            // Who had it written may have ended since.
            let _ = apart.stored.send(());
        }
    }

    /// Has the channel's task try a notification again.
    pub(super) fn try_again(&mut self, entry: OutboxEntry) {
        let partition = self.shared.partition_of_channel(&entry.notification.channel);
        if partition == self.partition {
            self.hand_over(entry.into(), true);
        } else {
            self.shared.inbox(partition).push_inner(&*self.shared.clock, Work::Again(Box::new(entry)));
        }
    }

    /// Removes the windows that explain nothing any more, with the next batch.
    pub(super) fn forget_expired_policies(&mut self) {
        for id in self.shared.expired_maintenance(self.shared.clock.now()) {
            let expected = self.shared.policies.version(MAINTENANCE, &id);
            let write = DocumentWrite { kind: MAINTENANCE.to_owned(), id, expected, body: None };
            // Nobody waits for the outcome; what cannot be removed is removed at the next start.
            self.aside.documents.push((write, oneshot::channel().0));
        }
    }
}

/// One look at whether it is done; it is woken when there is more to see.
async fn polled<T>(future: &mut Pin<Box<impl Future<Output = T> + ?Sized>>) -> Poll<T> {
    poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}
