//! What others wrote to a store that several processes share.

use std::sync::Arc;

use crate::{Health, Monitor, MonitorId, NotificationId, StateChange, Version};

/// What was written through other handles to a store, see [`crate::Storage::news`].
#[derive(Clone, PartialEq, Debug, Default)]
pub struct News {
    /// Where the next reading begins; its form is the storage's own.
    pub position: String,
    /// Monitors that were written, each commit of one in the order of commits.
    pub monitors: Vec<MonitorNews>,
    /// Changes of state, those of a monitor in their order.
    pub changes: Vec<StateChange>,
    /// Notifications that came to be owed, or are to be tried again.
    pub owed: Vec<NotificationId>,
    /// The kinds of documents that were written, each once.
    pub documents: Vec<String>,
    /// The reading before was so long ago that some of what was written since is not known any more, or the store lost what it
    /// had told, or never gave that position. Whoever needs to know has to read what is stored anew, from this position on.
    pub missed: bool,
    /// Whether there is more behind the position already.
    pub more: bool,
}

/// The form that a commit gave a monitor.
#[derive(Clone, PartialEq, Debug)]
pub struct MonitorNews {
    /// The monitor.
    pub monitor: MonitorId,
    /// The version of the record; of one that was removed, the last that it had.
    pub version: Version,
    /// `None` when it was removed.
    pub form: Option<MonitorForm>,
}

/// How a monitor is after a commit.
#[derive(Clone, PartialEq, Debug)]
pub struct MonitorForm {
    /// [`Monitor::revision`] of its wish.
    pub revision: Version,
    /// The wish itself, at least where the commit changed it.
    pub monitor: Option<Arc<Monitor>>,
    /// Its state.
    pub health: Health,
}
