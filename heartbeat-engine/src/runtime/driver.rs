//! The driver: takes calls to the evaluator, batches to the storage, and owed notifications to their channels. It decides
//! nothing about monitors.

mod term;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::evaluator::Evaluator;
use crate::outbox::{OutboxWrite, Owed};
use crate::runtime::delivery::Deliveries;
use crate::runtime::inbox::Work;
use crate::runtime::metrics::add;
use crate::runtime::policies::MAINTENANCE;
use crate::runtime::shared::Shared;
use crate::runtime::waiting::Waiting;
use crate::{
    Applied, Batch, DocumentWrite, OutboxEntry, Outcome, Settlement, StateChange, StorageError, Target, Timestamp,
};

/// The pause after the first failed commit; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What is written along with the evaluator's share of a batch.
#[derive(Debug, Default)]
struct Aside {
    documents: Vec<(DocumentWrite, oneshot::Sender<Result<Outcome, StorageError>>)>,
    /// What the channels' outboxes want to be stored.
    writes: BTreeMap<String, OutboxWrite>,
    retries: Vec<OutboxEntry>,
}

impl Aside {
    fn is_empty(&self) -> bool {
        self.documents.is_empty() && self.writes.is_empty() && self.retries.is_empty()
    }
}

/// Does the engine's work while it runs. It ends when the engine is shut down or its last handle is dropped; when the
/// driver is dropped before, calls are answered `Stopped`.
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    evaluator: Option<Evaluator>,
    deliveries: Deliveries,
    waiting: Waiting,
    aside: Aside,
    failed: u32,
    /// Of the policies that the evaluator knows.
    generation: u64,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.inbox.close();
        // Who waits is answered by its sender's end.
        drop(self.shared.inbox.take(&*self.shared.clock));
        self.shared.stopped.send_replace(true);
    }
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let deliveries = Deliveries::new(shared.clone());
        Self {
            shared,
            evaluator: None,
            deliveries,
            waiting: Waiting::default(),
            aside: Aside::default(),
            failed: 0,
            generation: 0,
        }
    }

    /// Works until the inbox is closed and empty; `Err` when the work belongs to another node.
    async fn work(&mut self, evaluator: &mut Evaluator) -> Result<(), ()> {
        loop {
            self.receive(evaluator);
            self.turn(evaluator).await?;
            let done = self.shared.inbox.is_done(evaluator.pending_len());
            if done && self.aside.is_empty() && !evaluator.has_pending() {
                return Ok(());
            }
        }
    }

    /// One look at what must be done: a batch, a reload, or rest. `Err` when the work belongs to another node now.
    async fn turn(&mut self, evaluator: &mut Evaluator) -> Result<(), ()> {
        let stale = evaluator.poll_reload();
        if !stale.is_empty() {
            self.reload(evaluator, &stale).await;
            return Ok(());
        }
        let decided = evaluator.poll_batch();
        let (batch, replies) = self.with_aside(decided.unwrap_or_else(|| evaluator.empty_batch()));
        self.publish(evaluator);
        if batch.is_empty() {
            self.rest(evaluator).await;
            return Ok(());
        }
        self.commit(evaluator, batch, replies).await
    }

    /// Takes what waits in the inbox, and the time.
    fn receive(&mut self, evaluator: &mut Evaluator) {
        let now = self.take_work(evaluator);
        self.hand_over_policies(evaluator);
        evaluator.handle_time(now, self.shared.clock.monotonic());
    }

    fn take_work(&mut self, evaluator: &mut Evaluator) -> Timestamp {
        let (now, work) = self.shared.inbox.take(&*self.shared.clock);
        for (at, work) in work {
            match work {
                Work::Request(request, answer) => {
                    evaluator.handle_request(self.waiting.admit(answer), at, request);
                }
                Work::Document(write, answer) => self.aside.documents.push((write, answer)),
                Work::Outbox(channel, write) => match self.aside.writes.entry(channel) {
                    Entry::Vacant(place) => drop(place.insert(write)),
                    Entry::Occupied(earlier) => earlier.into_mut().absorb(write),
                },
                Work::Retry(entry) => self.aside.retries.push(*entry),
            }
        }
        now
    }

    /// A batch with what is written along with it, and who waits for the documents in it.
    fn with_aside(&mut self, mut batch: Batch) -> (Batch, Vec<oneshot::Sender<Result<Outcome, StorageError>>>) {
        let mut replies = Vec::new();
        let mut written = HashSet::new();
        let mut later = Vec::new();
        for (write, reply) in self.aside.documents.drain(..) {
            // A batch never holds two writes of one document.
            if written.insert((write.kind.clone(), write.id.clone())) {
                batch.documents.push(write);
                replies.push(reply);
            } else {
                later.push((write, reply));
            }
        }
        self.aside.documents = later;
        // An outcome that comes at the same time as the wish to try again is the newer truth.
        let retried = |entry: &OutboxEntry| Settlement { id: entry.notification.id, delivery: entry.delivery.clone() };
        batch.settlements.extend(self.aside.retries.iter().map(retried));
        for write in self.aside.writes.values() {
            batch.settlements.extend(write.settlements.iter().cloned());
            batch.notifications.extend(write.notifications.iter().cloned());
        }
        (batch, replies)
    }

    async fn commit(
        &mut self,
        evaluator: &mut Evaluator,
        batch: Batch,
        replies: Vec<oneshot::Sender<Result<Outcome, StorageError>>>,
    ) -> Result<(), ()> {
        let result = self.timed(self.store(&batch)).await;
        evaluator.handle_applied(&result);
        match &result {
            Ok(applied) => self.committed(&batch, applied),
            Err(error) => self.commit_failed(error),
        }
        // Who wrote a policy and has the answer can rely on it.
        self.hand_over_policies(evaluator);
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
        self.publish(evaluator);
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

    async fn store(&self, batch: &Batch) -> Result<Applied, StorageError> {
        let mut commit = self.shared.storage.commit(batch);
        if let Poll::Ready(result) = poll_fn(|context| Poll::Ready(commit.as_mut().poll(context))).await {
            // A storage that never waits would keep everybody else from running, and the next batch small.
            tokio::task::yield_now().await;
            return result;
        }
        commit.await
    }

    /// Counts how long a commit takes.
    async fn timed<T>(&self, commit: impl Future<Output = T>) -> T {
        let clock = &self.shared.clock;
        let began = clock.monotonic();
        let result = commit.await;
        self.shared.counters.commits.count_us(clock.monotonic().saturating_sub(began));
        result
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

    /// Hands over what was written along with the evaluator's share of a batch, which comes first in the store too.
    fn hand_over_aside(&mut self) {
        for entry in std::mem::take(&mut self.aside.retries) {
            self.deliveries.retry(entry.into());
        }
        for (channel, write) in std::mem::take(&mut self.aside.writes) {
            for notification in write.notifications {
                self.deliveries.hand_over(Owed::fresh(notification));
            }
            self.deliveries.written(&channel, write.number);
        }
    }

    /// Lets the evaluator know of policies that changed.
    fn hand_over_policies(&mut self, evaluator: &mut Evaluator) {
        let policies = &self.shared.policies;
        let generation = policies.generation();
        if std::mem::replace(&mut self.generation, generation) != generation {
            evaluator.handle_policies(policies.maintenance(), policies.routes());
        }
    }

    /// Removes the windows that explain nothing any more, with the first batch.
    fn forget_expired_policies(&mut self) {
        for id in self.shared.expired_maintenance(self.shared.clock.now()) {
            let expected = self.shared.policies.version(MAINTENANCE, &id);
            let write = DocumentWrite { kind: MAINTENANCE.to_owned(), id, expected, body: None };
            // Nobody waits for the outcome; what cannot be removed is removed at the next start.
            self.aside.documents.push((write, oneshot::channel().0));
        }
    }

    fn commit_failed(&mut self, error: &StorageError) {
        add(&self.shared.counters.commit_errors, 1);
        if self.failed == 0 || *error == StorageError::Fenced {
            tracing::error!(%error, "a batch could not be stored");
        }
        self.failed = self.failed.saturating_add(1);
        self.shared.counters.report(|standing| standing.store_error = Some(error.to_string()));
    }

    fn log(&self, change: &StateChange) {
        let record = self.shared.directory.find(&Target::Id(change.monitor), change.at);
        let slug = record.as_ref().map_or("", |record| record.spec().slug.as_str());
        let StateChange { monitor, from, to, at, reason, .. } = change;
        // The reason quotes what a job sent: quoted, it can neither begin a line of its own nor steer a terminal.
        tracing::info!(slug, %monitor, ?from, ?to, %at, ?reason, "state changed");
    }

    /// Lets the committed state be seen, and then answers: who asks again after an answer sees it.
    fn publish(&mut self, evaluator: &mut Evaluator) {
        let mut committed = evaluator.poll_committed();
        committed.stamp(self.shared.clock.now());
        self.shared.directory.update(committed.records);
        for change in committed.changes {
            if change.from != change.to {
                self.shared.counters.count_change(change.to);
                self.log(&change);
            }
            // Nobody may be listening.
            let _ = self.shared.changes.send(change);
        }
        for notification in committed.owed {
            self.deliveries.hand_over(Owed::fresh(notification));
        }
        while let Some((ticket, answer)) = evaluator.poll_answer() {
            self.waiting.answer(ticket, answer);
        }
    }

    async fn reload(&mut self, evaluator: &mut Evaluator, stale: &[crate::MonitorId]) {
        match self.shared.storage.load(stale).await {
            Ok(records) => {
                for (id, record) in stale.iter().zip(records) {
                    let record = record.map(Arc::new);
                    self.shared.directory.update([(*id, record.clone())]);
                    evaluator.handle_record(*id, record);
                }
            }
            Err(error) => {
                evaluator.handle_reload_failed(&error);
                self.commit_failed(&error);
                self.publish(evaluator);
                self.pause().await;
            }
        }
    }

    /// Waits for work or for the next deadline.
    async fn rest(&self, evaluator: &Evaluator) {
        let now = self.shared.clock.now();
        let until = evaluator.poll_wake().since(now).min(Duration::from_secs(3600));
        if until.is_zero() {
            // A timer of no time would still cost a millisecond.
            return tokio::task::yield_now().await;
        }
        tokio::select! {
            // The first call of many: those that are about to be made go into the same batch.
            () = self.shared.inbox.filled() => tokio::task::yield_now().await,
            () = tokio::time::sleep(until) => {}
        }
    }

    async fn pause(&self) {
        let pause = PAUSE_MIN.saturating_mul(2u32.saturating_pow(self.failed.saturating_sub(1))).min(PAUSE_MAX);
        tokio::time::sleep(pause).await;
    }

    /// An orderly end: everything is decided once more, with a last mark of life (S6.1). From then on heartbeats are refused
    /// and so nothing is judged: what was not tried yet is tried once, and the outcomes are stored as they come.
    async fn stop(&mut self, evaluator: &mut Evaluator) {
        self.receive(evaluator);
        let mut decided = evaluator.poll_batch().unwrap_or_else(|| evaluator.empty_batch());
        decided.mark = decided.mark.or(Some(self.shared.clock.now()));
        self.write_last(evaluator, decided).await;
        let mut workers = self.deliveries.close();
        loop {
            tokio::select! {
                ended = workers.join_next() => if ended.is_none() { break },
                () = self.shared.inbox.filled() => self.write_outcomes(evaluator).await,
            }
        }
        self.write_outcomes(evaluator).await;
    }

    async fn write_outcomes(&mut self, evaluator: &mut Evaluator) {
        self.take_work(evaluator);
        let batch = evaluator.empty_batch();
        self.write_last(evaluator, batch).await;
    }

    async fn write_last(&mut self, evaluator: &mut Evaluator, batch: Batch) {
        let (batch, replies) = self.with_aside(batch);
        if !batch.is_empty() {
            // A store that fails now has been told of already; whoever starts next finds an outage.
            let _ = self.commit(evaluator, batch, replies).await;
        }
    }
}
