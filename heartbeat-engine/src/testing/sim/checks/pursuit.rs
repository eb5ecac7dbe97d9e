//! What follows while an incident is open: reminders (S7.7) and escalations (S7.8).

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::windows::window_at;
use super::{Checker, Coverage, Seen, Share, Verdict, View, fault, shares};
use crate::testing::sim::coverage::Deed;
use crate::{Escalation, Incident, IncidentId, Notification, NotificationKind, Timestamp};

fn of_kind<'a>(share: &'a Share<'_>, kind: NotificationKind) -> impl Iterator<Item = &'a Notification> {
    share.transition.notifications.iter().filter(move |told| told.kind == kind)
}

/// The open incident that a share leaves.
fn open<'a>(share: &'a Share<'_>) -> Option<&'a Incident> {
    share.after?.health.incident.as_deref()
}

/// Why nothing may be said of an incident beyond its beginning and its end.
fn must_rest(share: &Share<'_>, told: &Notification, acknowledged: &HashSet<IncidentId>) -> Option<String> {
    let about = told.incident.as_ref().map(|about| about.id)?;
    // It may be over in the same step, after that was due.
    let was = share.before.and_then(|before| before.health.incident.as_ref()).map(|incident| incident.id);
    let is = open(share).map(|incident| incident.id);
    if is != Some(about) {
        return Some(format!("incident {about} is over (before: {was:?}, now {is:?})"));
    }
    acknowledged.contains(&about).then(|| format!("incident {about} is acknowledged"))
}

#[derive(Default)]
pub(super) struct Reminders {
    acknowledged: HashSet<IncidentId>,
    /// The last reminder: its multiple, and of which length.
    last: HashMap<(IncidentId, String), (u128, Duration)>,
}

impl Checker for Reminders {
    fn promise(&self) -> &'static str {
        "S7.7 people are reminded while it is open and nobody has acknowledged, once for each time"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, coverage: &mut Coverage) -> Verdict {
        for share in shares(seen) {
            let every = share.after.and_then(|after| after.spec().remind_every);
            let mut here = HashSet::new();
            for told in of_kind(&share, NotificationKind::Reminder) {
                coverage.note(Deed::Reminder);
                if let Some(text) = must_rest(&share, told, &self.acknowledged) {
                    return fault(share.monitor, format!("people are reminded, and {text}"));
                }
                let (Some(every), Some(about)) = (every, &told.incident) else {
                    return fault(share.monitor, "people are reminded, and nobody asked for that");
                };
                if !here.insert(&told.channel) {
                    return fault(share.monitor, format!("{} is reminded twice at once", told.channel));
                }
                if view.steps() {
                    continue;
                }
                let times = told.created_at.since(about.opened_at).as_millis() / every.as_millis().max(1);
                let last = self.last.insert((about.id, told.channel.clone()), (times, every));
                if times == 0 || last.is_some_and(|(before, length)| length == every && before >= times) {
                    return fault(share.monitor, format!("{} is reminded, times {times} after {last:?}", told.channel));
                }
            }
            for incident in &share.transition.incidents {
                if incident.acknowledged.is_some() {
                    self.acknowledged.insert(incident.id);
                } else if self.acknowledged.contains(&incident.id) {
                    return fault(share.monitor, format!("an acknowledgement is gone: {incident:?}"));
                }
            }
        }
        if !matches!(seen, Seen::LookOver | Seen::End) || view.steps() {
            return Ok(());
        }
        (0..view.jobs.len()).try_for_each(|monitor| none_is_left_out(monitor, view))
    }
}

/// The next reminder is planned, and is not overdue.
fn none_is_left_out(monitor: usize, view: &View<'_>) -> Verdict {
    let Some(record) = view.record(monitor).filter(|_| view.is_steady_for(view.partition(monitor), 150)) else {
        return Ok(());
    };
    let (Some(every), Some(incident)) = (record.spec().remind_every, &record.health.incident) else { return Ok(()) };
    if !record.health.is_pursued() || incident.told.is_empty() {
        return Ok(());
    }
    let slack = Duration::from_secs(90) + view.skew();
    match record.health.pursuit.remind_at {
        Some(at) if at <= view.now + every + slack && (at + slack >= view.now || is_in_window(view, monitor)) => Ok(()),
        other => fault(monitor, format!("the next reminder of every {every:?} is {other:?}: {incident:?}")),
    }
}

/// Parents or windows may have held something back a moment ago.
fn is_in_window(view: &View<'_>, monitor: usize) -> bool {
    let margin = Duration::from_secs(100) + view.skew();
    let known = view.policies_known_for(Duration::from_secs(150));
    let held = |record: &crate::Record| {
        !record.spec().depends_on.is_empty()
            || !known
            || [view.now - margin, view.now, view.now - view.skew()]
                .into_iter()
                .any(|at| window_at(view, record, at).is_some())
    };
    view.record(monitor).is_some_and(held)
}

#[derive(Default)]
pub(super) struct Escalations {
    acknowledged: HashSet<IncidentId>,
}

impl Checker for Escalations {
    fn promise(&self) -> &'static str {
        "S7.8 a route that waits tells of what is open and not acknowledged, when it is due"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, coverage: &mut Coverage) -> Verdict {
        for share in shares(seen) {
            for told in of_kind(&share, NotificationKind::Escalated) {
                coverage.note(Deed::Escalation);
                if let Some(text) = must_rest(&share, told, &self.acknowledged) {
                    return fault(share.monitor, format!("it escalates, and {text}"));
                }
                let before = share.before.map(|before| &before.health.pursuit.escalations);
                let due = before.into_iter().flatten().filter(|waits| waits.channels.contains(&told.channel));
                let detected = told.incident.as_ref().map_or(Timestamp::MAX, |about| about.detected_at);
                // What one node's clock stamped is detected by another's.
                let is_due = |waits: &Escalation| detected + waits.after < told.created_at + view.skew();
                if !due.clone().any(is_due) && !view.steps() {
                    let due: Vec<_> = due.collect();
                    return fault(share.monitor, format!("it escalates at {}, and waits: {due:?}", told.created_at));
                }
            }
            let taken = share.transition.incidents.iter().filter(|incident| incident.acknowledged.is_some());
            self.acknowledged.extend(taken.map(|incident| incident.id));
        }
        Ok(())
    }
}
