//! The router on a real engine: what clients send, and what they must get.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod dialects;
mod keys;
mod limits;
mod monitors;
mod others;
mod pings;
mod robustness;
mod server;
mod serving;
mod signing;
