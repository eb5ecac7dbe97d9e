//! Deliveries: everything owed, nothing else, in order, and no channel waits for another.

use std::collections::HashMap;
use std::time::Duration;

use super::{Checker, Coverage, Fault, Seen, Verdict, View};
use crate::testing::sim::coverage::Deed;
use crate::testing::sim::plan::Plan;
use crate::testing::sim::receiver::FarEnd;
use crate::{DeliveryState, NotificationId, NotificationKind, OutboxEntry, Outcome, PartitionId, Timestamp};

fn about(entry: &OutboxEntry) -> Option<usize> {
    entry.notification.monitor.as_ref().map(|monitor| Plan::index_of(monitor.id))
}

fn channel(entry: &OutboxEntry, view: &View<'_>) -> Option<usize> {
    view.plan.channels.iter().position(|name| *name == entry.notification.channel)
}

/// Whether the far end has it, or said that it never takes it.
fn is_over(entry: &OutboxEntry, view: &View<'_>) -> bool {
    let id = entry.notification.id;
    let Some(channel) = channel(entry, view) else { return false };
    view.far_ends[channel].taken.contains_key(&id) || view.far_ends[channel].refused.contains_key(&id)
}

/// Whether it has been tried for so long that it is given up: a day, by a wall clock that may have been set.
fn is_given_up(entry: &OutboxEntry, view: &View<'_>) -> bool {
    let day = Duration::from_secs(24 * 3600) - view.skew();
    view.now.since(entry.notification.created_at) >= day || (view.steps() && entry.delivery.attempts >= 8)
}

pub(super) struct NothingUnstored;

impl Checker for NothingUnstored {
    fn promise(&self) -> &'static str {
        "S7.2 nothing is delivered that is not stored"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, coverage: &mut Coverage) -> Verdict {
        let Seen::Arrived { partition, channel, id, took } = seen else { return Ok(()) };
        let Some(entry) = view.store.notification(*partition, *id) else {
            return Err(Fault(None, format!("{} got {id}, which is not stored", view.plan.channels[*channel])));
        };
        if *took {
            let again = view.far_ends[*channel].taken.get(id).is_some_and(|times| *times > 1);
            coverage.note(if again { Deed::DeliveredAgain } else { Deed::Delivered });
            if entry.notification.kind == NotificationKind::Digest {
                coverage.note(Deed::Digest);
            }
        }
        Ok(())
    }
}

pub(super) struct InOrder;

impl Checker for InOrder {
    fn promise(&self) -> &'static str {
        "S7.3 messages of a monitor go out in order"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        let Seen::Arrived { partition, channel, id, .. } = seen else { return Ok(()) };
        let Some(entry) = view.store.notification(*partition, *id) else { return Ok(()) };
        let first = view.far_ends[*channel].taken.get(id).is_none_or(|times| *times <= 1);
        let Some(monitor) = entry.notification.monitor.as_ref().filter(|_| first) else { return Ok(()) };
        let same = |other: &&OutboxEntry| {
            other.seq < entry.seq
                && other.notification.channel == entry.notification.channel
                && other.notification.monitor.as_ref().is_some_and(|about| about.id == monitor.id)
        };
        let overtaken = view.store.notifications(*partition).filter(same).find(|other| {
            match other.delivery.state {
                DeliveryState::Pending => !is_over(other, view) && !is_given_up(other, view),
                // It may have gone out by itself, and been grouped by the next holder, who could not know.
                DeliveryState::Grouped => !is_over(other, view) && !covered(other, *partition, view),
                DeliveryState::Delivered | DeliveryState::Dead => false,
            }
        });
        match overtaken {
            Some(other) => {
                let (kind, earlier) = (entry.notification.kind, other.notification.kind);
                let text = format!("`{kind}` (seq {}) went out before `{earlier}` (seq {})", entry.seq, other.seq);
                Err(Fault(about(entry), format!("{}: {text}", entry.notification.channel)))
            }
            None => Ok(()),
        }
    }
}

/// Whether a digest that covers it went out.
fn covered(entry: &OutboxEntry, partition: PartitionId, view: &View<'_>) -> bool {
    let id = entry.notification.id;
    let covers = |other: &&OutboxEntry| {
        let digest = other.notification.digest.as_ref();
        digest.is_some_and(|digest| digest.covers.iter().any(|(covered, _)| *covered == id))
    };
    let settled = |other: &OutboxEntry| other.delivery.state != DeliveryState::Pending || is_over(other, view);
    view.store.notifications(partition).filter(covers).any(settled)
}

