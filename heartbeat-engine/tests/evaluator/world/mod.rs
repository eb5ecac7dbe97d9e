//! An evaluator on virtual time, with a storage that fails in every way.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use heartbeat_engine::evaluator::{Done, Evaluator, Refusal, Request, Ticket};
use heartbeat_engine::step::{Event, Surroundings, step};
use heartbeat_engine::{
    Applied, Batch, Epoch, HistoryItem, HistoryQuery, Lease, Maintenance, MemoryStorage, Monitor, MonitorId,
    MonitorSpec, NotificationId, NotificationKind, Outcome, PartitionId, Ping, Record, Signal, Storage, StorageError,
    Timestamp,
};
use proptest::prelude::*;

use crate::common::{Job, d, ended_at, every, midnight, monitor, window_at};

/// How a write goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fate {
    Fine,
    Slow(u64),
    Unavailable,
    UnknownWritten,
    UnknownLost,
    /// Somebody else writes one of its monitors first.
    Overtaken,
}

/// What one write carried out for a monitor.
pub struct Deeds {
    /// When it was decided.
    pub at: Timestamp,
    /// How many outages were known then.
    pub outages: usize,
    /// The maintenance windows then.
    pub windows: Vec<Arc<Maintenance>>,
    /// When each event arrived, and its place.
    pub events: Vec<(Timestamp, usize)>,
}

/// An evaluator, the storage behind it, and the virtual time that both live in.
pub struct World {
    pub runtime: tokio::runtime::Runtime,
    pub storage: MemoryStorage,
    pub evaluator: Evaluator,
    pub batch_max: usize,
    pub epoch: u64,
    pub now: Timestamp,
    pub monotonic: Duration,
    pub fates: VecDeque<Fate>,
    pub tickets: Ticket,
    pub answers: HashMap<Ticket, Vec<Result<Done, Refusal>>>,
    /// Everything that was asked; a ping names its place here in its message.
    pub events: Vec<Event>,
    /// What was carried out, by monitor, in order.
    pub done: BTreeMap<MonitorId, Vec<Deeds>>,
    pub decided_at: Timestamp,
    pub owed: Vec<NotificationId>,
    pub watchers: Vec<String>,
    pub outages_max: usize,
    pub windows: Vec<Arc<Maintenance>>,
    /// The write under way took long, so the mark is old.
    pub hung: bool,
}

impl World {
    pub fn new(batch_max: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let log = heartbeat_engine::WatchLog::default();
        let mut world = Self {
            runtime,
            storage: MemoryStorage::new(),
            evaluator: Evaluator::new(PartitionId(0), Epoch(0), log, batch_max, 100),
            batch_max,
            epoch: 0,
            now: midnight(),
            monotonic: Duration::ZERO,
            fates: VecDeque::new(),
            tickets: 0,
            answers: HashMap::new(),
            events: Vec::new(),
            done: BTreeMap::new(),
            decided_at: midnight(),
            owed: Vec::new(),
            watchers: Vec::new(),
            outages_max: 100,
            windows: Vec::new(),
            hung: false,
        };
        world.settle();
        world
    }

    pub fn make(&mut self, id: u64, spec: MonitorSpec) -> MonitorId {
        let monitor = monitor(id, spec, self.now);
        let id = monitor.id;
        self.ask(Request::Create(Box::new(monitor)));
        self.settle();
        id
    }

    pub fn ask(&mut self, request: Request) -> Ticket {
        self.tickets += 1;
        self.answers.insert(self.tickets, Vec::new());
        self.evaluator.handle_request(self.tickets, self.now, request);
        self.tickets
    }

    /// Asks for `event`, which is remembered.
    pub fn event(&mut self, id: MonitorId, mut event: Event) -> Ticket {
        if let Event::Ping(ping) = &mut event {
            ping.message = Some(self.events.len().to_string());
        }
        self.events.push(event.clone());
        self.ask(match event {
            Event::Ping(ping) => Request::Ping(id, ping),
            Event::Edit(edit) => Request::Edit(id, edit),
            _ => panic!("nobody asks for that"),
        })
    }

    /// One more maintenance window, so long after now.
    pub fn plan(&mut self, ahead: Duration, length: Duration) {
        self.settle();
        let from = self.now + ahead;
        self.windows.push(window_at(from, from + length));
        self.evaluator.handle_policies(self.windows.clone(), Vec::new());
        self.settle();
    }

    /// All maintenance windows end now.
    pub fn end_plans(&mut self) {
        self.settle();
        self.windows = self.windows.iter().map(|window| ended_at(window, self.now)).collect();
        self.evaluator.handle_policies(self.windows.clone(), Vec::new());
        self.settle();
    }

