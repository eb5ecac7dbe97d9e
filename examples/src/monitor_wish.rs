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
    /// The slugs or ids of the monitors that it depends on; `spec.depends_on` follows from them once there is a store.
    pub(crate) depends_on: Vec<String>,
}

/// Reads a declared monitor; every field that is wrong is named.
pub(crate) fn read(
    declared: &DeclaredMonitor,
    timezone: &Zone,
    now: Timestamp,
) -> Result<MonitorWish, Vec<FieldError>> {
    let wish = monitor_from_json(&declared.wish, timezone, now)?;
    let heartbeat_http::MonitorWish { spec, token, depends_on, .. } = wish;
    Ok(MonitorWish { path: declared.path.clone(), spec, token, depends_on })
}
