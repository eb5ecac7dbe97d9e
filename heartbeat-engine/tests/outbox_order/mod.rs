//! What must come before what, on the way out and into the store: what the outbox's property test found.

use heartbeat_engine::outbox::OutboxLimits;
use heartbeat_engine::{DeliveryError, Receipt};

use crate::outbox_world::World;
use crate::{ROOMY, grouping, retry, seconds, texts};

/// Two of three lanes go on by themselves when the window ends: what is alone in the third is told before what came later.
#[test]
fn what_is_alone_when_its_window_ends_keeps_its_place() {
    let mut world = World::new(grouping(2, 10), OutboxLimits { queue: 8, held: 4, parallel: 1 });
    [3, 0, 0, 1, 0, 3, 3, 0, 0].into_iter().for_each(|monitor| _ = world.owe(monitor));
    world.commit(true);
    world.advance(seconds(10));
    world.heal();
    assert_eq!(texts(&world)[..3], ["message 1", "message 2", "message 4"]);
}

#[test]
fn a_digest_is_stored_after_the_outcomes_before_it() {
    let mut world = World::new(grouping(1, 10), ROOMY);
    let [first, ..] = [1, 1, 1].map(|monitor| world.owe(monitor));
    world.commit(true);
    world.end(0, &Ok(Receipt::default()));
    world.advance(seconds(10));
    let [write] = &world.writes[..] else { panic!("{:?}", world.writes) };
    assert_eq!((write.settlements.len(), write.settlements[0].id), (1, first));
    assert_eq!(write.notifications, [], "the digest waits for it");
    world.commit(true);
    let [write] = &world.writes[..] else { panic!("{:?}", world.writes) };
    assert!(write.notifications[0].digest.is_some() && write.settlements.len() == 2);
    world.commit_messages_and_crash();
    world.heal();
    assert_eq!(texts(&world), ["message 1", "2 messages: 2 monitor.down"]);
}

/// More outcomes than fit into a write wait when the second digest is made; that of what it must come after is among them.
#[test]
fn a_digest_does_not_overtake_an_outcome_that_waits_for_a_later_write() {
    for commits in 0..5 {
        let mut world = World::new(grouping(1, 10), OutboxLimits { queue: 3, held: 1000, parallel: 1 });
        [2, 2, 2].into_iter().chain([0; 6]).chain([2]).chain([0; 4]).for_each(|monitor| _ = world.owe(monitor));
        world.commit_and_crash(false);
        world.end(0, &retry());
        world.advance(seconds(4));
        world.advance(seconds(6));
        world.end(0, &Ok(Receipt::default()));
        (0..commits).for_each(|_| world.commit(true));
        world.crash();
        world.heal();
    }
}

#[test]
fn a_digest_that_is_tried_again_comes_after_those_that_it_no_longer_precedes() {
    let mut world = World::new(grouping(0, 10), ROOMY);
    for _ in 0..2 {
        [1, 2].into_iter().for_each(|monitor| _ = world.owe(monitor));
        world.commit(true);
        world.advance(seconds(10));
        world.commit(true);
    }
    world.end(0, &Err(DeliveryError::refused("no")));
    world.end(0, &retry());
    world.commit(true);
    // The two messages are dead with it.
    world.retry_dead(2);
    assert_eq!(world.retried, world.log[..1].iter().map(|(_, told, _)| told.id).collect());
    world.heal();
    assert_eq!(world.log.len(), 4);
}

#[test]
fn messages_that_are_tried_again_come_in_another_digest_even_at_the_same_time() {
    let mut world = World::new(grouping(0, 10), ROOMY);
    [1, 2].into_iter().for_each(|monitor| _ = world.owe(monitor));
    world.commit(true);
    world.advance(seconds(10));
    world.commit(true);
    world.end(0, &Err(DeliveryError::refused("no")));
    world.commit(true);
    let then = world.now;
    world.advance(seconds(5));
    (0..2).for_each(|_| world.retry_dead(0));
    // The clock is set back, to the very millisecond.
    world.now = then;
    world.turn();
    world.heal();
    assert_eq!(texts(&world), ["2 messages: 2 monitor.down"; 2]);
    assert_ne!(world.log[0].1.id, world.log[1].1.id);
}
