//! Single sentences of the rules, one test each.

use std::time::Duration;

use crate::common::{Job, at, claimed, d, every, of_run, outage, ping, t};
use heartbeat_engine::step::Edit;
use heartbeat_engine::step::{Event, Surroundings, step};
use heartbeat_engine::{
    Arm, Cause, Closing, Effect, Grace, NotificationKind, Ping, Schedule, Signal, State, StatusWord, Timestamp,
};

fn with_id(signal: Signal, n: u8, at: &str) -> Ping {
    Ping { claimed_at: Some(t(at)), ..of_run(signal, n) }
}

fn hourly() -> Job {
    Job::made("0:00", every("1h", "10m"))
}

fn limited() -> Job {
    let mut spec = every("24h", "1h");
    spec.max_runtime = Some(d("30m"));
    spec.failure_threshold = 10;
    Job::made("0:00", spec)
}

#[test]
fn s2_8_a_heartbeat_that_claims_an_earlier_time_does_not_move_the_deadline_back() {
    let mut job = hourly();
    job.away("0:55", "1:30");
    assert_eq!(job.deadline(), t("2:40"));
    job.take("1:31", claimed(Signal::Success, "1:00"));
    assert_eq!(job.deadline(), t("2:40"));
}

#[test]
fn s3_3_a_moved_deadline_is_followed_by_one_a_period_later() {
    let mut spec = every("1h", "10m");
    spec.failure_threshold = 2;
    let mut job = Job::made("0:00", spec);
    job.away("0:55", "1:30");
    job.look("2:41");
    assert_eq!((job.record.health.failures, job.deadline()), (1, t("3:40")));
}

#[test]
fn s3_8_the_first_fail_makes_a_new_monitor_up_below_the_threshold() {
    let mut job = limited();
    job.fail("1:00");
    assert_eq!((job.state(), job.record.health.failures), (State::Up, 1));
    let mut strict = hourly();
    strict.fail("1:00");
    assert_eq!(strict.state(), State::Down);
}

#[test]
fn s3_8_a_log_arms_nothing_and_a_late_first_start_alarms_nobody() {
    let mut spec = every("1h", "10m");
    spec.arm = Arm::FirstPing;
    let mut job = Job::made("0:00", spec);
    job.take("1:00", ping(Signal::Log));
    assert!(!job.record.health.armed);
    job.take("6:00", claimed(Signal::Start, "2:00"));
    assert_eq!(job.deadline(), t("7:10"), "armed at its arrival, not in the past");
    job.look("6:01");
    job.assert_no_alert();
}

#[test]
fn s3_8_resuming_does_not_arm_what_no_heartbeat_has_armed() {
    let mut spec = every("1h", "10m");
    spec.arm = Arm::FirstPing;
    let mut job = Job::made("0:00", spec);
    job.pause("1:00");
    job.resume("2:00");
    assert_eq!(job.record.health.expectation, None);
    // An edit while it is paused says that its creation arms it.
    job.pause("3:00");
    job.change("4:00", |spec| spec.arm = Arm::Created);
    job.resume("5:00");
    assert_eq!(job.deadline(), t("6:10"));
}

#[test]
fn s3_9_an_edit_of_neither_schedule_nor_grace_nor_early_moves_no_deadline() {
    let mut job = hourly();
    job.success("1:00");
    let before = job.record.health.clone();
    assert!(!job.change("1:30", |_| {}), "a repeated PUT stores nothing");
    assert!(job.change("1:40", |spec| {
        spec.name = "Other".into();
        spec.max_runtime = Some(d("1m"));
        (spec.failure_threshold, spec.recovery_threshold) = (5, 5);
    }));
    assert_eq!(job.record.health, before);
    let late = job.take("1:41", claimed(Signal::Success, "1:35"));
    assert_eq!(late.effect, Effect::Counted, "such an edit makes no heartbeat older");
}

