//! The watcher restarts at the same time of every day, for each length from a second to an hour, inside every kind of
//! window: no job that reports is alarmed for (S8.2), and each that died is found (S6.4).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Job, at, cron, d, every, midnight, ping, recurring};
use heartbeat_engine::step::Event;
use heartbeat_engine::{Maintenance, MonitorSpec, Outage, Signal, Timestamp};

const DAY: i64 = 86_400;
/// When the job of every day is awaited.
const TEN: i64 = 10 * 3600;

/// A kind of window: how a job is awaited. Times are seconds.
struct Kind {
    spec: MonitorSpec,
    maintenance: Option<Arc<Maintenance>>,
    /// Between two occurrences; the first one of a day that is looked at is at [`TEN`].
    gap: i64,
    early: i64,
    grace: i64,
    /// How long before the occurrence the job reports.
    reports_before: i64,
}

impl Kind {
    fn new(spec: MonitorSpec, gap: i64, grace: i64) -> Self {
        Self { spec, maintenance: None, gap, early: 0, grace, reports_before: 0 }
    }

    fn early(mut self, early: i64) -> Self {
        self.spec.early = Duration::from_secs(early.unsigned_abs());
        (self.early, self.reports_before) = (early, early / 2);
        self
    }

    fn under(mut self, maintenance: Arc<Maintenance>) -> Self {
        self.maintenance = Some(maintenance);
        self
    }

    /// Where its windows begin, before the occurrence.
    fn before(&self) -> i64 {
        if self.spec.schedule.is_every() { self.grace } else { self.early }
    }

    /// How many days are looked at, and the last one on which a job that dies reports.
    fn days(&self) -> (i64, i64) {
        if self.gap < DAY { (2, 0) } else { (4, 1) }
    }

    /// Times of the day around its window at ten at which a restart of so many seconds may begin.
    fn beginnings(&self, length: i64) -> [i64; 12] {
        let (opens, closes, half) = (TEN - self.before(), TEN + self.grace, length / 2);
        let times = [opens - length, opens - half, opens, TEN - self.reports_before - half, TEN - half, TEN, TEN + 1];
        let [a, b, c, d, e, f, g] = times;
        [a, b, c, d, e, f, g, (TEN + closes) / 2, closes - length, closes - half, closes - 1, closes]
            .map(|at| at.min(DAY - 1))
    }

    /// Nothing is known of a window that lies in an outage as a whole.
    fn is_hidden(&self, begins: i64, length: i64) -> bool {
        (0..DAY / self.gap).any(|n| {
            let occurrence = TEN % self.gap + n * self.gap;
            begins <= occurrence - self.before() && occurrence + self.grace <= begins + length
        })
    }
}

fn kinds() -> Vec<Kind> {
    let hour = 3600;
    vec![
        Kind::new(every("24h", "1h"), DAY, hour),
        Kind::new(every("24h", "1h"), DAY, hour).under(recurring("0 9 * * *", "3h")),
        Kind::new(every("1h", "10m"), hour, 600),
        Kind::new(at(&["10:00"], "UTC", "1h"), DAY, hour),
        Kind::new(at(&["10:00"], "UTC", "1h"), DAY, hour).early(1800),
        Kind::new(at(&["10:00"], "UTC", "end_of_day"), DAY, 14 * hour),
        Kind::new(at(&["10:00"], "UTC", "end_of_day"), DAY, 14 * hour).under(recurring("30 23 * * *", "1h")),
        Kind::new(cron("0 10 * * *", "1h"), DAY, hour),
        Kind::new(cron("*/30 * * * *", "5m"), 1800, 300),
    ]
}

fn second(n: i64) -> Timestamp {
    Timestamp::from_secs(midnight().as_secs() + n)
}

/// A job whose watcher restarts every day.
struct Life {
    job: Job,
    /// When restarts begin, as seconds of the day, and how long they last.
    restart: (i64, i64),
    days: i64,
}

