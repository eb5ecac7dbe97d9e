//! Engines that share a storage, each on a handle of its own: all take calls, and each judges and delivers for its share.
//! Time is virtual.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod leases;
mod lost_answers;
mod outages;
mod site;
mod together;
