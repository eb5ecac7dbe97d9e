//! Monitors that depend on others (S5.4), in the evaluator and on a storage that fails in every way.

use crate::common::{d, every, midnight, monitor};
use crate::world::{Fate, World};
use heartbeat_engine::NotificationKind::{Down, Recovered, Reminder};
use heartbeat_engine::evaluator::{Refusal, Request};
use heartbeat_engine::step::{Edit, Event};
use heartbeat_engine::{
    HistoryItem, HistoryQuery, MonitorId, MonitorSpec, NotificationKind, Ping, Record, Signal, State, Storage,
};
use proptest::prelude::*;

fn spec(n: u64, depends_on: &[MonitorId]) -> MonitorSpec {
    let mut spec = every("20s", "5s");
    (spec.slug, spec.name) = (format!("job-{n}").into(), format!("job-{n}").into());
    spec.depends_on = depends_on.to_vec();
    spec
}

fn id(n: u64) -> MonitorId {
    monitor(n, spec(n, &[]), midnight()).id
}

fn say(world: &mut World, n: u64, signal: Signal) {
    world.event(id(n), Event::Ping(Box::new(Ping::new(signal))));
}

/// Asks for another wish, whose event is not of interest.
fn wish(world: &mut World, n: u64, depends_on: &[MonitorId]) -> u64 {
    let edit = Edit::Spec { spec: Box::new(spec(n, depends_on)), expected: None, secret: None };
    world.ask(Request::Edit(id(n), edit))
}

fn record(world: &World, n: u64) -> Record {
    world.evaluator.records().find(|record| record.id() == id(n)).map(|record| (**record).clone()).unwrap()
}

fn held_by(world: &World, n: u64) -> Vec<String> {
    record(world, n).health.incident.as_ref().map(|incident| incident.held_by.clone()).unwrap_or_default()
}

/// What was told about a monitor, in order.
fn told(world: &World, n: u64) -> Vec<NotificationKind> {
    let about_it = |(_, about, kind): (_, Option<MonitorId>, _)| (about == Some(id(n))).then_some(kind);
    world.stored_notifications().into_iter().filter_map(about_it).collect()
}

/// A parent, 1, and its child, 2, that both report every 20 s.
fn family(batch_max: usize) -> World {
    let mut world = World::new(batch_max);
    world.make(1, spec(1, &[]));
    world.make(2, spec(2, &[id(1)]));
    world
}

#[test]
fn s5_4_parents_that_go_down_in_the_same_batch_count_too() {
    // The ids are in both orders, so that the order of the batch is not that of anything else.
    for (parent, child) in [(1, 2), (2, 1)] {
        for batch_max in [1, 2, 10] {
            let mut world = World::new(batch_max);
            world.make(parent, spec(parent, &[]));
            world.make(child, spec(child, &[id(parent)]));
            world.run(d("40s"));
            assert_eq!(held_by(&world, child), [format!("job-{parent}")], "batches of {batch_max}");
            assert_eq!((told(&world, parent), told(&world, child)), (vec![Down], vec![]));
        }
    }
}

#[test]
fn s5_4_a_long_chain_is_decided_from_its_head() {
    let mut world = World::new(3);
    world.make(1, spec(1, &[]));
    for n in 2..=20 {
        world.make(n, spec(n, &[id(n - 1)]));
    }
    world.run(d("40s"));
    assert_eq!(told(&world, 1), [Down]);
    for n in 2..=20 {
        assert_eq!((held_by(&world, n), told(&world, n)), (vec![format!("job-{}", n - 1)], vec![]));
    }
    say(&mut world, 1, Signal::Success);
    world.settle();
    assert_eq!((told(&world, 2), told(&world, 3)), (vec![Down], vec![]), "what depends on 2 is held back by it");
}

#[test]
fn s5_4_held_children_are_released_when_the_parent_is_up_paused_or_removed() {
    for how in 0..3 {
        let mut world = family(10);
        world.run(d("40s"));
        match how {
            0 => say(&mut world, 1, Signal::Success),
            1 => drop(world.ask(Request::Edit(id(1), Edit::Pause { manual_resume: true }))),
            _ => drop(world.ask(Request::Edit(id(1), Edit::Remove))),
        }
        world.settle();
        assert_eq!((told(&world, 2), held_by(&world, 2)), (vec![Down], vec![]), "at once");
        say(&mut world, 2, Signal::Success);
        world.settle();
        assert_eq!(told(&world, 2), [Down, Recovered]);
    }
}