impl Life {
    /// The job reports until the end of some day; what is lost to a restart it reports right after that.
    fn of(kind: &Kind, restart: (i64, i64), reports_until: i64) -> Self {
        let mut job = Job::made_at(second(0), kind.spec.clone());
        job.windows.extend(kind.maintenance.clone());
        let mut life = Self { job, restart, days: 0 };
        let first = (TEN - kind.reports_before).rem_euclid(kind.gap);
        for report in (0..).map(|n| first + n * kind.gap).take_while(|at| *at < reports_until) {
            let arrives = life.back_by(report);
            life.watch_until(arrives);
            life.job.event(second(arrives), &Event::Ping(Box::new(ping(Signal::Success))));
        }
        life
    }

    /// When what is sent at an instant is taken.
    fn back_by(&self, sent: i64) -> i64 {
        let (begins, length) = self.restart;
        let today = (sent - begins).div_euclid(DAY) * DAY + begins;
        if sent < today + length { today + length + 1 } else { sent }
    }

    /// Looks when something is due, but for the time of the restarts; after each of them first of all.
    fn watch_until(&mut self, until: i64) {
        while self.days * DAY + self.restart.0 + self.restart.1 <= until {
            let from = self.days * DAY + self.restart.0;
            self.look_until(from);
            let outage = Outage { from: second(from), to: second(from + self.restart.1) };
            self.job.outages.push(outage);
            self.job.event(outage.to, &Event::Wake);
            self.days += 1;
        }
        self.look_until(until.min(self.days * DAY + self.restart.0));
    }

    fn look_until(&mut self, until: i64) {
        let mut last = Timestamp::MIN;
        loop {
            let due = self.job.record.health.wake_at();
            if due >= second(until) || due == last {
                return;
            }
            last = due;
            self.job.event(due + Duration::from_millis(1), &Event::Wake);
        }
    }
}

#[track_caller]
fn assert_kept(kind: &Kind, restart: (i64, i64)) {
    let (days, last_day) = kind.days();
    let what = || format!("{:?}, a restart of {} s from second {} of each day", kind.spec, restart.1, restart.0);
    let mut healthy = Life::of(kind, restart, days * DAY);
    healthy.watch_until(days * DAY);
    assert!(healthy.job.incidents.is_empty(), "a job that reports: {:?}: {}", healthy.job.spans(), what());

    if kind.is_hidden(restart.0, restart.1) {
        return;
    }
    let ends = last_day * DAY + TEN + 1;
    let mut dead = Life::of(kind, restart, ends);
    let due = dead.job.deadline();
    // The second deadline, and what the restarts and a maintenance window put it off by.
    let maintenance = if kind.maintenance.is_some() { kind.gap } else { 0 };
    let bound = ends + 2 * (kind.gap + kind.grace) + 3 * (restart.1 + kind.grace.min(3600)) + maintenance;
    dead.watch_until(bound);
    let spans = dead.job.spans();
    assert_eq!(spans.len(), 1, "a dead job: {spans:?}, {:?}: {}", dead.job.record.health, what());
    assert!(spans[0].0 >= due, "a dead job is found at {}, before it is due at {due}: {}", spans[0].0, what());
}

#[test]
fn restarts_of_every_length_from_a_second_to_an_hour() {
    for (n, kind) in kinds().iter().enumerate() {
        for length in 1..=3600 {
            let beginnings = kind.beginnings(length);
            let begins = beginnings[(usize::try_from(length).unwrap() + n) % beginnings.len()];
            assert_kept(kind, (begins, length));
        }
    }
}

#[test]
fn restarts_at_every_place_of_a_window() {
    for kind in &kinds() {
        for length in [1, 5, 6, 20, 60, 299, 300, 301, 599, 600, 601, 1799, 1800, 1801, 3599, 3600] {
            for begins in kind.beginnings(length) {
                assert_kept(kind, (begins, length));
            }
        }
    }
}

/// The bound of the tests above can fail: whoever is excused for ever is not found.
#[test]
fn a_window_that_lies_in_restarts_as_a_whole_hides_a_dead_job() {
    let kind = Kind::new(at(&["10:00"], "UTC", "30m"), DAY, d("30m").as_secs().cast_signed());
    assert!(kind.is_hidden(TEN - 60, 2000));
    let mut dead = Life::of(&kind, (TEN - 60, 2000), DAY);
    dead.watch_until(30 * DAY);
    dead.job.assert_no_alert();
}
