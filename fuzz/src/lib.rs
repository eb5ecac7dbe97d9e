//! What is fuzzed, and how inputs are made.
//!
//! A [`Target`] takes any bytes and panics when a promise is broken. The targets are driven by the corpora in `corpus/`
//! (`tests/corpus.rs`), by the mutations of [`campaign`] on any stable compiler (the binary `fuzz`), and by libFuzzer, which
//! is guided by coverage (`coverage/`). Inputs are text that people can read: see the head of each target's module.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a broken promise panics")]

pub mod campaign;
pub mod corpus;
mod crash;
mod minimise;
pub mod mutate;
mod random;
mod targets;

pub use crash::{Crash, watched};
pub use minimise::minimise;
pub use random::Random;
pub use targets::{TARGETS, Target};
