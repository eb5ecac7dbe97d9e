//! How requests are shared out to batches: who goes with whom, who waits, and who gives up.

use std::sync::Arc;

use crate::common::{d, every, monitor, window_at};
use crate::world::World;
use heartbeat_engine::evaluator::{Refusal, Request};
use heartbeat_engine::step::{Edit, Event, NewNote};
use heartbeat_engine::{
    Applied, Batch, Maintenance, MonitorId, MonitorSpec, Outcome, Ping, Signal, State, StorageError, Timestamp,
};

fn spec(n: u64) -> MonitorSpec {
    let mut spec = every("10m", "1m");
    spec.slug = format!("job-{n}").into();
    spec
}

fn say(world: &mut World, id: MonitorId, signal: Signal) -> u64 {
    world.event(id, Event::Ping(Box::new(Ping::new(signal))))
}

fn wish(world: &mut World, id: MonitorId, spec: MonitorSpec) -> u64 {
    world.ask(Request::Edit(id, Edit::Spec { spec: Box::new(spec), expected: None, secret: None }))
}

/// The next batch, decided now.
fn next(world: &mut World) -> Option<Batch> {
    world.evaluator.handle_time(world.now, world.monotonic);
    world.evaluator.poll_batch()
}

/// The heartbeats in each transition of a batch.
fn pings(batch: &Batch) -> Vec<usize> {
    batch.transitions.iter().map(|transition| transition.pings.len()).collect()
}

/// Writes a batch as it is.
fn write(world: &mut World, batch: &Batch) {
    let result = world.commit(batch);
    world.evaluator.handle_applied(batch.clone(), &result);
    world.collect();
}

/// A window that covers the monitors with a tag for the next hour.
fn window_of_tag(now: Timestamp, tag: &str) -> Arc<Maintenance> {
    let mut window = (*window_at(now, now + d("1h"))).clone();
    (window.spec.all, window.spec.tags) = (false, vec![tag.to_owned()]);
    Arc::new(window)
}

#[test]
fn a_batch_takes_no_more_monitors_than_it_may() {
    let mut world = World::new(2);
    let ids: Vec<_> = (1..=5).map(|n| world.make(n, spec(n))).collect();
    for id in &ids {
        say(&mut world, *id, Signal::Success);
        say(&mut world, *id, Signal::Success);
    }
    for expected in [vec![2, 2], vec![2, 2], vec![2]] {
        let batch = next(&mut world).unwrap();
        assert_eq!(pings(&batch), expected);
        write(&mut world, &batch);
    }
    // The same of those that are due.
    world.run(d("10m59s"));
    world.pass(d("2s"));
    for expected in [2, 2, 1] {
        let batch = next(&mut world).unwrap();
        assert_eq!(batch.transitions.len(), expected);
        write(&mut world, &batch);
    }
    assert!(world.records().iter().all(|record| record.health.state == State::Down));
}

#[test]
fn s6_7_those_of_the_future_too_go_into_batches_of_the_size_that_is_allowed() {
    let mut world = World::new(2);
    world.now = world.now + d("24h");
    world.settle();
    let ids: Vec<_> = (1..=5).map(|n| world.make(n, spec(n))).collect();
    for id in ids {
        say(&mut world, id, Signal::Success);
    }
    world.settle();
    world.now = world.now - d("24h");
    for expected in [2, 2, 1] {
        let batch = next(&mut world).unwrap();
        assert_eq!(batch.transitions.len(), expected);
        write(&mut world, &batch);
    }
    assert_eq!(next(&mut world), None);
}

#[test]
fn requests_that_a_taken_name_put_back_are_decided_each_apart_and_in_order() {
    let mut world = World::new(100);
    world.make(1, spec(1));
    let id = world.make(2, spec(2));
    let named = wish(&mut world, id, spec(1));
    let first = say(&mut world, id, Signal::Fail);
    let batch = next(&mut world).unwrap();
    write(&mut world, &batch);
    let second = say(&mut world, id, Signal::Success);
    // The edit alone, which is refused; the heartbeat that was put back; the one that came later.
    for (expected, answered) in [(0, named), (1, first), (1, second)] {
        let batch = next(&mut world).unwrap();
        assert_eq!(pings(&batch), [expected]);
        write(&mut world, &batch);
        assert_eq!(world.answers[&answered].len(), 1);
    }
    assert!(matches!(world.answers[&named][..], [Err(Refusal::Taken("slug"))]));
    assert!(world.answers[&first][0].is_ok() && world.answers[&second][0].is_ok());
}

#[test]
fn a_monitor_that_others_write_again_and_again_is_given_up_after_six_tries() {
    let mut world = World::new(100);
    let id = world.make(1, spec(1));
    let ticket = say(&mut world, id, Signal::Success);
    for expected in 1..=6 {
        let batch = next(&mut world).unwrap();
        assert_eq!(pings(&batch), [1]);
        world.overtake(id);
        write(&mut world, &batch);
        assert_eq!(world.answers[&ticket].len(), usize::from(expected == 6), "after {expected} tries");
        world.reload(&[id]);
    }
    let [Err(Refusal::Storage(StorageError::Unavailable(why)))] = &world.answers[&ticket][..] else { panic!() };
    assert_eq!(why, "the monitor is written by too many at once");
    world.settle();
    assert_eq!(world.records()[0].health.ping_count, 6, "those of the others");
}

