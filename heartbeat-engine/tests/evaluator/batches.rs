//! The evaluator on a storage that fails in every way, against a scan of all monitors.

use std::time::Duration;

use crate::common::{cron, d, every, monitor};
use crate::world::{Deeds, Fate, World};
use heartbeat_engine::evaluator::{Refusal, Request};
use heartbeat_engine::step::Edit;
use heartbeat_engine::step::Event;
use heartbeat_engine::{
    Epoch, Lease, Monitor, MonitorId, MonitorSpec, NotificationKind, PartitionId, Ping, Signal, State, Storage,
    StorageError, Timestamp,
};
use proptest::prelude::*;

fn wishes() -> Vec<MonitorSpec> {
    let mut second = every("60s", "10s");
    (second.failure_threshold, second.recovery_threshold, second.max_runtime) = (2, 2, Some(d("15s")));
    let mut third = cron("*/2 * * * *", "30s");
    third.early = d("10s");
    let mut wishes = vec![every("20s", "5s"), second, third, every("45s", "1s")];
    for (index, wish) in wishes.iter_mut().enumerate() {
        wish.slug = format!("job-{index}").into();
    }
    wishes
}

#[derive(Clone, Debug)]
enum Deed {
    Ping(usize, Signal),
    Edit(usize, Edit),
    Wait(u64),
    Restart(u64),
    /// A maintenance window begins after so many milliseconds, and lasts that long.
    Plan(u64, u64),
    /// All windows end now.
    End,
}

fn deed(edits: bool) -> impl Strategy<Value = Deed> {
    let signal =
        prop::sample::select(vec![Signal::Success, Signal::Success, Signal::Start, Signal::Fail, Signal::Report]);
    let edit = prop::sample::select(vec![
        Edit::Pause { manual_resume: true },
        Edit::Pause { manual_resume: false },
        Edit::Resume,
    ]);
    prop_oneof![
        8 => (0..4_usize, signal).prop_map(|(place, signal)| Deed::Ping(place, signal)),
        u32::from(edits) * 2 => (0..4_usize, edit).prop_map(|(place, edit)| Deed::Edit(place, edit)),
        8 => prop_oneof![1_u64..2000, 1_u64..90_000].prop_map(Deed::Wait),
        1 => (1_u64..50_000).prop_map(Deed::Restart),
        2 => (0_u64..60_000, 1_u64..200_000).prop_map(|(ahead, length)| Deed::Plan(ahead, length)),
        1 => Just(Deed::End),
    ]
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Fine),
        2 => (1_u64..4000).prop_map(Fate::Slow),
        2 => Just(Fate::Unavailable),
        1 => Just(Fate::UnknownWritten),
        1 => Just(Fate::UnknownLost),
        1 => Just(Fate::Overtaken),
    ]
}