#[test]
fn s3_9_the_edit_serves_as_last_heartbeat_where_the_schedule_or_early_changes() {
    let mut job = hourly();
    job.change("0:30", |spec| spec.schedule = Schedule::every(d("2h")).unwrap());
    assert_eq!(job.deadline(), t("2:40"));
    assert_eq!(job.take("0:40", claimed(Signal::Fail, "0:20")).effect, Effect::Older);

    let mut fixed = Job::made("0:00", at(&["10:00"], "UTC", "1h"));
    fixed.change("9:55", |spec| spec.early = d("10m"));
    assert_eq!(fixed.record.health.expectation.unwrap().occurrence, t("34:00"), "9:55 covers 10:00");
}

#[test]
fn s3_9_a_changed_grace_sets_the_deadline_again_but_not_earlier_while_it_is_late() {
    let mut job = hourly();
    job.change("0:30", |spec| spec.grace = Grace::Fixed(d("2m")));
    assert_eq!(job.deadline(), t("1:02"));
    job.change("0:40", |spec| spec.grace = Grace::Fixed(d("20m")));
    assert_eq!(job.deadline(), t("1:20"));
    job.change("1:05", |spec| spec.grace = Grace::Fixed(d("1m")));
    assert_eq!(job.deadline(), t("1:20"));
    assert_eq!(heartbeat_engine::Status::of(&job.record, t("1:06")).word, StatusWord::New);
    job.change("1:10", |spec| spec.grace = Grace::Fixed(d("30m")));
    assert_eq!(job.deadline(), t("1:49"), "what was kept moves along");
}

#[test]
fn s3_9_thresholds_apply_at_the_next_signal_or_miss_and_counts_and_incident_stay() {
    let mut job = limited();
    job.fail("1:00");
    job.fail("1:01");
    job.change("1:02", |spec| spec.failure_threshold = 2);
    assert_eq!((job.state(), job.record.health.failures), (State::Up, 2));
    job.fail("1:03");
    assert_eq!(job.state(), State::Down);
    let opened = job.record.health.incident.clone();
    job.change("1:04", |spec| {
        spec.failure_threshold = 10;
        spec.schedule = Schedule::every(d("1h")).unwrap();
    });
    assert_eq!((job.state(), job.record.health.failures), (State::Down, 3));
    assert_eq!(job.record.health.incident, opened);
}

#[test]
fn s3_9_open_runs_keep_their_limit() {
    let mut job = limited();
    job.start("1:00");
    job.change("1:10", |spec| spec.max_runtime = Some(d("5m")));
    job.look("1:20");
    job.change("1:21", |spec| spec.max_runtime = None);
    job.look("1:31");
    assert_eq!(job.record.health.failures, 1);
    assert!(job.changes.iter().any(|change| change.at == t("1:30")), "{:?}", job.changes);
}

#[test]
fn s4_2_a_start_that_is_known_changes_nothing() {
    let mut job = limited();
    job.take("1:00", of_run(Signal::Start, 1));
    assert_eq!(job.take("1:10", of_run(Signal::Start, 1)).effect, Effect::Noted);
    assert_eq!(job.record.health.runs[0].began_at, t("1:00"));
    job.take("1:20", of_run(Signal::Success, 1));
    job.pause("1:30");
    assert_eq!(job.take("1:40", of_run(Signal::Start, 1)).effect, Effect::Noted);
    assert_eq!(job.state(), State::Paused);
}

#[test]
fn s4_2_a_fail_of_a_run_that_overran_adds_no_second_failure_however_often_it_comes() {
    let mut job = limited();
    job.take("1:00", of_run(Signal::Start, 1));
    job.look("2:00");
    assert_eq!(job.record.health.failures, 1);
    for at in ["2:01", "2:02"] {
        assert_eq!(job.take(at, of_run(Signal::Fail, 1)).effect, Effect::Noted);
    }
    assert_eq!((job.state(), job.record.health.failures), (State::Up, 1));
    assert_eq!(job.take("2:03", of_run(Signal::Fail, 2)).effect, Effect::Counted);

    let mut nameless = limited();
    nameless.start("1:00");
    nameless.look("2:00");
    assert_eq!(nameless.fail("2:01").effect, Effect::Noted);
    assert_eq!(nameless.fail("2:02").effect, Effect::Counted, "this one is of no run that is known");
}

