//! Where outages (S6.2) and maintenance windows (S5.3) begin, end and touch, and what comes after many of them.

use crate::common::{Job, at, claimed, cron, d, every, of_run, outage, recurring, t, window};
use heartbeat_engine::{Arm, Signal, State};

fn hourly() -> Job {
    Job::made("0:00", every("1h", "10m"))
}

fn limited() -> Job {
    let mut spec = every("24h", "1h");
    spec.max_runtime = Some(d("1h"));
    Job::made("0:00", spec)
}

fn awaited(job: &Job) -> (heartbeat_engine::Timestamp, bool) {
    let expectation = job.record.health.expectation.unwrap();
    (expectation.occurrence, expectation.excused)
}

#[test]
fn s5_3_a_window_and_an_outage_that_touch_are_two() {
    // The first touches the window of 1:00; the second begins after its deadline and is short.
    let mut job = hourly().under(window("1:20", "1:50"));
    job.outages = vec![outage("1:00", "1:20")];
    job.look("1:51");
    assert_eq!(job.deadline(), t("2:30"));
    let mut job = hourly().under(window("1:00", "1:20"));
    job.outages = vec![outage("1:20", "1:50")];
    job.look("1:51");
    assert_eq!(job.deadline(), t("2:30"));
    // A slow clock sees the outage end in its future; it is applied as one without a window.
    let mut slow = hourly().under(window("1:30:30", "2:00"));
    slow.outages = vec![outage("0:30", "1:30:30")];
    slow.look("1:30:10");
    assert_eq!(slow.deadline(), t("2:40:30"));
}

#[test]
fn s6_2_an_outage_counts_from_its_second_instant_though_a_window_follows_in_it() {
    let mut job = hourly().under(window("1:15", "3:00"));
    job.outages = vec![outage("1:10", "1:20")];
    let mut later = job.clone();
    for (job, look) in [(&mut job, "2:00"), (&mut later, "3:01")] {
        job.look(look);
        assert_eq!(job.spans(), [(t("1:10"), None)], "at {look}: its first instant was observed");
    }
}

#[test]
fn s6_2_an_outage_that_has_not_begun_is_not_looked_at() {
    let mut job = hourly();
    job.outages = vec![outage("0:30", "0:30:30")];
    assert!(!job.look("0:30"));
    assert!(job.look("0:30:00.001"));
    assert_eq!(job.deadline(), t("1:40:30"));
}

#[test]
fn s5_3_a_run_whose_limit_lies_in_an_outage_that_a_window_in_force_follows_is_no_overrun() {
    let mut job = limited().under(window("2:00", "5:00"));
    job.take("0:40", of_run(Signal::Start, 1));
    job.outages = vec![outage("1:30", "2:10")];
    job.look("3:00");
    assert_eq!((job.state(), job.record.health.failures, job.record.health.runs.len()), (State::New, 0, 0));
}

#[test]
fn s6_2_a_run_that_began_at_the_end_of_an_outage_is_followed() {
    let mut job = limited();
    job.take("2:10", of_run(Signal::Start, 1));
    job.outages = vec![outage("1:50", "2:10")];
    job.look("2:20");
    assert_eq!(job.record.health.runs.len(), 1);
    let mut late = limited();
    late.take("2:10", of_run(Signal::Start, 1));
    late.windows = vec![window("1:50", "2:10:00.001")];
    late.look("2:20");
    assert_eq!(late.record.health.runs.len(), 0, "one that began before is closed");
}

#[test]
fn s5_3_a_limit_in_a_window_is_recorded_however_late_that_is_seen_and_one_at_the_end_of_an_outage_is_not() {
    let mut job = limited().under(window("1:30", "2:30"));
    job.take("1:00", of_run(Signal::Start, 1));
    job.look("2:31");
    let change = job.changes.last().unwrap();
    assert!(change.at == t("2:00") && change.reason.contains("not counted"), "{change:?}");

    let mut hidden = limited().under(window("2:10", "3:00"));
    hidden.take("1:10", of_run(Signal::Start, 1));
    hidden.outages = vec![outage("1:50", "2:10")];
    hidden.look("2:30");
    assert_eq!((hidden.record.health.runs.len(), hidden.changes.len()), (0, 0));
}

