//! One channel's outbox: order, retries, digests, what does not fit into memory, crashes.
#![allow(clippy::unwrap_used)]

mod outbox_order;
mod outbox_world;

use std::collections::VecDeque;
use std::time::Duration;

use heartbeat_engine::outbox::OutboxLimits;
use heartbeat_engine::{DeliveryError, DeliveryState, Grouping, NotificationKind, Receipt, Timestamp};
use outbox_world::{DAY, World};
use proptest::prelude::*;

const ROOMY: OutboxLimits = OutboxLimits { queue: 1000, held: 1000, parallel: 8 };

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn grouping(burst: u32, wait: u64) -> Grouping {
    Grouping { burst, wait: seconds(wait) }
}

fn retry() -> Result<Receipt, DeliveryError> {
    Err(DeliveryError::retry("later"))
}

#[derive(Clone, Debug)]
enum Deed {
    Owe(Vec<u8>),
    Commit { writes: bool },
    CommitAndCrash { writes: bool },
    CommitMessagesAndCrash,
    Crash,
    ShutDown,
    End(usize, Result<Receipt, DeliveryError>),
    Page { well: bool },
    Advance(Duration),
    Settings(Grouping),
    RetryDead(usize),
}

fn outcome() -> impl Strategy<Value = Result<Receipt, DeliveryError>> {
    let after = |hours: u64| DeliveryError::Retry {
        reason: "busy".to_owned(),
        after: Some(seconds(hours * 3600)),
        recipients_done: Vec::new(),
    };
    prop_oneof![
        6 => Just(Ok(Receipt::default())),
        4 => Just(retry()),
        1 => (0u64..30).prop_map(move |hours| Err(after(hours))),
        1 => Just(Err(DeliveryError::refused("no"))),
        2 => Just(Err(DeliveryError::unknown("lost"))),
    ]
}

fn groupings() -> impl Strategy<Value = Grouping> {
    (0u32..4, prop_oneof![Just(0u64), Just(10), Just(60)]).prop_map(|(burst, wait)| grouping(burst, wait))
}

fn deed() -> impl Strategy<Value = Deed> {
    let spans = prop_oneof![8 => 0u64..15_000, 2 => 0u64..400_000, 1 => Just(86_400_000u64)];
    prop_oneof![
        6 => prop::collection::vec(0u8..4, 1..6).prop_map(Deed::Owe),
        6 => prop::bool::weighted(0.8).prop_map(|writes| Deed::Commit { writes }),
        1 => any::<bool>().prop_map(|writes| Deed::CommitAndCrash { writes }),
        1 => Just(Deed::CommitMessagesAndCrash),
        1 => Just(Deed::Crash),
        1 => Just(Deed::ShutDown),
        8 => (0usize..8, outcome()).prop_map(|(index, outcome)| Deed::End(index, outcome)),
        4 => prop::bool::weighted(0.8).prop_map(|well| Deed::Page { well }),
        6 => spans.prop_map(|ms| Deed::Advance(Duration::from_millis(ms))),
        1 => groupings().prop_map(Deed::Settings),
        1 => (0usize..8).prop_map(Deed::RetryDead),
    ]
}

