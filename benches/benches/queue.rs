//! The engine's queue of deadlines beside others: ns per operation, the longest look, bytes for each monitor.
//!
//! `cargo bench -p heartbeat-benches --bench queue -- [MONITORS]`, 1,000,000 unless told. Each runs in a process of its own.

#![allow(missing_docs, reason = "a benchmark is no library")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to say")]

use std::process::Command;
use std::time::Duration;

use heartbeat_benches::memory::resident_bytes;
use heartbeat_benches::queue::workload::{self, START};
use heartbeat_benches::queue::{Delay, EagerHeap, Flat, LazyHeap, QuaternaryHeap, Queue, RadixHeap, Wheel};

const NAMES: [&str; 7] =
    ["array", "wheel", "radix heap, lazy", "4-ary heap, lazy", "BinaryHeap, lazy", "BinaryHeap, eager", "DelayQueue"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [name, monitors] = arguments.as_slice() {
        return run(name, monitors.parse().expect("a number of monitors"));
    }
    let monitors = arguments.first().map_or("1000000", String::as_str);
    println!("{monitors} monitors; ns per operation, longest look in ms");
    println!("{:20} {:>8} {:>8} {:>8} {:>10} {:>12}", "", "ping", "expire", "steady", "longest", "bytes each");
    for name in NAMES {
        let itself = std::env::current_exe().expect("the benchmark");
        assert!(Command::new(itself).args([name, monitors]).status().expect("it runs").success());
    }
}

fn run(name: &str, monitors: u32) {
    match name {
        "array" => measure(name, monitors, Flat::default, |_| {}),
        "wheel" => measure(name, monitors, Wheel::default, |_| {}),
        "radix heap, lazy" => measure(name, monitors, RadixHeap::default, |_| {}),
        "4-ary heap, lazy" => measure(name, monitors, QuaternaryHeap::default, |_| {}),
        "BinaryHeap, lazy" => measure(name, monitors, LazyHeap::default, |_| {}),
        "BinaryHeap, eager" => measure(name, monitors, EagerHeap::default, |_| {}),
        _ => {
            let paused = || {
                tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .start_paused(true)
                    .build()
                    .expect("a runtime")
            };
            let runtime = paused();
            let _entered = runtime.enter();
            let pass = |step: i64| {
                runtime.block_on(tokio::time::advance(Duration::from_millis(step.cast_unsigned())));
            };
            measure(name, monitors, || Delay::new(START), pass);
        }
    }
}

fn measure<Q: Queue>(name: &str, monitors: u32, empty: impl Fn() -> Q, pass: impl Fn(i64) + Copy) {
    let before = resident_bytes();
    let mut queue = empty();
    workload::fill(&mut queue, monitors);
    let expire = workload::expire(&mut queue, monitors, pass);
    let bytes = resident_bytes().saturating_sub(before) as f64 / f64::from(monitors);
    drop(queue);
    let mut queue = empty();
    let steady = workload::steady(&mut queue, monitors, pass);
    drop(queue);
    let mut queue = empty();
    workload::fill(&mut queue, monitors);
    let ping = workload::ping(&mut queue, monitors);
    let longest = steady.longest.max(expire.longest).as_secs_f64() * 1e3;
    // An array finds nothing that is due.
    let expired = if expire.operations > 0 { format!("{:.1}", expire.ns()) } else { "-".to_owned() };
    println!("{name:20} {:8.1} {expired:>8} {:8.1} {longest:10.3} {bytes:12.0}", ping.ns(), steady.ns());
}
