//! The wish: everything about a monitor that people choose.

use std::collections::HashSet;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Terms, shared};
use crate::schedule::Schedule;
use crate::time::duration_ms;
use crate::{Label, LongText, MonitorId, Timestamp, describe_duration};

/// The largest threshold.
pub(crate) const THRESHOLD_MAX: u32 = 1000;
/// The longest run that can be limited, and the longest other duration of a monitor.
const DURATION_MAX: Duration = Duration::from_secs(366 * 86_400);
const NAME_CHARS_MAX: usize = 200;
const SLUG_CHARS_MAX: usize = 100;
const DESCRIPTION_BYTES_MAX: usize = 10_000;
const LIST_MAX: usize = 50;
const MINUTE: Duration = Duration::from_secs(60);
const FLAPS_MAX: u32 = 100;
const FLAP_WITHIN_MAX: Duration = Duration::from_secs(7 * 86_400);
const LIST_ITEM_CHARS_MAX: usize = 100;

/// When a monitor begins to expect its job (S3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arm {
    /// When it is made, so a job that never reports is found.
    #[default]
    Created,
    /// With the first heartbeat.
    FirstPing,
}

/// How grave the going down of a monitor is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Somebody should look.
    #[default]
    Warning,
    /// Somebody must look now.
    Critical,
}

impl Severity {
    /// Its name: `info`, `warning` or `critical`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A monitor that goes down this often within this time flaps: that is told once, and single changes are told again when
/// it has not changed for as long.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct FlapLimit {
    /// How often: 2 to 100.
    pub incidents: u32,
    /// Within which time: 1 minute to 7 days.
    #[serde(with = "duration_ms")]
    pub within: Duration,
}

/// One field that is wrong: where, and what would be right.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{field}: {message}")]
pub struct FieldError {
    /// A dotted path: `schedule.every`, `channels.0`.
    pub field: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl FieldError {
    /// An error of one field.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

/// What somebody wishes to be watched, and how.
///
/// ```
/// use heartbeat_engine::{MonitorSpec, Severity, schedule::Schedule};
/// use std::time::Duration;
///
/// let mut spec = MonitorSpec::new("cert-sync", Schedule::every(Duration::from_secs(7200))?);
/// spec.channels = vec!["mail".to_owned()];
/// spec.severity = Severity::Critical;
/// # Ok::<(), heartbeat_engine::schedule::ScheduleError>(())
/// ```
///
/// Its [`Terms`] are read and written as if they were fields of it. In memory monitors share them where they are equal, until
/// one is edited.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct MonitorSpec {
    /// Names it in URLs: `[A-Za-z0-9][A-Za-z0-9_-]{0,99}`, unique.
    pub slug: Label,
    /// Names it for people.
    pub name: Label,
    /// More about it for people.
    #[serde(default)]
    pub description: LongText,
    /// All the rest.
    #[serde(flatten, with = "shared")]
    pub terms: Arc<Terms>,
}

impl PartialEq for MonitorSpec {
    fn eq(&self, other: &Self) -> bool {
        let same_terms = || Arc::ptr_eq(&self.terms, &other.terms) || self.terms == other.terms;
        self.slug == other.slug && self.name == other.name && self.description == other.description && same_terms()
    }
}

impl Deref for MonitorSpec {
    type Target = Terms;

    fn deref(&self) -> &Terms {
        &self.terms
    }
}

impl DerefMut for MonitorSpec {
    fn deref_mut(&mut self) -> &mut Terms {
        Arc::make_mut(&mut self.terms)
    }
}

impl MonitorSpec {
    /// A monitor with this slug, also its name, and this schedule; the rest is the default: the grace of S2.6, armed
    /// when made, thresholds of 1, severity `warning`, nobody told.
    pub fn new(slug: impl Into<Label>, schedule: Schedule) -> Self {
        let slug = slug.into();
        Self { name: slug.clone(), slug, description: LongText::EMPTY, terms: Arc::new(Terms::new(schedule)) }
    }

