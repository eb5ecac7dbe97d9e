//! What a node does when it looks: leases, requests, batches and answers, as the driver does it.

mod lease;

use std::sync::Arc;
use std::time::Duration;

use super::coverage::Deed;
use super::mutant::Mutant;
use super::node::{Answer, Call, Op, Reply};
use super::plan::Plan;
use super::world::{Event, Life, World};
use crate::{Applied, Batch, Epoch, LeaseStep, MonitorId, Outcome, StorageError, Timestamp};

/// How many monitors are decided while a batch is being written.
const DECIDED_BEFOREHAND: usize = 8;
/// The pause after the first failed write; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a node with a known bug leaves heartbeats in its inbox.
const INBOX_LEFT_FOR: Duration = Duration::from_secs(1);

impl World {
    pub(super) fn wall(&mut self, node: usize) -> Timestamp {
        let node = &mut self.nodes[node];
        let wall = node.clock.wall(self.now);
        if self.mutant != Some(Mutant::SetBackUnseen) {
            return wall;
        }
        node.shown = node.shown.max(wall);
        node.shown
    }

    pub(super) fn partition_of(&self, id: MonitorId) -> u16 {
        self.plan.monitors[Plan::index_of(id)].partition
    }

    pub(super) fn start_node(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        node.up = true;
        node.life += 1;
        node.sit_down(number, &self.plan);
        self.tell_node(number, || "starts".to_owned());
        self.look(number);
    }

    pub(super) fn end_life(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.up = false;
        node.seats.clear();
        node.keeper = None;
        node.naps_until = Timestamp::MIN;
        node.clock.wake(self.now);
    }

    /// Does all that is due now, and plans the next look.
    pub(super) fn look(&mut self, node: usize) {
        self.tend_keeper(node);
        for partition in 0..self.plan.partitions {
            let due = self.nodes[node].seats.get(usize::from(partition)).is_some_and(|seat| seat.due_at <= self.now);
            if due {
                self.look_at(node, partition);
            }
        }
        self.plan_look(node);
    }

    /// Does all that can be done now for one partition.
    pub(super) fn look_at(&mut self, node: usize, partition: u16) {
        if !self.nodes[node].up || self.nodes[node].naps_until > self.now {
            return;
        }
        if self.plan.is_shared() {
            self.mind_lease(node, partition);
        } else {
            self.tend_lease(node, partition);
        }
        self.deliver(node, partition);
        self.tend(node, partition);
        self.deliver(node, partition);
        let due_at = self.next_look(node, partition);
        self.nodes[node].seats[usize::from(partition)].due_at = due_at;
        self.plan_look(node);
    }

    /// When a partition needs the node next.
    fn next_look(&mut self, number: usize, partition: u16) -> Timestamp {
        let wall = self.wall(number);
        let now = self.now;
        let node = &self.nodes[number];
        let seat = &node.seats[usize::from(partition)];
        let mut next = Timestamp::MAX;
        let lease = if self.plan.is_shared() { Duration::MAX } else { seat.claim.poll_wake() };
        if seat.lease_op.is_none() && lease < Duration::MAX {
            // Leases are looked at on full seconds, all at once.
            let at = node.clock.true_time_of(lease, now);
            next = Timestamp::from_secs(at.as_secs() + 2 - at.as_secs() % 2);
        }
        let Some(service) = &seat.service else {
            if !self.plan.is_shared() && seat.claim.epoch(node.clock.monotonic(now)).is_some() && seat.load_op.is_none()
            {
                next = next.min(seat.load_at);
            }
            return next.max(now + Duration::from_millis(1));
        };
        next = next.min(node.clock.true_time(service.courier.wake(wall), now));
        if service.op.is_none() {
            let mut due = node.clock.true_time(service.evaluator.poll_wake(), now);
            if service.courier.has_writes()
                || !service.aside.is_empty()
                || !service.inbox.is_empty()
                || !service.among.is_idle()
                || (service.evaluator.has_pending() && !service.evaluator.awaits_life())
            {
                due = now;
            }
            if !self.may_decide(number, partition) {
                // The next look at the leases tells.
                due = Timestamp::MAX;
            }
            next = next.min(due.max(service.rests_until));
        }
        next.max(now + Duration::from_millis(1))
    }

