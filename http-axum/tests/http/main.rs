//! The router on a real engine: what clients send, and what they must get.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod dependencies;
mod dialects;
mod direct;
mod events;
mod incidents;
mod keys;
mod limits;
mod maintenance;
mod monitors;
mod others;
mod pings;
mod robustness;
mod routes;
mod server;
mod serving;
mod signing;
