//! The stored form of a [`MonitorSpec`].

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::spec::Terms;
use super::{Arm, FlapLimit, MonitorSpec, Severity};
use crate::MonitorId;
use crate::schedule::{Grace, Schedule};
use crate::time::{duration_ms, optional_duration_ms};

/// The names and the terms of a monitor, side by side.
#[derive(Serialize, Deserialize)]
pub(super) struct Form {
    slug: String,
    name: String,
    #[serde(default)]
    description: String,
    schedule: Schedule,
    grace: Grace,
    #[serde(default, with = "duration_ms")]
    early: Duration,
    #[serde(default, with = "optional_duration_ms")]
    max_runtime: Option<Duration>,
    #[serde(default)]
    arm: Arm,
    failure_threshold: u32,
    recovery_threshold: u32,
    #[serde(default)]
    severity: Severity,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    channels: Vec<String>,
    #[serde(default)]
    value_min: Option<f64>,
    #[serde(default)]
    value_max: Option<f64>,
    #[serde(default, with = "optional_duration_ms")]
    remind_every: Option<Duration>,
    #[serde(default)]
    depends_on: Vec<MonitorId>,
    #[serde(default)]
    flap_limit: Option<FlapLimit>,
    #[serde(default)]
    require_signature: bool,
    #[serde(default)]
    declared_in: Option<String>,
}

impl From<Form> for MonitorSpec {
    fn from(form: Form) -> Self {
        let terms = Terms {
            schedule: form.schedule,
            grace: form.grace,
            early: form.early,
            max_runtime: form.max_runtime,
            arm: form.arm,
            failure_threshold: form.failure_threshold,
            recovery_threshold: form.recovery_threshold,
            severity: form.severity,
            tags: form.tags,
            channels: form.channels,
            value_min: form.value_min,
            value_max: form.value_max,
            remind_every: form.remind_every,
            depends_on: form.depends_on,
            flap_limit: form.flap_limit,
            require_signature: form.require_signature,
            declared_in: form.declared_in,
        };
        Self { slug: form.slug, name: form.name, description: form.description, terms: Arc::new(terms) }
    }
}

impl From<MonitorSpec> for Form {
    fn from(spec: MonitorSpec) -> Self {
        let terms = Arc::unwrap_or_clone(spec.terms);
        Self {
            slug: spec.slug,
            name: spec.name,
            description: spec.description,
            schedule: terms.schedule,
            grace: terms.grace,
            early: terms.early,
            max_runtime: terms.max_runtime,
            arm: terms.arm,
            failure_threshold: terms.failure_threshold,
            recovery_threshold: terms.recovery_threshold,
            severity: terms.severity,
            tags: terms.tags,
            channels: terms.channels,
            value_min: terms.value_min,
            value_max: terms.value_max,
            remind_every: terms.remind_every,
            depends_on: terms.depends_on,
            flap_limit: terms.flap_limit,
            require_signature: terms.require_signature,
            declared_in: terms.declared_in,
        }
    }
}
