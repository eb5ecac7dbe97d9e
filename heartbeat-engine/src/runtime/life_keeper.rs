//! Keeps the mark of life of the nodes that share a store, and this node's description, fresh; and finds out whether there
//! was an outage (S6.5, S6.6).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::absence::MARK_AGE_MAX;
use crate::evaluator::Touched;
use crate::life::{Life, LifeStep, READ_MAX};
use crate::outbox::Owed;
use crate::runtime::listener;
use crate::runtime::metrics::add;
use crate::runtime::presence::{self, NodeInfo};
use crate::runtime::shared::Shared;
use crate::{
    Batch, Epoch, Notification, Outage, Outcome, PartitionId, StorageError, Tenure, Timestamp, Version, WatchLog,
};

/// How often a mark is stored at least: every 5 s (S6.1), with a margin for slow writes.
const BEAT_MAX: Duration = Duration::from_secs(3);
/// How long it waits before it looks again, while it is not known whether there was an outage.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
/// The first partition keeps what belongs to all.
const FIRST: PartitionId = PartitionId(0);

/// When the watcher was known to be alive last, for the seats.
#[derive(Debug, Default)]
pub(crate) struct LifeBoard(Mutex<Option<Lived>>);

/// The watcher was alive.
#[derive(Clone, Debug)]
pub(crate) struct Lived {
    pub(crate) mark: Timestamp,
    /// What the clock that is never set showed then.
    pub(crate) monotonic: Duration,
    /// Every outage that was stored by then.
    pub(crate) outages: Arc<Vec<Outage>>,
}

impl LifeBoard {
    pub(crate) fn latest(&self) -> Option<Lived> {
        self.lock().clone()
    }

    fn post(&self, lived: Lived) {
        *self.lock() = Some(lived);
    }

