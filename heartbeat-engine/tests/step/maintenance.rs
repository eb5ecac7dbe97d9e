//! Maintenance windows (S5.3), sentence by sentence.

use std::sync::Arc;

use crate::common::{Job, at, claimed, d, ended, every, of_run, outage, ping, recurring, t, window};
use heartbeat_engine::step::{Edit, Event};
use heartbeat_engine::{Effect, Escalation, Grace, Ping, Route, RouteSpec, Severity, Signal, State};

fn hourly() -> Job {
    Job::made("0:00", every("1h", "10m"))
}

fn limited() -> Job {
    let mut spec = every("24h", "1h");
    spec.max_runtime = Some(d("1h"));
    Job::made("0:00", spec)
}

#[test]
fn in_a_window_nothing_goes_down_and_a_failure_is_recorded() {
    let mut job = Job::made("0:00", every("1h", "10m")).under(window("1:00", "2:00"));
    job.record.monitor = Arc::new({
        let mut monitor = (*job.record.monitor).clone();
        monitor.spec.value_max = Some(10.0);
        monitor
    });
    assert_eq!(job.fail("1:00").effect, Effect::Noted);
    assert_eq!((job.state(), job.record.health.failures), (State::Up, 0), "the first of all makes it up");
    assert_eq!(job.deadline(), t("2:10"), "it did report");
    job.take("1:30", Ping { value: Some(11.0), ..ping(Signal::Success) });
    assert_eq!((job.state(), job.record.health.failures), (State::Up, 0));
    let reasons: Vec<_> = job.changes.iter().map(|change| change.reason.as_str()).collect();
    assert_eq!(
        reasons,
        [
            "first heartbeat",
            "failed: the job failed (in a maintenance window, not counted)",
            "value: value 11 is above 10 (in a maintenance window, not counted)",
        ]
    );
    job.assert_no_alert();
    assert_eq!(job.fail("2:00").effect, Effect::Counted, "the end does not belong to it");
    assert_eq!(job.state(), State::Down);
}

#[test]
fn failures_and_successes_stay_as_they_are_in_a_window() {
    let mut spec = every("1h", "10m");
    (spec.failure_threshold, spec.recovery_threshold) = (2, 2);
    let mut job = Job::made("0:00", spec).under(window("1:00", "2:00"));
    job.fail("0:30");
    job.fail("1:01");
    assert_eq!((job.state(), job.record.health.failures), (State::Up, 1));
    job.fail("2:00");
    job.success("2:01");
    job.windows.push(window("2:02", "2:10"));
    job.fail("2:05");
    assert_eq!((job.state(), job.record.health.successes), (State::Down, 1), "a recovery is not broken");
    job.success("2:06");
    assert_eq!(job.state(), State::Up, "a heartbeat in a window counts as ever");
}

#[test]
fn an_overrun_in_a_window_is_recorded_and_a_run_that_began_before_its_end_is_closed() {
    let mut job = limited().under(window("1:30", "2:30"));
    job.take("1:00", of_run(Signal::Start, 1));
    job.take("1:40", of_run(Signal::Start, 2));
    job.look("2:01");
    assert_eq!(job.record.health.runs.len(), 1);
    let change = job.changes.last().unwrap();
    assert_eq!((change.at, change.from, change.to), (t("2:00"), State::New, State::New));
    assert!(change.reason.starts_with("overrun: ") && change.reason.contains("not counted"), "{}", change.reason);
    job.look("2:30:01");
    assert!(job.record.health.runs.is_empty(), "the end of the second may have been missed");
    job.look("2:41");
    job.assert_no_alert();
    job.take("2:50", of_run(Signal::Fail, 1));
    assert_eq!(job.state(), State::Down, "a later fail is the first failure of that run");
}

#[test]
fn an_overrun_before_a_window_counts_and_one_at_its_first_instant_does_not() {
    for (from, down) in [("2:00", false), ("2:00:01", true)] {
        let mut job = limited().under(window(from, "3:00"));
        job.take("1:00", of_run(Signal::Start, 1));
        job.look("2:30");
        assert_eq!(job.state() == State::Down, down, "{from}");
    }
}

