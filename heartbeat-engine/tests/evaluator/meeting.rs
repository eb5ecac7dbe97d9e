//! Where the rules meet: windows, dependencies, reminders and routes over restarts, set clocks and failing writes.

use std::sync::Arc;

use crate::common::{d, every, monitor};
use crate::world::{Fate, World};
use heartbeat_engine::NotificationKind::{Down, Escalated, Reminder};
use heartbeat_engine::evaluator::Request;
use heartbeat_engine::step::{Edit, Event};
use heartbeat_engine::{Maintenance, MonitorId, MonitorSpec, NotificationKind, Ping, Route, RouteSpec, Signal};

fn spec(n: u64, depends_on: &[MonitorId]) -> MonitorSpec {
    let mut spec = every("300d", "5s");
    (spec.slug, spec.name) = (format!("job-{n}"), format!("job-{n}"));
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
