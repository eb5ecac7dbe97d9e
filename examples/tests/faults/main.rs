//! Disks that fill up, fail and forget: while they do, heartbeats are answered 503 and reads go on; afterwards everything
//! works again without a restart, and nothing acknowledged is lost (S8.3).
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(target_os = "linux")]

mod failing;
mod full;
mod power;
mod rig;
