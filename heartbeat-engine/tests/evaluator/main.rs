//! The evaluator on a storage that fails in every way.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod batches;
mod beforehand;
#[path = "../common/mod.rs"]
mod common;
mod dependencies;
mod looks;
mod meeting;
mod memory;
mod shares;
mod world;
