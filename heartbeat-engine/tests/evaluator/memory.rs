//! How many outages are remembered, what is stored before they are forgotten, and what is said of them (S6).

use std::sync::Arc;
use std::time::Duration;

use crate::common::{d, every, midnight, window_at};
use crate::world::World;
use heartbeat_engine::evaluator::{Evaluator, Request};
use heartbeat_engine::testing::fixtures::monitor_id;
use heartbeat_engine::{
    Applied, Epoch, Monitor, Outage, Outcome, PartitionId, Ping, Record, Signal, Timestamp, WatchLog,
};

fn now() -> Timestamp {
    midnight() + d("12h")
}

/// `count` outages of a second each, the last an hour ago.
fn past(count: u64) -> Vec<Outage> {
    (0..count)
        .map(|n| {
            let from = now() - Duration::from_secs(3600 + 60 * (count - n));
            Outage { from, to: from + d("1s") }
        })
        .collect()
}

/// An evaluator that remembers these outages, at its first look, which finds no other.
fn remembering(outages: Vec<Outage>, outages_max: usize, record: Option<Record>) -> Evaluator {
    let log = WatchLog { mark: Some(now()), outages };
    let mut evaluator = Evaluator::new(PartitionId(0), Epoch(0), log, 10, outages_max);
    if let Some(record) = record {
        evaluator.handle_record(record.id(), Some(Arc::new(record)));
    }
    evaluator.handle_time(now(), Duration::ZERO);
    evaluator
}

/// Another 20 s without a mark: the outages that its batch forgets, which is then written.
fn away(evaluator: &mut Evaluator, times: u64) -> Option<Timestamp> {
    let passed = Duration::from_secs(20 * times);
    evaluator.handle_time(now() + passed, passed);
    let batch = evaluator.poll_batch().unwrap();
    assert!(batch.outage.is_some() && batch.transitions.is_empty());
    evaluator.handle_applied(batch.clone(), &Ok(Applied::default()));
    batch.forget_outages_before
}

fn waiting() -> Record {
    waiting_since("1m")
}

/// Made so long ago, and not looked at since.
fn waiting_since(ago: &str) -> Record {
    let mut world = World::new(10);
    world.now = now() - d(ago);
    world.settle();
    world.make(1, every("1h", "1m"));
    world.records().remove(0)
}

#[test]
fn the_oldest_quarter_is_forgotten_when_there_are_too_many() {
    let found = past(4);
    assert_eq!(away(&mut remembering(past(3), 4, None), 1), None);
    assert_eq!(away(&mut remembering(found.clone(), 4, None), 1), Some(found[1].to));
    let found = past(9);
    let mut evaluator = remembering(found.clone(), 4, None);
    assert_eq!(away(&mut evaluator, 1), Some(found[2].to));
    assert_eq!(away(&mut evaluator, 2), Some(found[4].to), "two are gone and one has come");
}

#[test]
fn s6_2_what_outages_moved_is_stored_before_they_are_forgotten() {
    let mut evaluator = remembering(past(3), 4, Some(waiting()));
    assert_eq!(away(&mut evaluator, 1), None);
    let moved = evaluator.poll_committed().records;
    assert_eq!(moved.len(), 1, "seen at once");
    // As long as it is not stored, nothing is forgotten, up to twice as many.
    let forgotten: Vec<bool> = (2..=8).map(|times| away(&mut evaluator, times).is_some()).collect();
    assert_eq!(forgotten, [false, false, false, false, true, false, true]);
    let batch = evaluator.poll_batch().unwrap();
    assert_eq!(batch.transitions.len(), 1, "stored although nothing else changes");
    evaluator
        .handle_applied(batch.clone(), &Ok(Applied { transitions: vec![Outcome::Committed], ..Applied::default() }));
    assert_eq!(evaluator.poll_batch(), None, "once");
    assert!(away(&mut evaluator, 9).is_some());
}

/// A look at a million takes seconds; meanwhile heartbeats are taken, and silence is not judged.
#[test]
fn s6_2_what_an_outage_moved_of_many_is_seen_piece_by_piece() {
    const MANY: u64 = 3_000;
    let mut evaluator = remembering(Vec::new(), 4, None);
    // Their deadline comes in the outage.
    let record = waiting_since("3650s");
    for n in 0..MANY {
        let monitor = Monitor { id: monitor_id(n), ..(*record.monitor).clone() };
        evaluator.handle_record(monitor.id, Some(Arc::new(Record { monitor: monitor.into(), ..record.clone() })));
    }
    assert_eq!(away(&mut evaluator, 1), None);
    let mut seen = evaluator.poll_committed().records.len();
    assert!(0 < seen && seen < MANY as usize, "{seen}");
    let (at, last) = (now() + d("20s"), monitor_id(MANY - 1));
    evaluator.handle_request(1, at, Request::Ping(last, Box::new(Ping::new(Signal::Success))));
    let batch = evaluator.poll_batch().unwrap();
    assert_eq!(batch.transitions.iter().map(|found| found.monitor).collect::<Vec<_>>(), [last]);
    evaluator.handle_applied(batch, &Ok(Applied { transitions: vec![Outcome::Committed], ..Applied::default() }));
    assert!(matches!(evaluator.poll_answer(), Some((1, Ok(_)))));
    let mut turns = 0;
    while evaluator.poll_wake() <= at {
        turns += 1;
        assert!(turns < 10);
        evaluator.handle_time(at, d("20s"));
        assert_eq!(evaluator.poll_batch(), None, "nothing is due");
        seen += evaluator.poll_committed().records.len();
    }
    assert_eq!(seen, MANY as usize, "each once, the last by its heartbeat");
}