    pub(super) fn plan_look(&mut self, number: usize) {
        let now = self.now;
        let node = &self.nodes[number];
        let keeper = node.keeper.as_ref().map(|keeper| keeper.due_at());
        let next = node.seats.iter().map(|seat| seat.due_at).chain(keeper).min().unwrap_or(Timestamp::MAX);
        let next = next.max(now + Duration::from_millis(1));
        if next < Timestamp::MAX && node.wakes_at.is_none_or(|planned| planned > next || planned <= now) {
            let life = Life { node: number, life: node.life };
            self.nodes[number].wakes_at = Some(next);
            self.queue.push(next, Event::Wake(life));
        }
    }

    /// What reached a node from the store.
    pub(super) fn answered(&mut self, node: usize, partition: u16, number: u64, answer: Answer) {
        let mut answer = Some(answer);
        if self.answered_keeper(node, number, &mut answer) {
            return;
        }
        let Some(answer) = answer else { return };
        let seat = &mut self.nodes[node].seats[usize::from(partition)];
        if seat.lease_op == Some(number) {
            seat.lease_op = None;
            self.answered_lease(node, partition, answer);
        } else if let Some((_, epoch)) = seat.load_op.take_if(|(op, _)| *op == number) {
            self.answered_load(node, partition, epoch, answer);
        } else if let Some(service) = &mut seat.service
            && service.op.as_ref().is_some_and(|(op, _)| *op == number)
        {
            let batch = service.op.take().and_then(|(_, batch)| batch);
            self.answered_work(node, partition, batch.as_deref(), answer);
        }
    }

    /// One look at what a partition needs: a batch, a reload, or rest.
    fn tend(&mut self, node: usize, partition: u16) {
        loop {
            let wall = self.wall(node);
            let (now, monotonic) = (self.now, self.nodes[node].clock.monotonic(self.now));
            let generation = self.nodes[node].policies.generation;
            let news = self.nodes[node].seats[usize::from(partition)].service.as_ref();
            let news = news.is_some_and(|service| service.generation != generation).then(|| {
                let policies = &self.nodes[node].policies;
                (self.windows_for(policies), policies.routes.clone())
            });
            let (late, blind) = (self.is_mutant(Mutant::StampLate), self.is_mutant(Mutant::JudgeBeforeInbox));
            let Some(service) = self.nodes[node].service(partition) else { return };
            if service.op.is_some() || service.rests_until > now {
                return;
            }
            self.hear(node, partition);
            let may_decide = self.may_decide(node, partition);
            let Some(service) = self.nodes[node].service(partition) else { return };
            if let Some((windows, routes)) = news {
                service.generation = generation;
                service.evaluator.handle_policies(windows, routes);
            }
            let mut inbox = std::mem::take(&mut service.inbox);
            if blind {
                service.inbox = inbox.extract_if(.., |(at, ..)| *at + INBOX_LEFT_FOR > wall).collect();
            }
            for (at, call, request) in inbox {
                service.tickets += 1;
                service.waiting.insert(service.tickets, call);
                service.evaluator.handle_request(service.tickets, if late { wall } else { at }, request);
            }
            service.evaluator.handle_time(wall, monotonic);
            let stale = service.evaluator.poll_reload();
            let (op, batch) = if stale.is_empty() {
                if !may_decide {
                    return self.publish(node, partition);
                }
                let batch = service.evaluator.poll_batch();
                service.evaluator.decide_beforehand(DECIDED_BEFOREHAND);
                let mut batch = batch.unwrap_or_else(|| service.evaluator.empty_batch());
                service.courier.join(&mut batch);
                service.among.join(&mut batch);
                batch.documents = service.aside.iter().map(|(_, write)| write.clone()).collect();
                self.publish(node, partition);
                if batch.is_empty() {
                    return;
                }
                self.spoil_batch(node, partition, &mut batch);
                (Op::Commit(Box::new(batch.clone())), Some(Box::new(batch)))
            } else {
                (Op::Load(stale), None)
            };
            match self.send(node, partition, op) {
                Ok(answer) => self.answered_work(node, partition, batch.as_deref(), answer),
                Err(number) => {
                    if let Some(service) = self.nodes[node].service(partition) {
                        service.op = Some((number, batch));
                    }
                    return;
                }
            }
        }
    }

