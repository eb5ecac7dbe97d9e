//! The short run: every input that is kept, and some mutations of them with a fixed seed.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use heartbeat_fuzz::campaign::{self, Extent};
use heartbeat_fuzz::{TARGETS, corpus, watched};

/// All corpora together have at most so many bytes.
const CORPORA_BYTES_MAX: usize = 1_000_000;

fn keeps_its_promises(name: &str, mutations: u64) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let kept = corpus::read(target).unwrap();
    for (file, input) in &kept {
        if let Err(crash) = watched(target, input) {
            panic!("{}: {file} breaks a promise at {}: {}", target.name, crash.place, crash.message);
        }
    }
    let kept: Vec<Vec<u8>> = kept.into_iter().map(|(_, input)| input).collect();
    let extent = Extent { runs: mutations, time: None };
    if let Some((input, crash)) = campaign::run(target, &kept, 1, extent, || Duration::ZERO).crash {
        panic!("{name}: {} at {}: {}", input.escape_ascii(), crash.place, crash.message);
    }
}

macro_rules! targets {
    ($($name:ident: $mutations:literal,)*) => {
        $(
            #[test]
            fn $name() {
                keeps_its_promises(stringify!($name), $mutations);
            }
        )*

        #[test]
        fn every_target_is_run() {
            assert_eq!(TARGETS.map(|target| target.name), [$(stringify!($name)),*]);
        }
    };
}

targets! {
    schedule: 2000,
    text: 5000,
    http_ping: 500,
    http_dialects: 500,
    http_api: 500,
    toml: 500,
    record: 400,
}

#[test]
fn the_corpora_are_small() {
    let sizes =
        TARGETS.iter().map(|target| corpus::read(target).unwrap().iter().map(|(_, input)| input.len()).sum::<usize>());
    let bytes: usize = sizes.sum();
    assert!(bytes < CORPORA_BYTES_MAX, "{bytes} bytes");
}
