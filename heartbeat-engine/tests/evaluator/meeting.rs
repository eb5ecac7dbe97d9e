//! Where the rules meet: windows, dependencies, reminders and routes over restarts, set clocks and failing writes.

use std::sync::Arc;

use crate::common::{d, every, monitor};
use crate::world::{Fate, World};
use heartbeat_engine::NotificationKind::{Down, Escalated, Reminder};
use heartbeat_engine::evaluator::Request;
use heartbeat_engine::step::{Edit, Event};
use heartbeat_engine::{
    FlapLimit, Maintenance, MonitorId, MonitorSpec, NotificationKind, Ping, Route, RouteSpec, Signal,
};
use proptest::prelude::*;

fn spec(n: u64, depends_on: &[MonitorId]) -> MonitorSpec {
    let mut spec = every("300d", "5s");
    (spec.slug, spec.name) = (format!("job-{n}").into(), format!("job-{n}").into());
    spec.depends_on = depends_on.to_vec();
    spec
}

fn id(n: u64) -> MonitorId {
    monitor(n, spec(n, &[]), crate::common::midnight()).id
}

fn say(world: &mut World, n: u64, signal: Signal) -> u64 {
    world.event(id(n), Event::Ping(Box::new(Ping::new(signal))))
}

/// What was told about a monitor, in order.
fn told(world: &World, n: u64) -> Vec<NotificationKind> {
    let about_it = |(_, about, kind): (_, Option<MonitorId>, _)| (about == Some(id(n))).then_some(kind);
    world.stored_notifications().into_iter().filter_map(about_it).collect()
}

fn route(after: &str) -> Arc<Route> {
    let spec = RouteSpec {
        severities: Vec::new(),
        tags: Vec::new(),
        causes: Vec::new(),
        channels: vec!["boss".to_owned()],
        after: d(after),
        declared_in: None,
    };
    Arc::new(Route { name: "late".to_owned(), spec })
}

/// A window over everything, from now on.
fn window(world: &World, length: &str) -> Arc<Maintenance> {
    crate::common::window_at(world.now, world.now + d(length))
}

#[test]
fn s5_3_a_window_that_was_ended_before_a_restart_holds_no_escalation_after_it() {
    let mut world = World::new(10);
    world.evaluator.handle_policies(Vec::new(), vec![route("10m")]);
    world.make(1, spec(1, &[]));
    say(&mut world, 1, Signal::Fail);
    world.settle();
    world.windows = vec![window(&world, "30d")];
    world.evaluator.handle_policies(world.windows.clone(), vec![route("10m")]);
    world.run(d("20m"));
    assert_eq!(told(&world, 1), [Down], "it waits for the end");
    // The process dies after the window was ended, and before the monitor is looked at.
    world.windows.clear();
    world.restart(d("1s"));
    world.run(d("1m"));
    assert_eq!(told(&world, 1), [Down, Escalated]);
}

#[test]
fn s5_3_a_window_that_was_ended_before_a_restart_holds_no_deadline_after_it() {
    let mut world = World::new(10);
    let mut short = spec(1, &[]);
    short.schedule = heartbeat_engine::Schedule::every(d("20s")).unwrap();
    world.make(1, short);
    world.windows = vec![window(&world, "30d")];
    world.evaluator.handle_policies(world.windows.clone(), Vec::new());
    world.run(d("20m"));
    assert_eq!(told(&world, 1), []);
    world.windows = world.windows.iter().map(|window| crate::common::ended_at(window, world.now)).collect();
    world.restart(d("1s"));
    world.run(d("2m"));
    assert_eq!(told(&world, 1), [Down]);
}

#[test]
fn s6_7_a_clock_that_was_set_back_long_after_the_going_down_delays_no_reminder() {
    let mut world = World::new(10);
    let mut reminding = spec(1, &[]);
    reminding.remind_every = Some(d("1h"));
    world.make(1, reminding);
    say(&mut world, 1, Signal::Fail);
    world.run(d("30h"));
    let before = told(&world, 1).len();
    assert!(before >= 30, "{before}");
    world.now = world.now - d("20h");
    world.run(d("121m"));
    let since = &told(&world, 1)[before..];
    assert!(since.len() >= 2 && since.iter().all(|kind| *kind == Reminder), "{since:?}");
}

#[test]
fn s8_1_a_held_child_whose_requests_are_refused_is_looked_at_all_the_same() {
    let mut world = World::new(1);
    world.make(1, spec(1, &[]));
    world.make(2, spec(2, &[id(1)]));
    world.make(3, spec(3, &[]));
    say(&mut world, 1, Signal::Fail);
    world.settle();
    say(&mut world, 2, Signal::Fail);
    world.settle();
    assert_eq!(told(&world, 2), []);
    // The parent is up; while the child's heartbeat waits its turn, the write before it hangs, and the one of the outage fails.
    for (n, signal) in [(1, Signal::Success), (3, Signal::Success), (2, Signal::Log)] {
        say(&mut world, n, signal);
    }
    world.fates = vec![Fate::Fine, Fate::Slow(20_000), Fate::Unavailable].into();
    world.hung = true;
    world.settle();
    world.run(d("10m"));
    assert_eq!(told(&world, 2), [Down]);
}

#[test]
fn s7_7_reminders_and_escalations_due_while_the_watcher_was_away_are_told_once() {
    let mut world = World::new(10);
    world.evaluator.handle_policies(Vec::new(), vec![route("2h")]);
    let mut reminding = spec(1, &[]);
    reminding.remind_every = Some(d("1h"));
    world.make(1, reminding);
    say(&mut world, 1, Signal::Fail);
    world.settle();
    world.restart(d("20h"));
    world.run(d("1m"));
    assert_eq!(told(&world, 1), [Down, Escalated, Reminder]);
}

