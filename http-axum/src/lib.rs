#![doc = include_str!("../README.md")]

mod accept;
mod api;
mod app;
mod auth;
mod body;
mod dialect;
mod health;
mod heartbeat;
mod hex;
mod json;
mod keys;
mod metrics;
mod ping;
mod problem;
mod query;
mod rate;
mod report;
mod router;
mod serve;
mod settings;
mod signature;
mod site;
mod source;
mod trace;

pub use json::{MonitorWish, grouping_from_json, maintenance_from_json, monitor_from_json, route_from_json};
pub use keys::{ApiKey, ensure_admin_key};
pub use metrics::HostGauge;
pub use router::router;
pub use serve::{Drained, ServeOptions, Stopping, serve};
pub use settings::{ADMIN_KEY_CHARS_MIN, AdminKey, AdminKeyError, HttpSettings, TrustForwarded};
pub use site::Site;
