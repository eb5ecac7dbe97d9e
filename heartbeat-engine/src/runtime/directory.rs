//! What readers see: the committed records, by id, slug and token.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::{MonitorId, Page, Record, Status, StatusWord, Timestamp, TokenHash};

/// Leads to a monitor.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// By its id.
    Id(MonitorId),
    /// By its slug.
    Slug(String),
    /// By its ping token, or one that is retiring.
    Token(TokenHash),
}

impl Target {
    /// By its slug.
    pub fn slug(slug: impl Into<String>) -> Self {
        Self::Slug(slug.into())
    }

    /// By its ping token.
    #[must_use]
    pub fn token(token: &str) -> Self {
        Self::Token(TokenHash::of(token))
    }

    /// By its id where the text is a UUID and a monitor has it, else by its slug; see [`crate::Engine::find`].
    #[must_use]
    pub fn id_or_slug(text: &str) -> Self {
        text.parse().map_or_else(|_| Self::slug(text), Self::Id)
    }
}

impl From<MonitorId> for Target {
    fn from(id: MonitorId) -> Self {
        Self::Id(id)
    }
}

impl From<&str> for Target {
    /// By slug.
    fn from(slug: &str) -> Self {
        Self::slug(slug)
    }
}

/// Which monitors a listing shows: those that pass every test.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Filter {
    /// They have all of these tags.
    pub tags: Vec<String>,
    /// They have this status.
    pub status: Option<StatusWord>,
    /// Their slug, name or description contains this, whatever the case.
    pub text: Option<String>,
    /// They come behind this slug in the order of slugs.
    pub after: Option<String>,
}

impl Filter {
    fn passes(&self, record: &Record, now: Timestamp) -> bool {
        let spec = record.spec();
        self.tags.iter().all(|tag| spec.tags.contains(tag))
            && self.status.is_none_or(|word| Status::of(record, now).word == word)
            && self.text.as_ref().is_none_or(|text| {
                let text = text.to_lowercase();
                [&spec.slug, &spec.name, &spec.description].iter().any(|field| field.to_lowercase().contains(&text))
            })
    }
}

#[derive(Debug, Default)]
struct Index {
    by_id: HashMap<MonitorId, Arc<Record>>,
    by_slug: BTreeMap<String, MonitorId>,
    by_token: HashMap<TokenHash, MonitorId>,
}

/// The committed records; written by the driver, read by everybody.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    index: RwLock<Index>,
}

impl Directory {
    pub(crate) fn find(&self, target: &Target, now: Timestamp) -> Option<Arc<Record>> {
        let index = self.read();
        let id = match target {
            Target::Id(id) => Some(*id),
            Target::Slug(slug) => index.by_slug.get(slug).copied(),
            Target::Token(hash) => index.by_token.get(hash).copied(),
        };
        let record = index.by_id.get(&id?)?;
        match target {
            Target::Token(hash) => {
                record.monitor.token.accepted(now).any(|t| t.hash() == *hash).then(|| record.clone())
            }
            Target::Id(_) | Target::Slug(_) => Some(record.clone()),
        }
    }

    pub(crate) fn list(&self, filter: &Filter, limit: usize, now: Timestamp) -> Page<Arc<Record>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let index = self.read();
        let start = filter.after.as_ref().map_or(Unbounded, Excluded);
        let mut items: Vec<Arc<Record>> = index
            .by_slug
            .range::<String, _>((start, Unbounded))
            .filter_map(|(_, id)| index.by_id.get(id))
            .filter(|record| filter.passes(record, now))
            .take(limit.saturating_add(1))
            .cloned()
            .collect();
        let more = items.len() > limit;
        items.truncate(limit);
        Page { items, more }
    }

    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Record)) {
        for record in self.read().by_id.values() {
            visit(record);
        }
    }

    /// Takes over new forms of records; `None` removes one.
    pub(crate) fn update(&self, changes: impl IntoIterator<Item = (MonitorId, Option<Arc<Record>>)>) {
        let mut index = self.write();
        for (id, record) in changes {
            let names_stay = match (index.by_id.get(&id), &record) {
                (Some(old), Some(new)) => Arc::ptr_eq(&old.monitor, &new.monitor),
                _ => false,
            };
            if !names_stay {
                index.forget_names(id);
            }
            match record {
                Some(record) if names_stay => {
                    index.by_id.insert(id, record);
                }
                Some(record) => index.insert(record),
                None => {
                    index.by_id.remove(&id);
                }
            }
        }
    }

    // A reader or writer that panicked cannot leave an index half changed that matters: the records are whole.
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Index {
    fn insert(&mut self, record: Arc<Record>) {
        let id = record.id();
        self.by_slug.insert(record.spec().slug.clone(), id);
        for token in record.monitor.token.all() {
            self.by_token.insert(token.hash(), id);
        }
        self.by_id.insert(id, record);
    }

    /// Names that still lead to this monitor; another may have taken one over in the same batch.
    fn forget_names(&mut self, id: MonitorId) {
        let Some(old) = self.by_id.get(&id) else { return };
        let monitor = old.monitor.clone();
        if self.by_slug.get(&monitor.spec.slug) == Some(&id) {
            self.by_slug.remove(&monitor.spec.slug);
        }
        for token in monitor.token.all() {
            if self.by_token.get(&token.hash()) == Some(&id) {
                self.by_token.remove(&token.hash());
            }
        }
    }
}
