//! Heartbeat's engine.

mod duration;
mod id;
pub mod schedule;
mod time;

pub use duration::{ParseDurationError, describe_duration, format_duration, parse_duration};
pub use id::{Epoch, IncidentId, MonitorId, NotificationId, ParseIdError, PartitionId, PingId, RunId, Version};
pub use time::{ParseTimestampError, Timestamp};
