#![doc = include_str!("../README.md")]

mod absence;
mod address;
mod backoff;
mod batch;
mod clock;
pub mod compact;
mod counts;
mod deadline;
mod duration;
pub mod evaluator;
mod id;
mod import;
mod incident;
mod label;
mod lease;
#[cfg(feature = "runtime")]
mod life;
mod maintenance;
mod memory;
mod monitor;
mod news;
mod notification;
mod notifier;
pub mod outbox;
mod route;
mod routing;
#[cfg(feature = "runtime")]
mod runtime;
pub mod schedule;
#[cfg(feature = "runtime")]
mod shares;
mod signal;
mod slab;
pub mod step;
mod storage;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod time;

pub use absence::Outage;
pub use address::is_public_address;
pub use backoff::pause_after;
pub use batch::{
    Applied, Batch, Change, DOCUMENT_BYTES_MAX, Document, DocumentWrite, Outcome, StateChange, Transition,
};
pub use clock::{Clock, SystemClock};
pub use counts::{Counts, CountsPer, Durations};
pub use duration::{ParseDurationError, describe_duration, format_duration, parse_duration};
pub use id::{Epoch, IncidentId, MonitorId, NotificationId, ParseIdError, PartitionId, PingId, RunId, Version};
pub use import::{Import, Imported};
pub use incident::{Acknowledgement, Cause, Closing, Incident, IncidentNote};
pub use label::{Label, LongText};
pub use lease::{Claim, LeaseStep, Tenure};
pub use maintenance::{Maintenance, MaintenanceSpec, MaintenanceTime};
pub use memory::{MemoryLimits, MemoryStorage};
pub use monitor::{
    Arm, Circumstances, CommonTerms, EndedRun, Escalation, Expectation, FieldError, FlapLimit, Flapping, Flaps, Health,
    LastPing, Monitor, MonitorSpec, OutageMoves, Pursuit, RareCircumstances, Record, Rotating, Run, Secret, Severity,
    State, Status, StatusWord, Terms, Token, TokenError, TokenHash, slug_from_name,
};
pub use news::{MonitorForm, MonitorNews, News};
pub use notification::{
    AboutIncident, AboutMonitor, Delivery, DeliveryState, Digest, DigestItem, Notification, NotificationKind,
    OutboxEntry, Settlement,
};
pub use notifier::{Attempt, ChannelKind, DeliveryError, Notifier, Receipt};
pub use outbox::Grouping;
pub use route::{Route, RouteSpec};
#[cfg(feature = "runtime")]
pub use runtime::{
    ChannelInfo, ChannelMetrics, ChannelSpec, Cluster, Distribution, Driver, EditError, Engine, EngineBuilder, Filter,
    Limits, Metrics, Missed, NodeInfo, PartitionShare, PingError, PingReceipt, Put, PutMode, PutPolicy, Readiness,
    ShutdownError, StartError, StateChanges, Target, Unavailable,
};
pub use schedule::{
    AT_TIMES_MAX, At, CRON_LENGTH_MAX, Cron, CronPart, CronProblem, Every, Grace, LocalTime, Occurrence, Schedule,
    ScheduleError, ScheduleSpec, Weekdays, Zone, ZoneData, zone_data,
};
pub use signal::{Effect, Ping, PingEntry, Signal};
pub use storage::{HistoryItem, HistoryQuery, Lease, Name, Page, Storage, StorageError, WatchLog};
pub use time::{ParseTimestampError, Timestamp};
