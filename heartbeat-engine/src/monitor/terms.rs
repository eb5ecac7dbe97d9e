//! Terms that many monitors have in common, each kept once.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::spec::Terms;
use super::{Monitor, MonitorSpec, Record};
use crate::schedule::Schedule;

/// So many may be kept before it is looked which of them are still in use.
const UNUSED_MAX: usize = 1_024;

/// The terms that are known; monitors that agree in theirs share them, so that a million monitors with one list of channels
/// have one list of channels in memory.
#[derive(Debug, Default)]
pub(crate) struct TermsKept {
    known: HashSet<Known>,
    /// How many were in use when that was looked at last.
    used: usize,
}

impl TermsKept {
    /// Lets a record share its terms, if nobody else holds it yet.
    pub(crate) fn share_record(&mut self, record: &mut Record) {
        if let Some(monitor) = Arc::get_mut(&mut record.monitor) {
            self.share_monitor(monitor);
        }
    }

    /// Lets a monitor share its terms.
    pub(crate) fn share_monitor(&mut self, monitor: &mut Monitor) {
        self.share(&mut monitor.spec);
    }

    /// Lets a wish share its terms.
    pub(crate) fn share(&mut self, spec: &mut MonitorSpec) {
        if let Some(known) = self.known.get(&Known(spec.terms.clone())) {
            spec.terms = known.0.clone();
            return;
        }
        if self.known.len() >= 2 * self.used + UNUSED_MAX {
            self.known.retain(|known| Arc::strong_count(&known.0) > 1);
            self.used = self.known.len();
        }
        self.known.insert(Known(spec.terms.clone()));
    }
}

#[derive(Debug)]
struct Known(Arc<Terms>);

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

// Limits of values are no numbers only where a store holds what nobody could have wished; those are kept apart.
impl Eq for Known {}

impl Hash for Known {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let terms = &*self.0;
        match &terms.schedule {
            Schedule::Every(every) => every.period().hash(state),
            Schedule::At(at) => at.times().iter().for_each(|time| time.to_string().hash(state)),
            Schedule::Cron(cron) => cron.expression().hash(state),
        }
        (terms.grace.length(), terms.max_runtime, terms.severity, terms.failure_threshold).hash(state);
        (&terms.tags, &terms.channels, &terms.depends_on, &terms.declared_in).hash(state);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::time::Duration;

    use super::*;

    fn spec(slug: &str, channel: &str) -> MonitorSpec {
        let mut spec = MonitorSpec::new(slug, Schedule::every(Duration::from_secs(60)).unwrap());
        spec.channels = vec![channel.to_owned()];
        spec
    }

    #[test]
    fn monitors_that_agree_share_their_terms_and_an_edit_of_one_is_not_seen_by_the_other() {
        let mut kept = TermsKept::default();
        let (mut one, mut other, mut third) = (spec("one", "mail"), spec("other", "mail"), spec("third", "ops"));
        [&mut one, &mut other, &mut third].into_iter().for_each(|spec| kept.share(spec));
        assert!(Arc::ptr_eq(&one.terms, &other.terms) && !Arc::ptr_eq(&one.terms, &third.terms));
        one.channels.push("ops".to_owned());
        assert_eq!((one.channels.len(), other.channels.len()), (2, 1));
        assert_eq!((one.slug.as_str(), other.slug.as_str()), ("one", "other"));
    }

    #[test]
    fn terms_that_nobody_has_any_more_are_forgotten() {
        let mut kept = TermsKept::default();
        let mut used = spec("job", "mail");
        kept.share(&mut used);
        for n in 0..10_000 {
            kept.share(&mut spec("job", &format!("channel-{n}")));
        }
        assert!(kept.known.len() <= UNUSED_MAX + 2, "{} are kept", kept.known.len());
        let mut again = spec("other", "mail");
        kept.share(&mut again);
        assert!(Arc::ptr_eq(&used.terms, &again.terms));
    }
}
