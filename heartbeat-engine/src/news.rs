//! What others wrote to a store that several processes share.

use std::sync::Arc;

#[cfg(feature = "runtime")]
use crate::Record;
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

/// What a node makes of news about a monitor.
#[cfg(feature = "runtime")]
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Heard {
    /// It knows that, or something newer, already: a node that wrote the monitor meanwhile finds out when it writes.
    Known,
    /// The monitor is so now; `None` when it was removed.
    Now(Option<Record>),
    /// Its wish changed, and has to be read.
    Unknown,
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

#[cfg(feature = "runtime")]
impl MonitorNews {
    /// What it says to a node that knows the monitor in this form.
    pub(crate) fn told_to(self, known: Option<&Record>) -> Heard {
        let Self { version, form, .. } = self;
        let is_known = |known: &Record| known.version > version || (known.version == version && form.is_some());
        if known.is_some_and(is_known) {
            return Heard::Known;
        }
        let Some(MonitorForm { revision, monitor, health }) = form else { return Heard::Now(None) };
        let same = known.map(|known| &known.monitor).filter(|known| known.revision == revision);
        match monitor.or_else(|| same.cloned()) {
            Some(monitor) => Heard::Now(Some(Record { monitor, health, version })),
            None => Heard::Unknown,
        }
    }
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
