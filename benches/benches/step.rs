//! One decision of the state machine.

#![allow(missing_docs, reason = "criterion makes public functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use heartbeat_benches::{origin, record};
use heartbeat_engine::step::{Event, Surroundings, step};
use heartbeat_engine::{Ping, Signal};

fn steps(c: &mut Criterion) {
    let record = record(1).unwrap();
    let ping = Event::Ping(Box::new(Ping::new(Signal::Success)));
    let soon = origin() + Duration::from_secs(60);
    let late = origin() + Duration::from_secs(7200);
    c.bench_function("step: a heartbeat in time", |b| {
        b.iter(|| step(black_box(&record), &ping, soon, Surroundings::default()).unwrap());
    });
    c.bench_function("step: a wake too early", |b| {
        b.iter(|| step(black_box(&record), &Event::Wake, soon, Surroundings::default()).unwrap());
    });
    c.bench_function("step: silence past the deadline", |b| {
        b.iter(|| step(black_box(&record), &Event::Wake, late, Surroundings::default()).unwrap());
    });
}

criterion_group!(benches, steps);
criterion_main!(benches);
