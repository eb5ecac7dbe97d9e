//! Deliveries of a partition: the outboxes of its channels, and attempts on their way. Where a node has the store to itself each
//! partition delivers what it owes; several nodes have each channel delivered by the holder of the channel's partition.

use std::collections::BTreeMap;
use std::time::Duration;

use super::among::Role;
use super::checks::Seen;
use super::coverage::Deed;
use super::mutant::Mutant;
use super::plan::Plan;
use super::receiver::{FarEnd, Said};
use super::world::{Event, Life, World};
use crate::outbox::{Due, Outbox, OutboxLimits, OutboxSettings, OutboxWrite, Owed, Verdict};
use crate::{Batch, DeliveryError, Grouping, MonitorId, Notification, NotificationId, PartitionId, Receipt, Timestamp};

const PAGE: usize = 16;
/// How long an attempt may take.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Courier {
    /// Attempts of an earlier one are nobody's.
    number: u64,
    outboxes: BTreeMap<usize, Outbox>,
    /// What is to be written for a channel, and was not yet.
    writes: BTreeMap<usize, OutboxWrite>,
    hanging: usize,
    /// Attempts that are under way.
    pub(super) attempts: usize,
}

/// An attempt on its way to the far end, or its outcome on the way back.
pub(super) struct Try {
    pub(super) life: Life,
    pub(super) partition: u16,
    courier: u64,
    pub(super) channel: usize,
    pub(super) due: Due,
    /// The id that the far end is shown.
    pub(super) shown: NotificationId,
    pub(super) outcome: Option<Result<Receipt, DeliveryError>>,
    pub(super) hung: bool,
}

impl Courier {
    /// One that delivers nothing.
    pub(super) fn idle() -> Self {
        Self { number: 0, outboxes: BTreeMap::new(), writes: BTreeMap::new(), hanging: 0, attempts: 0 }
    }

    pub(super) fn new(number: u64, partition: PartitionId, plan: &Plan) -> Self {
        let outbox = |(n, channel): (usize, &String)| {
            // The first channel is the one that tells of nothing but itself.
            let told = plan.watcher_channels.iter().filter(|told| *told != channel).cloned().collect();
            let steady = FarEnd::is_steady(n);
            let wait = if steady { Duration::ZERO } else { Duration::from_secs(10) };
            let grouping = Grouping { burst: 2, wait };
            let limits = OutboxLimits { queue: if steady { 1000 } else { 6 }, held: 8, parallel: 4 };
            (n, Outbox::new(channel.as_str(), OutboxSettings { grouping, told }, limits))
        };
        let is_here = |channel: &str| !plan.is_shared() || plan.home_of_channel(channel) == partition;
        let outboxes = plan.channels.iter().enumerate().filter(|(_, channel)| is_here(channel)).map(outbox).collect();
        Self { number, outboxes, ..Self::idle() }
    }

    pub(super) fn loaded(&mut self) {
        self.outboxes.values_mut().for_each(Outbox::handle_loaded);
    }

    /// Hands over what is stored; `again` where it may be known already, and is to be tried again.
    pub(super) fn hand_over(&mut self, channel: usize, owed: Owed, again: bool) {
        match self.outboxes.get_mut(&channel) {
            Some(outbox) if again => outbox.handle_retry(owed),
            Some(outbox) => outbox.handle_owed(owed),
            None => {}
        }
    }

    /// Begins no new attempt but of what was never tried.
    pub(super) fn close(&mut self) {
        self.outboxes.values_mut().for_each(Outbox::close);
    }

    /// Whether nothing is under way any more, nor to be tried, after it was closed.
    pub(super) fn is_closed(&self, now: Timestamp) -> bool {
        self.outboxes.values().all(|outbox| outbox.is_closed(now)) && self.writes.is_empty()
    }

    pub(super) fn handle_written(&mut self, channel: usize, number: u64) {
        if let Some(outbox) = self.outboxes.get_mut(&channel) {
            outbox.handle_written(number);
        }
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
            self.handle_written(channel, write.number);
        }
        owed
    }

    pub(super) fn wake(&self, now: Timestamp) -> Timestamp {
        self.outboxes.values().map(|outbox| outbox.poll_wake(now)).min().unwrap_or(Timestamp::MAX)
    }
}

