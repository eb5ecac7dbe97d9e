//! Heartbeat's engine.

mod absence;
mod address;
mod batch;
mod clock;
mod duration;
pub mod evaluator;
mod id;
mod incident;
mod memory;
mod monitor;
mod notification;
mod notifier;
mod routing;
#[cfg(feature = "runtime")]
mod runtime;
pub mod schedule;
mod signal;
pub mod step;
mod storage;
mod time;

pub use absence::Outage;
pub use address::is_public_address;
pub use batch::{
    Applied, Batch, Change, DOCUMENT_BYTES_MAX, Document, DocumentWrite, Outcome, StateChange, Transition,
};
pub use clock::{Clock, SystemClock};
pub use duration::{ParseDurationError, describe_duration, format_duration, parse_duration};
pub use id::{Epoch, IncidentId, MonitorId, NotificationId, ParseIdError, PartitionId, PingId, RunId, Version};
pub use schedule::{
    AT_TIMES_MAX, At, CRON_LENGTH_MAX, Cron, CronPart, CronProblem, Every, Grace, LocalTime, Occurrence, Schedule,
    ScheduleError, ScheduleSpec, Weekdays, Zone, ZoneData, zone_data,
};
pub use time::{ParseTimestampError, Timestamp};
