//! What readers see: the committed records, by id, slug and token.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::slab::{Slab, Table};
use crate::{Monitor, MonitorId, Page, Record, Status, StatusWord, Timestamp, TokenHash};

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
    records: Slab<Arc<Record>>,
    by_slug: BTreeSet<BySlug>,
    /// From the hashes of tokens to the places of their monitors in `records`.
    by_token: Table,
}

/// A monitor in the order of slugs.
#[derive(Debug)]
struct BySlug(Arc<Monitor>);

impl Borrow<str> for BySlug {
    fn borrow(&self) -> &str {
        &self.0.spec.slug
    }
}

impl PartialEq for BySlug {
    fn eq(&self, other: &Self) -> bool {
        self.0.spec.slug == other.0.spec.slug
    }
}

impl Eq for BySlug {}

impl PartialOrd for BySlug {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for BySlug {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.spec.slug.cmp(&other.0.spec.slug)
    }
}

/// The committed records; written by the driver, read by everybody.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    index: RwLock<Index>,
}

impl Directory {
    pub(crate) fn find(&self, target: &Target, now: Timestamp) -> Option<Arc<Record>> {
        let index = self.read();
        match target {
            Target::Id(id) => index.records.get(id).cloned(),
            Target::Slug(slug) => index.records.get(&index.by_slug.get(slug.as_str())?.0.id).cloned(),
            Target::Token(hash) => {
                let accepts = |record: &Arc<Record>| record.monitor.token.accepted(now).any(|t| t.hash() == *hash);
                let number = index.by_token.find(key(hash), |number| index.records.at(number).is_some_and(accepts))?;
                index.records.at(number).cloned()
            }
        }
    }

    pub(crate) fn list(&self, filter: &Filter, limit: usize, now: Timestamp) -> Page<Arc<Record>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let index = self.read();
        let start = filter.after.as_deref().map_or(Unbounded, Excluded);
        let mut items: Vec<Arc<Record>> = index
            .by_slug
            .range::<str, _>((start, Unbounded))
            .filter_map(|by_slug| index.records.get(&by_slug.0.id))
            .filter(|record| filter.passes(record, now))
            .take(limit.saturating_add(1))
            .cloned()
            .collect();
        let more = items.len() > limit;
        items.truncate(limit);
        Page { items, more }
    }

    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Record)) {
        for record in self.read().records.values() {
            visit(record);
        }
    }

    /// Takes over new forms of records; `None` removes one.
    pub(crate) fn update(&self, changes: impl IntoIterator<Item = (MonitorId, Option<Arc<Record>>)>) {
        let mut index = self.write();
        for (id, record) in changes {
            let names_stay = match (index.records.get(&id), &record) {
                (Some(old), Some(new)) => Arc::ptr_eq(&old.monitor, &new.monitor),
                _ => false,
            };
            if !names_stay {
                index.forget_names(id);
            }
            match record {
                Some(record) if names_stay => {
                    index.records.insert(id, record);
                }
                Some(record) => index.insert(record),
                None => {
                    index.records.remove(&id);
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
        let monitor = record.monitor.clone();
        let number = self.records.insert(monitor.id, record);
        for token in monitor.token.all() {
            self.by_token.insert(key(&token.hash()), number);
        }
        self.by_slug.replace(BySlug(monitor));
    }

    /// Names that still lead to this monitor; another may have taken one over in the same batch.
    fn forget_names(&mut self, id: MonitorId) {
        let Some(number) = self.records.find(&id) else { return };
        let Some(monitor) = self.records.at(number).map(|record| record.monitor.clone()) else { return };
        let slug = monitor.spec.slug.as_str();
        if self.by_slug.get(slug).is_some_and(|found| found.0.id == id) {
            self.by_slug.remove(slug);
        }
        for token in monitor.token.all() {
            self.by_token.remove(key(&token.hash()), number);
        }
    }
}

/// The part of a token's hash that the table goes by; the rest is compared.
fn key(hash: &TokenHash) -> u64 {
    let [first, second, third, fourth, fifth, sixth, seventh, eighth, ..] = *hash.as_bytes();
    u64::from_be_bytes([first, second, third, fourth, fifth, sixth, seventh, eighth])
}
