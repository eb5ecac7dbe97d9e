//! One decision of the state machine: ns on the processor, by the number of monitors that are visited in an order that looks random.
//!
//! `cargo bench -p heartbeat-benches --bench step -- [MONITORS…]`. The baseline copies the record and decides nothing.

#![allow(missing_docs, reason = "a benchmark is no library")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use heartbeat_benches::cpu::timed;
use heartbeat_benches::{origin, record};
use heartbeat_engine::step::{Event, Surroundings, step};
use heartbeat_engine::{Ping, Record, Signal, Timestamp};

/// How many decisions are measured, after as many that are not.
const MEASURED: usize = 500_000;

fn main() {
    let told: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let sizes = if told.is_empty() { vec![1_000, 100_000, 1_000_000] } else { told };
    let ping = Event::Ping(Box::new(Ping::new(Signal::Success)));
    let soon = origin() + Duration::from_secs(60);
    let late = origin() + Duration::from_secs(7200);
    println!("ns for each decision");
    println!("{:>10} {:>12} {:>12} {:>12} {:>12}", "monitors", "heartbeat", "too early", "silence", "baseline");
    for monitors in sizes {
        let records: Vec<Arc<Record>> = (0..monitors).map(|n| Arc::new(record(n).unwrap())).collect();
        let decide = |event: &Event, now: Timestamp| {
            visit(&records, |record| {
                black_box(step(record, event, now, Surroundings::default()).unwrap());
            })
        };
        let (heartbeat, early, silence) = (decide(&ping, soon), decide(&Event::Wake, soon), decide(&Event::Wake, late));
        let baseline = visit(&records, |record| {
            black_box(Arc::new(record.clone()));
        });
        println!("{monitors:>10} {heartbeat:>12.0} {early:>12.0} {silence:>12.0} {baseline:>12.0}");
    }
}

fn visit(records: &[Arc<Record>], mut work: impl FnMut(&Record)) -> f64 {
    let mut turn = 0_usize;
    let mut round = || {
        for _ in 0..MEASURED {
            turn += 1;
            work(&records[turn.wrapping_mul(7_919) % records.len()]);
        }
    };
    round();
    timed(round).1.as_secs_f64() * 1e9 / MEASURED as f64
}