#[test]
fn a_deadline_in_a_window_waits_for_its_end() {
    let mut job = hourly().under(window("1:05", "3:00"));
    job.look("1:11");
    assert_eq!((job.deadline(), job.record.health.wake_at()), (t("3:00"), t("3:00")));
    assert!(!job.look("2:00") && !job.look("2:59:59.999"));
    job.look("3:00");
    assert_eq!(job.deadline(), t("4:10"), "its end + 1 h + 10 min");
    assert_eq!(job.down_by("5:00"), Some(t("4:10")));
}

#[test]
fn a_deadline_in_the_first_instant_of_a_window_counts_at_its_end() {
    let mut job = hourly().under(window("1:10", "2:00"));
    job.look("1:30");
    assert_eq!(job.state(), State::New);
    job.look("2:00:01");
    assert_eq!(job.spans(), [(t("2:00"), None)], "the whole window of 1:00 was seen");
}

#[test]
fn a_deadline_in_a_window_is_put_behind_it_however_often_that_was_done() {
    let mut job = hourly();
    job.windows = [("1:00", "1:30"), ("2:35", "2:50"), ("2:55", "3:10"), ("3:15", "3:30")]
        .iter()
        .map(|(from, to)| window(from, to))
        .collect();
    job.success("0:01");
    // 1:11 is moved to 2:40; then 2:40, 3:00 and 3:20, each inside the next window; it was put off twice by 10 min, and then to the very end.
    assert_eq!(job.down_by("8:00"), Some(t("3:30")));
}

#[test]
fn windows_that_touch_are_one_and_outages_that_overlap_belong_to_them() {
    let mut job = Job::made("0:00", every("24h", "1h"));
    job.windows = vec![window("12:00", "20:00"), window("4:00", "12:00"), window("19:00", "27:00")];
    job.success("1:00");
    job.look("25:59");
    job.look("26:01");
    assert_eq!(job.deadline(), t("27:00"));
    job.outages.push(outage("26:30", "29:30"));
    job.look("29:30");
    // 4:00 to 29:30 lasts longer than a period and a grace; none of the parts does.
    assert_eq!(job.deadline(), t("54:30"));
}

#[test]
fn an_occurrence_in_a_window_is_excused_each_time() {
    let mut job = Job::made("0:00", at(&["02:30", "14:30"], "UTC", "2h")).under(recurring("0 2 * * *", "45m"));
    for day in 0..5 {
        job.look(&format!("{}:31", 24 * day + 4));
        assert_eq!(job.deadline(), t(&format!("{}:30", 24 * day + 16)));
        job.success(&format!("{}:31", 24 * day + 14));
    }
    job.assert_no_alert();
}

#[test]
fn a_window_ended_early_lets_the_deadlines_count_again() {
    let week = window("1:00", "168:00");
    let mut job = hourly().under(week.clone());
    job.look("2:00");
    assert_eq!(job.deadline(), t("168:00"));
    job.windows = vec![ended(&week, "3:00")];
    assert!(job.look("3:00"));
    assert_eq!(job.deadline(), t("4:10"), "its end + 1 h + 10 min");
    assert_eq!(job.down_by("5:00"), Some(t("4:10")));
    // Removed before it touched anything, it explains nothing.
    let mut other = hourly().under(window("1:09:59", "5:00"));
    other.look("1:11");
    other.windows.clear();
    other.look("1:12");
    assert_eq!(other.spans(), [(t("1:10"), None)]);
}

#[test]
fn what_a_window_explained_stays_explained_after_its_end() {
    let spec = at(&["02:30"], "UTC", "1h");
    let planned = window("2:00", "2:46");
    let mut job = Job::made("0:00", spec).under(planned.clone());
    job.look("2:50");
    job.windows = vec![ended(&planned, "3:00")];
    job.look("3:31");
    job.assert_no_alert();
}

#[test]
fn a_window_that_is_made_late_explains_what_was_not_judged_yet() {
    let mut job = Job::made("0:00", at(&["02:30"], "UTC", "1h"));
    job.look("3:00");
    job.windows = vec![window("2:00", "2:46")];
    job.look("3:31");
    job.assert_no_alert();
}

