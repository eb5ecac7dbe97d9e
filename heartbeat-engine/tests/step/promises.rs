//! What a monitor promises whatever the watcher's outages: no false alert (S8.2), no missed one (S6.4, S8.1).

use std::time::Duration;

use crate::common::{Job, cron, d, every, midnight, ping, recurring, window_at};
use heartbeat_engine::step::Event;
use heartbeat_engine::{MonitorSpec, Outage, Signal, State, Timestamp};
use proptest::prelude::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_secs(midnight().as_secs() + second)
}

/// Outages by their gap to the one before and their length, in seconds.
fn outages(length_max: i64) -> impl Strategy<Value = Vec<(i64, i64)>> {
    prop::collection::vec((6_i64..4000, 1..=length_max), 0..40).prop_map(|rows| {
        let mut now = 0;
        rows.into_iter()
            .map(|(gap, length)| {
                let from = now + gap;
                now = from + length;
                (from, now)
            })
            .collect()
    })
}

/// Hourly, by period or by cron, with 10 min of grace and perhaps a threshold.
fn hourly(cron_like: bool, threshold: u32) -> MonitorSpec {
    let mut spec = if cron_like { cron("0 * * * *", "10m") } else { every("1h", "10m") };
    spec.early = if cron_like { d("5m") } else { Duration::ZERO };
    spec.failure_threshold = threshold;
    spec
}

/// A window from a minute of each day on, so many minutes long.
fn daily((minute, length): (i64, i64)) -> std::sync::Arc<heartbeat_engine::Maintenance> {
    recurring(&format!("{} {} * * *", minute % 60, minute / 60), &format!("{length}m"))
}

fn suffer(job: &mut Job, outage: (i64, i64)) {
    job.outages.push(Outage { from: at(outage.0), to: at(outage.1) });
    job.event(at(outage.1), &Event::Wake);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 4, failure_persistence: None, ..ProptestConfig::default() })]

    /// Each report comes up to 9 min after its hour, or is lost with an outage or a window that lies around it; never two in
    /// a row.
    #[test]
    fn s8_2_a_job_that_reports_never_goes_down_though_single_reports_are_lost(
        cron_like in any::<bool>(),
        planned in any::<bool>(),
        nightly in prop::option::of((0_i64..1440, 1_i64..600)),
        delays in prop::collection::vec((0_i64..540, prop::bool::weighted(0.3), 1_i64..3000, 1_i64..300), 2..40),
    ) {
        let mut job = Job::made_at(at(0), hourly(cron_like, 1));
        // Windows in which the job reports as ever do no harm.
        job.windows.extend(nightly.map(daily));
        let mut lost_before = false;
        let mut free_from = 60;
        // A period counts from the last report, so its own delay must not add up: then it comes at the full hour.
        for (hour, (delay, lose, before, after)) in (1_i64..).zip(delays) {
            let delay = if cron_like { delay } else { delay % 240 };
            let report = hour * 3600 + delay;
            if lose && !lost_before && report > free_from {
                let from = (report - before).max(free_from);
                let to = report + after;
                if planned {
                    job.windows.push(window_at(at(from), at(to)));
                    job.event(at(to), &Event::Wake);
                } else {
                    suffer(&mut job, (from, to));
                }
                free_from = to + 6;
                lost_before = true;
            } else {
                let report = report.max(free_from);
                job.event(at(report), &Event::Ping(Box::new(ping(Signal::Success))));
                free_from = report + 6;
                lost_before = false;
            }
            prop_assert!(job.incidents.is_empty(), "hour {}: {:?}", hour, job.spans());
        }
    }

    #[test]
    fn s6_4_a_silent_job_is_found_at_the_second_deadline_whatever_restarts(
        cron_like in any::<bool>(),
        heard in any::<bool>(),
        threshold in 1_u32..4,
        rows in outages(300),
    ) {
        let mut job = Job::made_at(at(0), hourly(cron_like, threshold));
        if heard {
            job.event(at(1), &Event::Ping(Box::new(ping(Signal::Success))));
        }
        let (period, grace, longest) = (3600, 600, 300);
        // The first deadline, moved by the outages that touched its window, and then twice put behind one.
        let second = 1 + 2 * (period + grace) + longest + 2 * (longest + grace);
        let bound = second + i64::from(threshold - 1) * (period + 2 * (longest + grace));
        for row in rows.into_iter().take_while(|row| row.1 < bound) {
            suffer(&mut job, row);
        }
        job.event(at(bound + 1), &Event::Wake);
        prop_assert_eq!(job.state(), State::Down, "{:?}", job.record.health);
        prop_assert_eq!(job.notifications.len(), 1);
    }

    /// The same under a window of every day. Whatever it hides of the time until the job would be found comes on top: its
    /// length, and what it moves once.
    #[test]
    fn s6_4_a_silent_job_is_found_although_a_window_comes_every_day(
        cron_like in any::<bool>(),
        heard in any::<bool>(),
        threshold in 1_u32..4,
        (minute, length) in (0_i64..1440, 1_i64..300),
        rows in outages(300),
    ) {
        let mut job = Job::made_at(at(0), hourly(cron_like, threshold)).under(daily((minute, length)));
        if heard {
            job.event(at(1), &Event::Ping(Box::new(ping(Signal::Success))));
        }
        let (period, grace, longest) = (3600, 600, 300);
        let moved = 2 * (longest + grace);
        let second = 1 + 2 * (period + grace) + longest + moved;
        let bound = second + i64::from(threshold - 1) * (period + moved) + length * 60 + period + grace + moved;
        prop_assert!(bound < 86_400, "one window lies in that time at most");
        for row in rows.into_iter().take_while(|row| row.1 < bound) {
            suffer(&mut job, row);
        }
        job.event(at(bound + 1), &Event::Wake);
        prop_assert_eq!(job.state(), State::Down, "{:?}", job.record.health);
    }

    #[test]
    fn without_outages_a_silent_job_is_found_at_its_deadline(cron_like in any::<bool>(), threshold in 1_u32..4) {
        let mut job = Job::made_at(at(0), hourly(cron_like, threshold));
        job.event(at(50_000), &Event::Wake);
        prop_assert_eq!(job.incidents[0].opened_at, at(i64::from(threshold) * 3600 + 600));
    }
}
