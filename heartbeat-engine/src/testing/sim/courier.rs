//! Deliveries of one partition's notifications: the outboxes of its channels, and attempts on their way.

use std::collections::BTreeMap;
use std::time::Duration;

use super::checks::Seen;
use super::coverage::Deed;
use super::mutant::Mutant;
use super::plan::Plan;
use super::receiver::{FarEnd, Said};
use super::world::{Event, Life, World};
use crate::outbox::{Due, Outbox, OutboxLimits, OutboxSettings, OutboxWrite, Owed, Verdict};
use crate::{
    Batch, DeliveryError, Epoch, Grouping, MonitorId, Notification, NotificationId, PartitionId, Receipt, Timestamp,
};

const PAGE: usize = 16;
/// How long an attempt may take.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Courier {
    outboxes: Vec<Outbox>,
    /// What is to be written for a channel, and was not yet.
    writes: BTreeMap<usize, OutboxWrite>,
    hanging: usize,
}

/// An attempt on its way to the far end, or its outcome on the way back.
pub(super) struct Try {
    pub(super) life: Life,
    pub(super) partition: u16,
    pub(super) epoch: Epoch,
    pub(super) channel: usize,
    pub(super) due: Due,
    /// The id that the far end is shown.
    pub(super) shown: NotificationId,
    pub(super) outcome: Option<Result<Receipt, DeliveryError>>,
    pub(super) hung: bool,
}

impl Courier {
    pub(super) fn new(plan: &Plan) -> Self {
        let outbox = |(n, channel): (usize, &String)| {
            // The first channel is the one that tells of nothing but itself.
            let told = plan.watcher_channels.iter().filter(|told| *told != channel).cloned().collect();
            let steady = FarEnd::is_steady(n);
            let wait = if steady { Duration::ZERO } else { Duration::from_secs(10) };
            let grouping = Grouping { burst: 2, wait };
            let limits = OutboxLimits { queue: if steady { 1000 } else { 6 }, held: 8, parallel: 4 };
            Outbox::new(channel.as_str(), OutboxSettings { grouping, told }, limits)
        };
        let outboxes = plan.channels.iter().enumerate().map(outbox).collect();
        Self { outboxes, writes: BTreeMap::new(), hanging: 0 }
    }

    pub(super) fn loaded(&mut self) {
        self.outboxes.iter_mut().for_each(Outbox::handle_loaded);
    }

    pub(super) fn hand_over(&mut self, channel: usize, owed: Owed) {
        self.outboxes[channel].handle_owed(owed);
    }

    /// Puts what is to be written into a batch.
    pub(super) fn join(&self, batch: &mut Batch) {
        for write in self.writes.values() {
            batch.settlements.extend(write.settlements.iter().cloned());
            batch.notifications.extend(write.notifications.iter().cloned());
        }
    }

    pub(super) fn has_writes(&self) -> bool {
        !self.writes.is_empty()
    }

    /// What was written: the notifications of it are to be handed over.
    pub(super) fn written(&mut self) -> Vec<Notification> {
        let mut owed = Vec::new();
        for (channel, write) in std::mem::take(&mut self.writes) {
            owed.extend(write.notifications);
            self.outboxes[channel].handle_written(write.number);
        }
        owed
    }

    pub(super) fn wake(&self, now: Timestamp) -> Timestamp {
        self.outboxes.iter().map(|outbox| outbox.poll_wake(now)).min().unwrap_or(Timestamp::MAX)
    }
}

impl World {
    pub(super) fn channel(&self, name: &str) -> Option<usize> {
        self.plan.channels.iter().position(|channel| channel == name)
    }

    /// Hands a committed notification to its channel.
    pub(super) fn hand_over(&mut self, node: usize, partition: u16, mut owed: Owed) {
        let Some(channel) = self.channel(&owed.notification.channel) else { return };
        if self.is_mutant(Mutant::OrderIgnored)
            && let Some(monitor) = &mut owed.notification.monitor
        {
            monitor.id = MonitorId::from_bytes(*owed.notification.id.as_bytes());
        }
        if let Some(service) = self.nodes[node].service(partition) {
            service.courier.hand_over(channel, owed);
        }
    }

