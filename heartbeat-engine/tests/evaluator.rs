//! The evaluator on a storage that fails in every way, against a scan of all monitors.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use common::{Job, cron, d, every, midnight, monitor};
use heartbeat_engine::evaluator::{Done, Edit, Evaluator, Refusal, Request, Ticket};
use heartbeat_engine::step::{Event, step};
use heartbeat_engine::{
    Applied, Batch, Epoch, HistoryItem, HistoryQuery, Lease, MemoryStorage, Monitor, MonitorId, MonitorSpec,
    NotificationId, NotificationKind, Outcome, PartitionId, Ping, Record, Signal, State, Storage, StorageError,
    Timestamp,
};
use proptest::prelude::*;

/// How a write goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Fine,
    Slow(u64),
    Unavailable,
    UnknownWritten,
    UnknownLost,
    /// Somebody else writes one of its monitors first.
    Overtaken,
}

/// What one write carried out for a monitor.
struct Deeds {
    /// When it was decided.
    at: Timestamp,
    /// How many outages were known then.
    outages: usize,
    /// When each event arrived, and its place.
    events: Vec<(Timestamp, usize)>,
}

/// An evaluator, the storage behind it, and the virtual time that both live in.
struct World {
    runtime: tokio::runtime::Runtime,
    storage: MemoryStorage,
    evaluator: Evaluator,
    batch_max: usize,
    epoch: u64,
    now: Timestamp,
    monotonic: Duration,
    fates: VecDeque<Fate>,
    tickets: Ticket,
    answers: HashMap<Ticket, Vec<Result<Done, Refusal>>>,
    /// Everything that was asked; a ping names its place here in its message.
    events: Vec<Event>,
    /// What was carried out, by monitor, in order.
    done: BTreeMap<MonitorId, Vec<Deeds>>,
    decided_at: Timestamp,
    owed: Vec<NotificationId>,
    watchers: Vec<String>,
    /// The write under way took long, so the mark is old.
    hung: bool,
}

