//! What is decided while a batch is being written is what would be decided after it.

use heartbeat_engine::evaluator::Request;
use heartbeat_engine::{Batch, MonitorId, Ping, Signal};

use crate::common::{d, window_at};
use crate::world::{World, overdue};

/// Writes everything that is due, four monitors at a time.
fn all(mut world: World, beforehand: bool) -> Vec<Batch> {
    let mut batches = Vec::new();
    while let Some(batch) = world.evaluator.poll_batch() {
        while beforehand && world.evaluator.decide_beforehand(3) {}
        let result = world.write_plainly(&batch);
        world.evaluator.handle_applied(batch.clone(), &result);
        batches.push(batch);
        world.evaluator.handle_time(world.now, world.monotonic);
    }
    batches
}

/// The first batch, the next one being decided, and the monitors that it will hold.
fn under_way(world: &mut World) -> (Batch, Vec<MonitorId>) {
    let batch = world.evaluator.poll_batch().unwrap();
    let mut rounds = 0;
    while world.evaluator.decide_beforehand(3) {
        rounds += 1;
    }
    assert!(rounds > 1, "there is something to decide");
    let mut ids: Vec<MonitorId> = world.evaluator.records().map(|record| record.id()).collect();
    ids.sort_unstable();
    (batch, ids.split_off(4))
}

fn written(world: &mut World, batch: Batch) -> Batch {
    let result = world.write_plainly(&batch);
    world.evaluator.handle_applied(batch, &result);
    world.evaluator.handle_time(world.now, world.monotonic);
    world.evaluator.poll_batch().unwrap()
}

#[test]
fn the_batches_are_the_same_as_without() {
    let (with, without) = (all(overdue(4, 12), true), all(overdue(4, 12), false));
    assert_eq!(with.iter().map(|batch| batch.transitions.len()).collect::<Vec<_>>(), [4, 4, 4]);
    assert_eq!(with, without);
}

#[test]
fn it_rests_until_a_batch_is_under_way() {
    let mut world = overdue(4, 12);
    assert!(!world.evaluator.decide_beforehand(3));
}

#[test]
fn a_heartbeat_that_comes_meanwhile_is_taken() {
    let mut world = overdue(4, 12);
    let (batch, next) = under_way(&mut world);
    world.ask(Request::Ping(next[0], Box::new(Ping::new(Signal::Success))));
    let batch = written(&mut world, batch);
    let found = batch.transitions.iter().find(|transition| transition.monitor == next[0]).unwrap();
    assert_eq!((found.pings.len(), found.changes.len()), (1, 2), "down and up again");
}

#[test]
fn a_window_that_is_planned_meanwhile_holds_back_what_was_decided() {
    let mut world = overdue(4, 12);
    let (batch, _) = under_way(&mut world);
    let window = window_at(world.now - d("1h"), world.now + d("1h"));
    world.evaluator.handle_policies(vec![window], Vec::new());
    let batch = written(&mut world, batch);
    assert!(batch.transitions.iter().all(|transition| transition.changes.is_empty()), "nothing goes down in it");
}
