//! Whether a monitor may depend on others (S5.4), by what is committed. The evaluator, which alone writes, looks again.

use crate::evaluator::{cycle, cycle_fault};
use crate::runtime::directory::Target;
use crate::runtime::engine::{Engine, PutMode};
use crate::{FieldError, MonitorId, MonitorSpec};

impl Engine {
    /// What is wrong with the monitors that a wish depends on.
    pub(super) fn dependency_faults(&self, spec: &MonitorSpec, mode: &PutMode) -> Vec<FieldError> {
        if spec.depends_on.is_empty() || !self.is_loaded() {
            return Vec::new();
        }
        let existing = match mode {
            PutMode::Create { .. } => None,
            PutMode::Replace { monitor, .. } => self.find(*monitor),
            PutMode::Upsert => self.find(Target::slug(&spec.slug)),
        };
        let parents = |id: MonitorId| self.find(id).map(|record| record.spec().depends_on.clone()).unwrap_or_default();
        let before = existing.as_ref().map_or(&[][..], |record| &record.spec().depends_on);
        let mut faults = Vec::new();
        for (index, parent) in spec.depends_on.iter().enumerate() {
            // One that was removed since may stay in the list; it counts as not down.
            if self.find(*parent).is_none() && !before.contains(parent) {
                let message = format!("there is no monitor with the id `{parent}`; make it first");
                faults.push(FieldError::new(format!("depends_on.{index}"), message));
            }
        }
        if let Some(record) = existing
            && let Some(path) = cycle(record.id(), &spec.depends_on, parents)
        {
            let name = |id: &MonitorId| match self.find(*id) {
                _ if *id == record.id() => spec.slug.as_str().to_owned(),
                Some(record) => record.spec().slug.as_str().to_owned(),
                None => id.to_string(),
            };
            faults.push(cycle_fault(&spec.depends_on, &path, name));
        }
        faults
    }
}