    // What is on the board is replaced as a whole.
    fn lock(&self) -> MutexGuard<'_, Option<Lived>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Whether it is known that the watcher is alive, and what outages there were.
    pub(crate) fn knows_life(&self, now: Timestamp) -> bool {
        let fresh = |lived: &Lived| now.since(lived.mark) <= MARK_AGE_MAX;
        self.tenure == Tenure::Exclusive || self.life.latest().as_ref().is_some_and(fresh)
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct LifeKeeper {
    shared: Arc<Shared>,
    life: Life,
    started_at: Timestamp,
    /// The version of this node's description.
    described: Option<Version>,
    /// When it was written last, by the clock that is never set.
    described_at: Option<Duration>,
    /// How often marks and the description are written.
    beat: Duration,
}

impl LifeKeeper {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let patience = match shared.tenure {
            Tenure::Exclusive => Duration::ZERO,
            Tenure::Shared { ttl } => ttl,
        };
        let started_at = shared.clock.now();
        let beat = BEAT_MAX.min(patience / 3);
        Self { shared, life: Life::new(patience), started_at, described: None, described_at: None, beat }
    }

    /// Works as long as it is polled.
    pub(crate) async fn attend(&mut self) {
        if self.shared.tenure == Tenure::Exclusive {
            return std::future::pending().await;
        }
        loop {
            let pause = match self.look().await {
                Ok(true) => self.beat,
                Ok(false) => AGAIN_AFTER,
                Err(error) => {
                    add(&self.shared.counters.commit_errors, 1);
                    self.shared.counters.report(|standing| standing.store_error = Some(error.to_string()));
                    AGAIN_AFTER
                }
            };
            self.shared.nudge_all();
            tokio::time::sleep(pause).await;
        }
    }

    /// Stores a last mark of life, and that this node leaves.
    pub(crate) async fn leave(&mut self) {
        let Some(epoch) = self.shared.lease.known_epoch(FIRST) else { return };
        if self.shared.tenure == Tenure::Exclusive {
            return;
        }
        let now = self.shared.clock.now();
        let mut last = self.batch(epoch, now);
        // A mark behind a time of which nobody knows whether the watcher lived would hide an outage.
        last.mark = last.mark.filter(|_| self.shared.knows_life(now));
        last.documents = vec![presence::removal(self.shared.lease.node(), self.described)];
        // A store that fails now has been told of already; whoever starts next finds an outage.
        let _ = self.shared.storage.commit(&last).await;
    }

    /// Whether the watcher is known to be alive now, and that is stored.
    async fn look(&mut self) -> Result<bool, StorageError> {
        let shared = self.shared.clone();
        // Under one lease nobody else stores an outage, so what is read under it is complete.
        let held = shared.lease.epoch(FIRST);
        let asked = shared.clock.monotonic();
        let log = shared.storage.watch_log().await?;
        let Some(others_may_live) = shared.lease.others_may_live() else { return Ok(false) };
        let (now, monotonic) = (shared.clock.now(), shared.clock.monotonic());
        if monotonic.saturating_sub(asked) > READ_MAX {
            return Ok(false);
        }
        match self.life.look(&log, others_may_live, now, monotonic) {
            LifeStep::Wait => self.describe(now).await.map(|_| false),
            LifeStep::Mark => {
                let Some(epoch) = shared.lease.known_epoch(FIRST) else { return Ok(false) };
                let mut batch = self.batch(epoch, now);
                if shared.lease.epoch(FIRST).is_some() {
                    let gone = shared.lease.gone().into_iter();
                    batch.documents.extend(gone.map(|(node, version)| presence::removal(&node, Some(version))));
                }
                self.write(batch, log.outages, monotonic).await
            }
            LifeStep::Outage(outage, ended) => match shared.lease.epoch(FIRST).filter(|epoch| held == Some(*epoch)) {
                Some(epoch) => self.write_outage(outage, epoch, log, ended).await,
                // Whoever holds the first partition does it.
                None => self.describe(now).await.map(|_| false),
            },
        }
    }

    async fn write_outage(
        &mut self,
        outage: Outage,
        epoch: Epoch,
        log: WatchLog,
        ended: Duration,
    ) -> Result<bool, StorageError> {
        let WatchLog { mark, mut outages } = log;
        let mut batch = self.batch(epoch, outage.to);
        batch.outage = Some(outage);
        batch.notifications = self.notifications(outage);
        if outages.len() >= self.shared.limits.outages.saturating_mul(2) {
            // What they moved was stored since they were half as many.
            batch.forget_outages_before = outages.get(outages.len() / 2).map(|oldest_kept| oldest_kept.to);
            outages.retain(|known| Some(known.to) >= batch.forget_outages_before);
        }
        outages.push(outage);
        let owed = batch.notifications.clone();
        let written = self.write(batch, outages, ended).await;
        match &written {
            Ok(true) => {
                add(&self.shared.counters.outages, 1);
                owed.into_iter().for_each(|notification| self.shared.owe(Owed::fresh(notification)));
            }
            Err(StorageError::Unknown(_)) => {
                self.life.doubted(outage, ended, mark);
                listener::look_for(&self.shared, owed.iter().map(|notification| notification.id).collect());
            }
            Ok(false) | Err(_) => {}
        }
        written
    }

    /// Stores a batch with a mark, and lets the seats know when that is done.
    async fn write(&mut self, batch: Batch, outages: Vec<Outage>, monotonic: Duration) -> Result<bool, StorageError> {
        let mark = batch.mark.unwrap_or_default();
        if !self.commit(&batch).await? {
            return Ok(false);
        }
        self.life.marked(mark, monotonic);
        self.shared.life.post(Lived { mark, monotonic, outages: Arc::new(outages) });
        Ok(true)
    }

    /// Lets the other nodes see that this one is there, without saying that it works.
    async fn describe(&mut self, now: Timestamp) -> Result<bool, StorageError> {
        let Some(epoch) = self.shared.lease.known_epoch(FIRST) else { return Ok(false) };
        let monotonic = self.shared.clock.monotonic();
        if self.described_at.is_some_and(|at| monotonic < at + self.beat) {
            return Ok(true);
        }
        let mut batch = self.batch(epoch, now);
        batch.mark = None;
        self.commit(&batch).await
    }

    /// Whether the batch was written; it is not when the first partition has another epoch by now.
    async fn commit(&mut self, batch: &Batch) -> Result<bool, StorageError> {
        let applied = match self.shared.storage.commit(batch).await {
            Err(StorageError::Fenced) => {
                self.shared.lease.fenced(FIRST, batch.epoch);
                return Ok(false);
            }
            result => result?,
        };
        self.described = match applied.documents.first() {
            Some(Outcome::Conflict { found }) => *found,
            _ => Some(self.described.map_or(Version::FIRST, Version::next)),
        };
        self.described_at = Some(self.shared.clock.monotonic());
        let now = self.shared.clock.now();
        self.shared.counters.report(|standing| {
            standing.committed_at = Some(now);
            standing.store_error = None;
        });
        Ok(true)
    }

    fn batch(&self, epoch: Epoch, now: Timestamp) -> Batch {
        let node = NodeInfo {
            id: self.shared.lease.node().to_owned(),
            name: self.shared.node.clone(),
            started_at: self.started_at,
            seen_at: now,
            beat: 0,
        };
        let documents = vec![node.write(self.described)];
        Batch { partition: FIRST, epoch, mark: Some(now), documents, ..Batch::default() }
    }

    /// Who is told of an outage, by the records of all partitions (S6.3).
    fn notifications(&self, outage: Outage) -> Vec<Notification> {
        let mut touched = Touched::by(outage);
        self.shared.directory.for_each(|record| touched.look_at(record));
        touched.notifications(&self.shared.watcher_channels)
    }
}
