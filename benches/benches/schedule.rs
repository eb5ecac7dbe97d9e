//! The next occurrence of usual schedules, and reading a cron expression.

#![allow(missing_docs, reason = "criterion makes public functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use heartbeat_engine::{Schedule, Weekdays, Zone};

fn schedules(c: &mut Criterion) {
    let berlin = || Zone::named("Europe/Berlin").unwrap();
    let from = heartbeat_benches::origin();
    let cases = [
        ("every 1h", Schedule::every(Duration::from_secs(3600)).unwrap()),
        ("at 02:30", Schedule::at(&["02:30".parse().unwrap()], Weekdays::EVERY_DAY, berlin()).unwrap()),
        ("cron */5 * * * *", Schedule::cron("*/5 * * * *", berlin()).unwrap()),
        ("cron 30 2 * * *", Schedule::cron("30 2 * * *", berlin()).unwrap()),
        ("cron 0 9 1 * MON", Schedule::cron("0 9 1 * MON", berlin()).unwrap()),
        ("cron 0 0 29 2 *", Schedule::cron("0 0 29 2 *", berlin()).unwrap()),
    ];
    let mut group = c.benchmark_group("next_after");
    for (name, schedule) in &cases {
        group.bench_function(*name, |b| b.iter(|| schedule.next_after(black_box(from))));
    }
    group.finish();
    c.bench_function("parse cron", |b| b.iter(|| Schedule::cron(black_box("*/5 8-18 * * MON-FRI"), berlin()).unwrap()));
}

criterion_group!(benches, schedules);
criterion_main!(benches);
