//! A driver's term of work: from taking the lease and loading what is stored to the end, or to standing by again.

use std::sync::atomic::Ordering;

use super::{Driver, PAUSE_MAX};
use crate::evaluator::Evaluator;
use crate::runtime::channels;
use crate::runtime::delivery::Deliveries;
use crate::runtime::error::StartError;
use crate::runtime::loading::Portions;
use crate::runtime::policies::{MAINTENANCE, ROUTE};
use crate::runtime::shared::Shared;
use crate::{Epoch, PartitionId, StorageError, Tenure};

/// How much of the monitors is read while loading before it is foretold from that how many there are.
const FORETELLING: f64 = 0.25;
/// How many owed notifications are read at a time while loading.
const OUTBOX_PAGE: usize = 512;

impl Driver {
    /// Takes the work over and reads what is stored: monitors, channels, owed notifications. Calls are taken from then
    /// on, and answered while [`Driver::run`] runs. Where several nodes share the storage, it waits until the work is free.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub async fn load(&mut self) -> Result<(), StartError> {
        let shared = self.shared.clone();
        loop {
            let epoch = shared.lease.take().await?;
            tokio::select! {
                loaded = self.load_under(epoch) => return Ok(loaded?),
                () = shared.lease.keep() => tracing::warn!("the lease was lost while loading"),
            }
        }
    }

    async fn load_under(&mut self, epoch: Epoch) -> Result<(), StorageError> {
        let storage = self.shared.storage.clone();
        // What an attempt before, which failed, had read.
        self.deliveries = Deliveries::new(self.shared.clone());
        self.shared.channels.forget_stored();
        self.shared.policies.clear();
        for document in storage.documents(channels::DOCUMENT_KIND).await? {
            self.shared.channels.load(&document);
        }
        for kind in [MAINTENANCE, ROUTE] {
            storage.documents(kind).await?.iter().for_each(|document| self.shared.policies.load(document));
        }
        let limits = self.shared.limits.clone();
        let mut evaluator =
            Evaluator::new(PartitionId(0), epoch, storage.watch_log().await?, limits.batch, limits.outages);
        evaluator.tell_of_outages(self.shared.watcher_channels.clone());
        self.hand_over_policies(&mut evaluator);
        self.load_monitors(&mut evaluator).await?;
        self.load_outbox().await?;
        self.forget_expired_policies();
        self.evaluator = Some(evaluator);
        self.shared.loaded.store(true, Ordering::Release);
        self.shared.inbox.open();
        Ok(())
    }

    async fn load_monitors(&self, evaluator: &mut Evaluator) -> Result<(), StorageError> {
        let Shared { storage, limits, directory, counters, terms, .. } = &*self.shared;
        directory.clear();
        counters.loaded.store(0, Ordering::Relaxed);
        let mut portions = Portions::begin(storage, terms, limits.load_page);
        let mut foretold = false;
        while let Some(portion) = portions.next().await? {
            counters.count_loaded(portion.records.len(), portion.covered);
            // Most of them is still to come, and what is foretold is no more than a few times what was read.
            if !foretold && portion.covered >= FORETELLING {
                foretold = true;
                let expected = counters.expected.load(Ordering::Relaxed);
                let expected = usize::try_from(expected + expected / 64).unwrap_or(0);
                directory.expect(expected);
                evaluator.expect(expected);
            }
            directory.load(portion.records.iter().cloned());
            for record in portion.records {
                evaluator.handle_record(record.id(), Some(record));
            }
        }
        directory.loaded();
        Ok(())
    }

    /// Works until the engine is shut down. When another node takes its work over, it stands by where several nodes share the
    /// storage, and else ends.
    pub async fn run(mut self) {
        let shared = self.shared.clone();
        loop {
            if self.evaluator.is_none() && !self.load_again().await {
                return;
            }
            let Some(mut evaluator) = self.evaluator.take() else { return };
            let worked = tokio::select! {
                worked = self.work(&mut evaluator) => worked,
                () = shared.lease.keep() => Err(()),
            };
            match (worked, shared.lease.tenure) {
                (Ok(()), _) => {
                    self.stop(&mut evaluator).await;
                    return shared.lease.resign().await;
                }
                // Another node has the work; whatever is owed is told by that one.
                (Err(()), Tenure::Exclusive) => return shared.inbox.close(),
                (Err(()), Tenure::Shared { .. }) => self.step_down(),
            }
        }
    }

    /// Loads, again where that fails and the storage is shared; says whether it did.
    async fn load_again(&mut self) -> bool {
        let shared = self.shared.clone();
        loop {
            let loaded = tokio::select! {
                loaded = self.load() => loaded,
                () = closed(&shared) => return false,
            };
            let Err(error) = loaded else { return true };
            tracing::error!(%error, "the engine could not load what is stored");
            shared.counters.report(|standing| standing.store_error = Some(error.to_string()));
            if shared.lease.tenure == Tenure::Exclusive {
                return false;
            }
            tokio::time::sleep(PAUSE_MAX).await;
        }
    }

    /// Forgets what another node may have changed since, and answers no calls until the work is taken again.
    fn step_down(&mut self) {
        tracing::warn!("the lease is lost: standing by until the work is free again");
        let shared = self.shared.clone();
        shared.lease.fenced();
        shared.loaded.store(false, Ordering::Release);
        shared.inbox.suspend();
        self.waiting.give_up("the node lost its lease meanwhile");
        self.deliveries = Deliveries::new(shared);
        (self.aside, self.failed, self.generation) = Default::default();
    }

    async fn load_outbox(&mut self) -> Result<(), StorageError> {
        let mut after = 0;
        loop {
            let page = self.shared.storage.outbox(after, OUTBOX_PAGE).await?;
            for entry in page.items {
                after = entry.seq;
                self.deliveries.hand_over(entry.into());
            }
            if !page.more {
                self.deliveries.loaded();
                return Ok(());
            }
        }
    }
}

/// Waits until the engine is shut down.
async fn closed(shared: &Shared) {
    while !shared.inbox.is_closed() {
        shared.inbox.filled().await;
    }
}