#[test]
fn s5_4_what_recovered_meanwhile_is_dropped() {
    let mut world = family(10);
    world.run(d("40s"));
    say(&mut world, 2, Signal::Success);
    world.settle();
    say(&mut world, 1, Signal::Success);
    world.settle();
    assert_eq!(told(&world, 2), []);
    // Both in one batch: the child's recovery counts, in whatever order they come.
    world.run(d("40s"));
    say(&mut world, 1, Signal::Success);
    say(&mut world, 2, Signal::Success);
    world.settle();
    assert_eq!(told(&world, 2), []);
}

#[test]
fn s5_4_one_of_two_parents_still_holds() {
    let mut world = World::new(10);
    world.make(1, spec(1, &[]));
    world.make(2, spec(2, &[]));
    world.make(3, spec(3, &[id(1), id(2)]));
    world.run(d("40s"));
    assert_eq!(held_by(&world, 3), ["job-1", "job-2"]);
    say(&mut world, 1, Signal::Success);
    world.settle();
    assert_eq!((held_by(&world, 3), told(&world, 3)), (vec!["job-2".to_owned()], vec![]));
    wish(&mut world, 3, &[id(1)]);
    world.settle();
    assert_eq!(told(&world, 3), [Down], "it does not depend on that one any more");
}

#[test]
fn s5_4_a_parent_whose_going_down_is_not_committed_holds_nobody() {
    // Somebody else takes a heartbeat of the parent just before: it does not go down after all.
    let mut world = family(10);
    world.run(d("24s"));
    world.fates = vec![Fate::Overtaken].into();
    world.run(d("3s"));
    assert_eq!(record(&world, 1).health.state, State::Up);
    assert_eq!((held_by(&world, 2), told(&world, 2)), (vec![], vec![Down]), "looked at again and released");
    assert_eq!(told(&world, 1), [Down, Recovered], "as the other one saw it");
}

#[test]
fn s5_4_a_write_of_unknown_outcome_holds_and_releases_in_the_end() {
    for fate in [Fate::UnknownWritten, Fate::UnknownLost, Fate::Unavailable] {
        let mut world = family(10);
        world.run(d("24s"));
        world.fates = vec![fate].into();
        world.run(d("5s"));
        assert_eq!((held_by(&world, 2), told(&world, 2)), (vec!["job-1".to_owned()], vec![]), "{fate:?}");
        world.fates = vec![Fate::Fine, fate].into();
        say(&mut world, 1, Signal::Success);
        world.run(d("5s"));
        assert_eq!((held_by(&world, 2), told(&world, 2)), (vec![], vec![Down]), "{fate:?}");
    }
}

#[test]
fn s5_4_after_a_restart_what_a_parent_held_back_is_told_if_that_is_up() {
    let mut world = family(10);
    world.run(d("40s"));
    // The process dies between the parent's recovery and the look at the child.
    say(&mut world, 1, Signal::Success);
    world.evaluator.handle_time(world.now, world.monotonic);
    let batch = world.evaluator.poll_batch().unwrap();
    world.write(&batch).unwrap();
    assert_eq!((record(&world, 1).health.state, told(&world, 2)), (State::Down, vec![]));
    world.restart(d("1s"));
    assert_eq!((record(&world, 1).health.state, held_by(&world, 2)), (State::Up, vec![]));
    assert_eq!(told(&world, 2), [Down]);

    let mut still = family(10);
    still.run(d("40s"));
    still.restart(d("1s"));
    assert_eq!((held_by(&still, 2), told(&still, 2)), (vec!["job-1".to_owned()], vec![]));
}

