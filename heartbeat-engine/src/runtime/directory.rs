//! What readers see: the committed records, by id, slug and token.

mod index;
mod order;

use std::hint::black_box;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use index::Index;

use crate::table::READ_AHEAD;
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
    /// They are declared in a file (`true`), or in none (`false`).
    pub declared: Option<bool>,
    /// They come behind this slug in the order of slugs.
    pub after: Option<String>,
}

impl Filter {
    fn passes(&self, record: &Record, now: Timestamp) -> bool {
        let spec = record.spec();
        self.declared.is_none_or(|declared| spec.declared_in.is_some() == declared)
            && self.tags.iter().all(|tag| spec.tags.contains(tag))
            && self.status.is_none_or(|word| Status::of(record, now).word == word)
            && self.text.as_ref().is_none_or(|text| {
                let text = text.to_lowercase();
                [spec.slug.as_str(), &spec.name, &spec.description]
                    .iter()
                    .any(|field| field.to_lowercase().contains(&text))
            })
    }
}

/// How many records are looked at before others get their turn: a look at a million takes a tenth of a second and more, in which
/// no heartbeat could be answered.
const AT_ONCE: usize = 1024;

/// The committed records; written by the driver, read by everybody.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    index: RwLock<Index>,
}

impl Directory {
    pub(crate) fn find(&self, target: &Target, now: Timestamp) -> Option<Arc<Record>> {
        let index = self.read();
        let found = match target {
            Target::Id(id) => index.by_id(*id),
            Target::Slug(slug) => index.by_slug(slug),
            Target::Token(hash) => index.by_token(*hash, now),
        };
        found.cloned()
    }

    /// The first `limit` that pass, in the order of slugs. What changes meanwhile is seen in its old or its new form.
    pub(crate) fn list(&self, filter: &Filter, limit: usize, now: Timestamp) -> Page<Arc<Record>> {
        let (mut items, mut after) = (Vec::new(), filter.after.clone());
        loop {
            let index = self.read();
            if filter.declared == Some(true) && index.declared() == 0 {
                return Page { items, more: false };
            }
            let records: Vec<&Arc<Record>> = index.behind(after.as_deref()).take(AT_ONCE).collect();
            let Some(last) = records.last() else { return Page { items, more: false } };
            for block in records.chunks(READ_AHEAD) {
                read_ahead(block.iter().copied());
                for record in block.iter().filter(|record| filter.passes(record, now)) {
                    if items.len() == limit {
                        return Page { items, more: true };
                    }
                    items.push(Arc::clone(record));
                }
            }
            after = Some(last.spec().slug.to_string());
        }
    }

    /// Visits every record. What changes meanwhile is seen in its old or its new form, what is made meanwhile perhaps.
    pub(crate) fn for_each(&self, mut visit: impl FnMut(&Record)) {
        let mut from = 0;
        loop {
            let index = self.read();
            let places = index.places(from, AT_ONCE);
            if places.is_empty() {
                return;
            }
            for block in places.chunks(READ_AHEAD) {
                read_ahead(block.iter().flatten());
                block.iter().flatten().for_each(|record| visit(record));
            }
            from += AT_ONCE;
        }
    }

    /// Takes over new forms of records; `None` removes one.
    pub(crate) fn update(&self, changes: impl IntoIterator<Item = (MonitorId, Option<Arc<Record>>)>) {
        let mut index = self.write();
        for (id, record) in changes {
            index.set(id, record);
        }
    }

    /// Forgets everything, before it is loaded.
    pub(crate) fn clear(&self) {
        *self.write() = Index::default();
    }

    /// Makes room for about so many in all.
    pub(crate) fn expect(&self, records: usize) {
        self.write().expect(records);
    }

    /// Takes over the first records, in any order. They can be listed from [`Directory::loaded`] on.
    pub(crate) fn load(&self, records: &[Arc<Record>]) {
        let mut index = self.write();
        records.chunks(READ_AHEAD).for_each(|block| index.load(block));
    }

    /// Puts what was loaded in the order of slugs: sorting once is much cheaper than finding a place for each.
    pub(crate) fn loaded(&self) {
        self.write().sort();
    }

    // A reader or writer that panicked cannot leave an index half changed that matters: the records are whole.
    fn read(&self) -> RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Index> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a little of each record. One read does not wait for the other, so memory answers them side by side; whoever looks at
/// the records next finds them in the cache.
fn read_ahead<'a>(records: impl Iterator<Item = &'a Arc<Record>> + Clone) {
    black_box(records.clone().map(|record| record.version.0).max());
    black_box(records.map(|record| record.monitor.revision.0).max());
}

#[cfg(all(test, feature = "testing"))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::fixtures::{at, record};

    /// More than are looked at at once.
    const MANY: u64 = 3 * AT_ONCE as u64 + 7;

    fn directory() -> Directory {
        let directory = Directory::default();
        directory.load(&(0..MANY).map(|n| Arc::new(record(n))).collect::<Vec<_>>());
        directory.loaded();
        directory
    }

    #[test]
    fn every_record_is_visited_once() {
        let directory = directory();
        directory.update([(record(5).id(), None)]);
        let mut visited = Vec::new();
        directory.for_each(|record| visited.push(record.id()));
        visited.sort_unstable();
        let mut expected: Vec<MonitorId> = (0..MANY).filter(|n| *n != 5).map(|n| record(n).id()).collect();
        expected.sort_unstable();
        assert_eq!(visited, expected);
    }

    #[test]
    fn pages_follow_each_other_over_records_that_do_not_pass() {
        let directory = directory();
        let mut slugs: Vec<String> =
            (0..MANY).map(|n| format!("monitor-{n}")).filter(|slug| slug.ends_with("77")).collect();
        slugs.sort_unstable();
        let mut filter = Filter { text: Some("77".to_owned()), ..Filter::default() };
        let mut listed: Vec<String> = Vec::new();
        loop {
            let page = directory.list(&filter, 10, at(0));
            assert!(page.items.len() == 10 || !page.more);
            listed.extend(page.items.iter().map(|record| record.spec().slug.to_string()));
            if !page.more {
                break;
            }
            filter.after = listed.last().cloned();
        }
        assert!(listed.is_sorted());
        listed.retain(|slug| slug.ends_with("77"));
        assert_eq!(listed, slugs);
        assert!(
            directory.list(&Filter { text: Some("none".to_owned()), ..Filter::default() }, 10, at(0)).items.is_empty()
        );
    }

    #[test]
    fn those_that_are_declared_in_a_file_are_listed() {
        let directory = directory();
        let listed = |declared| {
            let filter = Filter { declared: Some(declared), ..Filter::default() };
            directory.list(&filter, usize::MAX, at(0)).items.len() as u64
        };
        assert_eq!((listed(true), listed(false)), (0, MANY));
        let mut declared = record(5);
        Arc::make_mut(&mut declared.monitor).spec.declared_in = Some("heartbeat.toml".to_owned());
        directory.update([(declared.id(), Some(Arc::new(declared)))]);
        assert_eq!((listed(true), listed(false)), (1, MANY - 1));
        directory.update([(record(5).id(), None)]);
        assert_eq!((listed(true), listed(false)), (0, MANY - 1));
    }

    #[test]
    fn a_listing_of_nothing_says_whether_there_is_something() {
        let page = directory().list(&Filter::default(), 0, at(0));
        assert!(page.items.is_empty() && page.more);
    }
}
