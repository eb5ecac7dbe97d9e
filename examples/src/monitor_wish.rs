//! A declared monitor, read as the API reads it.

use heartbeat_engine::{FieldError, MonitorSpec, Timestamp, Token, Zone};
use heartbeat_http::monitor_from_json;

use crate::settings_file::DeclaredMonitor;

/// A monitor that the file declares, read and checked.
#[derive(Debug, Clone)]
pub(crate) struct MonitorWish {
    /// Where it stands: `monitor.0`.
    pub(crate) path: String,
    pub(crate) spec: MonitorSpec,
    /// The ping token that it is made with; another one than that of a monitor that exists changes nothing.
    pub(crate) token: Option<Token>,
}

/// Reads a declared monitor; every field that is wrong is named.
pub(crate) fn read(
    declared: &DeclaredMonitor,
    timezone: &Zone,
    now: Timestamp,
) -> Result<MonitorWish, Vec<FieldError>> {
    let (spec, token) = monitor_from_json(&declared.wish, timezone, now)?;
    Ok(MonitorWish { path: declared.path.clone(), spec, token })
}
