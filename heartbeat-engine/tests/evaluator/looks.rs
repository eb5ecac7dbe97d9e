//! What the evaluator asks its host for: when to look, what to write, and that it does neither too often.

use std::sync::Arc;
use std::time::Duration;

use crate::common::{d, ended_at, every, monitor};
use crate::world::{Fate, World, overdue};
use heartbeat_engine::evaluator::{Evaluator, Request};
use heartbeat_engine::step::{Edit, Event};
use heartbeat_engine::{
    Batch, Change, Epoch, MonitorId, PartitionId, Ping, Record, Signal, Storage, Timestamp, WatchLog,
};

const MILLI: Duration = Duration::from_millis(1);

fn ping(world: &mut World, id: MonitorId) -> u64 {
    world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))))
}

/// An evaluator that takes over what the world has stored, before it looks at the clock.
fn taken_over(world: &World, records: Vec<Record>) -> Evaluator {
    taken_over_by(world, records, 10)
}

/// The same with so many monitors in a batch.
fn taken_over_by(world: &World, records: Vec<Record>, batch_max: usize) -> Evaluator {
    let log = WatchLog { mark: Some(world.now), ..WatchLog::default() };
    let mut evaluator = Evaluator::new(PartitionId(0), Epoch(0), log, batch_max, 100);
    for record in records {
        evaluator.handle_record(record.id(), Some(Arc::new(record)));
    }
    evaluator
}

/// So many children that are said to be held back by a parent that is up, and the parent.
fn misheld(world: &mut World, children: u64) -> Vec<Record> {
    let mut parent = every("1h", "1m");
    parent.slug = "parent".into();
    let parent = world.make(1, parent);
    let children: Vec<MonitorId> = (0..children)
        .map(|n| {
            let mut child = every("1h", "1m");
            (child.slug, child.depends_on) = (format!("child-{n}").into(), vec![parent]);
            world.make(n + 2, child)
        })
        .collect();
    for id in [&[parent], &children[..]].concat() {
        world.event(id, Event::Ping(Box::new(Ping::new(Signal::Fail))));
        world.settle();
    }
    ping(world, parent);
    world.evaluator.handle_time(world.now, world.monotonic);
    let batch = world.evaluator.poll_batch().unwrap();
    world.write(&batch).unwrap();
    let records = world.records();
    let held = |record: &&Record| record.health.incident.as_ref().is_some_and(|incident| !incident.held_by.is_empty());
    assert_eq!(records.iter().filter(held).map(Record::id).collect::<Vec<_>>(), children);
    records
}

/// A record whose last heartbeat came an hour from now.
fn of_the_future(world: &World, mut record: Record) -> Record {
    let health = &mut record.health;
    (health.based_at, health.latest_at) = (world.now + d("1h"), world.now + d("1h"));
    record
}

#[test]
fn s3_7_a_look_is_wanted_right_after_the_deadline_and_when_a_mark_is_due() {
    let mut world = World::new(10);
    let made = world.now;
    world.make(1, every("10s", "1s"));
    world.run(d("9s"));
    assert_eq!(world.evaluator.poll_wake(), made + d("11s") + MILLI);
    ping(&mut world, monitor(1, every("10s", "1s"), made).id);
    world.settle();
    world.run(d("2500ms"));
    assert_eq!(world.evaluator.poll_wake(), made + d("13s"), "a mark, 4 s after the one of the heartbeat");
}

#[test]
fn what_is_loaded_is_looked_at_when_it_is_due() {
    let mut world = World::new(10);
    world.make(1, every("10m", "1m"));
    let mut evaluator = taken_over(&world, world.records());
    assert_eq!(evaluator.poll_wake(), world.now + d("4s"));
    evaluator.handle_time(world.now, world.monotonic);
    assert_eq!(evaluator.poll_wake(), world.now + d("4s"), "nothing of it is due");
    assert_eq!(evaluator.poll_batch(), None);
}

#[test]
fn s6_7_what_is_loaded_from_the_future_is_looked_at_at_once() {
    let mut world = World::new(10);
    world.make(1, every("10m", "1m"));
    let record = of_the_future(&world, world.records().remove(0));
    let mut evaluator = taken_over(&world, vec![record.clone()]);
    assert_eq!(evaluator.poll_wake(), world.now + d("4s"), "the time is not known yet");
    evaluator.handle_time(world.now, world.monotonic);
    assert_eq!(evaluator.poll_wake(), world.now);
    assert_eq!(evaluator.poll_batch().unwrap().transitions.len(), 1);

    // The same when it is read again later.
    let mut running = taken_over(&world, world.records());
    running.handle_time(world.now, world.monotonic);
    running.handle_record(record.id(), Some(Arc::new(record)));
    assert_eq!(running.poll_wake(), world.now);
    assert_eq!(running.poll_batch().unwrap().transitions.len(), 1);
}

