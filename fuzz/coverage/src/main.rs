//! One target, chosen by `HEARTBEAT_FUZZ_TARGET`, under libFuzzer. `./run` builds and starts it.
#![no_main]

use std::sync::LazyLock;

use heartbeat_fuzz::mutate::Mutator;
use heartbeat_fuzz::{Random, TARGETS, Target, corpus};
use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};

/// One mutation in so many is ours, which knows lines, JSON and the kept corpus; the others are libFuzzer's.
const OURS_ONCE_IN: usize = 3;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("HEARTBEAT_FUZZ_TARGET").unwrap_or_default();
    let found = TARGETS.iter().find(|target| target.name == name);
    found.unwrap_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        stop(&format!("HEARTBEAT_FUZZ_TARGET is `{name}`; set it to one of {}", names.join(", ")))
    })
});
static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let kept = corpus::read(*TARGET);
    let kept = kept.unwrap_or_else(|error| stop(&format!("the corpus of {} cannot be read: {error}", TARGET.name)));
    kept.into_iter().map(|(_, input)| input).collect()
});

/// Ends without a panic, which libFuzzer would take for a broken promise of the target.
fn stop(why: &str) -> ! {
    eprintln!("error: {why}");
    std::process::exit(2)
}

static MUTATOR: LazyLock<Mutator<'static>> = LazyLock::new(|| Mutator::new(TARGET.dictionary, &CORPUS));

fuzz_target!(|input: &[u8]| (TARGET.run)(input));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let mut random = Random::new(u64::from(seed));
    if !random.once_in(OURS_ONCE_IN) {
        return fuzzer_mutate(data, size, max_size);
    }
    let made = MUTATOR.mutate(&data[..size], max_size, &mut random);
    data[..made.len()].copy_from_slice(&made);
    made.len()
});