#[test]
fn s5_3_every_window_closes_the_runs_in_it_though_no_report_is_awaited_then() {
    let mut job = limited();
    job.success("0:05");
    job.take("1:30", of_run(Signal::Start, 1));
    // Both were made late.
    job.windows = vec![window("0:10", "0:20"), window("1:35", "1:45")];
    job.look("1:50");
    assert!(job.record.health.runs.is_empty());
}

#[test]
fn s6_2_a_window_that_covers_the_last_heartbeat_and_lasts_a_period_and_a_grace_moves_the_deadline() {
    let mut job = hourly();
    job.success("2:00");
    job.windows = vec![window("0:10", "0:20"), window("1:00", "2:20")];
    job.look("2:30");
    assert_eq!(job.deadline(), t("3:30"), "its end + 1 h + 10 min");
}

#[test]
fn s5_3_while_down_a_window_in_the_awaited_one_moves_its_deadline_all_the_same() {
    let mut job = hourly();
    job.fail("0:30");
    job.windows = vec![window("0:40", "0:45"), window("1:25", "1:30")];
    job.look("1:35");
    assert_eq!((job.state(), job.deadline()), (State::Down, t("2:40")));
}

#[test]
fn s5_3_an_occurrence_at_the_end_of_a_stretch_is_excused_by_the_next_window_only() {
    let mut job = Job::made("0:00", at(&["01:30"], "UTC", "10m"));
    job.windows = vec![window("1:00", "1:20"), window("1:30", "2:00")];
    job.outages = vec![outage("1:10", "1:30")];
    job.look("1:35");
    assert_eq!(awaited(&job), (t("1:30"), false));
    // Removed before it touched anything, it explains nothing.
    job.windows.pop();
    job.look("1:41");
    assert_eq!(job.spans(), [(t("1:40"), None)]);
}

#[test]
fn s5_3_an_occurrence_in_a_window_is_excused_again_though_no_heartbeat_came_since() {
    let mut job = Job::made("0:00", at(&["02:30"], "UTC", "1h")).under(recurring("0 2 * * *", "46m"));
    for (look, deadline) in [("3:31", "27:30"), ("27:31", "51:30"), ("51:31", "75:30")] {
        job.look(look);
        assert_eq!(job.deadline(), t(deadline));
    }
    job.assert_no_alert();
}

#[test]
fn s6_2_a_heartbeat_about_a_time_before_the_early_part_of_a_window_leaves_it_touched() {
    let mut spec = at(&["10:00"], "UTC", "1h");
    spec.early = d("1h");
    let mut job = Job::made("0:00", spec);
    job.away("9:10", "9:20");
    job.take("9:30", claimed(Signal::Success, "8:00"));
    assert_eq!(awaited(&job), (t("10:00"), true));
}

#[test]
fn s6_2_an_outage_that_touches_two_windows_excuses_both() {
    // From 0:50 to 1:55, and from 1:50 on.
    let mut spec = cron("0 * * * *", "55m");
    spec.early = d("10m");
    let mut job = Job::made("0:00", spec);
    job.away("1:52", "1:58");
    assert_eq!(awaited(&job), (t("2:00"), true));
}

#[test]
fn s6_2_with_each_heartbeat_a_deadline_can_be_put_behind_outages_twice_again() {
    let mut job = hourly();
    for (from, to) in [("1:00", "1:30"), ("2:35", "2:45"), ("2:50", "3:00")] {
        job.away(from, to);
    }
    assert_eq!(job.deadline(), t("3:10"));
    job.success("3:05");
    for (from, to) in [("4:00", "4:10"), ("5:15", "5:25"), ("5:30", "5:40")] {
        job.away(from, to);
    }
    assert_eq!(job.deadline(), t("5:50"));
}

