//! Between nodes, the store and those who call: latencies, and what gets lost, late or doubled on the way.

use std::time::Duration;

use super::checks::Seen;
use super::coverage::Deed;
use super::node::{Answer, AnswerFate, Op, Reply, Travel};
use super::plan::Plan;
use super::story;
use super::world::{Event, Life, World};
use crate::runtime::presence;
use crate::{Batch, Cause, Change, Outcome, PartitionId, State, StorageError, Timestamp, Transition};

impl World {
    /// Sends an operation to the store: its answer, where that comes at once, or the number under which it comes later.
    pub(super) fn send(&mut self, node: usize, partition: u16, op: Op) -> Result<Answer, u64> {
        let reaches = self.nodes[node].cut_until <= self.now;
        let life = Life { node, life: self.nodes[node].life };
        if self.is_small(&op)
            && reaches
            && self.store.refuses_until <= self.now
            && self.is_fair()
            && self.rng.percent(90)
        {
            return Ok(self.carry_out(life, partition, op, self.now));
        }
        let number = self.number();
        let latency = if self.calm { self.rng.millis(1, 3) } else { self.rng.millis(1, 30) };
        let chance = self.rng.below(1000);
        let weather = self.weather;
        self.tell(story::DULL, || format!("node {node} sends {number} to the store, partition {partition}"));
        let answered = |answer| Event::Answered(life, partition, number, Box::new(answer));
        let writes = matches!(op, Op::Commit(_) | Op::SwapLease(_));
        let mut travel = Travel { life, partition, number, op, answer: AnswerFate::After(latency), sent_at: self.now };
        if !reaches || chance < weather.unavailable {
            self.note(Deed::Unavailable);
            let error = StorageError::Unavailable("the store is not reached".to_owned());
            self.after(latency * 10, answered(Answer::failed(&travel.op, error)));
        } else if writes && chance < weather.unavailable + weather.unknown {
            let pause = self.rng.millis(20, 5000);
            if self.rng.percent(50) {
                self.note(Deed::UnknownWritten);
                travel.answer = AnswerFate::Unknown(pause);
                self.after(latency, Event::Lands(Box::new(travel)));
            } else {
                self.note(Deed::UnknownLost);
                let error = StorageError::Unknown("no answer".to_owned());
                self.after(latency + pause, answered(Answer::failed(&travel.op, error)));
            }
        } else {
            self.dispatch(travel, latency, chance);
        }
        Err(number)
    }

    /// Lets an operation reach the store, perhaps late or twice.
    fn dispatch(&mut self, mut travel: Travel, mut latency: Duration, chance: u64) {
        let weather = self.weather;
        let bad = weather.unavailable + weather.unknown;
        if chance >= bad && chance < bad + weather.delayed {
            self.note(Deed::Delayed);
            let most = *self.rng.pick(&[2, 10, 40]);
            let pause = self.rng.secs(1, most);
            if self.rng.percent(50) { latency += pause } else { travel.answer = AnswerFate::After(pause) }
        }
        let mut again = None;
        if matches!(travel.op, Op::Commit(_)) && self.rng.permille(weather.repeated) {
            self.note(Deed::Repeated);
            let most = if self.plan.late_repeats { *self.rng.pick(&[1, 10, 60]) } else { 0 };
            let pause = self.rng.secs(0, most);
            let op = travel.op.clone();
            again = Some((pause, Box::new(Travel { op, answer: AnswerFate::Nobody, ..travel })));
        }
        self.after(latency, Event::Lands(Box::new(travel)));
        if let Some((pause, travel)) = again {
            self.after(latency + pause, Event::Lands(travel));
        }
    }

    fn is_fair(&self) -> bool {
        let weather = self.weather;
        weather.unavailable + weather.unknown + weather.delayed + weather.repeated == 0
    }

    /// Whether an operation may take no time: it is the daily bread of every node, and simulating its way costs the most.
    fn is_small(&self, op: &Op) -> bool {
        match op {
            Op::Commit(batch) => {
                let Batch { transitions, settlements, notifications, outage, documents, .. } = &**batch;
                transitions.is_empty()
                    && documents.iter().all(|write| write.kind == presence::DOCUMENT_KIND)
                    && settlements.is_empty()
                    && notifications.is_empty()
                    && outage.is_none()
            }
            Op::ReadLease | Op::SwapLease(_) | Op::ReadNodes | Op::ReadLog | Op::ReadNews(_) => true,
            Op::Load(_) | Op::TakeOver | Op::ReadMonitors | Op::ReadOutbox | Op::ReadOwed(_) => false,
        }
    }

