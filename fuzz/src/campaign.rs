//! Mutating a corpus for a while.

use std::time::Duration;

use crate::mutate::Mutator;
use crate::{Crash, Random, Target, watched};

/// Of which length inputs are at most, in bytes.
pub const INPUT_BYTES_MAX: usize = 8_192;

/// How long a campaign goes on.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// After this many runs it ends.
    pub runs: u64,
    /// After this time it ends as well, if one is given.
    pub time: Option<Duration>,
}

/// What a campaign came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// How often the target was run.
    pub runs: u64,
    /// The input that broke a promise, and how.
    pub crash: Option<(Vec<u8>, Crash)>,
}

/// Runs the target on mutations of the corpus. Without a time limit the seed decides every input. `elapsed` tells the
/// time since the start.
///
/// # Panics
/// When the corpus is empty.
pub fn run(target: &Target, corpus: &[Vec<u8>], seed: u64, extent: Extent, elapsed: impl Fn() -> Duration) -> Outcome {
    assert!(!corpus.is_empty(), "{} has no corpus", target.name);
    let mut random = Random::new(seed);
    let mutator = Mutator::new(target.dictionary, corpus);
    let mut runs = 0;
    while runs < extent.runs && extent.time.is_none_or(|time| elapsed() < time) {
        let base = random.pick(corpus);
        let input = mutator.mutate(base, INPUT_BYTES_MAX, &mut random);
        runs += 1;
        if let Err(crash) = watched(target, &input) {
            return Outcome { runs, crash: Some((input, crash)) };
        }
    }
    Outcome { runs, crash: None }
}
