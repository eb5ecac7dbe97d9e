//! The smallest cases that a simpler reading of the rules gets wrong, each as one row of a table.

use crate::common::{Job, at, claimed, cron, d, every, of_run, outage, ping, recurring, run, t, window};
use heartbeat_engine::step::{Event, Surroundings, step};
use heartbeat_engine::{Arm, Cause, Effect, NotificationKind, Outage, Ping, Schedule, Signal, State};

#[test]
fn s6_2_case_1_a_dead_job_is_found_although_the_watcher_restarts_every_night() {
    let mut job = Job::made("0:00", every("24h", "1h"));
    job.success("0:00");
    for night in 1..10 {
        job.away(&format!("{}:30", 24 * night), &format!("{}:31", 24 * night));
        if job.state() == State::Down {
            break;
        }
    }
    // The restart touched the window of 24:00; the deadline was moved once, from 25:00 to 24:31 + 25 h.
    assert_eq!(job.spans(), [(t("49:31"), None)]);
}

#[test]
fn s6_2_case_2_a_dead_nightly_job_is_found_although_the_watcher_restarts_in_its_window_every_night() {
    let mut job = Job::made("0:00", at(&["02:30"], "UTC", "1h"));
    for night in 0..3 {
        job.away(&format!("{}:00", 24 * night + 3), &format!("{}:01", 24 * night + 3));
        job.look(&format!("{}:00", 24 * night + 4));
    }
    assert_eq!(job.spans(), [(t("27:30"), None)], "the first is unobserved, the second counts");
}

#[test]
fn s6_2_case_3_a_report_lost_just_before_its_occurrence_alarms_nobody() {
    let mut job = Job::made("0:00", every("1h", "10m"));
    job.success("1:05");
    job.away("1:59:55", "2:01");
    job.success("3:00");
    job.success("4:00");
    job.look("5:00");
    job.assert_no_alert();
}

#[test]
fn s6_2_case_4_a_report_lost_in_the_early_part_of_the_window_alarms_nobody() {
    let mut spec = at(&["10:00"], "UTC", "1h");
    spec.early = d("10m");
    let mut job = Job::made("0:00", spec);
    job.away("9:55", "9:57");
    job.success("33:55");
    job.look("34:30");
    job.assert_no_alert();
}

#[test]
fn s6_2_case_5_creation_is_no_report_so_the_window_starts_there() {
    let mut job = Job::made("0:00", every("5m", "1m"));
    // The report of 0:03:22 was lost.
    job.away("0:01:28", "0:03:33");
    assert_eq!(job.deadline(), t("0:09:33"), "0:03:33 + 5 min + 1 min");
    job.success("0:08:22");
    job.success("0:13:22");
    job.look("0:14");
    job.assert_no_alert();
}

#[test]
fn s6_7_case_8_after_the_clock_was_a_day_ahead_a_dead_job_is_found_at_its_next_deadline() {
    let mut job = Job::made("0:00", every("1h", "10m"));
    job.outages.push(outage("0:30", "24:30"));
    job.success("24:30");
    assert_eq!(job.deadline(), t("25:40"));
    // The clock is set back by a day, and the job dies.
    job.look("0:31");
    assert_eq!(job.deadline(), t("1:41"));
    job.look("1:42");
    assert_eq!(job.spans(), [(t("1:41"), None)]);
}

#[test]
fn s5_3_case_18_a_window_longer_than_the_period_alarms_nobody_who_reports_afterwards() {
    let mut job = Job::made("0:00", every("24h", "1h")).under(window("0:00", "26:00"));
    job.success("0:30");
    job.look("26:01");
    assert_eq!(job.deadline(), t("51:00"), "its end + 24 h + 1 h");
    job.success("48:30");
    job.look("73:00");
    job.assert_no_alert();
    // The same with a report inside the window.
    let mut job = Job::made("0:00", every("24h", "1h")).under(window("0:00", "26:00"));
    job.success("0:30");
    job.success("24:30");
    job.success("48:30");
    job.look("73:00");
    job.assert_no_alert();
}

#[test]
fn s5_3_case_19_an_occurrence_in_a_window_is_excused_although_its_deadline_is_not() {
    let mut job = Job::made("0:00", at(&["02:30"], "UTC", "1h")).under(window("2:00", "2:46"));
    job.look("3:31");
    job.assert_no_alert();
    assert_eq!(job.deadline(), t("27:30"));
}