    pub(super) fn lands(&mut self, travel: &Travel) {
        // What arrives again was done the first time.
        if travel.answer == AnswerFate::Nobody && !self.landed.remove(&travel.number) {
            return;
        }
        let answer = if self.store.refuses_until > self.now {
            self.note(Deed::Unavailable);
            Answer::failed(&travel.op, StorageError::Unavailable("the store refuses".to_owned()))
        } else {
            self.landed.insert(travel.number);
            self.carry_out(travel.life, travel.partition, travel.op.clone(), travel.sent_at)
        };
        let (pause, answer) = match travel.answer {
            AnswerFate::Nobody => return,
            AnswerFate::After(pause) => (pause, answer),
            AnswerFate::Unknown(pause) => {
                (pause, Answer::failed(&travel.op, StorageError::Unknown("no answer".to_owned())))
            }
        };
        self.after(pause, Event::Answered(travel.life, travel.partition, travel.number, Box::new(answer)));
    }

    /// The store does what it is asked.
    pub(super) fn carry_out(&mut self, by: Life, number: u16, op: Op, sent_at: Timestamp) -> Answer {
        let partition = PartitionId(number);
        let (store, handle) = (&mut self.store, handle(by, ""));
        match op {
            Op::Commit(batch) => Answer::Committed(self.commit(by, &batch, sent_at)),
            Op::Load(ids) => Answer::Loaded(Ok(store.load(handle, partition, ids))),
            Op::TakeOver => Answer::TakenOver(Ok(Box::new(store.snapshot(handle, partition)))),
            Op::ReadLease => {
                let lease = store.read_leases(handle, partition).into_iter().find(|lease| lease.partition == partition);
                Answer::Lease(Ok(lease))
            }
            Op::SwapLease(leases) => Answer::Swapped(Ok(store.swap_lease(handle, &leases.0, &leases.1))),
            Op::ReadNodes => {
                let leases = store.read_leases(handle, partition);
                let nodes = store.read_documents(handle, partition, presence::DOCUMENT_KIND);
                Answer::Nodes(Ok(Box::new((leases, nodes))))
            }
            Op::ReadLog => Answer::Log(Ok(store.read_log(handle, partition))),
            Op::ReadMonitors => Answer::Monitors(Ok(store.read_records(handle, partition))),
            Op::ReadOutbox => Answer::Owed(Ok(store.read_outbox(handle, partition))),
            Op::ReadOwed(ids) => Answer::Owed(Ok(store.read_owed(handle, partition, &ids))),
            Op::ReadNews(after) => {
                let news = store.read_news(handle, after.as_deref());
                Answer::News(Ok(Box::new((news, self.now))))
            }
        }
    }

    fn commit(&mut self, by: Life, batch: &Batch, sent_at: Timestamp) -> Result<crate::Applied, StorageError> {
        let name = super::node::name(by);
        let written = self.store.write(batch, self.now, sent_at, handle(by, &name));
        let applied = match &written.result {
            Ok(applied) => applied.clone(),
            Err(error) => {
                if *error == StorageError::Fenced {
                    self.note(Deed::Fenced);
                }
                return written.result;
            }
        };
        self.note(Deed::Commit);
        let small = batch.transitions.is_empty() && batch.settlements.is_empty() && batch.notifications.is_empty();
        let about = if small { story::DULL } else { Default::default() };
        self.tell(about, || {
            let Batch { partition, epoch, mark, transitions, notifications, settlements, .. } = batch;
            let parts = (transitions.len(), notifications.len(), settlements.len());
            let owed: usize = transitions.iter().map(|transition| transition.notifications.len()).sum();
            format!("commit to {} under {}, mark {mark:?}: {parts:?}, {owed} owed", partition.0, epoch.0)
        });
        if let Some(outage) = batch.outage {
            self.note(Deed::Outage);
            self.tell(Default::default(), || {
                format!(
                    "partition {}: an outage from {:?} to {:?} is stored",
                    batch.partition.0, outage.from, outage.to
                )
            });
        }
        let documents = batch.documents.iter().zip(&applied.documents);
        if documents
            .into_iter()
            .any(|(write, outcome)| *outcome == Outcome::Committed && write.kind != presence::DOCUMENT_KIND)
        {
            self.policies_changed();
        }
        if !small {
            self.news_for_others(by.node);
        }
        // The checkers have nothing to find in a mark of life.
        if !small || batch.outage.is_some() || batch.epoch != written.epoch {
            self.see(&Seen::Applied { batch, applied: &applied, before: &written.before, epoch: written.epoch, by });
        }
        let is_stranger = self.plan.is_shared() && self.store.lease(batch.partition).is_none_or(|l| l.node != name);
        for ((transition, outcome), before) in batch.transitions.iter().zip(&applied.transitions).zip(&written.before) {
            match outcome {
                Outcome::Committed => {
                    if is_stranger && !transition.pings.is_empty() {
                        self.note(Deed::StrangersHeartbeat);
                    }
                    self.committed(transition, before.as_ref());
                }
                Outcome::NameTaken { .. } => self.note(Deed::NameTaken),
                Outcome::Conflict { .. } => {
                    self.note(Deed::Conflict);
                    if is_stranger {
                        self.note(Deed::StrangersConflict);
                    }
                }
                Outcome::TooLarge { .. } => {}
            }
        }
        Ok(applied)
    }

