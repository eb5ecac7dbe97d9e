//! What must go out one after another (S7.3).

use crate::{MonitorId, Notification, NotificationId};

/// Messages of one lane go out one after another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Lane {
    /// Those of one monitor.
    Monitor(MonitorId),
    /// Those of no monitor.
    Common,
    /// A digest, which heeds the lanes of what it covers.
    Digest(NotificationId),
}

impl Lane {
    pub(super) fn of(notification: &Notification) -> Self {
        match notification.digest {
            Some(_) => Self::Digest(notification.id),
            None => Self::of_monitor(notification.monitor.as_ref().map(|monitor| monitor.id)),
        }
    }

    pub(super) fn of_monitor(monitor: Option<MonitorId>) -> Self {
        monitor.map_or(Self::Common, Self::Monitor)
    }
}