    fn answered_work(&mut self, node: usize, partition: u16, batch: Option<&Batch>, answer: Answer) {
        let mut failure = None;
        match answer {
            Answer::Committed(result) => {
                let result = self.spoil_result(batch, result);
                if result == Err(StorageError::Fenced) && self.plan.is_shared() {
                    self.fenced(node, partition, batch.map_or(Epoch(0), |batch| batch.epoch));
                    return self.publish(node, partition);
                }
                let Some(service) = self.nodes[node].service(partition) else { return };
                let aside = batch.map_or(0, |batch| batch.documents.len()).min(service.aside.len());
                let acts: Vec<usize> = service.aside.drain(..aside).map(|(act, _)| act).collect();
                service.evaluator.handle_applied(batch.cloned().unwrap_or_default(), &result);
                let written = if result.is_ok() { service.courier.written() } else { Vec::new() };
                if result.is_err() {
                    service.among.put_back();
                }
                if let Ok(applied) = &result {
                    self.aside_written(acts, &applied.documents);
                }
                self.publish(node, partition);
                let owed = written.into_iter().map(crate::outbox::Owed::fresh);
                owed.for_each(|owed| self.owe(node, partition, owed));
                self.apart_written(node, partition);
                failure = result.err();
            }
            Answer::Loaded(Ok(records)) => {
                for (id, record) in records {
                    self.read_anew(node, partition, id);
                    let Some(service) = self.nodes[node].service(partition) else { return };
                    service.evaluator.handle_record(id, record.map(Arc::new));
                }
            }
            Answer::Loaded(Err(error)) => {
                let Some(service) = self.nodes[node].service(partition) else { return };
                service.evaluator.handle_reload_failed(&error);
                self.publish(node, partition);
                failure = Some(error);
            }
            _ => {}
        }
        self.rest_after(node, partition, failure.as_ref());
    }

    fn rest_after(&mut self, node: usize, partition: u16, failure: Option<&StorageError>) {
        let (now, monotonic) = (self.now, self.nodes[node].clock.monotonic(self.now));
        let seat = &mut self.nodes[node].seats[usize::from(partition)];
        let Some(service) = &mut seat.service else { return };
        match failure {
            None => service.failed = 0,
            Some(StorageError::Fenced) => {
                seat.service = None;
                seat.claim.handle_fenced(monotonic);
                self.note(Deed::LeaseLost);
                self.tell_node(node, || format!("is fenced off from partition {partition}"));
            }
            Some(error) => {
                service.rests_until = now + (PAUSE_MIN * 2u32.saturating_pow(service.failed)).min(PAUSE_MAX);
                service.failed += 1;
                let text = format!("partition {partition}: {error}");
                self.tell_node(node, || text);
            }
        }
    }

    /// How a node with a known bug hears how its write went.
    fn spoil_result(
        &self,
        batch: Option<&Batch>,
        result: Result<Applied, StorageError>,
    ) -> Result<Applied, StorageError> {
        let Some(batch) = batch else { return result };
        let all = || Applied {
            transitions: batch.transitions.iter().map(|_| Outcome::Committed).collect(),
            documents: Vec::new(),
        };
        match (self.mutant, result) {
            (Some(Mutant::DropUnwind), Err(StorageError::Unavailable(_) | StorageError::Unknown(_)))
            | (Some(Mutant::ConflictIsCommit), Ok(_))
            | (Some(Mutant::FencedIsCommit), Err(StorageError::Fenced)) => Ok(all()),
            (Some(Mutant::UnknownIsUnwritten), Err(StorageError::Unknown(text))) => {
                Err(StorageError::Unavailable(text))
            }
            (_, result) => result,
        }
    }