#[test]
fn s4_2_of_33_runs_without_a_limit_the_oldest_is_dropped_with_one_the_newest() {
    for limit in [None, Some(d("30m"))] {
        let mut spec = every("24h", "1h");
        spec.max_runtime = limit;
        let mut job = Job::made("0:00", spec);
        for n in 0..33 {
            assert_eq!(job.take("1:00", of_run(Signal::Start, n)).effect, Effect::Counted);
        }
        let open: Vec<_> = job.record.health.runs.iter().map(|run| run.id.unwrap()).collect();
        let first = if limit.is_some() { 0 } else { 1 };
        assert_eq!(open, (first..first + 32).map(crate::common::run).collect::<Vec<_>>());
    }
}

#[test]
fn s4_2_what_ended_is_remembered_for_32_runs() {
    let mut job = limited();
    for n in 0..40 {
        job.take("1:00", of_run(Signal::Start, n));
        job.take("1:01", of_run(Signal::Success, n));
    }
    assert_eq!(job.record.health.ended_runs.len(), 32);
    assert_eq!(job.take("1:02", of_run(Signal::Start, 8)).effect, Effect::Noted);
    assert_eq!(job.take("1:02", of_run(Signal::Start, 7)).effect, Effect::Counted);
}

#[test]
fn s4_6_without_an_id_the_run_that_began_last_before_the_time_is_ended() {
    let mut job = limited();
    job.take("1:00", of_run(Signal::Start, 1));
    job.take("1:10", of_run(Signal::Start, 2));
    job.take("1:15", with_id(Signal::Start, 3, "0:50"));
    job.take("1:16", claimed(Signal::Success, "1:05"));
    let open: Vec<_> = job.record.health.runs.iter().map(|run| run.id).collect();
    assert_eq!(open, [Some(crate::common::run(2)), Some(crate::common::run(3))]);
    assert_eq!(job.pings.last().unwrap().run_duration, Some(d("5m")));
    job.take("1:17", Ping { ends_all_runs: true, ..ping(Signal::Success) });
    assert!(job.record.health.runs.is_empty());
}

#[test]
fn s4_8_the_bounds_of_claimed_times() {
    let day = Duration::from_secs(86_400);
    let now = t("2400:00");
    let with = |at: Timestamp| {
        let mut job = Job::made("0:00", every("366d", "1h"));
        let mut ping = ping(Signal::Success);
        ping.claimed_at = Some(at);
        step(&job.record, &Event::Ping(Box::new(ping)), now, Surroundings::default()).map(|transition| {
            job.store(transition.unwrap());
            job.pings[0].at
        })
    };
    let second = Duration::from_secs(1);
    let instant = Duration::from_millis(1);
    assert_eq!(with(now + 60 * second).unwrap(), now);
    assert!(with(now + 60 * second + instant).is_err());
    assert_eq!(with(now - 60 * second).unwrap(), now);
    assert_eq!(with(now - 60 * second - instant).unwrap(), now - 60 * second - instant);
    assert_eq!(with(now - 90 * day).unwrap(), now - 90 * day);
    assert!(with(now - 90 * day - instant).is_err());
}

#[test]
fn s4_8_older_compares_with_the_latest_report_and_equal_times_count_in_their_order() {
    let mut job = hourly();
    job.take("0:30", claimed(Signal::Success, "0:20"));
    assert_eq!(job.take("0:31", claimed(Signal::Fail, "0:19")).effect, Effect::Older);
    job.take("0:35", ping(Signal::Log));
    job.take("0:36", ping(Signal::Start));
    assert_eq!(job.take("0:37", claimed(Signal::Success, "0:20")).effect, Effect::Counted);
    assert_eq!(job.state(), State::Up);
}

#[test]
fn s4_8_an_older_report_is_still_told() {
    let mut job = hourly();
    job.success("0:50");
    let mut report = claimed(Signal::Report, "0:40");
    report.message = Some("41 certificates".to_owned());
    assert_eq!(job.take("0:51", report).effect, Effect::Older);
    assert_eq!(job.told(), [NotificationKind::Report]);
    assert_eq!(job.notifications[0].message, "job reports: 41 certificates");
}

