//! Heartbeat's engine.

mod absence;
mod address;
mod batch;
mod clock;
mod duration;
mod id;
mod incident;
mod monitor;
mod notification;
mod notifier;
pub mod schedule;
mod signal;
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
pub use incident::{Cause, Closing, Incident};
pub use monitor::{
    Arm, EndedRun, Expectation, FieldError, Health, LastPing, Monitor, MonitorSpec, OutageMoves, Record, Rotating, Run,
    Secret, Severity, State, Status, StatusWord, Token, TokenError, TokenHash, slug_from_name,
};
pub use notification::{
    AboutIncident, AboutMonitor, Delivery, DeliveryState, Notification, NotificationKind, OutboxEntry, Settlement,
};
pub use notifier::{Attempt, ChannelKind, DeliveryError, Notifier, Receipt};
pub use signal::{Effect, Ping, PingEntry, Signal};
pub use storage::{HistoryItem, HistoryQuery, Lease, Name, Page, Storage, StorageError, WatchLog};
pub use time::{ParseTimestampError, Timestamp};