    /// Lets the committed state be seen, and then answers.
    fn publish(&mut self, node: usize, partition: u16) {
        let wall = self.wall(node);
        let Some(service) = self.nodes[node].service(partition) else { return };
        let mut committed = service.evaluator.poll_committed();
        committed.stamp(wall);
        let mut answers = Vec::new();
        while let Some((ticket, answer)) = service.evaluator.poll_answer() {
            answers.extend(service.waiting.remove(&ticket).map(|call| (call, answer)));
        }
        for notification in committed.owed {
            let withheld = self.is_withheld(&notification);
            if !withheld {
                self.owe(node, partition, crate::outbox::Owed::fresh(notification));
            }
        }
        self.look_for_doubtful(node, partition);
        for (call, answer) in answers {
            let reply = match answer {
                Ok(done) => Reply::Done(done.ping),
                Err(refusal) => Reply::Refused(refusal),
            };
            self.reply(node, call, reply);
        }
    }

    /// A request reaches a node.
    pub(super) fn arrives(&mut self, node: usize, call: Call) {
        if !self.nodes[node].up {
            return;
        }
        let partition = self.partition_of(call.request.monitor());
        let wall = self.wall(node);
        let true_wall = self.nodes[node].clock.wall(self.now);
        let Some(service) = self.nodes[node].service(partition) else {
            return self.reply(node, call.number, Reply::Elsewhere);
        };
        let monitor = Plan::index_of(call.request.monitor());
        service.inbox.push((wall, call.number, call.request));
        if let Some(mark) = call.mark {
            self.stamped.insert(call.number, (monitor, mark));
            let by = Life { node, life: self.nodes[node].life };
            self.see(&super::checks::Seen::Stamped { monitor, mark, wall: true_wall, by });
        }
        self.look_at(node, partition);
    }

    /// An orderly end: everything is decided once more, with a last mark of life, and the lease is given up.
    pub(super) fn stop_node(&mut self, node: usize) {
        let reaches = self.store.refuses_until <= self.now && self.nodes[node].cut_until <= self.now;
        let by = Life { node, life: self.nodes[node].life };
        for partition in 0..self.plan.partitions {
            let wall = self.wall(node);
            let monotonic = self.nodes[node].clock.monotonic(self.now);
            let Some(service) = self.nodes[node].service(partition) else { continue };
            if service.op.is_some() || !reaches {
                continue;
            }
            for (at, call, request) in std::mem::take(&mut service.inbox) {
                service.tickets += 1;
                service.waiting.insert(service.tickets, call);
                service.evaluator.handle_request(service.tickets, at, request);
            }
            service.evaluator.handle_time(wall, monotonic);
            if !self.may_decide(node, partition) {
                continue;
            }
            let Some(service) = self.nodes[node].service(partition) else { continue };
            let mut batch = service.evaluator.poll_batch().unwrap_or_else(|| service.evaluator.empty_batch());
            if !self.plan.is_shared() {
                batch.mark = batch.mark.or(Some(wall));
            }
            service.courier.join(&mut batch);
            service.among.join(&mut batch);
            self.spoil_batch(node, partition, &mut batch);
            let answer = self.carry_out(by, partition, Op::Commit(Box::new(batch.clone())), self.now);
            self.answered_work(node, partition, Some(&batch), answer);
            if self.plan.is_shared() {
                continue;
            }
            let seat = &mut self.nodes[node].seats[usize::from(partition)];
            seat.claim.let_go();
            if seat.lease_op.is_none()
                && let Some(LeaseStep::Swap { expected, next }) = seat.claim.poll(wall, monotonic)
            {
                self.carry_out(by, partition, Op::SwapLease(Box::new((expected, next))), self.now);
            }
        }
        if reaches {
            self.leave(node);
        }
    }
}