#[test]
fn s6_2_what_is_left_of_a_window_takes_a_heartbeat_up_to_its_deadline_at_the_end_of_the_outage() {
    let mut job = Job::made("0:00", at(&["01:00", "02:00", "03:00", "04:00"], "UTC", "30m"));
    job.away("0:30", "3:30");
    assert_eq!((awaited(&job), job.deadline()), ((t("3:00"), true), t("3:30")));
    let mut daily = Job::made("0:00", at(&["00:00"], "UTC", "end_of_day"));
    daily.away("25:00", "84:00");
    assert_eq!((awaited(&daily), daily.deadline()), ((t("72:00"), true), t("96:00")));
    let mut to_midnight = Job::made("0:00", at(&["12:00"], "UTC", "end_of_day"));
    to_midnight.away("11:00", "72:00");
    assert_eq!((awaited(&to_midnight), to_midnight.deadline()), ((t("60:00"), true), t("72:00")));
}

#[test]
fn s6_2_the_last_occurrence_of_a_day_of_25_hours_is_awaited_to_its_end() {
    let spec = at(&["12:00"], "Europe/Berlin", "end_of_day");
    let mut job = Job::made_at("2026-10-20T00:00:00Z".parse().unwrap(), spec);
    let time = |text: &str| text.parse::<heartbeat_engine::Timestamp>().unwrap();
    let outage = heartbeat_engine::Outage { from: time("2026-10-20T05:00:00Z"), to: time("2026-10-25T22:59:59.999Z") };
    job.outages = vec![outage];
    job.event(outage.to, &heartbeat_engine::step::Event::Wake);
    assert_eq!((awaited(&job), job.deadline()), ((time("2026-10-25T11:00:00Z"), true), time("2026-10-25T23:00:00Z")));
}

#[test]
fn s6_2_an_occurrence_counts_where_an_outage_began_within_its_early_part_and_was_not_the_first() {
    // Windows overlap: 0:50 to 2:30, 1:50 to 3:30, 2:50 to 4:30, 3:50 to 5:30.
    let mut spec = cron("0 * * * *", "90m");
    (spec.early, spec.failure_threshold) = (d("10m"), 10);
    let mut job = Job::made("0:00", spec);
    job.away("1:00", "1:05");
    job.look("2:31");
    assert_eq!(awaited(&job), (t("2:00"), false));
    job.away("2:55", "4:35");
    assert_eq!(job.deadline(), t("6:05"), "its deadline lay in the second outage");
    job.look("6:06");
    assert_eq!((job.record.health.failures, awaited(&job)), (3, (t("5:00"), false)));
}

#[test]
fn s5_3_the_windows_of_ten_days_move_nothing_where_none_touches_the_awaited_one() {
    let mut job = Job::made("0:00", every("10d", "1h")).under(recurring("*/2 0-19 * * *", "1m"));
    job.success("22:00");
    job.look("261:30");
    assert_eq!(job.deadline(), t("263:00"));
    job.look("263:00:00.001");
    assert_eq!(job.spans(), [(t("263:00"), None)]);
}

#[test]
fn s5_3_a_thousand_windows_are_applied_one_by_one_and_the_rest_as_one() {
    // An hourly window touches the awaited one again and again: the deadline is 90 days after the end of the last.
    for (look, deadline) in [("999:30", "3159:01"), ("1000:30", "3160:30")] {
        let mut spec = every("45d", "45d");
        let hourly = || recurring("0 * * * *", "1m");
        let mut job = Job::made("0:00", spec.clone()).under(hourly());
        job.look(look);
        assert_eq!(job.deadline(), t(deadline), "what passed since the last look");
        // The same for what the first heartbeat finds behind the time that it stands for.
        spec.arm = Arm::FirstPing;
        let mut late = Job::made("0:00", spec).under(hourly());
        late.take(look, claimed(Signal::Success, "0:00:30"));
        assert_eq!(late.deadline(), t(deadline), "what passed since the time of a heartbeat");
    }
}

#[test]
fn s6_2_more_than_a_thousand_outages_are_applied_one_by_one() {
    let mut spec = every("45d", "45d");
    spec.arm = Arm::FirstPing;
    let mut job = Job::made("0:00", spec);
    job.outages = (1..=1002).map(|hour| outage(&format!("{hour}:00"), &format!("{hour}:01"))).collect();
    job.take("1003:00", claimed(Signal::Success, "0:00:30"));
    assert_eq!(job.deadline(), t("3162:01"));
}
