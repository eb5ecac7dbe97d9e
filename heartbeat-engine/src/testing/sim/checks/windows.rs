//! Maintenance windows (S5.3).

use std::time::Duration;

use super::{Checker, Coverage, Seen, Verdict, View, fault, shares};
use crate::testing::sim::coverage::Deed;
use crate::testing::sim::policies::spans;
use crate::{Effect, Record, Timestamp};

/// Everybody has heard of what has not changed for so long, and nothing is under way that was decided before.
const HEARD_WITHIN: Duration = Duration::from_secs(120);

/// The window that covers the monitor at this instant.
pub(super) fn window_at(view: &View<'_>, record: &Record, at: Timestamp) -> Option<(Timestamp, Timestamp)> {
    let covering = view.policies.windows.iter().filter(|window| window.covers(record));
    let instant = at + Duration::from_millis(1);
    covering.flat_map(|window| spans(&window.spec, at, instant)).find(|span| span.0 <= at && at < span.1)
}

pub(super) struct NothingInWindow;

impl Checker for NothingInWindow {
    fn promise(&self) -> &'static str {
        "S5.3 nothing goes down in a maintenance window"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, coverage: &mut Coverage) -> Verdict {
        if !view.policies_known_for(HEARD_WITHIN) {
            return Ok(());
        }
        for share in shares(seen) {
            let Some(after) = share
                .after
                .filter(|after| share.before.is_none_or(|before| before.monitor.revision == after.monitor.revision))
            else {
                continue;
            };
            let counts = |ping: &&crate::PingEntry| ping.effect == Effect::Counted;
            if share.transition.pings.iter().filter(counts).any(|ping| window_at(view, after, ping.at).is_some()) {
                coverage.note(Deed::InWindow);
            }
            for incident in share.opened() {
                if let Some((from, to)) = window_at(view, after, incident.opened_at) {
                    let text = format!("{} at {}, in the window", incident.detail, incident.opened_at);
                    return fault(share.monitor, format!("{text} from {from} to {to}"));
                }
            }
            let reminded =
                share.transition.notifications.iter().filter(|told| told.kind == crate::NotificationKind::Reminder);
            for told in reminded {
                if let Some((from, to)) = window_at(view, after, told.created_at) {
                    let text = format!("people are reminded at {}, in the window", told.created_at);
                    return fault(share.monitor, format!("{text} from {from} to {to}"));
                }
            }
        }
        Ok(())
    }
}