    /// Every field that is wrong; empty when the monitor can be made. `now` is where the search for the smallest gap
    /// between two occurrences starts (S2.5).
    #[must_use]
    pub fn faults(&self, now: Timestamp) -> Vec<FieldError> {
        let mut faults = Vec::new();
        let mut fault = |field: &str, message: String| faults.push(FieldError::new(field, message));
        if !is_slug(&self.slug) {
            fault(
                "slug",
                format!(
                    "`{}` is not a slug: up to 100 of A-Z, a-z, 0-9, `_` and `-`, beginning with a letter or digit",
                    clip(&self.slug)
                ),
            );
        }
        if self.slug.parse::<MonitorId>().is_ok() {
            fault("slug", format!("`{}` has the form of an id, which would hide it; choose another", clip(&self.slug)));
        }
        if self.name.is_empty() || self.name.chars().count() > NAME_CHARS_MAX || self.name.contains(char::is_control) {
            fault("name", format!("must have 1 to {NAME_CHARS_MAX} characters and no control character"));
        }
        if self.description.len() > DESCRIPTION_BYTES_MAX {
            fault(
                "description",
                format!("has {} bytes; at most {DESCRIPTION_BYTES_MAX} are kept", self.description.len()),
            );
        }
        for (field, threshold) in
            [("failure_threshold", self.failure_threshold), ("recovery_threshold", self.recovery_threshold)]
        {
            if !(1..=THRESHOLD_MAX).contains(&threshold) {
                fault(field, format!("{threshold} is out of range; it must be 1 to {THRESHOLD_MAX}"));
            }
        }
        if let Some(limit) = self.max_runtime
            && !(Duration::from_secs(1)..=DURATION_MAX).contains(&limit)
        {
            fault("max_runtime", format!("{} is out of range; it must be 1 s to 366 d", describe_duration(limit)));
        }
        if let (Some(min), Some(max)) = (self.value_min, self.value_max)
            && min > max
        {
            fault("value_min", format!("{min} is larger than value_max, {max}"));
        }
        for (field, value) in [("value_min", self.value_min), ("value_max", self.value_max)] {
            if value.is_some_and(|v| !v.is_finite()) {
                fault(field, "must be a finite number".to_owned());
            }
        }
        self.incident_faults(&mut faults);
        list_faults("tags", &self.tags, &mut faults);
        list_faults("channels", &self.channels, &mut faults);
        if let Err(errors) = self.schedule.check(self.grace, self.early, now) {
            faults.extend(errors.into_iter().map(|e| FieldError::new(e.field(), e.to_string())));
        }
        faults
    }

    /// What is wrong with whom it depends on, and how people are reminded.
    fn incident_faults(&self, faults: &mut Vec<FieldError>) {
        let mut range = |field: &str, found: Duration, allowed: (Duration, &str)| {
            if !(MINUTE..=allowed.0).contains(&found) {
                let found = describe_duration(found);
                faults.push(FieldError::new(field, format!("{found} is out of range; it must be {}", allowed.1)));
            }
        };
        if let Some(every) = self.remind_every {
            range("remind_every", every, (DURATION_MAX, "1 min to 366 d"));
        }
        if let Some(limit) = self.flap_limit {
            range("flap_limit.within", limit.within, (FLAP_WITHIN_MAX, "1 min to 7 d"));
            if !(2..=FLAPS_MAX).contains(&limit.incidents) {
                let message = format!("{} is out of range; it must be 2 to {FLAPS_MAX}", limit.incidents);
                faults.push(FieldError::new("flap_limit.incidents", message));
            }
        }
        if self.depends_on.len() > LIST_MAX {
            let message = format!("has {} entries; at most {LIST_MAX} are allowed", self.depends_on.len());
            faults.push(FieldError::new("depends_on", message));
        }
        let mut seen = HashSet::new();
        for (index, parent) in self.depends_on.iter().enumerate() {
            if !seen.insert(parent) {
                faults.push(FieldError::new(format!("depends_on.{index}"), format!("`{parent}` stands twice")));
            }
        }
    }
}

/// A slug made from a name: lower case, everything else than letters and digits as one `-`. Empty when the name has none.
///
/// ```
/// assert_eq!(heartbeat_engine::slug_from_name("Cert backup (nightly)"), "cert-backup-nightly");
/// ```
#[must_use]
pub fn slug_from_name(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let mut slug = words.collect::<Vec<_>>().join("-").to_ascii_lowercase();
    slug.truncate(SLUG_CHARS_MAX);
    slug.trim_end_matches('-').to_owned()
}

pub(crate) fn is_slug(text: &str) -> bool {
    let bytes = text.as_bytes();
    (1..=SLUG_CHARS_MAX).contains(&bytes.len())
        && bytes[0].is_ascii_alphanumeric()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

pub(crate) fn list_faults(field: &str, items: &[String], faults: &mut Vec<FieldError>) {
    if items.len() > LIST_MAX {
        faults.push(FieldError::new(field, format!("has {} entries; at most {LIST_MAX} are allowed", items.len())));
    }
    let mut seen = HashSet::new();
    for (index, item) in items.iter().enumerate() {
        let path = format!("{field}.{index}");
        if item.is_empty()
            || item.chars().count() > LIST_ITEM_CHARS_MAX
            || item.chars().any(|c| c.is_control() || c == ',')
        {
            faults.push(FieldError::new(
                path,
                format!(
                    "`{}` must have 1 to {LIST_ITEM_CHARS_MAX} characters, no comma and no control character",
                    clip(item)
                ),
            ));
        } else if !seen.insert(item.as_str()) {
            faults.push(FieldError::new(path, format!("`{}` stands twice", clip(item))));
        }
    }
}

fn clip(text: &str) -> String {
    text.chars().take(64).collect()
}