#[test]
fn s5_4_who_is_said_to_be_held_back_by_what_is_up_is_looked_at_at_once() {
    let mut world = World::new(10);
    let records = misheld(&mut world, 1);
    for order in [records.clone(), records.iter().rev().cloned().collect()] {
        let mut evaluator = taken_over(&world, order);
        assert_eq!(evaluator.poll_wake(), world.now + d("4s"), "not every parent is known while loading");
        evaluator.handle_time(world.now, world.monotonic);
        assert_eq!(evaluator.poll_wake(), world.now);
        assert_eq!(evaluator.poll_batch().unwrap().transitions.len(), 1);
    }
    // The same when it is read again later.
    let mut running = taken_over(&world, Vec::new());
    running.handle_time(world.now, world.monotonic);
    for record in records {
        running.handle_record(record.id(), Some(Arc::new(record)));
    }
    assert_eq!(running.poll_wake(), world.now);
}

#[test]
fn s5_3_a_deadline_that_a_window_held_back_is_looked_at_at_the_start_as_the_window_may_have_been_ended() {
    let mut world = World::new(10);
    world.make(1, every("10m", "1m"));
    world.plan(d("9m"), d("24h"));
    world.run(d("12m"));
    let record = world.records().remove(0);
    assert!(record.health.moves.held.is_some() && record.health.wake_at() > world.now + d("23h"));
    let windows = world.windows.iter().map(|window| ended_at(window, world.now)).collect();
    let mut evaluator = taken_over(&world, Vec::new());
    evaluator.handle_policies(windows, Vec::new());
    evaluator.handle_record(record.id(), Some(Arc::new(record)));
    evaluator.handle_time(world.now, world.monotonic);
    let batch = evaluator.poll_batch().unwrap();
    let Change::Put(record) = &batch.transitions[0].change else { panic!("{batch:?}") };
    assert_eq!((record.health.moves.held, record.health.wake_at()), (None, world.now + d("11m")));
}

#[test]
fn at_most_as_many_are_looked_at_at_once_as_go_into_a_batch() {
    let mut world = World::new(10);
    let records = misheld(&mut world, 3);
    for batch_max in [1, 2] {
        let mut evaluator = taken_over_by(&world, records.clone(), batch_max);
        evaluator.handle_time(world.now, world.monotonic);
        assert_eq!(evaluator.poll_batch().unwrap().transitions.len(), batch_max);
    }
}

#[test]
fn s5_1_what_is_removed_before_its_deadline_does_not_go_down_though_it_is_decided_later() {
    let mut world = World::new(10);
    let id = world.make(1, every("10m", "1m"));
    world.run(d("659s"));
    world.ask(Request::Edit(id, Edit::Remove));
    world.pass(d("2s"));
    world.evaluator.handle_time(world.now, world.monotonic);
    let batch = world.evaluator.poll_batch().unwrap();
    let [removal] = &batch.transitions[..] else { panic!("{batch:?}") };
    assert_eq!((removal.incidents.len(), removal.notifications.len(), removal.changes.len()), (0, 0, 0));
}

#[test]
fn what_an_outage_moved_is_not_stored_with_a_request_that_changes_nothing() {
    let mut world = World::new(10);
    let id = world.make(1, every("1h", "10m"));
    world.run(d("55m"));
    world.restart(d("20m"));
    let stored = world.records().remove(0);
    let spec = Box::new(stored.spec().clone());
    world.event(id, Event::Edit(Edit::Spec { spec, expected: None, secret: None }));
    world.settle();
    assert_eq!(world.records(), [stored]);
}

#[test]
fn one_batch_at_a_time() {
    let mut world = World::new(10);
    let id = world.make(1, every("10m", "1m"));
    ping(&mut world, id);
    let batch = world.evaluator.poll_batch().unwrap();
    ping(&mut world, id);
    assert_eq!(world.evaluator.poll_batch(), None, "the answer to the first is not there yet");
    let result = world.commit(&batch);
    world.evaluator.handle_applied(batch.clone(), &result);
    assert_eq!(world.evaluator.poll_batch().unwrap().transitions.len(), 1);
}

#[test]
fn nothing_is_decided_while_a_monitor_is_to_be_read_again() {
    let mut world = World::new(10);
    let id = world.make(1, every("10m", "1m"));
    ping(&mut world, id);
    world.fates = vec![Fate::Overtaken].into();
    let batch = world.evaluator.poll_batch().unwrap();
    let result = world.commit(&batch);
    world.evaluator.handle_applied(batch.clone(), &result);
    assert_eq!((world.evaluator.poll_reload(), world.evaluator.pending_len()), (vec![id], 1));
    ping(&mut world, id);
    ping(&mut world, id);
    assert_eq!((world.evaluator.poll_batch(), world.evaluator.pending_len()), (None, 3));
    assert!(world.evaluator.has_pending());
    world.settle();
    assert_eq!((world.evaluator.pending_len(), world.evaluator.has_pending()), (0, false));
    assert_eq!(world.records()[0].health.ping_count, 4);
}

#[test]
fn an_empty_batch_names_the_partition_and_the_lease() {
    let evaluator = Evaluator::new(PartitionId(3), Epoch(5), WatchLog::default(), 10, 100);
    let batch = evaluator.empty_batch();
    assert_eq!(batch, Batch { partition: PartitionId(3), epoch: Epoch(5), ..Batch::default() });
    assert!(batch.is_empty());
}