#[test]
fn a_heartbeat_that_a_storage_takes_for_a_name_is_given_up_after_six_tries() {
    let mut world = World::new(100);
    let id = world.make(1, spec(1));
    let ticket = say(&mut world, id, Signal::Success);
    for expected in 1..=6 {
        let batch = next(&mut world).unwrap();
        assert_eq!(pings(&batch), [1]);
        let transitions = vec![Outcome::NameTaken { field: "slug" }];
        world.evaluator.handle_applied(batch.clone(), &Ok(Applied { transitions, ..Applied::default() }));
        world.collect();
        assert_eq!(world.answers[&ticket].len(), usize::from(expected == 6), "after {expected} tries");
    }
    assert!(matches!(world.answers[&ticket][..], [Err(Refusal::Storage(StorageError::Unavailable(_)))]));
}

#[test]
fn who_waits_for_a_monitor_that_cannot_be_read_again_is_told_so() {
    let mut world = World::new(100);
    let id = world.make(1, spec(1));
    let waiting = say(&mut world, id, Signal::Success);
    let batch = next(&mut world).unwrap();
    world.overtake(id);
    write(&mut world, &batch);
    let later = say(&mut world, id, Signal::Success);
    world.evaluator.handle_reload_failed(&StorageError::Unavailable("by plan".to_owned()));
    world.collect();
    for ticket in [waiting, later] {
        assert!(matches!(world.answers[&ticket][..], [Err(Refusal::Storage(StorageError::Unavailable(_)))]));
    }
    assert_eq!(world.evaluator.poll_reload(), [id], "it is still to be read");
}

#[test]
fn s5_3_what_is_due_at_the_end_of_a_window_is_due_again_after_a_failed_write() {
    let mut world = World::new(100);
    world.make(1, spec(1));
    world.plan(d("5m"), d("2h"));
    world.run(d("20m"));
    assert!(world.records()[0].health.moves.held.is_some());
    world.windows.clear();
    world.evaluator.handle_policies(Vec::new(), Vec::new());
    let batch = next(&mut world).unwrap();
    assert_eq!(batch.transitions.len(), 1);
    world.evaluator.handle_applied(batch.clone(), &Err(StorageError::Unavailable("by plan".to_owned())));
    assert_eq!(world.evaluator.poll_wake(), world.now);
    assert_eq!(next(&mut world).unwrap().transitions.len(), 1);
}

#[test]
fn s5_3_what_comes_after_an_edit_lies_in_the_windows_of_the_new_tags() {
    for together in [true, false] {
        let mut world = World::new(100);
        let id = world.make(1, spec(1));
        world.windows = vec![window_of_tag(world.now, "x")];
        world.evaluator.handle_policies(world.windows.clone(), Vec::new());
        world.settle();
        let mut tagged = spec(1);
        tagged.tags = vec!["x".to_owned()];
        wish(&mut world, id, tagged);
        if !together {
            world.settle();
        }
        say(&mut world, id, Signal::Fail);
        world.settle();
        assert_eq!(world.records()[0].health.state, State::Up, "not counted; in one batch: {together}");
        wish(&mut world, id, spec(1));
        say(&mut world, id, Signal::Fail);
        world.settle();
        assert_eq!(world.records()[0].health.state, State::Down, "counted; in one batch: {together}");
    }
}

#[test]
fn s5_3_a_monitor_is_made_in_the_windows_that_cover_it() {
    let mut world = World::new(100);
    world.windows = vec![window_of_tag(world.now, "x")];
    world.evaluator.handle_policies(world.windows.clone(), Vec::new());
    let mut tagged = spec(1);
    tagged.tags = vec!["x".to_owned()];
    let monitor = monitor(1, tagged, world.now);
    let id = monitor.id;
    world.ask(Request::Create(Box::new(monitor)));
    say(&mut world, id, Signal::Fail);
    let batch = next(&mut world).unwrap();
    assert_eq!((pings(&batch), batch.transitions[0].incidents.len()), (vec![1], 0), "made and failed in one batch");
    write(&mut world, &batch);
    assert_eq!(world.records()[0].health.state, State::Up);
}

#[test]
fn a_note_on_what_was_written_since_it_was_read_is_asked_for_again() {
    let mut world = World::new(100);
    let id = world.make(1, spec(1));
    say(&mut world, id, Signal::Fail);
    world.settle();
    let open = world.records()[0].health.incident.clone().unwrap();
    let read_before = world.records()[0].version;
    say(&mut world, id, Signal::Success);
    world.settle();
    let written = world.records()[0].version;
    let note = |incident: &heartbeat_engine::Incident, version| {
        let stored = Some(Box::new((incident.clone(), version)));
        let note = NewNote { incident: incident.id, by: "ann".to_owned(), text: "seen".to_owned(), stored };
        Request::Edit(id, Edit::Note(note))
    };
    let mut closed = open.clone();
    (closed.closed_at, closed.closing) = (Some(world.now), Some(heartbeat_engine::Closing::Recovered));
    let stale = world.ask(note(&closed, read_before));
    world.settle();
    assert!(matches!(world.answers[&stale][..], [Err(Refusal::Reread)]), "{:?}", world.answers[&stale]);
    // A heartbeat that writes no incident changes nothing about that.
    say(&mut world, id, Signal::Success);
    world.settle();
    let fresh = world.ask(note(&closed, written));
    world.settle();
    assert!(world.answers[&fresh][0].is_ok(), "{:?}", world.answers[&fresh]);
}
