//! The leases of a node that has the store to itself: it takes a partition over with its lease.

use std::sync::Arc;

use super::PAUSE_MAX;
use crate::evaluator::Evaluator;
use crate::testing::sim::among::Role;
use crate::testing::sim::courier::Courier;
use crate::testing::sim::coverage::Deed;
use crate::testing::sim::mutant::Mutant;
use crate::testing::sim::node::{Answer, Op, Service};
use crate::testing::sim::storage::Snapshot;
use crate::testing::sim::world::World;
use crate::{Epoch, LeaseStep, PartitionId, Timestamp, WatchLog};

impl World {
    pub(super) fn tend_lease(&mut self, node: usize, partition: u16) {
        loop {
            let wall = self.wall(node);
            let monotonic = self.nodes[node].clock.monotonic(self.now);
            let seat = &mut self.nodes[node].seats[usize::from(partition)];
            let Some(step) = seat.claim.poll(wall, monotonic) else { break };
            let op = match step {
                LeaseStep::Read => Op::ReadLease,
                LeaseStep::Swap { expected, next } => Op::SwapLease(Box::new((expected, next))),
            };
            match self.send(node, partition, op) {
                Ok(answer) => self.answered_lease(node, partition, answer),
                Err(number) => {
                    self.nodes[node].seats[usize::from(partition)].lease_op = Some(number);
                    break;
                }
            }
        }
        self.sit_or_leave(node, partition);
    }

    /// Begins or ends a node's work on a partition, as its lease says.
    fn sit_or_leave(&mut self, node: usize, partition: u16) {
        let monotonic = self.nodes[node].clock.monotonic(self.now);
        let now = self.now;
        let seat = &mut self.nodes[node].seats[usize::from(partition)];
        let epoch = seat.claim.epoch(monotonic);
        if let Some(service) = &seat.service
            && !matches!(service.role, Role::Judges { epoch: held, .. } if epoch == Some(held))
        {
            seat.service = None;
            self.note(Deed::LeaseLost);
            self.tell_node(node, || format!("steps down from partition {partition}"));
        }
        let seat = &mut self.nodes[node].seats[usize::from(partition)];
        // What was read under an earlier epoch is not what is stored now.
        seat.load_op = seat.load_op.filter(|(_, read_for)| Some(*read_for) == epoch);
        if let Some(epoch) = epoch
            && seat.service.is_none()
            && seat.load_op.is_none()
            && seat.load_at <= now
        {
            match self.send(node, partition, Op::TakeOver) {
                Ok(answer) => self.answered_load(node, partition, epoch, answer),
                Err(number) => self.nodes[node].seats[usize::from(partition)].load_op = Some((number, epoch)),
            }
        }
    }

    pub(super) fn answered_lease(&mut self, node: usize, partition: u16, answer: Answer) {
        let monotonic = self.nodes[node].clock.monotonic(self.now);
        let claim = &mut self.nodes[node].seats[usize::from(partition)].claim;
        match answer {
            Answer::Lease(Ok(lease)) => claim.handle_found(lease, monotonic),
            Answer::Lease(Err(_)) => claim.handle_unread(monotonic),
            Answer::Swapped(result) => claim.handle_swapped(&result, monotonic),
            _ => {}
        }
    }

    pub(super) fn answered_load(&mut self, node: usize, partition: u16, epoch: Epoch, answer: Answer) {
        let Answer::TakenOver(result) = answer else { return };
        let monotonic = self.nodes[node].clock.monotonic(self.now);
        let retry_at = self.now + PAUSE_MAX;
        let seat = &mut self.nodes[node].seats[usize::from(partition)];
        if seat.claim.epoch(monotonic) != Some(epoch) {
            return;
        }
        let Ok(snapshot) = result else {
            seat.load_at = retry_at;
            return;
        };
        let mut snapshot = *snapshot;
        self.note(Deed::TakeOver);
        self.tell_node(node, || {
            let log = &snapshot.log;
            format!("takes partition {partition} over under epoch {}; the last mark is {:?}", epoch.0, log.mark)
        });
        self.spoil_snapshot(node, &mut snapshot);
        let Snapshot { log, records, outbox } = snapshot;
        let mut evaluator =
            Evaluator::new(PartitionId(partition), epoch, log, self.plan.batch_max, self.plan.outages_max);
        evaluator.tell_of_outages(self.plan.watcher_channels.clone());
        for record in records {
            evaluator.handle_record(record.id(), Some(Arc::new(record)));
        }
        self.nodes[node].policies = self.policies.clone();
        let courier = Courier::new(self.number(), PartitionId(partition), &self.plan);
        let mut service = Service::new(Role::Judges { epoch, reads: None }, evaluator, courier);
        service.tickets = self.numbers;
        self.nodes[node].seats[usize::from(partition)].service = Some(Box::new(service));
        if !self.is_mutant(Mutant::OutboxNotLoaded) {
            outbox.into_iter().for_each(|entry| self.hand_over(node, partition, entry.into()));
        }
        if let Some(service) = self.nodes[node].service(partition) {
            service.courier.loaded();
        }
    }

    /// What a node with a known bug makes of what it reads when it takes over.
    fn spoil_snapshot(&mut self, node: usize, snapshot: &mut Snapshot) {
        let wall = self.wall(node);
        match self.mutant {
            Some(Mutant::NoAmnesty) => snapshot.log = WatchLog::default(),
            Some(Mutant::ForgetDeadline) => {
                let passed = |at: Timestamp| at < wall;
                snapshot.records.iter_mut().for_each(|record| {
                    record.health.expectation.take_if(|awaited| passed(awaited.deadline));
                });
            }
            Some(Mutant::AmnestyForEver) => {
                for record in &mut snapshot.records {
                    let spec = record.monitor.spec.clone();
                    if let Some(awaited) = &mut record.health.expectation {
                        awaited.excused = !spec.schedule.is_every();
                        let length = spec.schedule.period().unwrap_or_default() + spec.grace.length();
                        awaited.deadline = awaited.deadline.max(wall + length);
                    }
                }
            }
            _ => {}
        }
    }
}