#[test]
fn a_heartbeat_that_claims_a_time_in_a_window_finds_the_window_applied() {
    let mut job = Job::made("0:00", at(&["02:30"], "UTC", "1h")).under(window("2:00", "2:46"));
    job.take("3:00", claimed(Signal::Success, "2:20"));
    job.look("3:31");
    job.assert_no_alert();
    assert_eq!(job.deadline(), t("27:30"));
}

#[test]
fn pausing_and_editing_forget_that_a_deadline_waits() {
    let mut job = hourly().under(window("1:05", "3:00"));
    job.look("2:00");
    assert_eq!(job.record.health.moves.held, Some(t("1:10")));
    let mut wider = job.clone();
    wider.change("2:01", |spec| spec.grace = Grace::Fixed(d("30m")));
    assert_eq!((wider.record.health.moves.held, wider.deadline()), (Some(t("1:30")), t("3:00")));
    let mut slower = job.clone();
    slower.change("2:01", |spec| spec.schedule = heartbeat_engine::Schedule::every(d("2h")).unwrap());
    assert_eq!((slower.record.health.moves.held, slower.deadline()), (None, t("4:11")));
    job.edit("2:01", Edit::Pause { manual_resume: false });
    assert_eq!((job.record.health.moves.held, job.record.health.expectation), (None, None));
    job.resume("2:02");
    job.look("3:01");
    assert_eq!(job.deadline(), t("4:10"));
}

#[test]
fn while_down_nothing_waits_for_a_window() {
    let mut job = hourly().under(window("1:20", "9:00"));
    job.look("1:11");
    job.change("2:00", |spec| spec.grace = Grace::Fixed(d("50m")));
    assert_eq!((job.state(), job.deadline(), job.record.health.moves.held), (State::Down, t("1:50"), None));
}

#[test]
fn s6_7_a_window_under_a_clock_that_was_set_back_holds_nothing_for_ever() {
    let mut job = Job::made("24:00", every("1h", "10m")).under(window("25:00", "30:00"));
    job.success("24:30");
    job.look("26:00");
    assert_eq!(job.deadline(), t("30:00"));
    job.look("2:00");
    assert_eq!((job.deadline(), job.record.health.moves.held), (t("3:10"), None), "now serves as the last heartbeat");
    job.look("3:11");
    assert_eq!(job.spans(), [(t("3:10"), None)]);
}

#[test]
fn escalations_wait_for_the_end_of_a_window_and_reminders_are_left_out() {
    let mut spec = every("1h", "10m");
    spec.remind_every = Some(d("1h"));
    let mut job = Job::made("0:00", spec);
    let route = RouteSpec {
        severities: Vec::<Severity>::new(),
        tags: Vec::new(),
        causes: Vec::new(),
        channels: vec!["boss".to_owned()],
        after: d("30m"),
        declared_in: None,
    };
    job.routes = vec![Route { name: "up".to_owned(), spec: route }];
    let week = window("1:20", "168:00");
    job.windows = vec![week.clone()];
    job.look("1:11");
    job.look("1:42");
    job.look("2:11");
    let pursuit = &job.record.health.pursuit;
    let [Escalation { due_at, .. }] = &pursuit.escalations[..] else { panic!("{pursuit:?}") };
    assert_eq!((*due_at, pursuit.remind_at, job.notifications.len()), (t("168:00"), Some(t("3:10")), 1));
    assert!(!job.look("2:12"), "nothing is written while it waits");
    job.windows = vec![ended(&week, "2:20")];
    job.look("2:20");
    assert_eq!(job.notifications.len(), 2, "escalated when the window is ended early");
}

#[test]
fn a_year_of_windows_is_a_small_amount_of_work() {
    let mut job = Job::made("0:00", every("1h", "10m")).under(recurring("*/2 * * * *", "1m"));
    job.event(t("8760:00"), &Event::Wake);
    assert!(job.state() == State::Down || job.deadline() > t("8760:00"));
    // Two that follow one another for ever are one that never ends.
    let mut covered = hourly().under(recurring("0 * * * *", "30m")).under(recurring("30 * * * *", "30m"));
    covered.event(t("8760:00"), &Event::Wake);
    covered.assert_no_alert();
    assert!(covered.record.health.wake_at() > t("8760:00"));
}