#[test]
fn s4_8_a_fail_about_a_time_long_past_counts_now_and_leaves_no_miss_in_the_past() {
    let mut spec = at(&["01:00", "02:00", "03:00", "04:00"], "UTC", "end_of_day");
    spec.failure_threshold = 2;
    let mut job = Job::made("0:00", spec);
    job.change("2:30", |spec| spec.grace = Grace::Fixed(d("1m")));
    job.take("4:30", claimed(Signal::Fail, "1:30"));
    job.look("4:31");
    assert_eq!((job.state(), job.record.health.failures), (State::Up, 1));
}

#[test]
fn s4_9_a_value_outside_its_limits_is_a_fail_with_that_cause() {
    let mut spec = every("1h", "10m");
    (spec.value_min, spec.value_max) = (Some(1.0), Some(2.0));
    let mut job = Job::made("0:00", spec);
    let with = |value: f64| Ping { value: Some(value), ..ping(Signal::Success) };
    job.take("0:01", with(1.0));
    job.take("0:02", with(2.0));
    assert_eq!(job.state(), State::Up);
    job.take("0:03", with(2.5));
    assert_eq!((job.state(), job.incidents[0].cause), (State::Down, Cause::Value));
    assert_eq!(job.incidents[0].detail, "value 2.5 is above 2");
}

#[test]
fn a_degradation_is_told_once_though_starts_come_between() {
    let mut job = hourly();
    let degraded = || Ping { degraded: true, ..ping(Signal::Success) };
    for minute in 1..5 {
        job.start(&format!("0:{minute}:00"));
        job.take(&format!("0:{minute}:30"), degraded());
    }
    assert_eq!(job.told(), [NotificationKind::Report]);
    job.success("0:10");
    job.take("0:11", degraded());
    assert_eq!(job.told().len(), 2);
}

#[test]
fn s5_1_pausing_closes_the_incident_and_tells_those_who_were_told() {
    let mut job = hourly();
    job.look("1:11");
    job.change("1:12", |spec| spec.channels = vec!["other".to_owned()]);
    job.pause("2:00");
    assert_eq!(job.spans(), [(t("1:10"), Some(t("2:00")))]);
    assert_eq!(job.incidents[0].closing, Some(Closing::Paused));
    assert_eq!(job.told(), [NotificationKind::Down, NotificationKind::Closed]);
    assert_eq!(job.notifications[1].channel, "ops");
    assert_eq!(job.notifications[1].monitor.as_ref().unwrap().status, StatusWord::Paused);
    assert_eq!(job.record.health.expectation, None);
    job.look("9:00");
    job.resume("10:00");
    assert_eq!((job.state(), job.record.health.failures, job.deadline()), (State::New, 0, t("11:10")));
}

#[test]
fn s5_1_a_heartbeat_resumes_unless_it_is_older_or_only_a_person_may() {
    for (signal, state) in [
        (Signal::Success, State::Up),
        (Signal::Start, State::New),
        (Signal::Fail, State::Down),
        (Signal::Report, State::Up),
        (Signal::Log, State::Paused),
    ] {
        let mut job = hourly();
        job.pause("0:30");
        assert_eq!(
            job.take("0:40", claimed(signal, "0:20")).effect,
            if signal == Signal::Log { Effect::Noted } else { Effect::Older }
        );
        assert_eq!(job.state(), State::Paused);
        job.take("0:50", ping(signal));
        assert_eq!(job.state(), state, "{signal}");

        let mut manual = hourly();
        manual.edit("0:30", Edit::Pause { manual_resume: true });
        let before = manual.record.health.clone();
        manual.take("0:50", ping(signal));
        assert_eq!(manual.state(), State::Paused);
        assert_eq!(manual.record.health.latest_at, before.latest_at);
        assert!(manual.notifications.is_empty());
    }
}

#[test]
fn s5_1_removing_closes_the_incident() {
    let mut job = hourly();
    job.look("1:11");
    job.edit("1:12", Edit::Remove);
    assert!(job.removed);
    assert_eq!(job.incidents[0].closing, Some(Closing::Removed));
    assert_eq!(job.told(), [NotificationKind::Down, NotificationKind::Closed]);
}