#[test]
fn s5_3_case_20_a_dead_job_is_found_although_a_window_touches_every_night() {
    let mut job = Job::made("0:00", at(&["16:05"], "UTC", "end_of_day")).under(recurring("30 23 * * *", "1h"));
    assert_eq!(job.down_by("80:00"), Some(t("49:30")), "the second deadline, 1 h behind the window that it lies in");
}

#[test]
fn s4_8_case_9_a_success_that_claims_a_time_just_before_its_start_counts() {
    let mut spec = every("1h", "10m");
    spec.max_runtime = Some(d("30m"));
    let mut job = Job::made("0:00", spec);
    job.start("1:00:00");
    assert_eq!(job.take("1:00:03", claimed(Signal::Success, "0:59:58")).effect, Effect::Counted);
    assert!(job.record.health.runs.is_empty());
    job.success("1:50");
    job.look("2:50");
    job.assert_no_alert();
}

#[test]
fn s4_8_case_10_late_delivered_reports_open_and_close_no_incident_in_the_past() {
    let mut job = Job::made("0:00", every("1h", "10m"));
    job.success("1:00");
    job.away("1:23", "5:00");
    for at in ["2:00", "3:00"] {
        assert_eq!(job.take("5:00:01", claimed(Signal::Success, at)).effect, Effect::Older);
    }
    job.take("5:00:01", claimed(Signal::Success, "4:00"));
    job.look("6:00");
    job.assert_no_alert();
    assert_eq!(job.pings.len(), 4);
}

/// At 10:00 with 10 min of grace, down since 10:10.
fn down_since_10_10() -> Job {
    let mut job = Job::made("0:00", at(&["10:00"], "UTC", "10m"));
    job.look("10:12");
    assert_eq!(job.spans(), [(t("10:10"), None)]);
    job
}

#[test]
fn s4_8_case_11_a_success_about_a_time_before_the_missed_occurrence_recovers_nothing() {
    let mut job = down_since_10_10();
    assert_eq!(job.take("10:15", claimed(Signal::Success, "9:43")).effect, Effect::Older);
    job.look("12:00");
    assert_eq!(job.spans(), [(t("10:10"), None)]);
    assert_eq!(job.told(), [NotificationKind::Down]);
}

#[test]
fn s4_8_case_12_a_success_about_a_time_after_the_occurrence_recovers_when_it_arrives() {
    let mut job = down_since_10_10();
    assert_eq!(job.take("10:15", claimed(Signal::Success, "10:05")).effect, Effect::Counted);
    assert_eq!(job.spans(), [(t("10:10"), Some(t("10:15")))]);
    assert_eq!(job.told(), [NotificationKind::Down, NotificationKind::Recovered]);
}

#[test]
fn s4_8_case_13_a_sender_whose_clock_is_59_s_slow_is_in_time() {
    let mut job = Job::made("0:00", at(&["10:00"], "UTC", "10m"));
    for day in 0..3 {
        let hour = 24 * day + 10;
        job.take(&format!("{hour}:00:00"), claimed(Signal::Success, &format!("{}:59:01", hour - 1)));
        job.look(&format!("{hour}:30"));
    }
    job.assert_no_alert();
}

#[test]
fn s4_6_case_14_a_success_that_arrives_out_of_order_ends_its_run() {
    let mut spec = every("1h", "10m");
    spec.max_runtime = Some(d("30m"));
    let mut job = Job::made("0:00", spec);
    job.take("1:00", of_run(Signal::Start, 1));
    job.take("1:01", of_run(Signal::Start, 2));
    job.take("1:06", of_run(Signal::Success, 2));
    let late = Ping { claimed_at: Some(t("1:04")), ..of_run(Signal::Success, 1) };
    assert_eq!(job.take("1:07", late).effect, Effect::Older);
    assert!(job.record.health.runs.is_empty());
    assert_eq!(job.pings.last().unwrap().run_duration, Some(d("4m")));
    job.success("2:00");
    job.look("2:40");
    job.assert_no_alert();
}

#[test]
fn s4_2_case_15_overruns_are_found_although_32_runs_are_open() {
    let mut spec = every("1h", "10m");
    spec.max_runtime = Some(d("2h"));
    let mut job = Job::made("0:00", spec);
    for minute in 0..121 {
        let id = u8::try_from(minute).unwrap();
        job.take(&format!("0:{minute}"), of_run(Signal::Start, id));
        if minute % 3 == 0 {
            job.take(&format!("0:{minute}:30"), of_run(Signal::Success, id));
        }
        assert!(job.record.health.runs.len() <= 32);
    }
    // The first that hung began at 0:01.
    job.look("2:02");
    assert_eq!(job.spans(), [(t("2:01"), None)]);
    assert_eq!(job.incidents[0].cause, Cause::Overrun);
}