#[test]
fn s6_2_what_was_taken_over_sees_outages_before_they_are_forgotten() {
    let mut evaluator = remembering(past(4), 4, Some(waiting_since("70m")));
    assert_eq!(away(&mut evaluator, 1), None, "its record is not stored yet as they leave it");
}

#[test]
fn s5_3_an_outage_that_met_a_window_in_force_is_not_forgotten_before_its_end() {
    let mut evaluator = remembering(Vec::new(), 4, None);
    let window = |to| vec![window_at(now() - d("2h"), to)];
    evaluator.handle_policies(window(now() + d("1h")), Vec::new());
    let record = waiting_since("70m");
    evaluator.handle_record(record.id(), Some(Arc::new(record)));
    let keeps_all = |forgotten: Option<Timestamp>| forgotten.is_none_or(|before| before <= now() - d("70m"));
    for times in 1..=20 {
        assert!(keeps_all(away(&mut evaluator, times)), "{times}");
    }
    // It ends now: what the outages moved is stored, and they are forgotten.
    evaluator.handle_policies(window(now() + d("400s")), Vec::new());
    assert!(keeps_all(away(&mut evaluator, 21)), "not stored yet");
    let batch = evaluator.poll_batch().unwrap();
    assert_eq!(batch.transitions.len(), 1);
    evaluator
        .handle_applied(batch.clone(), &Ok(Applied { transitions: vec![Outcome::Committed], ..Applied::default() }));
    assert!(!keeps_all(away(&mut evaluator, 22)));
}

#[test]
fn what_outages_moved_is_not_stored_for_its_own_sake_while_there_is_room() {
    let mut evaluator = remembering(past(3), 100, Some(waiting()));
    assert_eq!(away(&mut evaluator, 1), None);
    assert_eq!(evaluator.poll_committed().records.len(), 1);
    assert_eq!(evaluator.poll_batch(), None);
}

#[test]
fn s6_7_of_an_outage_that_ends_in_the_future_what_has_passed_is_kept() {
    let horizon = now() + d("60s");
    let later = horizon + Duration::from_millis(1);
    // From, to, what is left of it, whether those of the future are forgotten in the store.
    for (from, to, left, forgets) in [
        (now() - d("10s"), later, Some(now()), true),
        (now() - d("10s"), horizon, Some(horizon), false),
        (now() - d("10s"), now() - d("5s"), Some(now() - d("5s")), false),
        (now(), later, None, true),
        (now() + d("10s"), later, None, true),
        (now() + d("10s"), horizon, Some(horizon), false),
    ] {
        let mut evaluator = remembering(vec![Outage { from, to }], 1, None);
        evaluator.handle_time(now() + d("20s"), d("20s"));
        let batch = evaluator.poll_batch().unwrap();
        assert_eq!(batch.forget_outages_before, left, "from {from} to {to}");
        assert_eq!(batch.forget_outages_after, forgets.then_some(horizon), "from {from} to {to}");
    }
}

#[test]
fn s6_3_what_is_said_of_an_outage_names_at_most_a_hundred_monitors() {
    for (monitors, named) in [(0, 0), (1, 1), (100, 100), (101, 100)] {
        let mut world = World::new(1000);
        for n in 1..=monitors {
            let mut spec = every("10m", "1m");
            spec.slug = format!("job-{n}").into();
            world.make(n, spec);
        }
        world.evaluator.tell_of_outages(vec!["self".to_owned()]);
        world.run(d("10m"));
        world.pass(d("5m"));
        world.evaluator.handle_time(world.now, world.monotonic);
        let batch = world.evaluator.poll_batch().unwrap();
        let message = &batch.notifications[0].message;
        assert!(message.contains(&format!("heartbeats of {monitors} monitors may have been missed")), "{message}");
        assert_eq!(message.matches("job-").count(), named, "{message}");
        assert_eq!(message.ends_with("missed"), named == 0, "{message}");
    }
}
