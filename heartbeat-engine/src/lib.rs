//! Heartbeat's engine.

mod duration;
mod id;
pub mod schedule;
mod time;

pub use duration::{ParseDurationError, describe_duration, format_duration, parse_duration};
pub use id::{Epoch, IncidentId, MonitorId, NotificationId, ParseIdError, PartitionId, PingId, RunId, Version};
pub use schedule::{
    AT_TIMES_MAX, At, CRON_LENGTH_MAX, Cron, CronPart, CronProblem, Every, Grace, LocalTime, Occurrence, Schedule,
    ScheduleError, ScheduleSpec, Weekdays, Zone, ZoneData, zone_data,
};
pub use time::{ParseTimestampError, Timestamp};
