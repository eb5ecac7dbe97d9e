//! Routes: which channels are told of which incidents, at once or after a while (S7.8).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::duration_ms;
use crate::{Cause, MonitorSpec, Severity};

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