pub(super) struct DeliveredOrDead;

impl Checker for DeliveredOrDead {
    fn promise(&self) -> &'static str {
        "S7.3 everything owed is delivered, or dead and shown"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        let ends = matches!(seen, Seen::End);
        if !(ends || matches!(seen, Seen::LookOver)) {
            return Ok(());
        }
        for partition in view.states() {
            for entry in view.store.notifications(partition) {
                let Some(channel) = channel(entry, view) else { continue };
                let id = entry.notification.id;
                let old = view.now.since(entry.notification.created_at) > Duration::from_secs(900);
                let wrong = match entry.delivery.state {
                    DeliveryState::Delivered => {
                        let by_digest = || covered(entry, partition, view);
                        !view.far_ends[channel].taken.contains_key(&id) && !by_digest()
                    }
                    DeliveryState::Dead => {
                        !view.far_ends[channel].refused.contains_key(&id)
                            && !is_given_up(entry, view)
                            && !covered(entry, partition, view)
                    }
                    DeliveryState::Grouped => ends && old && !covered(entry, partition, view),
                    // A batch that arrives again, late, may bring an earlier outcome back.
                    DeliveryState::Pending => ends && old && !(view.plan.late_repeats && is_over(entry, view)),
                };
                if wrong {
                    let text = format!("`{}` to {}", entry.notification.kind, entry.notification.channel);
                    let stands = format!("{:?} after {} attempts", entry.delivery.state, entry.delivery.attempts);
                    return Err(Fault(about(entry), format!("{text} (seq {}) is {stands}", entry.seq)));
                }
            }
        }
        Ok(())
    }
}

/// When a message to the steady channel came to be owed, by true time; `None` when it has arrived.
#[derive(Default)]
pub(super) struct NoDelay {
    owed: HashMap<NotificationId, Option<(PartitionId, Timestamp)>>,
    /// What arrived late since it was looked over, and when: whether its partition was watched meanwhile is seen by later marks.
    late: Vec<(NotificationId, (PartitionId, Timestamp), Timestamp)>,
}

/// A nap that is no gap yet is allowed, and what a far end takes after it.
const DELAY_MAX: Duration = Duration::from_secs(16);

impl Checker for NoDelay {
    fn promise(&self) -> &'static str {
        "S7.5 one channel that hangs or fails delays no other"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        let steady = (0..view.plan.channels.len()).find(|channel| FarEnd::is_steady(*channel));
        let Some(name) = steady.map(|channel| &view.plan.channels[channel]) else { return Ok(()) };
        match seen {
            Seen::Applied { batch, applied, .. } => {
                let of_shares = batch.transitions.iter().zip(&applied.transitions);
                let written = of_shares.filter(|(_, outcome)| **outcome == Outcome::Committed);
                let owed = written.flat_map(|(transition, _)| &transition.notifications).chain(&batch.notifications);
                let shared = view.plan.is_shared();
                let home = if shared { view.plan.home_of_channel(name) } else { batch.partition };
                for notification in owed.filter(|owed| owed.channel == *name) {
                    self.owed.entry(notification.id).or_insert(Some((home, view.now)));
                }
            }
            Seen::Arrived { id, .. } => {
                let owed = self.owed.insert(*id, None).flatten();
                let late = owed.filter(|(_, at)| view.now.since(*at) > DELAY_MAX);
                self.late.extend(late.map(|owed| (*id, owed, view.now)));
            }
            Seen::LookOver => {
                let waiting = self.owed.iter().filter_map(|(id, owed)| Some((*id, (*owed)?, view.now)));
                let late = std::mem::take(&mut self.late);
                return late.into_iter().chain(waiting).try_for_each(|late| in_time(name, late, view));
            }
            _ => {}
        }
        Ok(())
    }
}

/// Whether a message that was owed from one instant to another did not wait for too long, or its partition was not watched all
/// the time.
fn in_time(name: &str, late: (NotificationId, (PartitionId, Timestamp), Timestamp), view: &View<'_>) -> Verdict {
    let (id, (partition, from), to) = late;
    let watched = view.is_steady_for(partition, 0) && view.store.truth(partition).steady_since < from;
    let mut keepers = view.nodes.iter().filter_map(|node| node.keeper.as_deref());
    if watched && !keepers.any(|keeper| keeper.was_slow_since(from, view.now)) && to.since(from) > DELAY_MAX {
        return Err(Fault(None, format!("{name} had not got {id} by {to}, which was owed since {from}")));
    }
    Ok(())
}
