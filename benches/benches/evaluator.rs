//! Heartbeats through evaluator and batch, without a storage: the cost per heartbeat by the number of monitors.

#![allow(missing_docs, reason = "criterion makes public functions")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use heartbeat_benches::{id, origin, record};
use heartbeat_engine::evaluator::{Evaluator, Request};
use heartbeat_engine::{Applied, Epoch, Outcome, PartitionId, WatchLog};

const BATCH: u64 = 1000;

fn evaluator(monitors: u64) -> Evaluator {
    let mut evaluator = Evaluator::new(PartitionId(0), Epoch(1), WatchLog::default(), 4096, 64);
    for n in 0..monitors {
        let record = record(n).unwrap();
        evaluator.handle_record(record.id(), Some(Arc::new(record)));
    }
    evaluator
}

fn heartbeats(c: &mut Criterion) {
    let mut group = c.benchmark_group("evaluator: a heartbeat");
    group.throughput(Throughput::Elements(BATCH)).sample_size(20);
    for monitors in [1_000u64, 100_000] {
        let mut evaluator = evaluator(monitors);
        let mut turn = 0u64;
        let now = origin() + Duration::from_secs(60);
        group.bench_function(BenchmarkId::from_parameter(monitors), |b| {
            b.iter_batched(
                || {
                    turn += BATCH;
                    (turn..turn + BATCH).map(|n| id(n.wrapping_mul(7919) % monitors)).collect::<Vec<_>>()
                },
                |targets| {
                    for (ticket, target) in (0..).zip(targets) {
                        evaluator.handle_request(ticket, now, Request::Ping(target, Box::default()));
                    }
                    evaluator.handle_time(now, Duration::ZERO);
                    while let Some(batch) = evaluator.poll_batch() {
                        let transitions = vec![Outcome::Committed; batch.transitions.len()];
                        evaluator.handle_applied(&Ok(Applied { transitions, documents: Vec::new() }));
                    }
                    while evaluator.poll_answer().is_some() {}
                    evaluator.poll_committed()
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, heartbeats);
criterion_main!(benches);
