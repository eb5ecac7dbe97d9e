//! Heartbeats through step, evaluator and batch, without a storage: ns on the processor for each, by the number of monitors.
//!
//! `cargo bench -p heartbeat-benches --bench evaluator -- [MONITORS…]`. Each monitor reports every 20 minutes, in an order that looks
//! random; time passes as it does then. The baseline is what one would write first: the records in a map of the standard library,
//! `step` for each heartbeat, its deadline in a `BinaryHeap`.

#![allow(missing_docs, reason = "a benchmark is no library")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use heartbeat_benches::cpu::timed;
use heartbeat_benches::{id, origin, scheduled};
use heartbeat_engine::evaluator::{Evaluator, Request};
use heartbeat_engine::step::{Event, Surroundings, step};
use heartbeat_engine::{
    Applied, Change, Epoch, MonitorId, Outcome, PartitionId, Ping, Record, Schedule, Signal, Timestamp, WatchLog, Zone,
};

/// How many heartbeats are measured, after half as many that are not.
const MEASURED: u64 = 400_000;

fn main() {
    let told: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if told.is_empty() { vec![1_000, 100_000, 1_000_000] } else { told };
    println!("ns for each heartbeat");
    println!("{:28} {:>10} {:>12} {:>12} {:>12}", "", "monitors", "batch of 64", "batch of 1000", "baseline");
    let berlin = || Zone::named("Europe/Berlin").expect("a zone");
    let schedules = [
        ("every 1h", Schedule::every(Duration::from_secs(3600)).expect("a period")),
        ("cron, once for each window", Schedule::cron("*/20 * * * *", berlin()).expect("an expression")),
        ("cron, often in one window", Schedule::cron("30 2 * * *", berlin()).expect("an expression")),
    ];
    for (name, schedule) in &schedules {
        for monitors in &sizes {
            let mut evaluator = evaluator(*monitors, schedule);
            let mut reports = Reports { turn: 0, monitors: *monitors };
            let small = heartbeats(&mut evaluator, &mut reports, 64);
            let large = heartbeats(&mut evaluator, &mut reports, 1_000);
            drop(evaluator);
            let baseline = baseline(*monitors, schedule);
            println!("{name:28} {monitors:>10} {small:>12.0} {large:>12.0} {baseline:>12.0}");
        }
    }
}

/// Who reports when.
struct Reports {
    turn: u64,
    monitors: u64,
}

impl Reports {
    fn next(&mut self) -> MonitorId {
        self.turn += 1;
        id(self.turn.wrapping_mul(7_919) % self.monitors)
    }

    fn now(&self) -> Timestamp {
        origin() + Duration::from_secs(60) + Duration::from_millis(self.turn * 1_200_000 / self.monitors)
    }
}

fn evaluator(monitors: u64, schedule: &Schedule) -> Evaluator {
    let mut evaluator = Evaluator::new(PartitionId(0), Epoch(1), WatchLog::default(), 4096, 64);
    for n in 0..monitors {
        let record = scheduled(n, schedule.clone()).unwrap();
        evaluator.handle_record(record.id(), Some(Arc::new(record)));
    }
    evaluator
}

fn heartbeats(evaluator: &mut Evaluator, reports: &mut Reports, batch: u64) -> f64 {
    let (mut measured, mut spent) = (0, Duration::ZERO);
    let mut now = reports.now();
    for turn in 0..MEASURED * 3 / 2 / batch {
        let targets: Vec<MonitorId> = (0..batch).map(|_| reports.next()).collect();
        let requests: Vec<Request> =
            targets.into_iter().map(|target| Request::Ping(target, Box::new(Ping::new(Signal::Success)))).collect();
        let last = now;
        now = reports.now();
        let passed = now.since(origin());
        rest(evaluator, last, now);
        let ((answered, committed), took) = timed(|| {
            for (ticket, request) in (0..).zip(requests) {
                evaluator.handle_request(ticket, now, request);
            }
            evaluator.handle_time(now, passed);
            write(evaluator);
            let answered = std::iter::from_fn(|| evaluator.poll_answer()).filter(|(_, answer)| answer.is_ok()).count();
            (answered, evaluator.poll_committed())
        });
        assert_eq!(answered as u64, batch);
        assert!(committed.changes.iter().all(|change| change.to == heartbeat_engine::State::Up), "nothing goes down");
        if turn * batch >= MEASURED / 2 {
            measured += batch;
            spent += took;
        }
    }
    spent.as_secs_f64() * 1e9 / measured as f64
}

/// Lets the marks of life be written that fall due between two instants.
fn rest(evaluator: &mut Evaluator, from: Timestamp, to: Timestamp) {
    let mut now = from + Duration::from_secs(4);
    while now < to {
        evaluator.handle_time(now, now.since(origin()));
        write(evaluator);
        now = now + Duration::from_secs(4);
    }
}

fn write(evaluator: &mut Evaluator) {
    while let Some(batch) = evaluator.poll_batch() {
        let transitions = vec![Outcome::Committed; batch.transitions.len()];
        evaluator.handle_applied(batch, &Ok(Applied { transitions, documents: Vec::new() }));
    }
}

fn baseline(monitors: u64, schedule: &Schedule) -> f64 {
    let mut records: HashMap<MonitorId, Record> =
        (0..monitors).map(|n| scheduled(n, schedule.clone()).unwrap()).map(|record| (record.id(), record)).collect();
    let mut deadlines = BinaryHeap::new();
    let mut reports = Reports { turn: 0, monitors };
    let event = Event::Ping(Box::new(Ping::new(Signal::Success)));
    let (mut measured, mut spent) = (0, Duration::ZERO);
    for turn in 0..MEASURED * 3 / 2 / 1_000 {
        let targets: Vec<MonitorId> = (0..1_000).map(|_| reports.next()).collect();
        let now = reports.now();
        let ((), took) = timed(|| {
            for target in targets {
                let Some(record) = records.get_mut(&target) else { continue };
                let transition = step(record, &event, now, Surroundings::default()).unwrap().unwrap();
                if let Change::Put(next) = transition.change {
                    deadlines.push(Reverse((next.health.wake_at(), target)));
                    *record = Arc::unwrap_or_clone(next);
                }
            }
        });
        if turn * 1_000 >= MEASURED / 2 {
            measured += 1_000;
            spent += took;
        }
    }
    spent.as_secs_f64() * 1e9 / f64::from(measured)
}
