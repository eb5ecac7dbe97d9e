//! Finding a monitor that another node may have made a moment ago.

use std::sync::Arc;

use crate::runtime::directory::Target;
use crate::runtime::engine::Engine;
use crate::runtime::error::Unavailable;
use crate::runtime::inbox::Work;
use crate::{MonitorForm, MonitorNews, Name, Record, Tenure, Timestamp};

impl Engine {
    /// A monitor as it was last committed, as [`Engine::find`] gives it; where nodes share the storage and this one does not
    /// know it, the storage is asked.
    ///
    /// # Errors
    /// When the engine is still loading, or the storage cannot be read.
    pub async fn look_up(&self, target: impl Into<Target>) -> Result<Option<Arc<Record>>, Unavailable> {
        let target = target.into();
        match self.find_loaded(&target)? {
            None if self.shared.tenure != Tenure::Exclusive => self.ask_storage(&target).await,
            found => Ok(found),
        }
    }

    async fn ask_storage(&self, target: &Target) -> Result<Option<Arc<Record>>, Unavailable> {
        let storage = &self.shared.storage;
        let id = match target {
            Target::Id(id) => Some(*id),
            Target::Slug(slug) => storage.find(&Name::Slug(slug.clone())).await?,
            Target::Token(hash) => storage.find(&Name::Token(*hash)).await?,
        };
        let Some(id) = id else { return Ok(None) };
        let Some(record) = storage.load(&[id]).await?.pop().flatten() else { return Ok(None) };
        if !leads_to(target, &record, self.now()) {
            return Ok(None);
        }
        let form = MonitorForm {
            revision: record.monitor.revision,
            monitor: Some(record.monitor.clone()),
            health: record.health.clone(),
        };
        let news = MonitorNews { monitor: id, version: record.version, form: Some(form) };
        // Before whatever is asked of it now.
        self.shared.inbox_of(id).push_inner(&*self.shared.clock, Work::News(vec![news]));
        Ok(Some(Arc::new(record)))
    }
}

/// Whether the record has the name still: it may have changed since the name was found.
fn leads_to(target: &Target, record: &Record, now: Timestamp) -> bool {
    match target {
        Target::Id(id) => record.id() == *id,
        Target::Slug(slug) => record.spec().slug.as_str() == slug,
        Target::Token(hash) => record.monitor.token.accepted(now).any(|token| token.hash() == *hash),
    }
}
