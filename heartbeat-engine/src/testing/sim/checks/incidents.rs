//! Incidents (S8.4), and what belongs to them in one step (S7.2, S7.6).

use std::collections::BTreeSet;

use super::{Checker, Coverage, Seen, Share, Verdict, View, fault, shares};
use crate::{Closing, Incident, NotificationKind, State, Timestamp};

pub(super) struct OneIncident;

impl Checker for OneIncident {
    fn promise(&self) -> &'static str {
        "S8.4 one incident per outage of a job"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        shares(seen).filter(|share| !share.transition.changes.is_empty() || share.after.is_none()).try_for_each(
            |share| {
                let mut all = view.store.incidents_of(view.partition(share.monitor), share.transition.monitor);
                // Several may open and close at one instant.
                all.sort_by_key(|incident| (incident.opened_at, incident.closed_at.unwrap_or(Timestamp::MAX)));
                let open: Vec<_> = all.iter().filter(|incident| incident.is_open()).collect();
                let known = share.after.and_then(|record| record.health.incident.as_ref());
                let is_down = share.after.is_some_and(|record| record.health.state == State::Down);
                if open.len() != usize::from(is_down) || known.map(|known| known.id) != open.first().map(|open| open.id)
                {
                    let text = format!("an incident is open exactly while it is down ({is_down}): {open:?}");
                    return fault(share.monitor, text);
                }
                for incident in &all {
                    if incident.closed_at.is_some_and(|closed| closed < incident.opened_at) {
                        return fault(share.monitor, format!("it closes before it opens: {incident:?}"));
                    }
                }
                for pair in all.windows(2) {
                    if !view.steps() && pair[0].closed_at.is_none_or(|closed| closed > pair[1].opened_at) {
                        return fault(share.monitor, format!("incidents overlap: {:?} and {:?}", pair[0], pair[1]));
                    }
                }
                Ok(())
            },
        )
    }
}

pub(super) struct OneStep;

impl Checker for OneStep {
    fn promise(&self) -> &'static str {
        "S7.2 a change, its ping, its incident and its messages are stored in one step"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        for share in shares(seen) {
            for incident in &share.transition.incidents {
                told(&share, incident, view)?;
            }
            let Some(after) = share.after else { continue };
            let earlier = share.before.map_or(0, |before| before.health.ping_count);
            if after.health.ping_count != earlier + share.transition.pings.len() as u64 {
                let text = format!("{earlier} heartbeats and {} more", share.transition.pings.len());
                return fault(share.monitor, format!("{text} are {}", after.health.ping_count));
            }
            let stored = view.store.record(view.partition(share.monitor), share.transition.monitor);
            if stored != Some(after) {
                return fault(share.monitor, "the record is not what was written");
            }
        }
        Ok(())
    }
}

/// Every channel that is to be told of the incident is owed exactly one message for its beginning, and one for its end.
fn told(share: &Share<'_>, incident: &Incident, view: &View<'_>) -> Verdict {
    let about = |kind: NotificationKind, channel: &str| {
        let entries = view.store.notifications(view.partition(share.monitor));
        let same = |entry: &&crate::OutboxEntry| {
            let notification = &entry.notification;
            let about = notification.incident.as_ref().map(|about| about.id);
            notification.kind == kind && notification.channel == channel && about == Some(incident.id)
        };
        entries.filter(same).count()
    };
    let end = match incident.closing {
        None => None,
        Some(Closing::Recovered) => Some(NotificationKind::Recovered),
        Some(Closing::Paused | Closing::Removed) => Some(NotificationKind::Closed),
    };
    for channel in &incident.told {
        for kind in [Some(NotificationKind::Down), end].into_iter().flatten() {
            let mut count = about(kind, channel);
            if kind == NotificationKind::Down && count == 0 {
                // Others hear of it when it escalates, or when the monitor settles while it is down.
                let others = [NotificationKind::Escalated, NotificationKind::Settled];
                count = usize::from(others.into_iter().any(|kind| about(kind, channel) > 0));
            }
            if count != 1 {
                let text = format!("{channel} is owed {count} messages `{kind}` about incident {}", incident.id);
                return fault(share.monitor, text);
            }
        }
    }
    Ok(())
}

pub(super) struct ToldToTheSame;

impl Checker for ToldToTheSame {
    fn promise(&self) -> &'static str {
        "S7.6 a recovery is told to those who were told of the going down, and to nobody else"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        for share in shares(seen) {
            // Who heard that it flaps hears of the end of that.
            if share.before.is_some_and(|before| before.health.flaps.flapping.is_some()) {
                continue;
            }
            for incident in share.transition.incidents.iter().filter(|incident| !incident.is_open()) {
                let of = |wanted: &[NotificationKind]| -> BTreeSet<String> {
                    let entries = view.store.notifications(view.partition(share.monitor));
                    entries
                        .map(|entry| &entry.notification)
                        .filter(|told| wanted.contains(&told.kind))
                        .filter(|told| told.incident.as_ref().is_some_and(|about| about.id == incident.id))
                        .map(|told| told.channel.clone())
                        .collect()
                };
                let down = of(&[NotificationKind::Down, NotificationKind::Escalated, NotificationKind::Settled]);
                let up = of(&[NotificationKind::Recovered, NotificationKind::Closed]);
                if down != up {
                    return fault(share.monitor, format!("told of the going down: {down:?}, of its end: {up:?}"));
                }
            }
        }
        Ok(())
    }
}
