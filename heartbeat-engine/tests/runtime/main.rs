//! The engine as its host uses it, on virtual time.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod channels;
mod engine;
mod incidents;
mod masses;
mod policies;