    /// One monitor's share was written: the story, the counts, and jobs that hear of another wish.
    fn committed(&mut self, transition: &Transition, before: Option<&crate::Record>) {
        let monitor = Plan::index_of(transition.monitor);
        for change in &transition.changes {
            self.tell_monitor(monitor, || {
                format!(
                    "{:?} -> {:?} at {:?}: {} ({})",
                    change.from, change.to, change.at, change.reason, change.version
                )
            });
            if change.from == change.to && change.reason.contains(" of ") {
                self.note(Deed::BelowThreshold);
            }
        }
        for ping in &transition.pings {
            self.tell_monitor(monitor, || format!("stored: {} {:?} at {:?}", ping.signal, ping.effect, ping.at));
        }
        let known = before.and_then(|before| before.health.incident.as_ref()).map(|incident| incident.id);
        let fresh = |incident: &&crate::Incident| incident.is_open() && Some(incident.id) != known;
        for incident in transition.incidents.iter().filter(fresh) {
            self.look_after(monitor, incident.id);
            self.note(Deed::Down);
            match incident.cause {
                Cause::Missed => self.note(Deed::Missed),
                Cause::Overrun => self.note(Deed::Overrun),
                Cause::Failed | Cause::Value => self.note(Deed::Failed),
            }
            if incident.cause == Cause::Missed && self.jobs[monitor].silent_since.is_some() {
                self.note(Deed::FoundDead);
            }
        }
        if transition.changes.iter().any(|change| change.from == State::Down && change.to == State::Up) {
            self.note(Deed::Recovered);
        }
        let Change::Put(record) = &transition.change else {
            self.note(Deed::Removal);
            return;
        };
        if let Some(expectation) = record.health.expectation {
            self.tell_monitor(monitor, || format!("awaits {expectation:?}"));
        }
        let edited = before.is_none_or(|before| before.monitor.revision != record.monitor.revision);
        let resumed =
            before.is_some_and(|before| before.health.state == State::Paused) && record.health.state != State::Paused;
        if edited || resumed {
            self.nudge(monitor, record);
        }
    }

    /// Answers a call, if the answer gets through.
    pub(super) fn reply(&mut self, node: usize, call: u64, reply: Reply) {
        let latency = self.rng.millis(1, 40);
        let stamped = self.stamped.remove(&call);
        let about = super::story::About { monitor: stamped.map(|(monitor, _)| monitor), node: Some(node) };
        if let Some((monitor, mark)) = stamped {
            self.see(&Seen::Answered { monitor, mark, done: matches!(reply, Reply::Done(_)) });
        }
        self.tell(about, || format!("answers call {call}: {reply:?}").chars().take(120).collect());
        if !self.calm && self.rng.permille(self.weather.network) {
            return;
        }
        self.after(latency, Event::Replied(call, Some(reply)));
    }
}

/// The handle of one start of one node.
pub(super) fn handle(by: Life, name: &str) -> super::storage::Handle<'_> {
    super::storage::Handle { number: (by.node as u64) << 32 | u64::from(by.life), name }
}
