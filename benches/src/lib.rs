//! What the benchmarks share: monitors by the thousand, made without randomness.

// The engine does not show its queue; it is measured as it is.
pub mod cpu;
#[allow(dead_code, reason = "the comparison needs a part of it")]
#[path = "../../heartbeat-engine/src/deadline/mod.rs"]
mod deadline;
pub mod memory;
pub mod queue;

use std::sync::Arc;
use std::time::Duration;

use heartbeat_engine::step::{Draft, Surroundings};
use heartbeat_engine::{
    Change, Monitor, MonitorId, MonitorSpec, Record, Rotating, Schedule, ScheduleError, Timestamp, Token, TokenError,
    Transition, Version,
};

/// Why a monitor of a benchmark could not be made.
#[derive(Debug)]
pub enum SetUpError {
    /// Its schedule is wrong.
    Schedule(ScheduleError),
    /// Its token is wrong.
    Token(TokenError),
    /// It came to nothing.
    Empty,
}

/// The instant at which the monitors are made.
#[must_use]
pub fn origin() -> Timestamp {
    Timestamp::from_secs(1_795_000_000)
}

/// The id of the `n`-th monitor; neighbours are far apart, as random ids are.
#[must_use]
pub fn id(n: u64) -> MonitorId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
    bytes[8..].copy_from_slice(&n.to_be_bytes());
    MonitorId::from_bytes(bytes)
}

/// The `n`-th monitor, every hour with the default grace, armed at [`origin`].
///
/// # Errors
/// When it cannot be made, which the benchmarks take as a reason to stop.
pub fn record(n: u64) -> Result<Record, SetUpError> {
    scheduled(n, Schedule::every(Duration::from_secs(3600)).map_err(SetUpError::Schedule)?)
}

/// The `n`-th monitor with this schedule and the default grace, armed at [`origin`].
///
/// # Errors
/// When it cannot be made, which the benchmarks take as a reason to stop.
pub fn scheduled(n: u64, schedule: Schedule) -> Result<Record, SetUpError> {
    let mut spec = MonitorSpec::new(format!("job-{n}"), schedule);
    spec.name = format!("The job number {n}").into();
    spec.tags = vec!["production".to_owned(), "backup".to_owned()];
    spec.channels = vec!["mail".to_owned(), "on-call".to_owned()];
    match made(n, spec, origin())?.change {
        Change::Put(record) => Ok(Arc::unwrap_or_clone(record)),
        Change::Remove => Err(SetUpError::Empty),
    }
}

/// The transition that makes the `n`-th monitor, with this wish at this instant.
///
/// # Errors
/// When it cannot be made, which the benchmarks take as a reason to stop.
pub fn made(n: u64, spec: MonitorSpec, at: Timestamp) -> Result<Transition, SetUpError> {
    let monitor = Monitor {
        id: id(n),
        token: Rotating::new(Token::new(format!("token-{n:016}")).map_err(SetUpError::Token)?),
        signing_secret: None,
        spec,
        revision: Version::FIRST,
        created_at: at,
        updated_at: at,
    };
    Draft::create(Arc::new(monitor), at, Surroundings::default()).finish().ok_or(SetUpError::Empty)
}
