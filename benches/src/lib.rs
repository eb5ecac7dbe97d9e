//! What the benchmarks share: monitors by the thousand, made without randomness.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_engine::step::{Draft, Surroundings};
use heartbeat_engine::{
    Change, Monitor, MonitorId, MonitorSpec, Record, Rotating, Schedule, ScheduleError, Timestamp, Token, TokenError,
    Version,
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
    let schedule = Schedule::every(Duration::from_secs(3600)).map_err(SetUpError::Schedule)?;
    let monitor = Monitor {
        id: id(n),
        token: Rotating::new(Token::new(format!("token-{n:012}")).map_err(SetUpError::Token)?),
        signing_secret: None,
        spec: MonitorSpec::new(format!("job-{n}"), schedule),
        revision: Version::FIRST,
        created_at: origin(),
        updated_at: origin(),
    };
    match Draft::create(Arc::new(monitor), origin(), Surroundings::default())
        .finish()
        .map(|transition| transition.change)
    {
        Some(Change::Put(record)) => Ok(Arc::unwrap_or_clone(record)),
        Some(Change::Remove) | None => Err(SetUpError::Empty),
    }
}