    pub fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.monotonic += time;
    }

    /// Lets time pass, with a look whenever the evaluator wants one.
    pub fn run(&mut self, time: Duration) {
        let until = self.now + time;
        self.settle();
        while self.now < until {
            let next = self.evaluator.poll_wake().max(self.now + Duration::from_millis(1)).min(until);
            self.pass(next.since(self.now));
            self.settle();
        }
    }

    /// Does all that can be done now.
    pub fn settle(&mut self) {
        for _ in 0..1000 {
            self.evaluator.handle_time(self.now, self.monotonic);
            let stale = self.evaluator.poll_reload();
            if !stale.is_empty() {
                self.reload(&stale);
                continue;
            }
            let Some(batch) = self.evaluator.poll_batch() else { break };
            while self.evaluator.decide_beforehand(3) {}
            let result = self.commit(&batch);
            self.evaluator.handle_applied(batch.clone(), &result);
            self.collect();
            if result.is_err() {
                self.pass(Duration::from_secs(1));
            }
        }
        self.collect();
        assert!(!self.evaluator.has_pending(), "the work ends");
    }

    pub fn reload(&mut self, stale: &[MonitorId]) {
        if self.fates.pop_front() == Some(Fate::Unavailable) {
            self.evaluator.handle_reload_failed(&StorageError::Unavailable("by plan".to_owned()));
            self.pass(Duration::from_secs(1));
            return;
        }
        let records = self.runtime.block_on(self.storage.load(stale)).unwrap();
        for (id, record) in stale.iter().zip(records) {
            self.evaluator.handle_record(*id, record.map(Arc::new));
        }
    }

    pub fn collect(&mut self) {
        self.owed.extend(self.evaluator.poll_committed().owed.iter().map(|notification| notification.id));
        while let Some((ticket, answer)) = self.evaluator.poll_answer() {
            self.answers.get_mut(&ticket).unwrap().push(answer);
        }
    }

    pub fn commit(&mut self, batch: &Batch) -> Result<Applied, StorageError> {
        self.decided_at = self.now;
        if !batch.transitions.is_empty() {
            let mark = self.runtime.block_on(self.storage.watch_log()).unwrap().mark;
            let age = mark.map_or(Duration::ZERO, |mark| self.now.since(mark));
            assert!(
                age <= Duration::from_secs(15) || self.hung,
                "nothing is judged while an outage is not stored: {age:?}"
            );
        }
        match self.fates.pop_front().unwrap_or(Fate::Fine) {
            Fate::Fine => self.write(batch),
            Fate::Slow(millis) => {
                self.pass(Duration::from_millis(millis));
                self.write(batch)
            }
            Fate::Unavailable => Err(StorageError::Unavailable("by plan".to_owned())),
            Fate::UnknownLost => Err(StorageError::Unknown("by plan".to_owned())),
            Fate::UnknownWritten => {
                self.write(batch)?;
                Err(StorageError::Unknown("by plan".to_owned()))
            }
            Fate::Overtaken => {
                if let Some(id) = batch.transitions.first().map(|transition| transition.monitor) {
                    self.overtake(id);
                }
                self.write(batch)
            }
        }
    }

    pub fn write(&mut self, batch: &Batch) -> Result<Applied, StorageError> {
        let applied = self.runtime.block_on(self.storage.commit(batch))?;
        let outages = self.runtime.block_on(self.storage.watch_log()).unwrap().outages.len();
        for (transition, outcome) in batch.transitions.iter().zip(&applied.transitions) {
            if *outcome == Outcome::Committed {
                let place = |text: &Option<String>| text.as_deref().unwrap().parse().unwrap();
                let events = transition.pings.iter().map(|ping| (ping.arrived_at, place(&ping.message))).collect();
                let windows = self.windows.clone();
                let deeds = Deeds { at: self.decided_at, outages, windows, events };
                self.done.entry(transition.monitor).or_default().push(deeds);
            }
        }
        Ok(applied)
    }

    /// Writes what is not to be compared with a scan.
    pub fn write_plainly(&self, batch: &Batch) -> Result<Applied, StorageError> {
        self.runtime.block_on(self.storage.commit(batch))
    }

    /// Another node takes a heartbeat of the monitor.
    pub fn overtake(&mut self, id: MonitorId) {
        let log = self.runtime.block_on(self.storage.watch_log()).unwrap();
        let Some(record) = self.runtime.block_on(self.storage.load(&[id])).unwrap().remove(0) else { return };
        let ping = Ping { message: Some(self.events.len().to_string()), ..Ping::new(Signal::Success) };
        let event = Event::Ping(Box::new(ping));
        self.events.push(event.clone());
        let around = Surroundings { outages: &log.outages, maintenance: &self.windows, ..Surroundings::default() };
        let transition = step(&record, &event, self.now, around).unwrap().unwrap();
        self.owed.extend(transition.notifications.iter().map(|notification| notification.id));
        let batch = Batch { transitions: vec![transition], epoch: Epoch(self.epoch), ..Batch::default() };
        self.write(&batch).unwrap();
    }

    /// The process dies and is back after a while.
    pub fn restart(&mut self, after: Duration) {
        self.collect();
        self.pass(after);
        let partition = PartitionId(0);
        let lease = |epoch: u64| Lease {
            partition,
            epoch: Epoch(epoch),
            node: if epoch == 0 { String::new() } else { "here".to_owned() },
            expires_at: Timestamp::MAX,
        };
        assert!(self.runtime.block_on(self.storage.swap_lease(&lease(self.epoch), &lease(self.epoch + 1))).unwrap());
        self.epoch += 1;
        let log = self.runtime.block_on(self.storage.watch_log()).unwrap();
        self.evaluator = Evaluator::new(partition, Epoch(self.epoch), log, self.batch_max, self.outages_max);
        self.evaluator.tell_of_outages(self.watchers.clone());
        self.evaluator.handle_policies(self.windows.clone(), Vec::new());
        for record in self.records() {
            self.evaluator.handle_record(record.id(), Some(Arc::new(record)));
        }
        self.settle();
    }

    pub fn records(&self) -> Vec<Record> {
        self.runtime.block_on(self.storage.monitors(None, 1000)).unwrap().items
    }

    /// What a scan makes of everything that was carried out: each monitor is stepped directly.
    pub fn scan(&self, id: MonitorId, made: &Monitor) -> Job {
        let mut job = Job::made_at(made.created_at, made.spec.clone());
        job.record.monitor = Arc::new(made.clone());
        let outages = self.runtime.block_on(self.storage.watch_log()).unwrap().outages;
        for deeds in self.done.get(&id).into_iter().flatten() {
            job.outages = outages[..deeds.outages].to_vec();
            job.windows.clone_from(&deeds.windows);
            for (at, place) in &deeds.events {
                job.event(*at, &self.events[*place]);
            }
            job.event(deeds.at, &Event::Wake);
        }
        job.outages = outages;
        job.windows.clone_from(&self.windows);
        job.event(self.now, &Event::Wake);
        job
    }

    pub fn stored_notifications(&self) -> Vec<(NotificationId, Option<MonitorId>, NotificationKind)> {
        let query = HistoryQuery::Notifications { state: None, incident: None, before: None };
        let page = self.runtime.block_on(self.storage.history(&query, 100_000)).unwrap();
        let mut found: Vec<_> = page
            .items
            .into_iter()
            .map(|item| {
                let HistoryItem::Notification(entry) = item else { panic!("asked for notifications") };
                let about = entry.notification.monitor.as_ref().map(|monitor| monitor.id);
                (entry.notification.id, about, entry.notification.kind)
            })
            .collect();
        found.reverse();
        found
    }

    /// Compares everything with the scan.
    pub fn compare(&mut self, made: &[Monitor]) -> Result<(), TestCaseError> {
        let stored = self.stored_notifications();
        let kept: HashMap<MonitorId, Arc<Record>> =
            self.evaluator.records().map(|record| (record.id(), record.clone())).collect();
        prop_assert_eq!(kept.len(), self.records().len());
        for monitor in made {
            let job = self.scan(monitor.id, monitor);
            let mut record = (*kept[&monitor.id]).clone();
            if let Some(transition) = step(&record, &Event::Wake, self.now, job.around()).unwrap() {
                prop_assert!(transition.notifications.is_empty(), "it was looked at");
                let heartbeat_engine::Change::Put(next) = transition.change else { panic!("nothing was removed") };
                record = Arc::unwrap_or_clone(next);
            }
            let (mut left, mut right) = (record.health.clone(), job.record.health.clone());
            (left.outages_seen, right.outages_seen) = (self.now, self.now);
            let spans = (left.incident.take(), right.incident.take());
            prop_assert_eq!(spans.0.map(|i| i.opened_at), spans.1.map(|i| i.opened_at));
            prop_assert_eq!(left, right, "the evaluator's and the scan's {}", monitor.id);
            let told: Vec<_> =
                stored.iter().filter(|(_, about, _)| *about == Some(monitor.id)).map(|(_, _, kind)| *kind).collect();
            prop_assert_eq!(told, job.told());
        }
        Ok(())
    }
}

/// A world in which so many monitors with a channel are due, and nobody has looked yet.
pub fn overdue(batch_max: usize, monitors: u64) -> World {
    let mut world = World::new(batch_max);
    for n in 0..monitors {
        let mut spec = every("20s", "5s");
        (spec.slug, spec.channels) = (format!("job-{n}").into(), vec!["ops".to_owned()]);
        // Their ids are in no order.
        world.make(n * 7 % 16, spec);
    }
    world.run(d("24s"));
    world.pass(d("2s"));
    world.evaluator.handle_time(world.now, world.monotonic);
    world
}