#[test]
fn s5_4_reminders_wait_for_the_parent() {
    let mut world = World::new(10);
    let mut parent = spec(1, &[]);
    parent.schedule = heartbeat_engine::Schedule::every(d("1h")).unwrap();
    world.make(1, parent);
    let mut child = spec(2, &[id(1)]);
    child.remind_every = Some(d("1m"));
    world.make(2, child);
    world.run(d("30s"));
    assert_eq!(told(&world, 2), [Down]);
    say(&mut world, 1, Signal::Fail);
    world.run(d("5m"));
    assert_eq!((told(&world, 2), held_by(&world, 2)), (vec![Down], vec!["job-1".to_owned()]));
    say(&mut world, 1, Signal::Success);
    world.settle();
    assert_eq!(told(&world, 2), [Down, Reminder]);
    world.run(d("2m"));
    assert_eq!(told(&world, 2), [Down, Reminder, Reminder, Reminder]);
}

#[test]
fn s5_4_a_parent_of_another_partition_holds_too() {
    let mut world = World::new(10);
    world.make(2, spec(2, &[id(1)]));
    world.evaluator.handle_parent(id(1), "elsewhere", true);
    world.run(d("40s"));
    assert_eq!((held_by(&world, 2), told(&world, 2)), (vec!["elsewhere".to_owned()], vec![]));
    world.evaluator.handle_parent(id(1), "elsewhere", false);
    world.settle();
    assert_eq!(told(&world, 2), [Down]);
}

/// Whether somebody depends on itself.
fn has_cycle(world: &World) -> bool {
    let records = world.records();
    let parents = |id: MonitorId| {
        records.iter().find(|record| record.id() == id).map_or(&[][..], |record| &record.spec().depends_on)
    };
    records.iter().any(|record| {
        let mut reached = record.spec().depends_on.clone();
        let mut at = 0;
        while at < reached.len() {
            let more: Vec<_> = parents(reached[at]).iter().filter(|id| !reached.contains(id)).copied().collect();
            reached.extend(more);
            at += 1;
        }
        reached.contains(&record.id())
    })
}

#[test]
fn s5_4_two_edits_at_once_make_no_cycle() {
    let mut world = World::new(10);
    for n in 1..=3 {
        world.make(n, spec(n, &[]));
    }
    let tickets = [wish(&mut world, 1, &[id(2)]), wish(&mut world, 2, &[id(3)]), wish(&mut world, 3, &[id(1)])];
    world.settle();
    assert!(!has_cycle(&world));
    let refused: Vec<_> = tickets.iter().filter(|ticket| world.answers[ticket][0].is_err()).collect();
    let [Err(Refusal::Invalid(fault))] = &world.answers[refused[0]][..] else { panic!("{:?}", world.answers) };
    assert_eq!((refused.len(), fault.field.as_str()), (1, "depends_on.0"));
    let expected = "`job-3` would depend on itself, by way of job-1, job-2, job-3; take one of these dependencies away";
    assert_eq!(fault.message, expected);

    // To turn a dependency round in one go is no cycle, whichever comes first.
    let turned = [wish(&mut world, 1, &[]), wish(&mut world, 2, &[]), wish(&mut world, 3, &[id(1)])];
    world.settle();
    assert!(turned.iter().all(|ticket| world.answers[ticket][0].is_ok()), "{:?}", world.answers);
    let itself = wish(&mut world, 1, &[id(2), id(1)]);
    world.settle();
    let [Err(Refusal::Invalid(fault))] = &world.answers[&itself][..] else { panic!("{:?}", world.answers) };
    assert_eq!((fault.field.as_str(), fault.message.contains("itself")), ("depends_on.1", true));
}

#[test]
fn s5_4_of_a_long_cycle_ten_monitors_are_named_and_the_one_that_asks_by_its_new_name() {
    for (length, more) in [(11, None), (12, Some("1 more")), (13, Some("2 more"))] {
        let mut world = World::new(100);
        world.make(1, spec(1, &[]));
        for n in 2..=length {
            world.make(n, spec(n, &[id(n - 1)]));
        }
        let mut renamed = spec(1, &[id(length)]);
        renamed.slug = "renamed".into();
        let ticket =
            world.ask(Request::Edit(id(1), Edit::Spec { spec: Box::new(renamed), expected: None, secret: None }));
        world.settle();
        let [Err(Refusal::Invalid(fault))] = &world.answers[&ticket][..] else { panic!("{:?}", world.answers) };
        assert_eq!(fault.message.matches("job-").count(), 10, "{}", fault.message);
        assert_eq!(fault.message.matches("renamed").count(), 2, "{}", fault.message);
        let found = fault.message.split(", ").find(|name| name.ends_with(" more"));
        assert_eq!(found, more, "{}", fault.message);
    }
}

