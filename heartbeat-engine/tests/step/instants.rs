//! To the millisecond: what is due at an instant waits for the next one (S3.7), and what a slow or set back clock changes.

use crate::common::{Job, claimed, cron, d, every, of_run, ping, t, window};
use crate::incidents::{job, route};
use heartbeat_engine::{Arm, Effect, Grace, Ping, Signal, State};

fn hourly() -> Job {
    Job::made("0:00", every("1h", "10m"))
}

/// It goes down by a `fail` at that time, and reminds every hour.
fn failed(at: &str) -> Job {
    let mut job = job(|spec| spec.remind_every = Some(d("1h")));
    job.routes = vec![route("boss", "30m", &["boss"])];
    job.fail(at);
    job
}

#[test]
fn s7_8_an_escalation_and_a_reminder_go_out_in_the_instant_after_they_are_due() {
    let mut job = failed("1:00");
    for due in ["1:30", "2:00"] {
        assert!(!job.look(due));
        assert!(job.look(&format!("{due}:00.001")));
    }
}

#[test]
fn s5_4_what_is_due_at_an_instant_is_held_back_from_the_next_one_on() {
    let mut job = failed("1:00");
    job.down_parents = vec!["router".to_owned()];
    assert!(!job.look("1:30"));
    assert!(job.look("1:30:00.001"));
    assert_eq!(job.record.health.incident.as_ref().unwrap().held_by, ["router"]);
}

#[test]
fn s5_3_what_is_due_at_an_instant_in_a_window_waits_from_the_next_one_on() {
    let mut job = failed("1:00");
    job.windows = vec![window("1:10", "168:00")];
    let due = |job: &Job| {
        let pursuit = &job.record.health.pursuit;
        (pursuit.escalations[0].due_at, pursuit.remind_at.unwrap())
    };
    assert!(!job.look("1:30"));
    assert!(job.look("1:30:00.001"));
    assert_eq!(due(&job), (t("168:00"), t("2:00")));
    assert!(!job.look("2:00"));
    assert!(job.look("2:00:00.001"));
    assert_eq!(due(&job), (t("168:00"), t("3:00")));
    job.windows.clear();
    assert!(job.look("2:10"));
    assert_eq!(job.notifications.last().unwrap().channel, "boss", "it waits for no window that is gone");
}

#[test]
fn s5_3_a_deadline_at_the_instant_of_an_edit_waits_from_the_next_one_on() {
    let mut job = hourly().under(window("1:05", "3:00"));
    job.change("1:10", |spec| spec.grace = Grace::Fixed(d("5m")));
    assert_eq!((job.record.health.moves.held, job.deadline()), (None, t("1:10")));
    job.look("1:10:00.001");
    assert_eq!((job.record.health.moves.held, job.deadline()), (Some(t("1:10")), t("3:00")));
}

#[test]
fn s6_7_a_clock_set_back_by_60_s_moves_no_reminder() {
    let mut job = job(|spec| spec.remind_every = Some(d("1h")));
    job.fail("1:01");
    assert!(!job.look("1:00"));
    assert!(job.look("0:59:59.999"));
    assert_eq!(job.record.health.pursuit.remind_at, Some(t("1:59:59.999")));
}

#[test]
fn s6_7_reminders_before_the_time_of_the_going_down_keep_their_distance() {
    // The clock is set back by three and a half hours; when the next reminder is, by when it looks.
    let set_back = || {
        let mut job = job(|spec| spec.remind_every = Some(d("1h")));
        job.fail("5:00");
        job.look("1:30");
        assert_eq!(job.record.health.pursuit.remind_at, Some(t("2:30")));
        job
    };
    for (look, next) in [("2:30:00.001", "3:30"), ("3:29:59.999", "3:30"), ("3:30", "4:30"), ("3:45", "4:45")] {
        let mut job = set_back();
        job.look(look);
        assert_eq!(job.record.health.pursuit.remind_at, Some(t(next)), "{look}");
    }
    let mut edited = set_back();
    edited.change("1:40", |spec| spec.remind_every = Some(d("30m")));
    assert_eq!(edited.record.health.pursuit.remind_at, Some(t("2:10")), "not half an hour after the one to come");
    // From the going down on they count from it again.
    let mut later = set_back();
    later.watch("4:00");
    later.look("5:00");
    assert_eq!(later.record.health.pursuit.remind_at, Some(t("6:00")));
}

#[test]
fn s6_7_a_heartbeat_by_a_slow_clock_ends_the_run_that_began_by_a_fast_one() {
    let mut job = hourly();
    job.success("0:30:59");
    job.start("0:30:59");
    job.success("0:30:40");
    assert!(job.record.health.runs.is_empty());
    assert_eq!(job.pings.last().unwrap().at, t("0:30:59"));
}