    /// Begins the attempts that are due, and collects what is to be written.
    pub(super) fn deliver(&mut self, node: usize, partition: u16) {
        let wall = self.wall(node);
        let life = Life { node, life: self.nodes[node].life };
        let blocks = self.is_mutant(Mutant::HangBlocksAll);
        let mut tries = Vec::new();
        let refuses = self.store.refuses_until > self.now || self.nodes[node].cut_until > self.now;
        let page = |store: &super::storage::Store, after| store.outbox_page(PartitionId(partition), after, PAGE);
        let Some(service) = self.nodes[node].seats[usize::from(partition)].service.as_deref_mut() else { return };
        let (epoch, busy) = (service.epoch, service.op.is_some());
        for (channel, outbox) in service.courier.outboxes.iter_mut().enumerate() {
            while !(blocks && service.courier.hanging > 0)
                && let Some(due) = outbox.poll_attempt(wall)
            {
                let shown = due.notification.id;
                tries.push(Try { life, partition, epoch, channel, due, shown, outcome: None, hung: false });
            }
            while let Some(after) = outbox.poll_page(wall) {
                if refuses {
                    outbox.handle_page_failed(wall);
                } else {
                    outbox.handle_page(page(&self.store, after));
                }
            }
            // A write that is under way must stay what it was.
            while !busy && let Some(write) = outbox.poll_write() {
                match service.courier.writes.entry(channel) {
                    std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(write)),
                    std::collections::btree_map::Entry::Occupied(earlier) => earlier.into_mut().absorb(write),
                }
            }
        }
        for mut attempt in tries {
            self.note(Deed::Attempt);
            if self.is_mutant(Mutant::NewIdPerAttempt) {
                let number = self.number();
                attempt.shown = NotificationId::named(&[&number.to_be_bytes()]);
            }
            if self.far_ends[attempt.channel].hangs() {
                attempt.hung = true;
                if let Some(service) = self.nodes[node].service(partition) {
                    service.courier.hanging += 1;
                }
            }
            let latency = self.far_ends[attempt.channel].latency(&mut self.rng);
            self.after(latency, Event::Delivers(Box::new(attempt)));
        }
    }

    /// An attempt reaches the far end.
    pub(super) fn delivers(&mut self, mut attempt: Try) {
        let said = self.far_ends[attempt.channel].receives(attempt.shown, &mut self.rng);
        let took = matches!(said, Said::Took | Said::TookAndLied(_));
        let (pause, outcome) = match said {
            Said::Took => (Duration::from_millis(5), Ok(Receipt::default())),
            Said::TookAndLied(error) => {
                self.note(Deed::AttemptLied);
                (Duration::from_millis(50), Err(error))
            }
            Said::Failed(error) => {
                self.note(Deed::AttemptFailed);
                (Duration::from_millis(20), Err(error))
            }
            Said::Nothing => {
                self.note(Deed::AttemptHung);
                (ATTEMPT_TIMEOUT, Err(DeliveryError::unknown("no answer")))
            }
        };
        let text = format!("{} ({}): {outcome:?}", attempt.due.notification.kind, self.plan.channels[attempt.channel]);
        let about = attempt.due.notification.monitor.as_ref().map(|monitor| Plan::index_of(monitor.id));
        self.tell(super::story::About { monitor: about, node: Some(attempt.life.node) }, || format!("delivers {text}"));
        self.see(&Seen::Arrived {
            partition: PartitionId(attempt.partition),
            channel: attempt.channel,
            id: attempt.shown,
            took,
        });
        attempt.outcome = Some(outcome);
        self.after(pause, Event::Tried(Box::new(attempt)));
    }

    /// An attempt's outcome reaches the node.
    pub(super) fn tried(&mut self, attempt: Try) {
        if !self.lives(attempt.life) {
            return;
        }
        let wall = self.wall(attempt.life.node);
        let jitter = self.rng.unit();
        let mut outcome = attempt.outcome.unwrap_or_else(|| Err(DeliveryError::unknown("no answer")));
        if self.is_mutant(Mutant::SettleFailed) && outcome.is_err() {
            outcome = Ok(Receipt::default());
        }
        let Some(service) = self.nodes[attempt.life.node].service(attempt.partition) else { return };
        if service.epoch != attempt.epoch {
            return;
        }
        if attempt.hung {
            service.courier.hanging -= 1;
        }
        let outbox = &mut service.courier.outboxes[attempt.channel];
        if let Some(Verdict::Dead(_)) = outbox.handle_outcome(attempt.due.notification.id, &outcome, wall, jitter) {
            self.note(Deed::Dead);
        }
        self.look_at(attempt.life.node, attempt.partition);
    }
}
