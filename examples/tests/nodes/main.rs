//! Several servers on one Redis: all take heartbeats, and each judges and delivers for its share.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod away;
mod killed;
#[path = "../../../storage-redis/tests/support/mod.rs"]
mod redis_server;
mod site;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod traffic;
mod wire;