#[test]
fn s4_2_case_16_a_new_start_without_an_id_replaces_the_one_that_crashed() {
    let mut spec = every("1h", "10m");
    spec.max_runtime = Some(d("30m"));
    let mut job = Job::made("0:00", spec);
    job.start("1:00");
    job.start("1:01");
    assert!(job.changes.last().unwrap().reason.contains("did not end"), "{:?}", job.changes);
    job.success("1:05");
    assert!(job.record.health.runs.is_empty());
    job.look("2:00");
    job.assert_no_alert();
}

#[test]
fn s4_2_case_17_the_limit_of_a_run_counts_from_the_arrival_of_its_start() {
    let mut spec = every("3h", "10m");
    spec.max_runtime = Some(d("1h"));
    let mut job = Job::made("0:00", spec);
    job.take("1:06", claimed(Signal::Start, "0:03"));
    job.look("1:07");
    job.success("1:30");
    job.look("3:00");
    job.assert_no_alert();
}

#[test]
fn s2_5_case_21_where_a_gap_joins_two_times_one_report_covers_both() {
    let mut spec = at(&["02:30", "03:05"], "Europe/Berlin", "1h");
    spec.early = d("10m");
    let mut job = Job::made_at("2026-03-28T12:00:00Z".parse().unwrap(), spec);
    // 02:30 is skipped and becomes 03:00, 01:00Z; 03:05 is 01:05Z.
    let report = Event::Ping(Box::new(ping(Signal::Success)));
    job.event("2026-03-29T01:00:00Z".parse().unwrap(), &report);
    let awaited = job.record.health.expectation.unwrap().occurrence;
    assert_eq!(awaited.to_string(), "2026-03-30T00:30:00Z");
    job.event("2026-03-29T12:00:00Z".parse().unwrap(), &Event::Wake);
    job.assert_no_alert();
}

#[test]
fn s2_6_case_22_the_end_of_the_day_is_that_of_the_instant_that_a_gap_moved() {
    let job = Job::made_at("2026-03-28T12:00:00Z".parse().unwrap(), at(&["23:30"], "America/Nuuk", "end_of_day"));
    let awaited = job.record.health.expectation.unwrap();
    assert_eq!(awaited.occurrence.to_string(), "2026-03-29T01:00:00Z", "0:00 of the 29th, at UTC-1");
    assert_eq!(awaited.deadline.to_string(), "2026-03-30T01:00:00Z", "the start of the 30th");
}

#[test]
fn s2_8_case_23_a_later_report_never_gives_an_earlier_deadline() {
    // Minutes: period 60, grace 10, the watcher away from 100 to 200.
    let (early, late) = (claimed(Signal::Success, "2:09"), claimed(Signal::Success, "2:11"));
    for reports in [vec![&early, &late], vec![&late], vec![&early]] {
        let mut job = Job::made("0:00", every("60m", "10m"));
        job.success("0:59");
        job.away("1:40", "3:20");
        let mut before = job.deadline();
        for report in reports {
            job.take("3:20", report.clone());
            assert!(job.deadline() >= before, "{} after {before}", job.deadline());
            before = job.deadline();
        }
        assert_eq!(before, t("4:30"));
    }
}

#[test]
fn s3_3_case_24_occurrences_with_overlapping_windows_count_each() {
    let mut spec = cron("*/5 * * * *", "1h");
    spec.failure_threshold = 3;
    let mut job = Job::made("0:02", spec);
    job.look("3:00");
    assert_eq!(job.spans(), [(t("1:15"), None)], "1 h 10 min after 0:05, the first that was missed");
}

#[test]
fn s3_4_case_25_silence_between_two_successes_breaks_the_recovery() {
    let mut spec = every("1h", "10m");
    spec.recovery_threshold = 3;
    let mut job = Job::made("0:00", spec);
    job.look("1:11");
    assert_eq!(job.state(), State::Down);
    job.success("1:30");
    job.success("2:45");
    assert_eq!(job.record.health.successes, 1, "not two");
    job.success("3:00");
    job.success("4:00");
    assert_eq!(job.spans(), [(t("1:10"), Some(t("4:00")))]);
}