#[test]
fn s5_4_an_escalation_that_is_due_in_a_window_behind_a_parent_waits_for_both() {
    for window_first in [true, false] {
        let mut world = World::new(10);
        let routes = || vec![route("10m")];
        world.evaluator.handle_policies(Vec::new(), routes());
        world.make(1, spec(1, &[]));
        world.make(2, spec(2, &[id(1)]));
        say(&mut world, 2, Signal::Fail);
        world.settle();
        say(&mut world, 1, Signal::Fail);
        world.settle();
        world.windows = vec![window(&world, "1h")];
        world.evaluator.handle_policies(world.windows.clone(), routes());
        world.run(d("30m"));
        assert_eq!(told(&world, 2), [Down]);
        if window_first {
            world.run(d("31m"));
        }
        world.ask(Request::Edit(id(1), Edit::Pause { manual_resume: true }));
        world.settle();
        if !window_first {
            assert_eq!(told(&world, 2), [Down], "the window is in force still");
            world.run(d("31m"));
        }
        assert_eq!(told(&world, 2), [Down, Escalated]);
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Say(u64, Signal),
    Acknowledge(u64),
    Pause(u64),
    Maintain(u64),
    EndMaintenance,
    Wait(u64),
    Restart(u64),
    SetBack(u64),
}

fn deed() -> impl Strategy<Value = Deed> {
    let signals = vec![Signal::Success, Signal::Fail, Signal::Fail];
    prop_oneof![
        8 => (1..5_u64, prop::sample::select(signals)).prop_map(|(n, signal)| Deed::Say(n, signal)),
        1 => (1..5_u64).prop_map(Deed::Acknowledge),
        1 => (1..5_u64).prop_map(Deed::Pause),
        1 => (1..60_u64).prop_map(Deed::Maintain),
        1 => Just(Deed::EndMaintenance),
        5 => (1..40_u64).prop_map(Deed::Wait),
        1 => (1..90_u64).prop_map(Deed::Restart),
        1 => (2..200_u64).prop_map(Deed::SetBack),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        5 => Just(Fate::Fine),
        1 => Just(Fate::Unavailable),
        1 => Just(Fate::UnknownWritten),
        1 => Just(Fate::UnknownLost),
    ]
}

const MINUTE: std::time::Duration = std::time::Duration::from_secs(60);

fn act(world: &mut World, deed: &Deed) {
    let routes = || vec![route("10m")];
    let minutes = |count: u64| MINUTE * u32::try_from(count).unwrap();
    match *deed {
        Deed::Say(n, signal) => drop(say(world, n, signal)),
        Deed::Acknowledge(n) => {
            let open = world.evaluator.records().find(|record| record.id() == id(n)).unwrap().health.incident.clone();
            if let Some(incident) = open {
                let edit = Edit::Acknowledge { incident: incident.id, by: "ann".to_owned() };
                world.ask(Request::Edit(id(n), edit));
            }
        }
        Deed::Pause(n) => drop(world.ask(Request::Edit(id(n), Edit::Pause { manual_resume: false }))),
        Deed::Maintain(length) => {
            world.settle();
            world.windows.push(crate::common::window_at(world.now, world.now + minutes(length)));
            world.evaluator.handle_policies(world.windows.clone(), routes());
        }
        Deed::EndMaintenance => {
            world.settle();
            world.windows = world.windows.iter().map(|window| crate::common::ended_at(window, world.now)).collect();
            world.evaluator.handle_policies(world.windows.clone(), routes());
        }
        Deed::Wait(length) => world.run(minutes(length)),
        Deed::Restart(after) => {
            world.restart(minutes(after));
            world.evaluator.handle_policies(world.windows.clone(), routes());
        }
        Deed::SetBack(by) => {
            world.settle();
            world.now = world.now - minutes(by);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn s8_1_whatever_hides_a_going_down_it_is_told_in_the_end(
        batch_max in 1_usize..6,
        deeds in prop::collection::vec(deed(), 1..40),
        fates in prop::collection::vec(fate(), 0..30),
    ) {
        let mut world = World::new(batch_max);
        world.evaluator.handle_policies(Vec::new(), vec![route("10m")]);
        for (n, parents) in [(1, vec![]), (2, vec![]), (3, vec![id(1)]), (4, vec![id(1), id(2)])] {
            let mut spec = spec(n, &parents);
            spec.remind_every = Some(MINUTE * 15);
            spec.flap_limit = (n % 2 == 0).then_some(FlapLimit { incidents: 2, within: MINUTE * 30 });
            world.make(n, spec);
        }
        world.hung = true;
        world.fates = fates.into();
        for deed in &deeds {
            act(&mut world, deed);
        }
        world.fates.clear();
        act(&mut world, &Deed::EndMaintenance);
        for parent in [1, 2] {
            say(&mut world, parent, Signal::Success);
        }
        world.run(MINUTE * 45);
        for record in world.records() {
            prop_assert!(record.health.wake_at() >= world.now, "nothing stays due: {:?}", record.health);
            let Some(incident) = &record.health.incident else { continue };
            prop_assert!(incident.held_by.is_empty() && !incident.told.is_empty(), "{:?}", incident);
            let boss = incident.told.contains(&"boss".to_owned());
            let waits = record.health.pursuit.escalations.is_empty();
            prop_assert!(waits && (boss || incident.acknowledged.is_some()), "{:?}", record.health);
        }
    }
}
