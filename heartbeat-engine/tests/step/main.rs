//! `step`: every rule about a monitor (S3 to S7), case by case and against plain models.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod against_model;
#[path = "../common/mod.rs"]
mod common;
mod edges;
mod incidents;
mod incidents_against_model;
mod instants;
mod maintenance;
mod model;
mod promises;
mod rules;
mod scenarios;
mod silence;
mod untold;
