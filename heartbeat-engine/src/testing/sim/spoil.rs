//! What a node with a known bug makes of its batches and messages.

use std::sync::Arc;

use super::mutant::Mutant;
use super::node::Reply;
use super::world::World;
use crate::outbox::Owed;
use crate::routing::Subject;
use crate::{
    Batch, Change, Effect, Incident, IncidentId, Notification, NotificationId, NotificationKind, State, Transition,
    Version,
};

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
            Some(mutant) if mutant.spoils_incidents() => {
                batch.transitions.iter_mut().for_each(|transition| spoil_incident(mutant, transition));
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
            let record = Arc::make_mut(record);
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

impl Mutant {
    const fn spoils_incidents(self) -> bool {
        matches!(
            self,
            Self::HeldTold
                | Self::HeldForEver
                | Self::ReminderAfterAcknowledgement
                | Self::ReminderTwice
                | Self::ReminderDropped
                | Self::EscalationAfterRecovery
                | Self::EscalationAtOnce
                | Self::SettledUntold
                | Self::FlappingTold
        )
    }
}

/// What a node with a known bug makes of what it says about an incident.
fn spoil_incident(mutant: Mutant, transition: &mut Transition) {
    let Change::Put(record) = &mut transition.change else { return };
    let record = Arc::make_mut(record);
    let recovered = transition.notifications.iter().find(|told| told.kind == NotificationKind::Recovered).cloned();
    let reminder = transition.notifications.iter().find(|told| told.kind == NotificationKind::Reminder).cloned();
    let down = transition.notifications.iter().find(|told| told.kind == NotificationKind::Down).cloned();
    let incident = record.health.incident.as_deref().cloned();
    let mut tell = |kind, incident: &Incident| {
        let channel = record.spec().channels.first().cloned().unwrap_or_default();
        let about = Subject { monitor: &record.monitor, state: State::Down, version: record.version, ordinal: 1000 };
        let now = incident.detected_at;
        transition.notifications.push(about.notification(kind, &channel, now, "a bug", Some(incident), None));
    };
    match (mutant, incident) {
        (Mutant::HeldTold, Some(open)) if !open.held_by.is_empty() => tell(NotificationKind::Down, &open),
        (Mutant::ReminderAfterAcknowledgement, Some(open)) if open.acknowledged.is_some() => {
            tell(NotificationKind::Reminder, &open);
        }
        (Mutant::EscalationAtOnce, Some(open)) if !record.health.pursuit.escalations.is_empty() && down.is_some() => {
            tell(NotificationKind::Escalated, &open);
        }
        (Mutant::FlappingTold, Some(open)) if record.health.flaps.flapping.is_some() => {
            tell(NotificationKind::Down, &open);
        }
        (Mutant::HeldForEver, Some(open)) if open.held_by.is_empty() && is_released(&transition.changes) => {
            let held = vec!["m0".to_owned()];
            let told = Vec::new();
            let open = Incident { held_by: held, told, ..open };
            transition.incidents.retain(|incident| incident.id != open.id);
            transition.incidents.push(open.clone());
            record.health.incident = Some(Box::new(open));
        }
        (Mutant::ReminderTwice, _) => {
            transition.notifications.extend(reminder.map(|told| {
                let id = NotificationId::named(&[told.id.as_bytes(), b"again"]);
                Notification { id, ..told }
            }));
        }
        (Mutant::ReminderDropped, _) => record.health.pursuit.remind_at = None,
        (Mutant::EscalationAfterRecovery, _) => {
            transition.notifications.extend(recovered.map(|told| {
                let id = NotificationId::named(&[told.id.as_bytes(), b"escalated"]);
                Notification { id, kind: NotificationKind::Escalated, ..told }
            }));
        }
        (Mutant::SettledUntold, _) => {
            transition.notifications.retain(|told| told.kind != NotificationKind::Settled);
        }
        _ => {}
    }
}

fn is_released(changes: &[crate::StateChange]) -> bool {
    changes.iter().any(|change| change.reason.starts_with("told now"))
}