#[test]
fn s6_7_the_outages_of_the_future_are_forgotten_with_the_next_batch_and_no_later_one() {
    let mut world = World::new(10);
    let id = world.make(1, every("10m", "1m"));
    world.run(d("1m"));
    world.now = world.now + d("24h");
    world.settle();
    world.run(d("1m"));
    world.now = world.now - d("24h");
    world.evaluator.handle_time(world.now, world.monotonic);
    let batch = world.evaluator.poll_batch().unwrap();
    assert_eq!(batch.forget_outages_after, Some(world.now + d("60s")));
    world
        .evaluator
        .handle_applied(batch.clone(), &Err(heartbeat_engine::StorageError::Unavailable("by plan".to_owned())));
    let batch = world.evaluator.poll_batch().unwrap();
    assert_eq!(batch.forget_outages_after, Some(world.now + d("60s")), "it was not written");
    let result = world.commit(&batch);
    world.evaluator.handle_applied(batch.clone(), &result);
    world.settle();
    ping(&mut world, id);
    assert_eq!(world.evaluator.poll_batch().unwrap().forget_outages_after, None);
}

#[test]
fn what_no_window_holds_back_is_not_looked_at_when_windows_change_or_a_write_fails() {
    let mut world = World::new(10);
    let id = world.make(1, every("10m", "1m"));
    world.evaluator.handle_policies(Vec::new(), Vec::new());
    assert!(world.evaluator.poll_wake() > world.now);
    ping(&mut world, id);
    let batch = world.evaluator.poll_batch().unwrap();
    world
        .evaluator
        .handle_applied(batch.clone(), &Err(heartbeat_engine::StorageError::Unavailable("by plan".to_owned())));
    assert!(world.evaluator.poll_wake() > world.now);
}

#[test]
fn what_was_removed_is_asked_for_no_more() {
    let mut world = World::new(10);
    let id = world.make(1, every("10s", "1s"));
    world.ask(Request::Edit(id, Edit::Remove));
    world.settle();
    assert_eq!(world.evaluator.records().count(), 0);
    let wake = world.evaluator.poll_wake();
    assert!(wake > world.now && wake < Timestamp::MAX);
    assert!(world.runtime.block_on(world.storage.load(&[id])).unwrap()[0].is_none());
}

#[test]
fn s3_5_what_is_told_names_when_the_change_was_known_to_be_durable() {
    let mut world = overdue(10, 1);
    let decided_at = world.now;
    let batch = world.evaluator.poll_batch().unwrap();
    let result = world.write_plainly(&batch);
    world.evaluator.handle_applied(batch.clone(), &result);
    let mut committed = world.evaluator.poll_committed();
    let durable_at = decided_at + d("3s");
    committed.stamp(durable_at);
    let told = committed.owed[0].incident.as_ref().unwrap();
    assert_eq!((told.detected_at, committed.changes[0].detected_at), (durable_at, durable_at));
    assert_eq!(batch.transitions[0].incidents[0].detected_at, decided_at, "what is stored");
    // The clock was set back meanwhile: it was not detected before it was decided.
    committed.stamp(decided_at - d("1s"));
    assert_eq!(committed.changes[0].detected_at, durable_at);
    // Its end names when the going down was detected, as far as that is stored.
    world.run(d("4s"));
    let id = batch.transitions[0].monitor;
    world.ask(Request::Ping(id, Box::new(Ping::new(Signal::Success))));
    world.evaluator.handle_time(world.now, world.monotonic);
    let batch = world.evaluator.poll_batch().unwrap();
    let result = world.write_plainly(&batch);
    world.evaluator.handle_applied(batch.clone(), &result);
    let mut committed = world.evaluator.poll_committed();
    committed.stamp(world.now + d("9s"));
    let told = committed.owed[0].incident.as_ref().unwrap();
    assert_eq!((told.detected_at, told.closed_at), (decided_at, Some(world.now)));
}

#[test]
fn monitors_that_are_due_at_once_are_decided_in_the_order_of_their_ids_and_a_heartbeat_among_them_is_in_time() {
    let mut world = overdue(4, 12);
    let mut decided = Vec::new();
    // It is stamped now, after the deadline, and decided with the first batch.
    let last = world.evaluator.records().map(|record| record.id()).max().unwrap();
    world.ask(Request::Ping(last, Box::new(Ping::new(Signal::Log))));
    while let Some(batch) = world.evaluator.poll_batch() {
        let result = world.write_plainly(&batch);
        world.evaluator.handle_applied(batch.clone(), &result);
        decided.extend(batch.transitions.iter().map(|transition| transition.monitor));
        assert!(batch.transitions.len() <= 5, "{}", batch.transitions.len());
        world.evaluator.handle_time(world.now, world.monotonic);
    }
    assert_eq!((decided.len(), decided.remove(0)), (12, last));
    assert!(decided.is_sorted(), "{decided:?}");
    assert!(world.evaluator.poll_wake() > world.now, "nothing is left to look at");
}
