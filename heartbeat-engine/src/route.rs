//! Routes: which channels are told of which incidents, at once or after a while (S7.8).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::monitor::list_faults;
use crate::time::duration_ms;
use crate::{Cause, FieldError, MonitorSpec, Severity, describe_duration};

/// The longest that a route waits.
const AFTER_MAX: Duration = Duration::from_secs(366 * 86_400);

/// A route with its name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Route {
    /// Names it among the routes.
    pub name: String,
    /// What it does.
    pub spec: RouteSpec,
}

/// Which incidents a route is for, and whom it tells.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RouteSpec {
    /// For monitors of these severities; of any, where none is named.
    #[serde(default)]
    pub severities: Vec<Severity>,
    /// For monitors that have all of these tags.
    #[serde(default)]
    pub tags: Vec<String>,
    /// For incidents with these causes; with any, where none is named.
    #[serde(default)]
    pub causes: Vec<Cause>,
    /// The channels that it tells, besides those of the monitor.
    pub channels: Vec<String>,
    /// How long after the incident was detected it tells them, if that is neither over nor acknowledged by then; zero is
    /// at once.
    #[serde(default, with = "duration_ms")]
    pub after: Duration,
    /// The file that declares it; then it is edited there and nowhere else.
    #[serde(default)]
    pub declared_in: Option<String>,
}

impl Route {
    /// Whether it is for incidents of this monitor with this cause.
    #[must_use]
    pub fn matches(&self, monitor: &MonitorSpec, cause: Cause) -> bool {
        let RouteSpec { severities, tags, causes, .. } = &self.spec;
        (severities.is_empty() || severities.contains(&monitor.severity))
            && (causes.is_empty() || causes.contains(&cause))
            && tags.iter().all(|tag| monitor.tags.contains(tag))
    }

    /// Whether it is for what jobs have to say, which has no cause (S4.5), of this monitor.
    #[must_use]
    pub fn is_for_reports(&self, monitor: &MonitorSpec) -> bool {
        self.spec.causes.is_empty() && self.matches(monitor, Cause::Missed)
    }
}

impl RouteSpec {
    /// Every field that is wrong; empty when the route can be made. Whether its channels exist only the engine knows.
    #[must_use]
    pub fn faults(&self) -> Vec<FieldError> {
        let mut faults = Vec::new();
        twice("severities", &self.severities, &mut faults);
        list_faults("tags", &self.tags, &mut faults);
        twice("causes", &self.causes, &mut faults);
        if self.channels.is_empty() {
            faults.push(FieldError::new("channels", "a route must name at least one channel"));
        }
        list_faults("channels", &self.channels, &mut faults);
        if self.after > AFTER_MAX {
            let message = format!("{} is too long; it must be at most 366 d", describe_duration(self.after));
            faults.push(FieldError::new("after", message));
        }
        if !self.after.subsec_nanos().is_multiple_of(1_000_000) {
            faults.push(FieldError::new("after", "must be whole milliseconds"));
        }
        faults
    }
}

fn twice<T: PartialEq + std::fmt::Display>(field: &str, items: &[T], faults: &mut Vec<FieldError>) {
    for (index, item) in items.iter().enumerate() {
        if items[..index].contains(item) {
            faults.push(FieldError::new(format!("{field}.{index}"), format!("`{item}` stands twice")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_checked() {
        let right = RouteSpec {
            severities: vec![Severity::Critical],
            tags: vec!["db".to_owned()],
            causes: vec![Cause::Missed, Cause::Overrun],
            channels: vec!["ops".to_owned()],
            after: Duration::from_secs(600),
            declared_in: None,
        };
        assert_eq!(right.faults(), []);
        let wrong = RouteSpec {
            severities: vec![Severity::Info, Severity::Info],
            tags: vec![String::new()],
            causes: vec![Cause::Missed, Cause::Value, Cause::Missed],
            channels: Vec::new(),
            after: AFTER_MAX + Duration::from_micros(1),
            ..right
        };
        let fields: Vec<String> = wrong.faults().into_iter().map(|fault| fault.field).collect();
        assert_eq!(fields, ["severities.1", "tags.0", "causes.2", "channels", "after", "after"]);
    }
}
