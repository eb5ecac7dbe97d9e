//! What the wishes of many monitors have in common.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Arm, FlapLimit, Monitor, MonitorSpec, Severity};
use crate::MonitorId;
use crate::schedule::{Grace, Schedule};
use crate::time::{duration_ms, optional_duration_ms};

/// When a monitor is expected to report and what follows when it does not: all of a wish but what names and describes the
/// monitor. It is reached through [`MonitorSpec`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Terms {
    /// When a heartbeat is expected (S2).
    pub schedule: Schedule,
    /// How much later than the occurrence it may come (S2.6).
    pub grace: Grace,
    /// How much sooner than a fixed-time occurrence it counts for it (S2.5).
    #[serde(default, with = "duration_ms")]
    pub early: Duration,
    /// How long a run may last (S4.2).
    #[serde(default, with = "optional_duration_ms")]
    pub max_runtime: Option<Duration>,
    /// When it begins to expect (S3.2).
    #[serde(default)]
    pub arm: Arm,
    /// How many failures in a row take it down (S3.3).
    pub failure_threshold: u32,
    /// How many successes in a row bring it up (S3.4).
    pub recovery_threshold: u32,
    /// How grave its going down is.
    #[serde(default)]
    pub severity: Severity,
    /// For finding and grouping.
    #[serde(default)]
    pub tags: Vec<String>,
    /// The names of the channels that are told.
    #[serde(default)]
    pub channels: Vec<String>,
    /// The least value that is no failure (S4.9).
    #[serde(default)]
    pub value_min: Option<f64>,
    /// The largest value that is no failure (S4.9).
    #[serde(default)]
    pub value_max: Option<f64>,
    /// How often people are reminded while it is down and nobody has acknowledged that (S7.7).
    #[serde(default, with = "optional_duration_ms")]
    pub remind_every: Option<Duration>,
    /// The monitors that it depends on: while one of them is down its own messages are held back (S5.4).
    #[serde(default)]
    pub depends_on: Vec<MonitorId>,
    /// When it counts as flapping; never where there is none.
    #[serde(default)]
    pub flap_limit: Option<FlapLimit>,
    /// Whether its heartbeats must be signed.
    #[serde(default)]
    pub require_signature: bool,
    /// The file that declares it; then it is edited there and nowhere else.
    #[serde(default)]
    pub declared_in: Option<String>,
}

impl Terms {
    /// This schedule; the rest is the default: the grace of S2.6, armed when made, thresholds of 1, severity `warning`,
    /// nobody told.
    #[must_use]
    pub fn new(schedule: Schedule) -> Self {
        Self {
            grace: schedule.default_grace(),
            schedule,
            early: Duration::ZERO,
            max_runtime: None,
            arm: Arm::default(),
            failure_threshold: 1,
            recovery_threshold: 1,
            severity: Severity::default(),
            tags: Vec::new(),
            channels: Vec::new(),
            value_min: None,
            value_max: None,
            remind_every: None,
            depends_on: Vec::new(),
            flap_limit: None,
            require_signature: false,
            declared_in: None,
        }
    }

    /// Of what mostly differs where terms do.
    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        match &self.schedule {
            Schedule::Every(every) => every.period().hash(&mut hasher),
            Schedule::At(at) => (at.times(), at.zone().name()).hash(&mut hasher),
            Schedule::Cron(cron) => (cron.expression(), cron.zone().name()).hash(&mut hasher),
        }
        (self.grace, self.early, self.max_runtime, self.failure_threshold, self.severity).hash(&mut hasher);
        (&self.tags, &self.channels, &self.depends_on, &self.declared_in).hash(&mut hasher);
        [self.value_min, self.value_max].map(|limit| limit.map(f64::to_bits)).hash(&mut hasher);
        hasher.finish()
    }
}

/// Terms that monitors have in common, each kept once: the monitors of a process are mostly alike.
#[derive(Debug, Default)]
pub struct CommonTerms(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By digest. Others with the same digest are not shared.
    terms: HashMap<u64, Arc<Terms>>,
    /// At this many, those that nobody uses any more are dropped.
    full: usize,
}

impl CommonTerms {
    /// Has a wish use the terms that another one brought before, if they are the same.
    pub fn share(&self, spec: &mut MonitorSpec) {
        if let Some(common) = self.same_as(&spec.terms) {
            spec.terms = common;
        }
    }

    /// The same terms as somebody brought before, or these.
    #[must_use]
    pub fn shared(&self, terms: Arc<Terms>) -> Arc<Terms> {
        self.same_as(&terms).unwrap_or(terms)
    }

    fn same_as(&self, terms: &Arc<Terms>) -> Option<Arc<Terms>> {
        let digest = terms.digest();
        // Whoever panicked left it whole.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.terms.get(&digest).cloned();
        if found.is_none() {
            known.make_room();
            known.terms.insert(digest, Arc::clone(terms));
        }
        found.filter(|found| found == terms)
    }

    /// The same for a monitor that nobody else holds yet, so that it can still be changed.
    pub fn share_monitor(&self, monitor: &mut Arc<Monitor>) {
        if let Some(monitor) = Arc::get_mut(monitor) {
            self.share(&mut monitor.spec);
        }
    }
}

impl Known {
    const FULL_MIN: usize = 1024;

    fn make_room(&mut self) {
        if self.terms.len() >= self.full {
            self.terms.retain(|_, terms| Arc::strong_count(terms) > 1);
            self.full = (self.terms.len() * 2).max(Self::FULL_MIN);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(n: u64, period: u64) -> MonitorSpec {
        let mut spec = MonitorSpec::new(format!("job-{n}"), Schedule::every(Duration::from_secs(period)).unwrap());
        spec.tags = vec!["production".to_owned()];
        spec
    }

    #[test]
    fn equal_terms_are_kept_once_and_an_edit_is_of_one_monitor() {
        let common = CommonTerms::default();
        let mut specs = [spec(1, 60), spec(2, 60), spec(3, 61)];
        specs.iter_mut().for_each(|spec| common.share(spec));
        let [one, two, three] = &mut specs;
        assert!(Arc::ptr_eq(&one.terms, &two.terms) && !Arc::ptr_eq(&one.terms, &three.terms));
        two.tags.push("backup".to_owned());
        assert_eq!((one.tags.len(), two.tags.len()), (1, 2));
    }

    #[test]
    fn terms_that_nobody_uses_are_dropped() {
        let common = CommonTerms::default();
        let mut kept = spec(0, 1);
        common.share(&mut kept);
        for period in 0..10_000 {
            common.share(&mut spec(1, 1 + period));
        }
        let known = common.0.lock().unwrap().terms.len();
        assert!(known <= Known::FULL_MIN, "{known}");
        let mut again = spec(2, 1);
        common.share(&mut again);
        assert!(Arc::ptr_eq(&kept.terms, &again.terms));
    }
}
