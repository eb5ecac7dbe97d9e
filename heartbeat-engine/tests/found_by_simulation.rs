//! What the simulator found, each as its smallest case.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;
#[path = "evaluator/world/mod.rs"]
mod world;

use std::time::Duration;

use common::{Job, at, d, every, midnight, outage, run, t};
use heartbeat_engine::outbox::{Outbox, OutboxLimits, OutboxSettings, Owed};
use heartbeat_engine::step::Event;
use heartbeat_engine::{
    Delivery, DeliveryError, Effect, Notification, NotificationId, NotificationKind, Outage, Ping, Signal, State,
    Timestamp,
};
use world::World;

fn hourly() -> Job {
    Job::made("0:00", every("1h", "10m"))
}

fn of_run(signal: Signal, n: u8) -> Ping {
    Ping { run: Some(run(n)), ..Ping::new(signal) }
}

#[test]
fn s4_2_a_start_that_arrives_after_the_success_of_its_run_begins_nothing() {
    let mut spec = every("48h", "1h");
    spec.max_runtime = Some(d("30m"));
    let mut job = Job::made("0:00", spec);
    job.take("0:10", of_run(Signal::Success, 1));
    assert_eq!(job.take("0:11", of_run(Signal::Start, 1)).effect, Effect::Noted);
    assert!(job.record.health.runs.is_empty());
    job.look("1:00");
    job.assert_no_alert();
}

#[test]
fn s6_7_that_the_clock_was_set_back_is_stored_although_nothing_else_changes() {
    let mut job = hourly();
    job.success("1:00");
    // An outage was looked at that ended in what is the future now.
    job.record.health.outages_seen = t("25:10");
    job.look("1:31");
    assert_eq!(job.record.health.outages_seen, t("1:31"));
    // Were it not stored, this one would count as looked at.
    job.outages.push(outage("1:58", "2:09"));
    job.look("2:11");
    job.assert_no_alert();
}

#[test]
fn s2_5_where_a_clock_change_brings_two_occurrences_close_together_one_early_report_is_for_both() {
    // 01:58 is followed by 02:58, which clocks skip, two minutes later.
    let mut spec = at(&["00:58", "01:58", "02:58"], "America/New_York", "5m");
    spec.early = d("192s");
    let at = |text: &str| text.parse::<Timestamp>().unwrap();
    let mut job = Job::made_at(at("2026-03-08T06:30:00Z"), spec);
    for report in ["2026-03-08T06:55:11Z", "2026-03-08T06:57:00Z"] {
        job.event(at(report), &Event::Ping(Box::new(Ping::new(Signal::Success))));
    }
    assert_eq!(job.deadline(), at("2026-03-09T05:03:00Z"), "that of 00:58 on the next day");
}

#[test]
fn s6_7_a_delivery_that_was_stored_before_the_clock_was_set_back_waits_an_hour_at_most() {
    let mut outbox = Outbox::new("ops", OutboxSettings::default(), OutboxLimits { queue: 10, held: 0, parallel: 1 });
    let notification = message(midnight() - d("2h"));
    let delivery = Delivery { attempts: 25, next_attempt_at: midnight() + d("12h"), ..Delivery::pending(midnight()) };
    outbox.handle_owed(Owed { notification, delivery });
    outbox.handle_loaded();
    assert!(outbox.poll_attempt(midnight()).is_none());
    assert_eq!(outbox.poll_wake(midnight()), midnight() + d("1h"));
    assert!(outbox.poll_attempt(midnight() + d("1h")).is_some());
}

fn message(created_at: Timestamp) -> Notification {
    Notification {
        id: NotificationId::named(&[b"one"]),
        channel: "ops".to_owned(),
        kind: NotificationKind::Test,
        created_at,
        monitor: None,
        incident: None,
        message: "hello".to_owned(),
        ping: None,
        digest: None,
    }
}

#[test]
fn s8_4_incidents_do_not_overlap_though_the_clock_of_another_node_is_behind() {
    let mut job = hourly();
    job.take("0:10", Ping::new(Signal::Fail));
    job.success("0:20:30");
    // The other node shows half a minute less.
    job.take("0:20", Ping::new(Signal::Fail));
    let spans = job.spans();
    assert_eq!((spans.len(), job.state()), (2, State::Down), "{spans:?}");
    assert!(spans[0].1.unwrap() <= spans[1].0, "{spans:?}");
}

#[test]
fn s6_7_an_outage_that_ends_in_the_future_excuses_as_far_as_it_has_passed() {
    let mut world = World::new(100);
    let id = world.make(1, every("1h", "10m"));
    world.run(d("30m"));
    world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
    world.run(d("20m"));
    // The clock is set 14 hours ahead, which is an outage, and 3 of them back while the watcher restarts.
    world.now = world.now + d("14h");
    world.run(d("1m"));
    world.now = world.now - d("3h");
    world.restart(d("1s"));
    world.run(d("1m"));
    assert_eq!(world.records()[0].health.state, State::Up, "{:?}", world.records()[0].health);
    world.run(d("2h"));
    assert_eq!(world.records()[0].health.state, State::Down, "it is silent all the same");
}

#[test]
fn s6_7_a_failed_delivery_does_not_wait_for_a_clock_that_was_set_back() {
    let settings = OutboxSettings::default();
    let mut outbox = Outbox::new("ops", settings, OutboxLimits { queue: 10, held: 0, parallel: 1 });
    outbox.handle_loaded();
    let tomorrow = midnight() + d("24h");
    outbox.handle_owed(Owed::fresh(message(tomorrow)));
    let due = outbox.poll_attempt(tomorrow).unwrap();
    let failed = Err(DeliveryError::retry("busy"));
    outbox.handle_outcome(due.notification.id, &failed, tomorrow, 0.0).unwrap();
    assert!(outbox.poll_attempt(tomorrow).is_none());
    let today = midnight() + Duration::from_secs(5);
    assert!(outbox.poll_attempt(today).is_some(), "it is tried again at once");
}

#[test]
fn s7_7_people_are_reminded_once_though_the_clock_of_another_node_is_ahead() {
    let mut spec = every("1h", "10m");
    spec.remind_every = Some(d("10m"));
    let mut job = Job::made("0:00", spec);
    job.success("0:20:30");
    // The other node shows half a minute less.
    job.take("0:20", Ping::new(Signal::Fail));
    job.look("0:30:10");
    job.look("0:30:31");
    job.look("0:30:40");
    let reminders = job.told().into_iter().filter(|kind| *kind == NotificationKind::Reminder).count();
    assert_eq!(reminders, 1, "ten minutes after it opened");
}

#[test]
fn s6_6_an_outage_that_is_told_before_the_time_is_kept() {
    let mut world = World::new(100);
    let id = world.make(1, every("1h", "10m"));
    world.run(d("1m"));
    world.evaluator.leave_watch();
    world.evaluator.handle_life(world.now, world.monotonic, &[]);
    world.run(d("1m"));
    // The process was frozen for half an hour, and the keeper of its life comes first.
    let frozen = Outage { from: world.now, to: world.now + d("30m") };
    (world.now, world.monotonic) = (frozen.to, world.monotonic + d("30m"));
    world.evaluator.handle_life(world.now, world.monotonic, &[frozen]);
    world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
    world.evaluator.handle_time(world.now, world.monotonic);
    let batch = world.evaluator.poll_batch().unwrap();
    assert_eq!(batch.transitions.len(), 1);
    assert_eq!(batch.forget_outages_after, None, "it does not lie in the future");
}