#[test]
fn s3_8_case_26_a_first_start_that_hangs_arms_the_schedule_and_is_found() {
    let mut spec = every("4h", "10m");
    spec.arm = Arm::FirstPing;
    spec.max_runtime = Some(d("1h"));
    let mut job = Job::made("0:00", spec);
    job.look("9:59");
    assert_eq!(job.record.health.expectation, None);
    job.start("10:00");
    assert_eq!(job.deadline(), t("14:10"));
    job.look("11:01");
    assert_eq!((job.spans(), job.incidents[0].cause), (vec![(t("11:00"), None)], Cause::Overrun));
}

#[test]
fn s3_9_case_27_a_shorter_period_alarms_nobody_at_once() {
    let mut job = Job::made("0:00", every("24h", "1h"));
    job.success("1:00");
    job.change("11:00", |spec| {
        spec.schedule = Schedule::every(d("1h")).unwrap();
        spec.grace = spec.schedule.default_grace();
    });
    job.look("11:01");
    job.assert_no_alert();
    assert_eq!(job.record.health.expectation.unwrap().occurrence, t("12:00"));
}

#[test]
fn s3_7_case_28_a_heartbeat_in_the_millisecond_of_the_deadline_is_in_time() {
    let mut job = Job::made("0:00", every("1h", "10m"));
    assert!(!job.look("1:10"), "nothing is judged in the millisecond of the deadline");
    job.success("1:10");
    job.look("1:10:00.001");
    job.assert_no_alert();

    let mut late = Job::made("0:00", every("1h", "10m"));
    late.success("1:10:00.001");
    assert_eq!(late.spans(), [(t("1:10"), Some(t("1:10:00.001")))], "down and up in one step; both are owed");
    assert_eq!(late.told(), [NotificationKind::Down, NotificationKind::Recovered]);
}

#[test]
fn s6_6_case_7_an_outage_that_was_stored_and_not_applied_is_applied_after_the_crash() {
    let job = Job::made("0:00", every("1h", "10m"));
    let stored = [outage("0:55", "1:20")];
    // The crash: the record is as it was, the outage is in the log.
    assert!(
        step(&job.record, &Event::Wake, t("1:11"), Surroundings::default()).unwrap().is_some(),
        "without it the job would be down"
    );
    let transition = step(&job.record, &Event::Wake, t("1:21"), (&stored[..]).into()).unwrap().unwrap();
    assert!(transition.notifications.is_empty());
}

#[test]
fn s6_2_an_outage_ends_what_it_may_have_hidden_of_runs() {
    let mut spec = every("24h", "1h");
    spec.max_runtime = Some(d("1h"));
    let mut job = Job::made("0:00", spec);
    job.take("1:00", of_run(Signal::Start, 1));
    job.away("1:50", "2:10");
    assert!(job.record.health.runs.is_empty());
    job.look("3:00");
    job.assert_no_alert();
    assert_eq!(job.take("3:01", Ping { exit_status: Some(1), ..of_run(Signal::Fail, 1) }).effect, Effect::Counted);
    assert_eq!(job.state(), State::Down, "a later end still counts");

    let mut found = Job::made("0:00", job.record.spec().clone());
    found.take("1:00", of_run(Signal::Start, 1));
    found.away("2:00", "2:10");
    assert_eq!(found.spans(), [(t("2:00"), None)], "its limit does not fall after the start of the outage");
    assert_eq!(found.record.health.ended_runs[0].id, Some(run(1)));
    assert_eq!(Outage { from: t("2:00"), to: t("2:10") }, found.outages[0]);
}

#[test]
fn s5_4_case_29_the_parent_recovers_while_the_child_is_still_down() {
    let mut child = Job::made("0:00", every("1h", "10m"));
    child.down_parents = vec!["router".to_owned()];
    child.look("1:11");
    assert!(child.notifications.is_empty(), "it is held back");
    assert_eq!(child.spans(), [(t("1:10"), None)], "and kept as usual");
    child.down_parents.clear();
    child.look("1:30");
    assert_eq!(child.told(), [NotificationKind::Down], "the held notification goes out");
    child.success("1:40");
    assert_eq!(child.told(), [NotificationKind::Down, NotificationKind::Recovered]);
}

#[test]
fn s7_7_case_30_back_after_a_long_outage_there_is_one_reminder() {
    let mut spec = every("1h", "10m");
    spec.remind_every = Some(d("1h"));
    let mut job = Job::made("0:00", spec);
    job.look("1:11");
    job.away("2:00", "22:00");
    job.look("22:01");
    assert_eq!(job.told(), [NotificationKind::Down, NotificationKind::Reminder], "one, not twenty");
    assert_eq!(job.record.health.pursuit.remind_at, Some(t("22:10")));
}
