//! What the engine's handles and its driver share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{broadcast, watch};

use crate::runtime::channels::Channels;
use crate::runtime::directory::Directory;
use crate::runtime::inbox::Inbox;
use crate::runtime::lease_keeper::LeaseKeeper;
use crate::runtime::limits::Limits;
use crate::runtime::metrics::Counters;
use crate::runtime::policies::Policies;
use crate::{Clock, CommonTerms, StateChange, Storage};

pub(crate) struct Shared {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) node: String,
    pub(crate) lease: LeaseKeeper,
    pub(crate) limits: Limits,
    /// Who is told about the watcher itself.
    pub(crate) watcher_channels: Vec<String>,
    pub(crate) inbox: Inbox,
    pub(crate) directory: Directory,
    pub(crate) channels: Channels,
    pub(crate) policies: Policies,
    pub(crate) terms: Arc<CommonTerms>,
    pub(crate) changes: broadcast::Sender<StateChange>,
    pub(crate) counters: Counters,
    pub(crate) loaded: AtomicBool,
    /// Becomes true when the driver has ended.
    pub(crate) stopped: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("node", &self.node).field("limits", &self.limits).finish_non_exhaustive()
    }
}
