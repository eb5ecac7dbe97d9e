//! Monitors that depend on others (S5.4).

use super::{Checker, Coverage, Seen, Share, Verdict, View, fault, shares};
use crate::testing::sim::coverage::Deed;
use crate::{MonitorId, NotificationKind, PartitionId, Record, State};

pub(super) struct HeldTellsNobody;

impl Checker for HeldTellsNobody {
    fn promise(&self) -> &'static str {
        "S5.4 who depends on a monitor that is down tells nobody"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, coverage: &mut Coverage) -> Verdict {
        let Seen::Applied { batch, before, .. } = seen else { return Ok(()) };
        for share in shares(seen) {
            for incident in share.opened() {
                let down = share.after.and_then(|after| {
                    after.spec().depends_on.iter().find(|parent| is_down(view, batch.partition, **parent, before))
                });
                let is_held = !incident.held_by.is_empty();
                let flaps = share.after.is_some_and(|after| after.health.flaps.flapping.is_some());
                if let Some(parent) = down.filter(|_| !is_held && !flaps && incident.is_open()) {
                    return fault(share.monitor, format!("{parent} is down, and it is not held back: {incident:?}"));
                }
                if is_held {
                    coverage.note(Deed::Held);
                }
            }
            let was = share.before.and_then(|before| before.health.incident.as_ref());
            let is = share.after.and_then(|after| after.health.incident.as_ref());
            let (Some(before), Some(incident)) = (was, is.filter(|is| !is.held_by.is_empty())) else {
                about_fresh(&share)?;
                continue;
            };
            let held = before.id == incident.id && !before.held_by.is_empty();
            if held && told(&share, incident.id) {
                return fault(share.monitor, format!("it is held back and tells: {incident:?}"));
            }
        }
        Ok(())
    }
}

/// An incident that begins held back tells nobody.
fn about_fresh(share: &Share<'_>) -> Verdict {
    let incident = share.after.and_then(|after| after.health.incident.as_ref());
    match incident.filter(|incident| !incident.held_by.is_empty() && incident.told.is_empty()) {
        Some(incident) if told(share, incident.id) => {
            fault(share.monitor, format!("it is held back from its beginning and tells: {incident:?}"))
        }
        _ => Ok(()),
    }
}

fn told(share: &Share<'_>, incident: crate::IncidentId) -> bool {
    let single = [NotificationKind::Down, NotificationKind::Reminder, NotificationKind::Escalated];
    let about = |told: &&crate::Notification| told.incident.as_ref().is_some_and(|about| about.id == incident);
    share.transition.notifications.iter().filter(about).any(|told| single.contains(&told.kind))
}

/// Whether it was down before a batch and is after it.
fn is_down(view: &View<'_>, partition: PartitionId, id: MonitorId, before: &[Option<Record>]) -> bool {
    let down = |record: &Record| record.health.state == State::Down;
    let in_batch = before.iter().flatten().find(|record| record.id() == id);
    in_batch.is_none_or(down) && view.store.record(partition, id).is_some_and(down)
}

pub(super) struct NothingHeldForEver;

impl Checker for NothingHeldForEver {
    fn promise(&self) -> &'static str {
        "S5.4 what was held back is told once no parent is down"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, coverage: &mut Coverage) -> Verdict {
        for share in shares(seen) {
            let (Some(before), Some(after)) = (share.before, share.after) else { continue };
            let (Some(was), Some(is)) = (&before.health.incident, &after.health.incident) else { continue };
            let released = was.id == is.id && !was.held_by.is_empty() && is.held_by.is_empty();
            if !released {
                continue;
            }
            if !before.health.pursuit.held.is_empty() {
                coverage.note(Deed::Released);
            }
            if let Some(channel) = before.health.pursuit.held.iter().find(|channel| !is.told.contains(channel)) {
                return fault(share.monitor, format!("{channel} is not told of what was held back: {is:?}"));
            }
        }
        if !matches!(seen, Seen::LookOver | Seen::End) || view.steps() {
            return Ok(());
        }
        for partition in view.partitions().filter(|partition| view.is_steady_for(*partition, 150)) {
            for record in view.store.records(partition) {
                let Some(incident) = record.health.incident.as_ref().filter(|open| !open.held_by.is_empty()) else {
                    continue;
                };
                let changed_at = |id: &MonitorId| view.store.record(partition, *id).map(|parent| &parent.health);
                let down = record.spec().depends_on.iter().filter_map(changed_at).any(|h| h.state == State::Down);
                // Nothing keeps the times of changes for long: what was up at the last look is up for a minute.
                if !down && self_heals(view, partition, record) {
                    let monitor = crate::testing::sim::plan::Plan::index_of(record.id());
                    return fault(monitor, format!("no parent is down, and it is held back: {incident:?}"));
                }
            }
        }
        Ok(())
    }
}

/// Whether its parents have been up for a minute.
fn self_heals(view: &View<'_>, partition: PartitionId, record: &Record) -> bool {
    record.spec().depends_on.iter().all(|parent| {
        let mut closed =
            view.store.incidents_of(partition, *parent).into_iter().filter_map(|incident| incident.closed_at);
        closed.all(|at| view.now.since(at) > std::time::Duration::from_secs(90) + view.skew())
    })
}