#[test]
fn s6_7_a_moved_deadline_counts_from_now_where_the_outages_that_moved_it_are_over_60_s_ahead() {
    let mut job = hourly();
    job.away("0:30", "24:30");
    assert_eq!(job.deadline(), t("25:40"));
    assert!(!job.look("24:29"));
    job.look("24:28:59.999");
    assert_eq!((job.record.health.based_at, job.deadline()), (t("24:28:59.999"), t("25:38:59.999")));
    // What has moved nothing is looked at anew only.
    let mut unmoved = Job::made("0:00", every("300d", "10m"));
    unmoved.success("0:10");
    let before = unmoved.record.health.clone();
    unmoved.away("0:30", "24:30");
    unmoved.success("24:30");
    unmoved.outages.clear();
    let health = std::mem::replace(&mut unmoved.record.health, before.clone());
    unmoved.record.health.moves = health.moves;
    unmoved.record.health.outages_seen = health.outages_seen;
    unmoved.look("0:40");
    assert_eq!((unmoved.record.health.based_at, unmoved.record.health.outages_seen), (before.based_at, t("0:40")));
}

#[test]
fn s4_8_a_success_whose_own_deadline_is_its_arrival_is_older() {
    assert_eq!(hourly().take("2:00", claimed(Signal::Success, "0:50")).effect, Effect::Older);
    assert_eq!(hourly().take("1:59:59.999", claimed(Signal::Success, "0:50")).effect, Effect::Counted);
}

#[test]
fn s4_8_a_success_whose_own_deadline_is_over_arms_what_is_not_armed_unless_it_is_paused() {
    let mut spec = every("1h", "10m");
    spec.arm = Arm::FirstPing;
    let mut job = Job::made("0:00", spec);
    let mut paused = job.clone();
    assert_eq!(job.take("6:00", claimed(Signal::Success, "2:00")).effect, Effect::Older);
    assert_eq!((job.state(), job.deadline()), (State::New, t("7:10")), "armed at its arrival");
    paused.pause("1:00");
    assert_eq!(paused.take("6:00", claimed(Signal::Success, "2:00")).effect, Effect::Older);
    assert_eq!((paused.state(), paused.record.health.expectation), (State::Paused, None));
}

fn limited(runtime: &str) -> Job {
    let mut spec = every("24h", "1h");
    spec.max_runtime = Some(d(runtime));
    spec.failure_threshold = 10;
    Job::made("0:00", spec)
}

#[test]
fn s4_8_a_fail_whose_own_deadline_is_over_moves_no_deadline_and_arms_what_is_not_armed() {
    let mut spec = every("1h", "10m");
    spec.failure_threshold = 9;
    let mut job = Job::made("0:00", spec.clone());
    job.look("1:11");
    job.take("1:30", claimed(Signal::Fail, "0:10"));
    assert_eq!(job.deadline(), t("2:10"));
    spec.arm = Arm::FirstPing;
    let mut first = Job::made("0:00", spec);
    first.take("6:00", claimed(Signal::Fail, "2:00"));
    assert_eq!(first.deadline(), t("7:10"));
}

#[test]
fn s2_8_a_report_about_a_time_before_a_miss_brings_its_occurrence_not_back() {
    let mut spec = cron("0 * * * *", "5m");
    spec.failure_threshold = 2;
    let mut job = Job::made("0:00", spec);
    job.look("1:06");
    job.change("1:10", |spec| spec.grace = Grace::Fixed(d("2h")));
    assert_eq!(job.take("1:20", claimed(Signal::Success, "0:30")).effect, Effect::Counted);
    assert_eq!((job.record.health.expectation.unwrap().occurrence, job.deadline()), (t("2:00"), t("4:00")));
}

#[test]
fn s3_9_what_was_late_when_the_grace_became_shorter_leaves_nothing_to_the_next_occurrence() {
    let mut job = Job::made("0:00", cron("0 * * * *", "5h"));
    job.change("1:30", |spec| spec.grace = Grace::Fixed(d("5m")));
    assert_eq!(job.deadline(), t("6:00"));
    job.success("1:40");
    assert_eq!(job.deadline(), t("2:05"));
}

#[test]
fn s4_2_a_heartbeat_that_ends_another_run_does_not_make_an_overrun_count_twice() {
    let mut job = limited("30m");
    job.start("1:00");
    job.look("1:31");
    assert_eq!(job.record.health.failures, 1);
    job.take("1:32", of_run(Signal::Start, 1));
    job.success("1:40");
    assert!(job.record.health.runs.is_empty(), "it ends the most recent, as none without an id is open");
    assert_eq!(job.fail("1:41").effect, Effect::Noted);
}

#[test]
fn s4_2_a_heartbeat_that_comes_twice_pushes_no_run_out_of_memory() {
    let mut job = limited("30m");
    for n in 0..32 {
        job.take("1:00", of_run(Signal::Start, n));
        job.take("1:01", of_run(Signal::Success, n));
    }
    job.take("1:02", of_run(Signal::Success, 31));
    assert_eq!(job.take("1:03", of_run(Signal::Start, 0)).effect, Effect::Noted);
    job.take("1:04", Ping { run: Some(crate::common::run(99)), ..ping(Signal::Success) });
    assert_eq!(job.take("1:05", of_run(Signal::Start, 99)).effect, Effect::Noted, "its start was still on the way");
}