impl World {
    fn new(batch_max: usize) -> Self {
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
            hung: false,
        };
        world.settle();
        world
    }

    fn make(&mut self, id: u64, spec: MonitorSpec) -> MonitorId {
        let monitor = monitor(id, spec, self.now);
        let id = monitor.id;
        self.ask(Request::Create(Box::new(monitor)));
        self.settle();
        id
    }

    fn ask(&mut self, request: Request) -> Ticket {
        self.tickets += 1;
        self.answers.insert(self.tickets, Vec::new());
        self.evaluator.handle_request(self.tickets, self.now, request);
        self.tickets
    }

    /// Asks for `event`, which is remembered.
    fn event(&mut self, id: MonitorId, mut event: Event) -> Ticket {
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

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.monotonic += time;
    }

    /// Lets time pass, with a look whenever the evaluator wants one.
    fn run(&mut self, time: Duration) {
        let until = self.now + time;
        self.settle();
        while self.now < until {
            let next = self.evaluator.poll_wake().max(self.now + Duration::from_millis(1)).min(until);
            self.pass(next.since(self.now));
            self.settle();
        }
    }

    /// Does all that can be done now.
    fn settle(&mut self) {
        for _ in 0..1000 {
            self.evaluator.handle_time(self.now, self.monotonic);
            let stale = self.evaluator.poll_reload();
            if !stale.is_empty() {
                self.reload(&stale);
                continue;
            }
            let Some(batch) = self.evaluator.poll_batch() else { break };
            let result = self.commit(&batch);
            self.evaluator.handle_applied(&result);
            self.collect();
            if result.is_err() {
                self.pass(Duration::from_secs(1));
            }
        }
        self.collect();
        assert!(!self.evaluator.has_pending(), "the work ends");
    }

    fn reload(&mut self, stale: &[MonitorId]) {
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

    fn collect(&mut self) {
        self.owed.extend(self.evaluator.poll_committed().owed.iter().map(|notification| notification.id));
        while let Some((ticket, answer)) = self.evaluator.poll_answer() {
            self.answers.get_mut(&ticket).unwrap().push(answer);
        }
    }

    fn commit(&mut self, batch: &Batch) -> Result<Applied, StorageError> {
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

    fn write(&mut self, batch: &Batch) -> Result<Applied, StorageError> {
        let applied = self.runtime.block_on(self.storage.commit(batch))?;
        let outages = self.runtime.block_on(self.storage.watch_log()).unwrap().outages.len();
        for (transition, outcome) in batch.transitions.iter().zip(&applied.transitions) {
            if *outcome == Outcome::Committed {
                let place = |text: &Option<String>| text.as_deref().unwrap().parse().unwrap();
                let events = transition.pings.iter().map(|ping| (ping.arrived_at, place(&ping.message))).collect();
                let deeds = Deeds { at: self.decided_at, outages, events };
                self.done.entry(transition.monitor).or_default().push(deeds);
            }
        }
        Ok(applied)
    }

    /// Another node takes a heartbeat of the monitor.
    fn overtake(&mut self, id: MonitorId) {
        let log = self.runtime.block_on(self.storage.watch_log()).unwrap();
        let Some(record) = self.runtime.block_on(self.storage.load(&[id])).unwrap().remove(0) else { return };
        let ping = Ping { message: Some(self.events.len().to_string()), ..Ping::new(Signal::Success) };
        let event = Event::Ping(Box::new(ping));
        self.events.push(event.clone());
        let transition = step(&record, &event, self.now, &log.outages).unwrap().unwrap();
        self.owed.extend(transition.notifications.iter().map(|notification| notification.id));
        let batch = Batch { transitions: vec![transition], epoch: Epoch(self.epoch), ..Batch::default() };
        self.write(&batch).unwrap();
    }

    /// The process dies and is back after a while.
    fn restart(&mut self, after: Duration) {
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
        self.evaluator = Evaluator::new(partition, Epoch(self.epoch), log, self.batch_max, 100);
        self.evaluator.tell_of_outages(self.watchers.clone());
        for record in self.records() {
            self.evaluator.handle_record(record.id(), Some(Arc::new(record)));
        }
        self.settle();
    }

    fn records(&self) -> Vec<Record> {
        self.runtime.block_on(self.storage.monitors(None, 1000)).unwrap().items
    }

    /// What a scan makes of everything that was carried out: each monitor is stepped directly.
    fn scan(&self, id: MonitorId, made: &Monitor) -> Job {
        let mut job = Job::made_at(made.created_at, made.spec.clone());
        job.record.monitor = Arc::new(made.clone());
        let outages = self.runtime.block_on(self.storage.watch_log()).unwrap().outages;
        for deeds in self.done.get(&id).into_iter().flatten() {
            job.outages = outages[..deeds.outages].to_vec();
            for (at, place) in &deeds.events {
                job.event(*at, &self.events[*place]);
            }
            job.event(deeds.at, &Event::Wake);
        }
        job.outages = outages;
        job.event(self.now, &Event::Wake);
        job
    }

    fn stored_notifications(&self) -> Vec<(NotificationId, Option<MonitorId>, NotificationKind)> {
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
    fn compare(&mut self, made: &[Monitor]) -> Result<(), TestCaseError> {
        let stored = self.stored_notifications();
        let kept: HashMap<MonitorId, Arc<Record>> =
            self.evaluator.records().map(|record| (record.id(), record.clone())).collect();
        prop_assert_eq!(kept.len(), self.records().len());
        for monitor in made {
            let job = self.scan(monitor.id, monitor);
            let mut record = (*kept[&monitor.id]).clone();
            if let Some(transition) = step(&record, &Event::Wake, self.now, &job.outages).unwrap() {
                prop_assert!(transition.notifications.is_empty(), "it was looked at");
                let heartbeat_engine::Change::Put(next) = transition.change else { panic!("nothing was removed") };
                record = *next;
            }
            let (mut left, mut right) = (record.health.clone(), job.record.health.clone());
            (left.moves.seen, right.moves.seen) = (self.now, self.now);
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

fn wishes() -> Vec<MonitorSpec> {
    let mut second = every("60s", "10s");
    (second.failure_threshold, second.recovery_threshold, second.max_runtime) = (2, 2, Some(d("15s")));
    let mut third = cron("*/2 * * * *", "30s");
    third.early = d("10s");
    let mut wishes = vec![every("20s", "5s"), second, third, every("45s", "1s")];
    for (index, wish) in wishes.iter_mut().enumerate() {
        wish.slug = format!("job-{index}");
    }
    wishes
}

#[derive(Clone, Debug)]
enum Deed {
    Ping(usize, Signal),
    Edit(usize, Edit),
    Wait(u64),
    Restart(u64),
}

fn deed(edits: bool) -> impl Strategy<Value = Deed> {
    let signal =
        prop::sample::select(vec![Signal::Success, Signal::Success, Signal::Start, Signal::Fail, Signal::Report]);
    let edit = prop::sample::select(vec![
        Edit::Pause { manual_resume: true },
        Edit::Pause { manual_resume: false },
        Edit::Resume,
    ]);
    prop_oneof![
        8 => (0..4_usize, signal).prop_map(|(place, signal)| Deed::Ping(place, signal)),
        u32::from(edits) * 2 => (0..4_usize, edit).prop_map(|(place, edit)| Deed::Edit(place, edit)),
        8 => prop_oneof![1_u64..2000, 1_u64..90_000].prop_map(Deed::Wait),
        1 => (1_u64..50_000).prop_map(Deed::Restart),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Fine),
        2 => (1_u64..4000).prop_map(Fate::Slow),
        2 => Just(Fate::Unavailable),
        1 => Just(Fate::UnknownWritten),
        1 => Just(Fate::UnknownLost),
        1 => Just(Fate::Overtaken),
    ]
}

fn live(batch_max: usize, deeds: Vec<Deed>, fates: Vec<Fate>) -> Result<(), TestCaseError> {
    let mut world = World::new(batch_max);
    let ids: Vec<MonitorId> = wishes().into_iter().zip(1..).map(|(wish, id)| world.make(id, wish)).collect();
    let made: Vec<Monitor> = world.records().iter().map(|record| (*record.monitor).clone()).collect();
    let sound = fates.is_empty();
    world.fates = fates.into();
    let mut restarted = false;
    for deed in deeds {
        match deed {
            Deed::Ping(place, signal) => drop(world.event(ids[place], Event::Ping(Box::new(Ping::new(signal))))),
            Deed::Edit(place, edit) => {
                world.settle();
                let place_in_log = world.events.len();
                world.event(ids[place], Event::Edit(edit));
                // Nothing fails here: what came before it is carried out first, and it is the last.
                let at = world.now;
                world.settle();
                let outages = world.runtime.block_on(world.storage.watch_log()).unwrap().outages.len();
                let deeds = Deeds { at, outages, events: vec![(at, place_in_log)] };
                world.done.entry(ids[place]).or_default().push(deeds);
            }
            Deed::Wait(millis) => world.run(Duration::from_millis(millis)),
            Deed::Restart(millis) => {
                restarted |= world.evaluator.has_pending();
                world.restart(Duration::from_millis(millis));
            }
        }
    }
    world.fates.clear();
    world.run(d("30s"));
    world.compare(&made)?;
    for (ticket, answers) in &world.answers {
        prop_assert!(answers.len() == 1 || (restarted && answers.is_empty()), "{ticket} got {answers:?}");
        prop_assert!(!sound || answers.is_empty() || answers[0].is_ok(), "{answers:?}");
    }
    let mut stored: Vec<_> = world.stored_notifications().into_iter().map(|(id, _, _)| id).collect();
    stored.sort_unstable();
    world.owed.sort_unstable();
    if !restarted {
        prop_assert_eq!(&world.owed, &stored, "every stored message is handed over once");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_comes_to_what_a_scan_of_all_monitors_comes_to(
        batch_max in 1_usize..6,
        deeds in prop::collection::vec(deed(true), 1..40),
    ) {
        live(batch_max, deeds, Vec::new())?;
    }

    #[test]
    fn a_failing_storage_loses_no_request_no_message_and_no_deadline(
        batch_max in 1_usize..6,
        deeds in prop::collection::vec(deed(false), 1..40),
        fates in prop::collection::vec(fate(), 1..35),
    ) {
        live(batch_max, deeds, fates)?;
    }
}

#[test]
fn a_deadline_is_judged_at_the_first_look_after_it() {
    let mut world = World::new(10);
    let ids: Vec<MonitorId> = wishes().into_iter().zip(1..).map(|(wish, id)| world.make(id, wish)).collect();
    world.run(d("10m"));
    for record in world.records().iter().filter(|record| ids.contains(&record.id())) {
        let incident = record.health.incident.as_ref().unwrap();
        assert_eq!(incident.detected_at.since(incident.opened_at), Duration::from_millis(1), "S3.5, S8.5");
    }
}

#[test]
fn s3_7_a_heartbeat_left_for_the_next_batch_is_in_time_all_the_same() {
    let mut world = World::new(1);
    let other = world.make(1, every("10m", "1m"));
    let mut spec = every("20s", "5s");
    spec.slug = "second".to_owned();
    let id = world.make(2, spec);
    world.run(d("25s"));
    // Both are stamped at the deadline; only the first fits into the first batch.
    world.event(other, Event::Ping(Box::new(Ping::new(Signal::Success))));
    world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
    world.pass(Duration::from_millis(1));
    world.evaluator.handle_time(world.now, world.monotonic);
    world.settle();
    let record = world.records().into_iter().find(|record| record.id() == id).unwrap();
    assert_eq!(record.health.state, State::Up);
    assert!(world.stored_notifications().is_empty());
}

#[test]
fn s6_1_case_6_an_hour_of_refused_writes_is_an_outage_and_no_mass_alert() {
    let mut world = World::new(100);
    let ids: Vec<MonitorId> = (1..=20)
        .map(|n| {
            let mut spec = every("10m", "1m");
            spec.slug = format!("job-{n}");
            world.make(n, spec)
        })
        .collect();
    world.run(d("9m"));
    world.fates = vec![Fate::Unavailable; 3600].into();
    let mut refused = Vec::new();
    for minute in 0..60 {
        refused.push(world.event(ids[minute % 20], Event::Ping(Box::new(Ping::new(Signal::Success)))));
        for _ in 0..3 {
            world.evaluator.handle_time(world.now, world.monotonic);
            if let Some(batch) = world.evaluator.poll_batch() {
                let result = world.commit(&batch);
                world.evaluator.handle_applied(&result);
            }
            world.collect();
            world.pass(d("20s"));
        }
    }
    assert!(refused.iter().all(|ticket| matches!(world.answers[ticket][..], [Err(Refusal::Storage(_))])));
    world.fates.clear();
    world.settle();
    world.run(d("5m"));
    let kinds: Vec<_> = world.stored_notifications().into_iter().map(|(_, _, kind)| kind).collect();
    assert_eq!(kinds, [NotificationKind::WatcherOutage]);
    // Those that stay silent are found.
    world.run(d("10m"));
    assert!(world.records().iter().all(|record| record.health.state == State::Down));

    // A process that was frozen judges nothing of the time that it missed.
    let mut frozen = World::new(100);
    let id = frozen.make(1, every("10m", "1m"));
    frozen.run(d("10m"));
    frozen.pass(d("30m"));
    frozen.settle();
    assert_eq!(frozen.records()[0].health.state, State::New);
    frozen.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
    frozen.run(d("1m"));
    assert_eq!(frozen.records()[0].health.state, State::Up);
}

#[test]
fn s6_2_a_heartbeat_that_waited_while_the_store_hung_judges_nothing_of_that_time() {
    let mut world = World::new(100);
    let id = world.make(1, every("10m", "1m"));
    world.run(d("10m30s"));
    world.event(id, Event::Ping(Box::new(Ping::new(Signal::Start))));
    world.evaluator.handle_time(world.now, world.monotonic);
    let batch = world.evaluator.poll_batch().unwrap();
    // The write takes three minutes, and the deadline passes meanwhile.
    world.pass(d("60s"));
    let waiting = world.event(id, Event::Ping(Box::new(Ping::new(Signal::Start))));
    world.pass(d("120s"));
    world.hung = true;
    let result = world.commit(&batch);
    world.hung = false;
    world.evaluator.handle_applied(&result);
    world.settle();
    assert!(matches!(world.answers[&waiting][..], [Ok(_)]));
    let kinds: Vec<_> = world.stored_notifications().into_iter().map(|(_, _, kind)| kind).collect();
    assert_eq!(kinds, [NotificationKind::WatcherOutage]);
}

#[test]
fn s6_6_case_7_a_crash_right_after_the_outage_was_stored_does_not_forget_it() {
    let mut world = World::new(100);
    world.make(1, every("10m", "1m"));
    world.run(d("10m30s"));
    world.pass(d("30m"));
    world.evaluator.handle_time(world.now, world.monotonic);
    let batch = world.evaluator.poll_batch().unwrap();
    assert!(batch.outage.is_some() && batch.mark.is_some() && batch.transitions.is_empty());
    world.commit(&batch).unwrap();
    // The crash: nothing of it was applied to the record.
    world.restart(d("1s"));
    world.run(d("5m"));
    assert_eq!(world.records()[0].health.state, State::New);
}

#[test]
fn s6_7_a_clock_that_was_set_back_while_nobody_watched_is_found_at_the_start() {
    for restart in [true, false] {
        let mut world = World::new(100);
        let id = world.make(1, every("10m", "1m"));
        world.now = world.now + d("24h");
        world.settle();
        world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
        world.run(d("1m"));
        world.now = world.now - d("24h");
        if restart {
            world.restart(d("1s"));
        }
        world.run(d("12m"));
        let record = &world.records()[0];
        assert_eq!(record.health.state, State::Down, "restart: {restart}, {:?}", record.health);
        let mark = world.runtime.block_on(world.storage.watch_log()).unwrap().mark.unwrap();
        assert!(world.now.since(mark) <= d("5s") && mark <= world.now, "marks are stored again");
    }
}

#[test]
fn a_taken_name_is_told_to_the_one_who_asked_for_it() {
    let mut world = World::new(100);
    let mut first = every("10m", "1m");
    first.slug = "first".to_owned();
    let mut second = first.clone();
    second.slug = "second".to_owned();
    world.make(1, first.clone());
    let id = world.make(2, second.clone());
    let ping = world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
    second.slug = "first".to_owned();
    let edit = Edit::Spec { spec: Box::new(second), expected: None, secret: None };
    let named = world.event(id, Event::Edit(edit));
    let pause = world.event(id, Event::Edit(Edit::Pause { manual_resume: true }));
    let later = world.event(id, Event::Ping(Box::new(Ping::new(Signal::Fail))));
    let again = world.ask(Request::Create(Box::new(monitor(3, first, world.now))));
    world.settle();
    assert!(matches!(world.answers[&named][..], [Err(Refusal::Taken("slug"))]));
    assert!(matches!(world.answers[&again][..], [Err(Refusal::Taken("slug"))]));
    for ticket in [ping, pause, later] {
        assert!(matches!(world.answers[&ticket][..], [Ok(_)]), "{:?}", world.answers[&ticket]);
    }
    let record = world.records().into_iter().find(|record| record.id() == id).unwrap();
    assert_eq!((record.health.state, record.health.ping_count), (State::Paused, 2));
}

#[test]
fn refusals_wait_for_the_commit_that_they_rest_on() {
    let mut world = World::new(100);
    let id = world.make(1, every("10m", "1m"));
    let mut spec = every("10m", "2m");
    spec.description = "changed".to_owned();
    let spec = Box::new(spec);
    let revision = world.records()[0].monitor.revision;
    let edit = || Edit::Spec { spec: spec.clone(), expected: Some(revision), secret: None };
    let (one, two) = (world.event(id, Event::Edit(edit())), world.event(id, Event::Edit(edit())));
    world.fates = vec![Fate::Unavailable].into();
    world.settle();
    for ticket in [one, two] {
        assert!(matches!(world.answers[&ticket][..], [Err(Refusal::Storage(_))]), "{:?}", world.answers[&ticket]);
    }
    let (one, two) = (world.event(id, Event::Edit(edit())), world.event(id, Event::Edit(edit())));
    world.settle();
    assert!(matches!(world.answers[&one][..], [Ok(_)]));
    assert!(matches!(world.answers[&two][..], [Err(Refusal::Revision(_))]));
}

#[test]
fn made_removed_and_made_again_at_once_is_answered_each() {
    let mut world = World::new(100);
    let monitor = monitor(1, every("10m", "1m"), world.now);
    let id = monitor.id;
    let create = world.ask(Request::Create(Box::new(monitor.clone())));
    let remove = world.ask(Request::Edit(id, Edit::Remove));
    let lost = world.ask(Request::Ping(id, Box::new(Ping::new(Signal::Success))));
    let again = world.ask(Request::Create(Box::new(monitor)));
    world.settle();
    assert!(matches!(world.answers[&create][..], [Ok(_)]));
    assert!(matches!(world.answers[&remove][..], [Ok(_)]));
    assert!(matches!(world.answers[&lost][..], [Err(Refusal::NotFound)]));
    assert!(matches!(world.answers[&again][..], [Ok(_)]));
    assert_eq!(world.records().len(), 1);
}

#[test]
fn a_fenced_evaluator_writes_nothing_and_answers_each() {
    let mut world = World::new(100);
    let id = world.make(1, every("10m", "1m"));
    let lease = |epoch: u64, node: &str| Lease {
        partition: PartitionId(0),
        epoch: Epoch(epoch),
        node: node.to_owned(),
        expires_at: Timestamp::MAX,
    };
    assert!(world.runtime.block_on(world.storage.swap_lease(&lease(0, ""), &lease(1, "there"))).unwrap());
    let ticket = world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
    world.evaluator.handle_time(world.now, world.monotonic);
    let batch = world.evaluator.poll_batch().unwrap();
    let result = world.commit(&batch);
    world.evaluator.handle_applied(&result);
    world.collect();
    assert!(matches!(world.answers[&ticket][..], [Err(Refusal::Storage(StorageError::Fenced))]));
    assert_eq!(world.records()[0].health.ping_count, 0);
}

#[test]
fn a_retried_write_names_the_same_things() {
    let mut world = World::new(100);
    world.make(1, every("10s", "1s"));
    world.run(d("10s"));
    world.pass(d("2s"));
    let named = |world: &mut World| {
        world.evaluator.handle_time(world.now, world.monotonic);
        let batch = world.evaluator.poll_batch().unwrap();
        world.evaluator.handle_applied(&Err(StorageError::Unavailable("by plan".to_owned())));
        let transition = &batch.transitions[0];
        (transition.incidents[0].id, transition.notifications[0].id)
    };
    let first = named(&mut world);
    world.pass(d("1s"));
    assert_eq!(named(&mut world), first);
    // It is written, and the answer is lost: it is told once.
    world.fates = vec![Fate::UnknownWritten].into();
    world.run(d("3s"));
    assert_eq!(world.owed, [first.1]);
}

#[test]
fn s6_3_an_outage_is_told_once_where_it_touched_a_window_or_was_long() {
    // Length, whether a window is touched, whether it is told.
    for (length, touched, told) in
        [("4s", true, false), ("6s", true, true), ("59s", false, false), ("61s", false, true)]
    {
        let mut world = World::new(100);
        let id = world.make(1, every("10m", "1m"));
        world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
        world.run(if touched { d("9m30s") } else { d("1m") });
        let marked = world.runtime.block_on(world.storage.watch_log()).unwrap().mark.unwrap();
        let gap = d(length).saturating_sub(world.now.since(marked));
        world.watchers = vec!["self".to_owned()];
        world.restart(gap);
        let found = world.stored_notifications();
        assert_eq!(found.len(), usize::from(told), "{length}, touched: {touched}");
        assert!(found.iter().all(|(_, about, kind)| about.is_none() && *kind == NotificationKind::WatcherOutage));
        world.run(d("30s"));
        assert_eq!(world.stored_notifications().len(), found.len(), "once");
    }
}
