//! What a node with a known bug makes of its batches and messages.

use super::mutant::Mutant;
use super::node::Reply;
use super::world::World;
use crate::outbox::Owed;
use crate::{Batch, Change, Effect, IncidentId, Notification, NotificationId, NotificationKind, Version};

impl World {
    pub(super) fn spoil_batch(&mut self, node: usize, partition: u16, batch: &mut Batch) {
        match self.mutant {
            Some(Mutant::ReplyBeforeDurable) => self.reply_early(node, partition, batch),
            Some(Mutant::NotifyBeforeCommit) => {
                for notification in batch.transitions.iter().flat_map(|transition| transition.notifications.clone()) {
                    self.hand_over(node, partition, Owed::fresh(notification));
                }
            }
            Some(Mutant::PullBack) => pull_back(batch),
            Some(Mutant::TwoIncidents) => {
                for transition in &mut batch.transitions {
                    let opened = transition.incidents.iter().find(|incident| incident.is_open()).cloned();
                    transition.incidents.extend(opened.map(|incident| crate::Incident {
                        id: IncidentId::derive(incident.monitor, Version(u64::MAX), 0),
                        ..incident
                    }));
                }
            }
            Some(Mutant::RecoveryUntold) => {
                for transition in &mut batch.transitions {
                    transition.notifications.retain(|notification| notification.kind != NotificationKind::Recovered);
                }
            }
            Some(Mutant::RecoveryToldToAll) => {
                let channels = self.plan.channels.clone();
                for transition in &mut batch.transitions {
                    tell_all(&mut transition.notifications, &channels);
                }
            }
            _ => {}
        }
    }

    /// Whether a node with a known bug keeps this message to itself.
    pub(super) fn is_withheld(&self, notification: &Notification) -> bool {
        self.is_mutant(Mutant::RecoveryUntold) && notification.kind == NotificationKind::Recovered
    }

    fn reply_early(&mut self, node: usize, partition: u16, batch: &Batch) {
        let marks: Vec<u64> = batch
            .transitions
            .iter()
            .flat_map(|transition| &transition.pings)
            .filter_map(|ping| ping.message.as_deref()?.parse().ok())
            .collect();
        let Some(service) = self.nodes[node].service(partition) else { return };
        let waiting: Vec<u64> = service.waiting.values().copied().collect();
        let mut early: Vec<u64> = waiting
            .into_iter()
            .filter(|call| match self.callers.get(call) {
                Some(super::world::Caller::Job(_, mark)) => marks.contains(mark),
                _ => false,
            })
            .collect();
        early.sort_unstable();
        early.into_iter().for_each(|call| self.reply(node, call, Reply::Done(None)));
    }
}

/// A heartbeat about an earlier time takes the deadline back with it.
fn pull_back(batch: &mut Batch) {
    for transition in &mut batch.transitions {
        let Some(late) = transition.pings.iter().find(|ping| ping.effect == Effect::Older) else { continue };
        if let Change::Put(record) = &mut transition.change {
            let spec = record.monitor.spec.clone();
            if let Some(awaited) = &mut record.health.expectation {
                awaited.occurrence = spec.schedule.awaited_after(late.at, spec.early);
                awaited.deadline = spec.schedule.deadline(awaited.occurrence, spec.grace);
            }
        }
    }
}

fn tell_all(notifications: &mut Vec<Notification>, channels: &[String]) {
    let Some(told) = notifications.iter().find(|told| told.kind == NotificationKind::Recovered).cloned() else {
        return;
    };
    for channel in channels {
        let is_told = |other: &Notification| other.kind == told.kind && other.channel == *channel;
        if !notifications.iter().any(is_told) {
            let id = NotificationId::named(&[told.id.as_bytes(), channel.as_bytes()]);
            notifications.push(Notification { id, channel: channel.clone(), ..told.clone() });
        }
    }
}