fn act(world: &mut World, deed: Deed) {
    match deed {
        Deed::Owe(monitors) => monitors.into_iter().for_each(|monitor| _ = world.owe(monitor)),
        Deed::Commit { writes } => world.commit(writes),
        Deed::CommitAndCrash { writes } => world.commit_and_crash(writes),
        Deed::CommitMessagesAndCrash => world.commit_messages_and_crash(),
        Deed::Crash => world.crash(),
        Deed::ShutDown => world.shut_down(),
        Deed::End(index, outcome) => world.end(index, &outcome),
        Deed::Page { well } => world.answer_page(well),
        Deed::Advance(by) => world.advance(by),
        Deed::Settings(grouping) => world.set_grouping(grouping),
        Deed::RetryDead(index) => {
            // Nobody asks for it in the millisecond in which it was told and given up.
            world.advance(Duration::from_millis(1));
            world.retry_dead(index);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens, every message is told in order and settled in the end; the checks are in the world.
    #[test]
    fn every_message_is_told_in_order_or_given_up(
        grouping in groupings(),
        queue in prop_oneof![Just(3usize), Just(8), Just(1000)],
        held in prop_oneof![Just(0usize), Just(4), Just(1000)],
        parallel in 1usize..4,
        deeds in prop::collection::vec(deed(), 1..150),
    ) {
        let mut world = World::new(grouping, OutboxLimits { queue, held, parallel });
        for deed in deeds {
            act(&mut world, deed);
        }
        world.heal();
        if world.crashes == 0 && world.retried.is_empty() {
            prop_assert!(world.most_taken() <= 1, "told twice");
        }
    }

    /// While everything works, messages go out as a plain reading of the rule says (S7.9).
    #[test]
    fn bursts_and_digests_are_those_of_the_rule(
        grouping in groupings(),
        pauses in prop::collection::vec((prop_oneof![3 => 0u64..3_000, 1 => 0u64..30_000], 1usize..5), 1..30),
    ) {
        let mut world = World::new(grouping, ROOMY);
        let mut arrivals = Vec::new();
        let mut at = world.now;
        for (monitor, (pause, count)) in (1..).zip(pauses) {
            at = at + Duration::from_millis(pause);
            arrivals.extend((0..count).map(|n| (at, monitor * 8 + n as u8)));
        }
        let expected = plain_reading(grouping, arrivals.iter().map(|(at, _)| *at).collect());
        for (at, monitor) in arrivals {
            run_until(&mut world, at);
            world.owe(monitor);
            settle(&mut world);
        }
        run_until(&mut world, at + seconds(3600));
        let told = world.log.iter().map(|(at, told, _)| (*at, told.digest.as_ref().map_or(1, |digest| digest.total())));
        prop_assert_eq!(told.collect::<Vec<_>>(), expected);
    }
}

/// When something goes out, and how many messages it tells.
fn plain_reading(grouping: Grouping, mut arrivals: VecDeque<Timestamp>) -> Vec<(Timestamp, usize)> {
    if grouping.wait.is_zero() {
        return arrivals.into_iter().map(|at| (at, 1)).collect();
    }
    let mut told = Vec::new();
    let mut alone = None;
    while let Some(opened_at) = alone.take().or_else(|| arrivals.pop_front().map(|at| (at, false))) {
        let (opened_at, is_single) = opened_at;
        let ends_at = opened_at + grouping.wait;
        let within = arrivals.iter().take_while(|at| **at < ends_at).count();
        let mut window: Vec<Timestamp> = arrivals.drain(..within).collect();
        window.insert(0, opened_at);
        let by_themselves = if is_single { grouping.burst.max(1) } else { grouping.burst } as usize;
        let held = window.len().saturating_sub(by_themselves);
        told.extend(window.iter().take(by_themselves).map(|at| (*at, 1)));
        match held {
            0 => {}
            // It goes out as itself and is the first of the next window.
            1 => alone = Some((ends_at, true)),
            _ => told.push((ends_at, held)),
        }
    }
    told
}

fn settle(world: &mut World) {
    while !(world.fresh.is_empty() && world.writes.is_empty() && world.under_way.is_empty()) {
        world.commit(true);
        while !world.under_way.is_empty() {
            world.end(0, &Ok(Receipt::default()));
        }
    }
}

fn run_until(world: &mut World, until: Timestamp) {
    while world.outbox.poll_wake(world.now) <= until {
        world.now = world.outbox.poll_wake(world.now);
        world.turn();
        settle(world);
    }
    world.now = until;
    world.turn();
    settle(world);
}

fn texts(world: &World) -> Vec<String> {
    world.log.iter().map(|(_, told, _)| told.message.lines().next().unwrap().to_owned()).collect()
}

#[test]
fn a_digest_that_was_being_made_is_not_overtaken_after_a_crash() {
    // The message of the same monitor is committed with the digest, just before it, or long before what else waits.
    for (together, queue) in [(true, 1000), (false, 1000), (true, 4)] {
        let mut world = World::new(grouping(1, 10), OutboxLimits { queue, held: 0, parallel: 8 });
        (0..4).for_each(|_| _ = world.owe(1));
        world.commit(true);
        world.end(0, &Ok(Receipt::default()));
        world.commit(true);
        world.log.clear();
        world.advance(seconds(10));
        assert!(world.writes[0].notifications[0].digest.is_some());
        (0..4).for_each(|_| _ = world.owe(1));
        if !together {
            world.commit(false);
        }
        world.commit_and_crash(true);
        assert_eq!(texts(&world), ["3 messages: 3 monitor.down"]);
        world.end(0, &retry());
        world.advance(seconds(60));
        assert_eq!(texts(&world), ["3 messages: 3 monitor.down"; 2], "queue {queue}");
        world.end(0, &Ok(Receipt::default()));
        world.heal();
    }
}

#[test]
fn what_is_handed_over_while_the_store_is_read_is_told_once() {
    let mut world = World::new(Grouping::NONE, OutboxLimits { queue: 8, held: 0, parallel: 8 });
    (1..30).for_each(|monitor| _ = world.owe(monitor));
    world.commit(true);
    while world.page.is_none() {
        world.end(0, &Ok(Receipt::default()));
    }
    // The page that is under way does not have them; later ones do, and they are settled long before the last.
    (30..60).for_each(|monitor| _ = world.owe(monitor));
    world.commit(true);
    world.heal();
    assert_eq!(world.log.len(), 59);
}

/// A burst of any size is one digest; it lists the first, also those that do not fit into memory whole, and counts all (S7.9).
#[test]
fn what_is_held_back_is_one_digest_however_much_it_is() {
    let mut world = World::new(grouping(2, 10), OutboxLimits { queue: 8, held: 10_000, parallel: 8 });
    // Each of 250 monitors twice.
    (0..500).for_each(|n| _ = world.owe((n % 250) as u8));
    settle(&mut world);
    assert_eq!((world.log.len(), world.outbox.status().waiting), (2, 498));
    world.advance(seconds(10));
    settle(&mut world);
    assert_eq!(world.unsettled(), []);
    let [_, _, (_, told, _)] = &world.log[..] else { panic!("{} messages", world.log.len()) };
    let digest = told.digest.as_ref().unwrap();
    assert_eq!((digest.total(), digest.items.len()), (498, 200));
    let lines: Vec<&str> = told.message.lines().collect();
    assert_eq!((lines[0], lines[1]), ("498 messages: 498 monitor.down", "message 3"));
    assert_eq!((lines[200], lines[201]), ("message 202", "and 298 more"));
    assert_eq!(world.outbox.poll_page(world.now), None, "nothing had to be read");
}

/// What was owed when the process ended is read in, and one digest again.
#[test]
fn what_waits_after_a_start_is_one_digest_however_much_it_is() {
    let mut world = World::new(grouping(2, 10), OutboxLimits { queue: 8, held: 10_000, parallel: 8 });
    (0..240).for_each(|monitor| _ = world.owe(monitor));
    world.commit_and_crash(false);
    settle(&mut world);
    world.advance(seconds(10));
    settle(&mut world);
    let totals = world.log.iter().map(|(_, told, _)| told.digest.as_ref().map_or(1, |digest| digest.total()));
    assert_eq!(totals.collect::<Vec<_>>(), [1, 1, 238]);
}

/// Another grouping takes effect at once also for what is held.
#[test]
fn what_is_held_goes_out_one_by_one_when_nothing_is_grouped_any_more() {
    let mut world = World::new(grouping(2, 10), OutboxLimits { queue: 8, held: 10_000, parallel: 8 });
    (0..100).for_each(|monitor| _ = world.owe(monitor));
    settle(&mut world);
    world.set_grouping(Grouping::NONE);
    world.heal();
    assert_eq!(world.log.len(), 100);
    assert!(world.log.iter().all(|(_, told, _)| told.digest.is_none()));
}

#[test]
fn what_did_not_fit_into_memory_is_told_when_the_window_ends() {
    let mut world = World::new(grouping(2, 10), OutboxLimits { queue: 8, held: 0, parallel: 8 });
    let began = world.now;
    for monitor in 0..60 {
        world.owe(monitor);
    }
    settle(&mut world);
    assert_eq!(world.log.len(), 2, "the burst");
    world.advance(seconds(10));
    while !world.unsettled().is_empty() {
        settle(&mut world);
        world.answer_page(true);
        assert!(world.now == began + seconds(10), "no further window is waited for");
        let wakes = world.outbox.poll_wake(world.now);
        let idle =
            world.page.is_none() && world.fresh.is_empty() && world.writes.is_empty() && world.under_way.is_empty();
        assert!(!idle || world.unsettled().is_empty(), "it waits until {wakes}: {:#?}", world.outbox.status());
    }
    assert!(world.log[2..].iter().all(|(at, told, _)| *at == began + seconds(10) && told.digest.is_some()));
    assert!(world.log.len() <= 2 + 60 / 4, "{} messages", world.log.len());
}

#[test]
fn another_channel_of_the_same_name_fails_from_now_on_and_gets_what_waits_at_once() {
    let mut world = World::new(Grouping::NONE, ROOMY);
    let [first, _] = [world.owe(1), world.owe(2)];
    world.commit(true);
    for pause in [1, 300] {
        world.end(0, &retry());
        world.advance(seconds(pause));
    }
    assert_eq!(world.outbox.status().failing.unwrap().error, "later");
    assert_eq!(world.under_way.len(), 2);
    world.end(
        0,
        &Err(DeliveryError::Retry {
            reason: "busy".to_owned(),
            after: Some(seconds(7200)),
            recipients_done: Vec::new(),
        }),
    );
    let told = |world: &World| world.writes.iter().flat_map(|write| &write.notifications).count();
    assert_eq!((told(&world), world.under_way.len()), (1, 1));

    world.set_grouping(Grouping::NONE);
    assert_eq!(world.outbox.status().failing, None);
    assert_eq!(world.under_way.len(), 2, "what waited for two hours is tried at once");
    // The attempt that began before says nothing of the channel as it is now.
    let outdated = world.under_way.iter().position(|due| due.notification.id != first).unwrap();
    world.end(outdated, &retry());
    assert_eq!((world.outbox.status().failing, world.under_way.len()), (None, 2));
    for _ in 0..4 {
        (0..2).for_each(|_| world.end(0, &retry()));
        world.advance(seconds(100));
    }
    assert_eq!(told(&world), 2, "it is told again");
    world.heal();
}

#[test]
fn another_grouping_takes_effect_at_once() {
    let mut world = World::new(grouping(1, 3600), ROOMY);
    (1..8).for_each(|monitor| _ = world.owe(monitor));
    world.commit(true);
    assert_eq!(world.log.len(), 1);
    world.set_grouping(grouping(3, 3600));
    assert_eq!(world.log.len(), 3, "a larger burst");
    world.set_grouping(grouping(3, 1800));
    assert_eq!(world.outbox.poll_wake(world.now), world.now + seconds(1800));
    world.advance(seconds(60));
    world.set_grouping(grouping(3, 30));
    world.commit(true);
    assert_eq!(texts(&world).last().unwrap(), "4 messages: 4 monitor.down", "a window that is over by the new measure");
    (1..4).for_each(|monitor| _ = world.owe(monitor + 10));
    world.set_grouping(grouping(0, 3600));
    world.commit(true);
    let before = world.log.len();
    world.set_grouping(Grouping::NONE);
    assert_eq!(world.log.len(), before + 3, "without a window each goes out by itself");
    world.heal();
}

#[test]
fn a_single_message_goes_out_as_itself_even_where_everything_is_grouped() {
    let mut world = World::new(grouping(0, 10), ROOMY);
    world.owe(1);
    world.commit(true);
    world.advance(Duration::from_millis(9_999));
    assert_eq!(world.log.len(), 0);
    world.advance(Duration::from_millis(1));
    assert_eq!(texts(&world), ["message 1"]);
}

#[test]
fn a_channel_that_fails_for_long_holds_few_digests_in_memory_and_loses_nothing() {
    let mut world = World::new(grouping(0, 10), OutboxLimits { queue: 100, held: 0, parallel: 8 });
    for _ in 0..100 {
        (1..4).for_each(|monitor| _ = world.owe(monitor));
        world.commit(true);
        (0..8).for_each(|_| world.end(0, &retry()));
        world.answer_page(true);
        world.advance(seconds(10));
    }
    let digests = world.store.iter().filter(|entry| entry.notification.digest.is_some()).count();
    assert_eq!(digests, 16);
    assert!(world.outbox.status().waiting <= 100 + digests);
    world.heal();
    assert_eq!(world.most_taken(), 1);
}

#[test]
fn what_is_refused_is_dead_told_to_others_and_can_be_tried_again() {
    let mut world = World::new(Grouping::NONE, ROOMY);
    let id = world.owe(1);
    world.commit(true);
    world.end(0, &Err(DeliveryError::refused("no such room")));
    let told: Vec<_> = world.writes.iter().flat_map(|write| write.notifications.clone()).collect();
    assert_eq!(told.len(), 1, "the channel is not told of itself");
    assert_eq!((told[0].channel.as_str(), told[0].kind), ("boss", NotificationKind::ChannelFailing));
    assert!(told[0].message.ends_with("gave it up (no such room): message 1"), "{}", told[0].message);
    world.commit(true);
    assert_eq!(world.entry(id).delivery.state, DeliveryState::Dead);

    // The wish bears the very instant of the death, or an earlier one where the clock was set back.
    world.now = world.now - seconds(60);
    world.retry_dead(0);
    assert_eq!(world.under_way.len(), 1);
    world.end(0, &Ok(Receipt::default()));
    world.commit(true);
    assert_eq!(world.entry(id).delivery.state, DeliveryState::Delivered);

    // A wish that was on its way while the message was delivered does not undo that.
    world.store[0].delivery = heartbeat_engine::Delivery::pending(world.now);
    world.outbox.handle_retry(world.store[0].clone().into());
    world.turn();
    assert_eq!(world.under_way.len(), 0);
    world.commit(true);
    assert_eq!(world.entry(id).delivery.state, DeliveryState::Delivered);
}

#[test]
fn what_cannot_be_told_of_a_channel_is_not_told_of_it() {
    let mut world = World::new(grouping(0, 10), ROOMY);
    for monitor in 1..4 {
        world.owe(monitor);
    }
    world.fresh.iter_mut().for_each(|message| message.kind = NotificationKind::ChannelFailing);
    world.commit(true);
    world.advance(seconds(10));
    world.commit(true);
    world.end(0, &Err(DeliveryError::refused("no")));
    assert!(world.writes.iter().all(|write| write.notifications.is_empty()));
}

#[test]
fn after_a_day_and_ten_attempts_it_is_given_up() {
    let mut world = World::new(Grouping::NONE, ROOMY);
    let id = world.owe(1);
    world.commit(true);
    world.advance(DAY);
    for _ in 0..10 {
        assert_eq!(world.entry(id).delivery.state, DeliveryState::Pending);
        world.end(0, &Err(DeliveryError::unknown("lost")));
        world.commit(true);
        world.advance(seconds(300));
    }
    assert_eq!(world.entry(id).delivery.state, DeliveryState::Dead);
}
