//! Keeps the lease of the engine's partition: takes it when it is free, and renews it beside everything else.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Claim, Clock, Epoch, LeaseStep, PartitionId, Storage, StorageError, Tenure};

/// How long it sleeps at most, so that a lease is seen to lapse although the clock jumped.
const SLEEP_MAX: Duration = Duration::from_secs(1);

/// One node's claim, which its keeper works on and everybody may ask.
pub(crate) struct LeaseKeeper {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    claim: Mutex<Claim>,
    pub(crate) tenure: Tenure,
}

impl LeaseKeeper {
    pub(crate) fn new(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>, node: &str, tenure: Tenure) -> Self {
        let claim = Mutex::new(Claim::new(PartitionId(0), node, tenure));
        Self { storage, clock, claim, tenure }
    }

    /// The epoch under which the node may work now; `None` when it must not.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.claim().epoch(self.clock.monotonic())
    }

    /// The other node that holds the lease, as far as is known.
    pub(crate) fn other_holder(&self) -> Option<String> {
        let claim = self.claim();
        if claim.epoch(self.clock.monotonic()).is_some() { None } else { claim.holder().map(str::to_owned) }
    }

    /// Somebody else holds the lease: a write was fenced.
    pub(crate) fn fenced(&self) {
        self.claim().handle_fenced(self.clock.monotonic());
    }

    /// Waits until the lease is held. Only one caller at a time may do this or [`LeaseKeeper::keep`].
    ///
    /// # Errors
    /// When the storage cannot be asked, and the lease cannot be shared: whoever shares it tries on.
    pub(crate) async fn take(&self) -> Result<Epoch, StorageError> {
        loop {
            if let Some(epoch) = self.epoch() {
                return Ok(epoch);
            }
            let done = self.step().await;
            match (done, self.tenure) {
                (Some(Err(error)), Tenure::Exclusive) => return Err(error),
                (Some(Err(error)), Tenure::Shared { .. }) => {
                    tracing::warn!(%error, "the lease could not be looked at or taken; it is tried again");
                    self.sleep().await;
                }
                (Some(Ok(())), _) => {}
                (None, _) => self.sleep().await,
            }
        }
    }

    /// Renews the lease as long as it is polled, and as long as it is held; one that is exclusive lasts without.
    pub(crate) async fn keep(&self) {
        if self.tenure == Tenure::Exclusive {
            return std::future::pending().await;
        }
        while self.epoch().is_some() {
            if let Some(Err(error)) = self.step().await {
                tracing::warn!(%error, "the lease could not be renewed; it is tried again");
            }
            self.sleep().await;
        }
    }

    /// Gives the lease up, so that another node may take it at once.
    pub(crate) async fn resign(&self) {
        if self.tenure == Tenure::Exclusive {
            return;
        }
        self.claim().resign();
        // What fails is no loss: the lease lapses.
        let _ = self.step().await;
    }

    /// Does what the claim asks for, and says how that went; `None` when nothing is to be done now.
    async fn step(&self) -> Option<Result<(), StorageError>> {
        let step = self.claim().poll(self.clock.now(), self.clock.monotonic())?;
        let result = match step {
            LeaseStep::Read => {
                let leases = self.storage.leases().await;
                let monotonic = self.clock.monotonic();
                leases.map_or_else(
                    |error| {
                        self.claim().handle_unread(monotonic);
                        Err(error)
                    },
                    |leases| {
                        let found = leases.into_iter().find(|lease| lease.partition == PartitionId(0));
                        self.claim().handle_found(found, monotonic);
                        Ok(())
                    },
                )
            }
            LeaseStep::Swap { expected, next } => {
                let swapped = self.storage.swap_lease(&expected, &next).await;
                self.claim().handle_swapped(&swapped, self.clock.monotonic());
                swapped.map(drop)
            }
        };
        Some(result)
    }

    async fn sleep(&self) {
        let until = self.claim().poll_wake();
        let pause = until.saturating_sub(self.clock.monotonic()).clamp(Duration::from_millis(1), SLEEP_MAX);
        tokio::time::sleep(pause).await;
    }

    // The claim is whole after every call, so a panicking caller leaves nothing half done.
    fn claim(&self) -> MutexGuard<'_, Claim> {
        self.claim.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for LeaseKeeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseKeeper").field("claim", &*self.claim()).finish_non_exhaustive()
    }
}
