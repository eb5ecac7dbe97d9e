//! Schedules: what is read, and when something is due (S2).
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod cron_text;
mod croner;
mod oracle;
mod rules;
mod vectors;
mod walk;