fn live(batch_max: usize, deeds: Vec<Deed>, fates: Vec<Fate>) -> Result<(), TestCaseError> {
    let mut world = World::new(batch_max);
    let ids: Vec<MonitorId> = wishes().into_iter().zip(1..).map(|(wish, id)| world.make(id, wish)).collect();
    let made: Vec<Monitor> = world.records().iter().map(|record| (*record.monitor).clone()).collect();
    let sound = fates.is_empty();
    world.fates = fates.into();
    let mut restarted = false;
    for deed in deeds {
        match deed {
            Deed::Ping(place, signal) => drop(world.event(ids[place], Event::Ping(Box::new(Ping::new(signal))))),
            Deed::Edit(place, edit) => {
                world.settle();
                let place_in_log = world.events.len();
                world.event(ids[place], Event::Edit(edit));
                // Nothing fails here: what came before it is carried out first, and it is the last.
                let at = world.now;
                world.settle();
                let outages = world.runtime.block_on(world.storage.watch_log()).unwrap().outages.len();
                let windows = world.windows.clone();
                let deeds = Deeds { at, outages, windows, events: vec![(at, place_in_log)] };
                world.done.entry(ids[place]).or_default().push(deeds);
            }
            Deed::Plan(ahead, length) => world.plan(Duration::from_millis(ahead), Duration::from_millis(length + 1000)),
            Deed::End => world.end_plans(),
            Deed::Wait(millis) => world.run(Duration::from_millis(millis)),
            Deed::Restart(millis) => {
                restarted |= world.evaluator.has_pending();
                world.restart(Duration::from_millis(millis));
            }
        }
    }
    world.fates.clear();
    world.run(d("30s"));
    world.compare(&made)?;
    for (ticket, answers) in &world.answers {
        prop_assert!(answers.len() == 1 || (restarted && answers.is_empty()), "{ticket} got {answers:?}");
        prop_assert!(!sound || answers.is_empty() || answers[0].is_ok(), "{answers:?}");
    }
    let mut stored: Vec<_> = world.stored_notifications().into_iter().map(|(id, _, _)| id).collect();
    stored.sort_unstable();
    world.owed.sort_unstable();
    if !restarted {
        prop_assert_eq!(&world.owed, &stored, "every stored message is handed over once");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_comes_to_what_a_scan_of_all_monitors_comes_to(
        batch_max in 1_usize..6,
        deeds in prop::collection::vec(deed(true), 1..40),
    ) {
        live(batch_max, deeds, Vec::new())?;
    }

    #[test]
    fn a_failing_storage_loses_no_request_no_message_and_no_deadline(
        batch_max in 1_usize..6,
        deeds in prop::collection::vec(deed(false), 1..40),
        fates in prop::collection::vec(fate(), 1..35),
    ) {
        live(batch_max, deeds, fates)?;
    }
}

#[test]
fn a_deadline_is_judged_at_the_first_look_after_it() {
    let mut world = World::new(10);
    let ids: Vec<MonitorId> = wishes().into_iter().zip(1..).map(|(wish, id)| world.make(id, wish)).collect();
    world.run(d("10m"));
    for record in world.records().iter().filter(|record| ids.contains(&record.id())) {
        let incident = record.health.incident.as_ref().unwrap();
        assert_eq!(incident.detected_at.since(incident.opened_at), Duration::from_millis(1), "S3.5, S8.5");
    }
}

#[test]
fn s3_7_a_heartbeat_left_for_the_next_batch_is_in_time_all_the_same() {
    let mut world = World::new(1);
    let other = world.make(1, every("10m", "1m"));
    let mut spec = every("20s", "5s");
    spec.slug = "second".into();
    let id = world.make(2, spec);
    world.run(d("25s"));
    // Both are stamped at the deadline; only the first fits into the first batch.
    world.event(other, Event::Ping(Box::new(Ping::new(Signal::Success))));
    world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
    world.pass(Duration::from_millis(1));
    world.evaluator.handle_time(world.now, world.monotonic);
    world.settle();
    let record = world.records().into_iter().find(|record| record.id() == id).unwrap();
    assert_eq!(record.health.state, State::Up);
    assert!(world.stored_notifications().is_empty());
}

#[test]
fn s6_1_case_6_an_hour_of_refused_writes_is_an_outage_and_no_mass_alert() {
    let mut world = World::new(100);
    let ids: Vec<MonitorId> = (1..=20)
        .map(|n| {
            let mut spec = every("10m", "1m");
            spec.slug = format!("job-{n}").into();
            world.make(n, spec)
        })
        .collect();
    world.run(d("9m"));
    world.fates = vec![Fate::Unavailable; 3600].into();
    let mut refused = Vec::new();
    for minute in 0..60 {
        refused.push(world.event(ids[minute % 20], Event::Ping(Box::new(Ping::new(Signal::Success)))));
        for _ in 0..3 {
            world.evaluator.handle_time(world.now, world.monotonic);
            if let Some(batch) = world.evaluator.poll_batch() {
                let result = world.commit(&batch);
                world.evaluator.handle_applied(batch.clone(), &result);
            }
            world.collect();
            world.pass(d("20s"));
        }
    }
    assert!(refused.iter().all(|ticket| matches!(world.answers[ticket][..], [Err(Refusal::Storage(_))])));
    world.fates.clear();
    world.settle();
    world.run(d("5m"));
    let kinds: Vec<_> = world.stored_notifications().into_iter().map(|(_, _, kind)| kind).collect();
    assert_eq!(kinds, [NotificationKind::WatcherOutage]);
    // Those that stay silent are found.
    world.run(d("10m"));
    assert!(world.records().iter().all(|record| record.health.state == State::Down));

    // A process that was frozen judges nothing of the time that it missed.
    let mut frozen = World::new(100);
    let id = frozen.make(1, every("10m", "1m"));
    frozen.run(d("10m"));
    frozen.pass(d("30m"));
    frozen.settle();
    assert_eq!(frozen.records()[0].health.state, State::New);
    frozen.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
    frozen.run(d("1m"));
    assert_eq!(frozen.records()[0].health.state, State::Up);
}

#[test]
fn s6_2_a_heartbeat_that_waited_while_the_store_hung_judges_nothing_of_that_time() {
    let mut world = World::new(100);
    let id = world.make(1, every("10m", "1m"));
    let made = world.now;
    world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
    world.run(d("10m30s"));
    world.event(id, Event::Ping(Box::new(Ping::new(Signal::Start))));
    world.evaluator.handle_time(world.now, world.monotonic);
    let batch = world.evaluator.poll_batch().unwrap();
    // The write takes three minutes, and the deadline passes meanwhile.
    world.pass(d("60s"));
    let waiting = world.event(id, Event::Ping(Box::new(Ping::new(Signal::Start))));
    world.pass(d("120s"));
    world.hung = true;
    let result = world.commit(&batch);
    world.hung = false;
    world.evaluator.handle_applied(batch.clone(), &result);
    world.settle();
    assert!(matches!(world.answers[&waiting][..], [Ok(_)]));
    let kinds: Vec<_> = world.stored_notifications().into_iter().map(|(_, _, kind)| kind).collect();
    assert_eq!(kinds, [NotificationKind::WatcherOutage]);
    let health = world.records().remove(0).health;
    assert_eq!(health.based_at, made, "what was stored meanwhile does not lie in the future of the heartbeat");
    assert_eq!(health.expectation.unwrap().deadline, health.outages_seen + d("11m"));
}

#[test]
fn s6_6_case_7_a_crash_right_after_the_outage_was_stored_does_not_forget_it() {
    let mut world = World::new(100);
    world.make(1, every("10m", "1m"));
    world.run(d("10m30s"));
    world.pass(d("30m"));
    world.evaluator.handle_time(world.now, world.monotonic);
    let batch = world.evaluator.poll_batch().unwrap();
    assert!(batch.outage.is_some() && batch.mark.is_some() && batch.transitions.is_empty());
    world.commit(&batch).unwrap();
    // The crash: nothing of it was applied to the record.
    world.restart(d("1s"));
    world.run(d("5m"));
    assert_eq!(world.records()[0].health.state, State::New);
}

#[test]
fn s6_7_a_clock_that_was_set_back_while_nobody_watched_is_found_at_the_start() {
    for restart in [true, false] {
        let mut world = World::new(100);
        let id = world.make(1, every("10m", "1m"));
        world.now = world.now + d("24h");
        world.settle();
        world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
        world.run(d("1m"));
        world.now = world.now - d("24h");
        if restart {
            world.restart(d("1s"));
        }
        world.run(d("12m"));
        let record = &world.records()[0];
        assert_eq!(record.health.state, State::Down, "restart: {restart}, {:?}", record.health);
        let mark = world.runtime.block_on(world.storage.watch_log()).unwrap().mark.unwrap();
        assert!(world.now.since(mark) <= d("5s") && mark <= world.now, "marks are stored again");
    }
}

#[test]
fn s6_7_outages_of_a_future_that_was_set_back_are_forgotten_in_the_store_too() {
    for fates in [vec![], vec![Fate::Unavailable], vec![Fate::UnknownWritten], vec![Fate::UnknownLost]] {
        let mut world = World::new(100);
        world.make(1, every("10m", "1m"));
        world.run(d("1m"));
        world.restart(d("1s"));
        world.now = world.now + d("24h");
        world.settle();
        world.run(d("1m"));
        let outages = |world: &World| world.runtime.block_on(world.storage.watch_log()).unwrap().outages;
        assert_eq!(outages(&world).len(), 2, "the restart, and the clock's step forward");
        world.now = world.now - d("24h");
        world.fates = fates.clone().into();
        world.run(d("10s"));
        let found = outages(&world);
        assert_eq!(found.len(), 1, "{fates:?}: {found:?}");
        assert!(found[0].to <= world.now);
        // What is stored from now on stays.
        world.restart(d("20s"));
        world.run(d("1m"));
        assert_eq!(outages(&world).len(), 2, "{fates:?}");
        let batch = world.evaluator.poll_batch();
        assert!(batch.is_none_or(|batch| batch.forget_outages_after.is_none()), "it is asked for once");
    }
}

#[test]
fn a_taken_name_is_told_to_the_one_who_asked_for_it() {
    let mut world = World::new(100);
    let mut first = every("10m", "1m");
    first.slug = "first".into();
    let mut second = first.clone();
    second.slug = "second".into();
    world.make(1, first.clone());
    let id = world.make(2, second.clone());
    let ping = world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
    second.slug = "first".into();
    let edit = Edit::Spec { spec: Box::new(second), expected: None, secret: None };
    let named = world.event(id, Event::Edit(edit));
    let pause = world.event(id, Event::Edit(Edit::Pause { manual_resume: true }));
    let later = world.event(id, Event::Ping(Box::new(Ping::new(Signal::Fail))));
    let again = world.ask(Request::Create(Box::new(monitor(3, first, world.now))));
    world.settle();
    assert!(matches!(world.answers[&named][..], [Err(Refusal::Taken("slug"))]));
    assert!(matches!(world.answers[&again][..], [Err(Refusal::Taken("slug"))]));
    for ticket in [ping, pause, later] {
        assert!(matches!(world.answers[&ticket][..], [Ok(_)]), "{:?}", world.answers[&ticket]);
    }
    let record = world.records().into_iter().find(|record| record.id() == id).unwrap();
    assert_eq!((record.health.state, record.health.ping_count), (State::Paused, 2));
}

#[test]
fn refusals_wait_for_the_commit_that_they_rest_on() {
    let mut world = World::new(100);
    let id = world.make(1, every("10m", "1m"));
    let mut spec = every("10m", "2m");
    spec.description = "changed".into();
    let spec = Box::new(spec);
    let revision = world.records()[0].monitor.revision;
    let edit = || Edit::Spec { spec: spec.clone(), expected: Some(revision), secret: None };
    let (one, two) = (world.event(id, Event::Edit(edit())), world.event(id, Event::Edit(edit())));
    world.fates = vec![Fate::Unavailable].into();
    world.settle();
    for ticket in [one, two] {
        assert!(matches!(world.answers[&ticket][..], [Err(Refusal::Storage(_))]), "{:?}", world.answers[&ticket]);
    }
    let (one, two) = (world.event(id, Event::Edit(edit())), world.event(id, Event::Edit(edit())));
    world.settle();
    assert!(matches!(world.answers[&one][..], [Ok(_)]));
    assert!(matches!(world.answers[&two][..], [Err(Refusal::Revision(_))]));
}

#[test]
fn made_removed_and_made_again_at_once_is_answered_each() {
    let mut world = World::new(100);
    let monitor = monitor(1, every("10m", "1m"), world.now);
    let id = monitor.id;
    let create = world.ask(Request::Create(Box::new(monitor.clone())));
    let remove = world.ask(Request::Edit(id, Edit::Remove));
    let lost = world.ask(Request::Ping(id, Box::new(Ping::new(Signal::Success))));
    let again = world.ask(Request::Create(Box::new(monitor)));
    world.settle();
    assert!(matches!(world.answers[&create][..], [Ok(_)]));
    assert!(matches!(world.answers[&remove][..], [Ok(_)]));
    assert!(matches!(world.answers[&lost][..], [Err(Refusal::NotFound)]));
    assert!(matches!(world.answers[&again][..], [Ok(_)]));
    assert_eq!(world.records().len(), 1);
}

#[test]
fn a_fenced_evaluator_writes_nothing_and_answers_each() {
    let mut world = World::new(100);
    let id = world.make(1, every("10m", "1m"));
    let lease = |epoch: u64, node: &str| Lease {
        partition: PartitionId(0),
        epoch: Epoch(epoch),
        node: node.to_owned(),
        expires_at: Timestamp::MAX,
    };
    assert!(world.runtime.block_on(world.storage.swap_lease(&lease(0, ""), &lease(1, "there"))).unwrap());
    let ticket = world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
    world.evaluator.handle_time(world.now, world.monotonic);
    let batch = world.evaluator.poll_batch().unwrap();
    let result = world.commit(&batch);
    world.evaluator.handle_applied(batch.clone(), &result);
    world.collect();
    assert!(matches!(world.answers[&ticket][..], [Err(Refusal::Storage(StorageError::Fenced))]));
    assert_eq!(world.records()[0].health.ping_count, 0);
}

#[test]
fn a_retried_write_names_the_same_things() {
    let mut world = World::new(100);
    world.make(1, every("10s", "1s"));
    world.run(d("10s"));
    world.pass(d("2s"));
    let named = |world: &mut World| {
        world.evaluator.handle_time(world.now, world.monotonic);
        let batch = world.evaluator.poll_batch().unwrap();
        world.evaluator.handle_applied(batch.clone(), &Err(StorageError::Unavailable("by plan".to_owned())));
        let transition = &batch.transitions[0];
        (transition.incidents[0].id, transition.notifications[0].id)
    };
    let first = named(&mut world);
    world.pass(d("1s"));
    assert_eq!(named(&mut world), first);
    // It is written, and the answer is lost: it is told once.
    world.fates = vec![Fate::UnknownWritten].into();
    world.run(d("3s"));
    assert_eq!(world.owed, [first.1]);
}

#[test]
fn s6_2_a_moved_deadline_outlives_the_memory_of_the_outage_that_moved_it() {
    let mut world = World::new(100);
    world.outages_max = 4;
    world.restart(d("1s"));
    let id = world.make(1, every("1h", "10m"));
    world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
    world.run(d("55m"));
    world.restart(d("20m"));
    for _ in 0..12 {
        world.run(d("10s"));
        world.restart(d("1s"));
    }
    let log = world.runtime.block_on(world.storage.watch_log()).unwrap();
    assert!(log.outages.len() <= 5 && log.outages[0].length() < d("1m"), "it was forgotten: {:?}", log.outages);
    world.run(d("20m"));
    assert_eq!(world.records()[0].health.state, State::Up);
    world.run(d("50m"));
    assert_eq!(world.records()[0].health.state, State::Down);
}

#[test]
fn s6_3_an_outage_is_told_once_where_it_touched_a_window_or_was_long() {
    // Length, whether a window is touched, whether it is told.
    for (length, touched, told) in
        [("5s", true, false), ("6s", true, true), ("60s", false, false), ("61s", false, true)]
    {
        let mut world = World::new(100);
        let id = world.make(1, every("10m", "1m"));
        world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
        world.run(if touched { d("9m30s") } else { d("1m") });
        let marked = world.runtime.block_on(world.storage.watch_log()).unwrap().mark.unwrap();
        let gap = d(length).saturating_sub(world.now.since(marked));
        world.watchers = vec!["self".to_owned()];
        world.restart(gap);
        let found = world.stored_notifications();
        assert_eq!(found.len(), usize::from(told), "{length}, touched: {touched}");
        assert!(found.iter().all(|(_, about, kind)| about.is_none() && *kind == NotificationKind::WatcherOutage));
        world.run(d("30s"));
        assert_eq!(world.stored_notifications().len(), found.len(), "once");
    }
}

#[test]
fn requests_keep_their_order_over_a_conflict() {
    let mut world = World::new(100);
    let id = world.make(1, every("10m", "1m"));
    world.event(id, Event::Ping(Box::new(Ping::new(Signal::Fail))));
    world.evaluator.handle_time(world.now, world.monotonic);
    let batch = world.evaluator.poll_batch().unwrap();
    world.overtake(id);
    let result = world.commit(&batch);
    world.evaluator.handle_applied(batch.clone(), &result);
    world.pass(d("1s"));
    world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
    world.settle();
    let record = world.records().remove(0);
    assert_eq!((record.health.state, record.health.ping_count), (State::Up, 3));
    assert_eq!(record.health.last_ping.unwrap().signal, Signal::Success);
}

#[test]
fn s6_7_what_a_crash_left_in_the_future_is_found_at_the_next_start() {
    let mut world = World::new(1);
    let mut second = every("10m", "1m");
    second.slug = "second".into();
    let ids = [world.make(1, every("10m", "1m")), world.make(2, second)];
    world.now = world.now + d("24h");
    world.settle();
    for id in ids {
        world.event(id, Event::Ping(Box::new(Ping::new(Signal::Success))));
    }
    world.run(d("1m"));
    world.now = world.now - d("24h");
    world.evaluator.handle_time(world.now, world.monotonic);
    // One batch with the new mark is written, and the process dies.
    let batch = world.evaluator.poll_batch().unwrap();
    assert!(batch.mark.is_some() && batch.transitions.len() == 1);
    world.commit(&batch).unwrap();
    world.restart(d("1s"));
    world.run(d("12m"));
    assert!(world.records().iter().all(|record| record.health.state == State::Down));
}