#[test]
fn s4_2_pausing_drops_all_open_runs() {
    let mut job = limited();
    job.start("1:00");
    job.pause("1:10");
    job.resume("1:20");
    job.look("3:00");
    assert_eq!((job.record.health.runs.len(), job.record.health.failures), (0, 0));
}

#[test]
fn s6_2_a_deadline_that_falls_into_a_later_outage_is_put_behind_it_at_most_twice() {
    let mut job = hourly();
    job.away("1:00", "1:30");
    for (from, to, deadline) in [("2:35", "2:45", "2:55"), ("2:50", "3:00", "3:10"), ("3:05", "3:15", "3:10")] {
        job.outages.push(outage(from, to));
        job.look(from);
        if deadline != "3:10" || from == "2:50" {
            job.look(to);
            assert_eq!(job.deadline(), t(deadline), "after {to}");
        }
    }
    job.look("3:15");
    assert_eq!(job.spans(), [(t("3:10"), None)]);
}

#[test]
fn s6_2_a_longer_outage_than_period_and_grace_moves_the_deadline_again_and_again() {
    let mut job = hourly();
    job.away("0:10", "3:00");
    job.away("3:30", "5:00");
    job.away("5:10", "7:00");
    assert_eq!(job.deadline(), t("8:10"));
    job.look("8:11");
    assert_eq!(job.spans(), [(t("8:10"), None)]);
}

#[test]
fn s6_2_whole_windows_in_an_outage_are_unobserved_and_what_is_left_of_one_still_counts() {
    let mut job = Job::made("0:00", at(&["01:00", "02:00", "03:00", "04:00"], "UTC", "30m"));
    job.away("0:30", "3:10");
    let awaited = job.record.health.expectation.unwrap();
    assert_eq!((awaited.occurrence, awaited.excused), (t("3:00"), true));
    job.look("3:31");
    assert_eq!(job.record.health.expectation.unwrap().occurrence, t("4:00"));
    job.look("4:31");
    assert_eq!(job.spans(), [(t("4:30"), None)]);
}

#[test]
fn s6_2_while_down_an_unobserved_occurrence_breaks_no_recovery() {
    let mut spec = at(&["01:00", "02:00", "03:00", "04:00"], "UTC", "30m");
    spec.recovery_threshold = 2;
    let mut job = Job::made("0:00", spec);
    job.look("1:31");
    job.success("1:40");
    job.away("1:59", "2:10");
    job.success("3:00");
    assert_eq!(job.spans(), [(t("1:30"), Some(t("3:00")))]);
}

#[test]
fn s6_6_applying_an_outage_twice_changes_nothing() {
    let mut job = Job::made("0:00", every("1h", "0m"));
    job.away("0:30", "1:00");
    let before = job.record.clone();
    assert!(!job.look("1:00"));
    assert_eq!(job.record, before);
}

#[test]
fn s6_2_a_heartbeat_that_waited_through_the_outage_does_not_judge_before_it() {
    let mut job = hourly();
    job.outages.push(outage("1:09", "1:11"));
    job.success("1:10:30");
    job.look("1:12");
    job.assert_no_alert();
}

#[test]
fn s6_7_runs_that_began_in_the_future_are_limited_again_from_now() {
    let mut spec = every("48h", "1h");
    spec.max_runtime = Some(d("30m"));
    let mut job = Job::made("0:00", spec);
    job.outages.push(outage("0:30", "24:30"));
    job.take("24:30", of_run(Signal::Start, 1));
    job.look("0:31");
    assert_eq!(job.record.health.runs[0].limit_at, Some(t("1:01")));
    job.look("1:02");
    assert_eq!(job.incidents[0].cause, Cause::Overrun);
}

#[test]
fn s6_7_a_heartbeat_without_a_claimed_time_is_never_older() {
    let mut job = hourly();
    job.success("0:30:59");
    // Another node's clock is 59 s behind.
    assert_eq!(job.success("0:30").effect, Effect::Counted);
    assert_eq!(job.pings[1].at, t("0:30:59"));
    assert_eq!(job.deadline(), t("1:40:59"));
}
