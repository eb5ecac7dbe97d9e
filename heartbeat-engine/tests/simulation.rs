//! Simulated worlds: the promises hold in all of them, known bugs are found, and a seed is a seed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use heartbeat_engine::testing::sim::{self, Coverage, Mutant, Options};

/// How many worlds `cargo test` runs, fewer where they are not optimised; the binary `simulate` goes on from there.
const WORLDS: u64 = if cfg!(debug_assertions) { 120 } else { 1000 };
/// Within so many worlds a known bug must be found.
const WORLDS_FOR_A_MUTANT: u64 = 200;

fn in_parts(part: u64, parts: u64) -> Coverage {
    let mut coverage = Coverage::default();
    for seed in (0..WORLDS).filter(|seed| seed % parts == part) {
        let ending = sim::run(seed, &Options::default());
        assert!(ending.broken.is_none(), "\n{}", sim::tell(seed, &Options::default()));
        coverage.add(&ending.coverage);
    }
    coverage
}

#[test]
fn every_promise_is_kept_in_every_world_and_everything_happens() {
    let parts = 2;
    let threads: Vec<_> = (0..parts).map(|part| std::thread::spawn(move || in_parts(part, parts))).collect();
    let mut coverage = Coverage::default();
    threads.into_iter().for_each(|thread| coverage.add(&thread.join().unwrap()));
    let missing: Vec<_> = coverage.missing().into_iter().map(sim::Deed::name).collect();
    assert!(missing.is_empty(), "this never happened: {missing:?}");
}

#[test]
fn a_seed_is_a_seed() {
    for seed in [3, 14, 159] {
        let (one, other) = (sim::run(seed, &Options::default()), sim::run(seed, &Options::default()));
        assert_eq!(one.coverage, other.coverage, "seed {seed}");
        assert_eq!(sim::tell(seed, &Options::default()), sim::tell(seed, &Options::default()));
    }
}

/// The first world in which a known bug breaks a promise, and which.
fn caught(mutant: Mutant) -> Option<(u64, sim::Broken)> {
    let options = Options::default().with(mutant);
    (0..WORLDS_FOR_A_MUTANT).find_map(|seed| Some((seed, sim::run(seed, &options).broken?)))
}

/// By which promise a known bug is found, where only one is right.
fn promise(mutant: Mutant) -> Option<&'static str> {
    Some(match mutant {
        Mutant::SkipFence => "a holder of an earlier epoch never writes",
        Mutant::ReplyBeforeDurable => "S8.3",
        Mutant::PullBack => "S2.8",
        Mutant::TwoIncidents => "S8.4",
        Mutant::NotifyBeforeCommit | Mutant::NewIdPerAttempt => "S7.2 nothing",
        Mutant::SettleFailed => "S7.3 everything",
        Mutant::OutboxNotLoaded => "S7.3",
        Mutant::OrderIgnored => "S7.3 messages",
        Mutant::HangBlocksAll => "S7.5",
        Mutant::TornWrite | Mutant::RecoveryUntold => "S7.2 a change",
        Mutant::RecoveryToldToAll => "S7.6",
        Mutant::OutageNotStored => "S6.6",
        Mutant::JudgeBeforeInbox => "S3.7 a heartbeat stamped",
        Mutant::StampLate => "S3.7 a heartbeat counts",
        Mutant::WindowIgnored => "S5.3",
        Mutant::WindowForEver => "S8.1",
        Mutant::HeldTold | Mutant::HeldForEver => "S5.4",
        Mutant::ReminderAfterAcknowledgement | Mutant::ReminderTwice | Mutant::ReminderDropped => "S7.7",
        Mutant::EscalationAfterRecovery | Mutant::EscalationAtOnce => "S7.8",
        Mutant::SettledUntold | Mutant::FlappingTold => "S7.10",
        Mutant::NoCompareAndSwap => "a record is written over",
        Mutant::StrangersJudge => "only the holder",
        Mutant::StrangersOwedIgnored => "S7",
        Mutant::FencedIsCommit => "S8.3",
        _ => return None,
    })
}

#[test]
fn every_known_bug_is_found() {
    // Two at a time: it takes as long as all other tests of the engine together.
    let halves = [0, 1].map(|half| {
        let mutants = Mutant::ALL.iter().skip(half).step_by(2);
        std::thread::spawn(move || mutants.map(|mutant| (mutant, caught(*mutant))).collect::<Vec<_>>())
    });
    let mut table = String::new();
    let mut survivors = Vec::new();
    for (mutant, caught) in halves.into_iter().flat_map(|half| half.join().unwrap()) {
        match caught {
            Some((seed, broken)) => {
                table += &format!("{:<24} {seed:>4}  {}\n", mutant.name(), broken.promise);
                let expected = promise(*mutant).is_none_or(|promise| broken.promise.starts_with(promise));
                assert!(expected, "{} was found by `{}`: {}", mutant.name(), broken.promise, broken.what);
            }
            None => survivors.push(mutant.name()),
        }
    }
    println!("{table}");
    assert!(survivors.is_empty(), "within {WORLDS_FOR_A_MUTANT} worlds nobody noticed {survivors:?}\n{table}");
}

#[test]
fn a_story_names_the_promise_and_how_to_repeat_it() {
    let (seed, broken) = caught(Mutant::TornWrite).unwrap();
    let story = sim::tell(seed, &Options::default().with(Mutant::TornWrite));
    assert!(story.contains(broken.promise) && story.contains(&broken.what), "{story}");
    assert!(story.contains(&format!("--seed {seed} --mutant torn-write")), "{story}");
    assert!(story.lines().count() > 10, "{story}");
}