impl World {
    pub(super) fn channel(&self, name: &str) -> Option<usize> {
        self.plan.channels.iter().position(|channel| channel == name)
    }

    /// Hands a committed notification to its channel.
    pub(super) fn hand_over(&mut self, node: usize, partition: u16, owed: Owed) {
        let home = self.home_of(partition, &owed.notification.channel);
        self.hand_to(node, home, owed, false);
    }

    /// The partition whose holder delivers what this one owes to a channel.
    fn home_of(&self, partition: u16, channel: &str) -> u16 {
        if self.plan.is_shared() { self.plan.home_of_channel(channel).0 } else { partition }
    }

    /// Hands a stored notification to the courier of a partition, if this node delivers.
    pub(super) fn hand_to(&mut self, node: usize, partition: u16, mut owed: Owed, again: bool) {
        let Some(channel) = self.channel(&owed.notification.channel) else { return };
        if self.is_mutant(Mutant::OrderIgnored)
            && let Some(monitor) = &mut owed.notification.monitor
        {
            monitor.id = MonitorId::from_bytes(*owed.notification.id.as_bytes());
        }
        let Some(service) = self.nodes[node].service(partition) else { return };
        match &mut service.role {
            Role::Judges { reads: Some(late), .. } => late.push((owed, again)),
            Role::Judges { reads: None, .. } => service.courier.hand_over(channel, owed, again),
            Role::StandsBy | Role::Leaves { .. } => {}
        }
        self.see_to(node, partition);
    }

    /// Begins the attempts that are due, and collects what is to be written.
    pub(super) fn deliver(&mut self, node: usize, partition: u16) {
        let wall = self.wall(node);
        let life = Life { node, life: self.nodes[node].life };
        let blocks = self.is_mutant(Mutant::HangBlocksAll);
        let mut tries = Vec::new();
        // Parts of what an outbox writes are kept by several partitions.
        let is_apart = self.plan.is_shared() && self.plan.partitions > 1;
        let refuses = self.store.refuses_until > self.now || self.nodes[node].cut_until > self.now;
        let handle = super::traffic::handle(life, "");
        let mut page = |after| self.store.outbox_page(handle, PartitionId(partition), after, PAGE);
        let Some(service) = self.nodes[node].seats[usize::from(partition)].service.as_deref_mut() else { return };
        let (courier, busy) = (service.courier.number, service.op.is_some());
        let mut apart = Vec::new();
        for (channel, outbox) in &mut service.courier.outboxes {
            let channel = *channel;
            while !(blocks && service.courier.hanging > 0)
                && let Some(due) = outbox.poll_attempt(wall)
            {
                let shown = due.notification.id;
                tries.push(Try { life, partition, courier, channel, due, shown, outcome: None, hung: false });
            }
            while let Some(after) = outbox.poll_page(wall) {
                if refuses {
                    outbox.handle_page_failed(wall);
                } else {
                    outbox.handle_page(page(after));
                }
            }
            while is_apart && let Some(write) = outbox.poll_write() {
                apart.push((channel, write));
            }
            // A write that is under way must stay what it was.
            while !busy && let Some(write) = outbox.poll_write() {
                match service.courier.writes.entry(channel) {
                    std::collections::btree_map::Entry::Vacant(place) => drop(place.insert(write)),
                    std::collections::btree_map::Entry::Occupied(earlier) => earlier.into_mut().absorb(write),
                }
            }
        }
        service.courier.attempts += tries.len();
        apart.into_iter().for_each(|(channel, write)| self.write_apart(node, partition, channel, write));
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
        if service.courier.number != attempt.courier {
            return;
        }
        service.courier.attempts -= 1;
        if attempt.hung {
            service.courier.hanging -= 1;
        }
        let Some(outbox) = service.courier.outboxes.get_mut(&attempt.channel) else { return };
        if let Some(Verdict::Dead(_)) = outbox.handle_outcome(attempt.due.notification.id, &outcome, wall, jitter) {
            self.note(Deed::Dead);
        }
        self.look_at(attempt.life.node, attempt.partition);
    }
}