#[test]
fn a_heartbeat_that_waits_behind_an_edit_is_in_time() {
    let mut world = World::new(10);
    for n in 1..=2 {
        world.make(n, spec(n, &[]));
    }
    world.pass(d("24s"));
    world.evaluator.handle_time(world.now, world.monotonic);
    let edits = [wish(&mut world, 1, &[id(2)]), wish(&mut world, 2, &[id(1)])];
    say(&mut world, 2, Signal::Success);
    world.pass(d("2s"));
    world.settle();
    assert!(world.answers[&edits[0]][0].is_ok() && world.answers[&edits[1]][0].is_err());
    assert_eq!((told(&world, 2), record(&world, 2).health.state), (vec![], State::Up));
}

#[derive(Clone, Debug)]
enum Deed {
    Ping(u64, Signal),
    Depend(u64, Vec<u64>),
    Wait(u64),
    Restart(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let signal = prop::sample::select(vec![Signal::Success, Signal::Success, Signal::Fail]);
    prop_oneof![
        6 => (1..5_u64, signal).prop_map(|(n, signal)| Deed::Ping(n, signal)),
        2 => (1..5_u64, prop::collection::hash_set(1..5_u64, 0..3))
            .prop_map(|(n, on)| Deed::Depend(n, on.into_iter().collect())),
        6 => prop_oneof![1_u64..2000, 1_u64..40_000].prop_map(Deed::Wait),
        1 => (1_u64..9_000).prop_map(Deed::Restart),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => Just(Fate::Fine),
        1 => Just(Fate::Unavailable),
        1 => Just(Fate::UnknownWritten),
        1 => Just(Fate::UnknownLost),
        1 => Just(Fate::Overtaken),
    ]
}

/// Once everything is settled, each open incident is told or held back by what is down, never both and never neither.
fn holds(world: &World) -> Result<(), TestCaseError> {
    let records = world.records();
    for record in &records {
        let down =
            |id: &&MonitorId| records.iter().any(|parent| parent.id() == **id && parent.health.state == State::Down);
        let down: Vec<_> = record.spec().depends_on.iter().filter(down).collect();
        let Some(incident) = &record.health.incident else { continue };
        prop_assert!(incident.held_by.len() <= down.len(), "{incident:?}");
        prop_assert_eq!(incident.told.is_empty(), !incident.held_by.is_empty(), "{:?}", incident);
    }
    let query = HistoryQuery::Incidents { monitor: None, open: None, before: None };
    let page = world.runtime.block_on(world.storage.history(&query, 10_000)).unwrap();
    for item in page.items {
        let HistoryItem::Incident(incident) = item else { panic!("asked for incidents") };
        let about = HistoryQuery::Notifications { state: None, incident: Some(incident.id), before: None };
        let messages = world.runtime.block_on(world.storage.history(&about, 100)).unwrap().items.len();
        let expected = incident.told.len() * (1 + usize::from(incident.closed_at.is_some()));
        prop_assert_eq!(messages, expected, "who was told of it is told of its end: {:?}", incident);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_stays_held_back_and_no_cycle_comes_to_be(
        batch_max in 1_usize..6,
        deeds in prop::collection::vec(deed(), 1..40),
        fates in prop::collection::vec(fate(), 0..40),
    ) {
        let mut world = World::new(batch_max);
        for n in 1..5 {
            world.make(n, spec(n, &[]));
        }
        world.fates = fates.into();
        for deed in deeds {
            match deed {
                Deed::Ping(n, signal) => say(&mut world, n, signal),
                Deed::Depend(n, on) => drop(wish(&mut world, n, &on.into_iter().map(id).collect::<Vec<_>>())),
                Deed::Wait(millis) => world.run(std::time::Duration::from_millis(millis)),
                Deed::Restart(millis) => world.restart(std::time::Duration::from_millis(millis)),
            }
        }
        world.fates.clear();
        world.run(d("1s"));
        prop_assert!(!has_cycle(&world));
        holds(&world)?;
    }
}
