//! The index of the committed records: one list of them, and tables that lead to places in it. The keys are read from the
//! records themselves.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::hint::black_box;
use std::sync::Arc;

use super::order::{Order, Place};
use crate::table::Table;
use crate::{MonitorId, Record, Timestamp, TokenHash};

#[derive(Debug, Default)]
pub(super) struct Index {
    records: Vec<Option<Arc<Record>>>,
    /// Places that are empty.
    free: Vec<Place>,
    by_id: Table,
    /// A monitor whose token is being rotated is here once for each.
    by_token: Table,
    by_slug: Table,
    order: Order,
    /// How many are declared in a file.
    declared: usize,
    /// Users choose slugs, so where one lies must not be foreseeable. Ids and hashes of tokens are random as they are.
    slug_hasher: RandomState,
}

impl Index {
    pub(super) fn by_id(&self, id: MonitorId) -> Option<&Arc<Record>> {
        self.at(self.place(id)?)
    }

    pub(super) fn by_slug(&self, slug: &str) -> Option<&Arc<Record>> {
        self.at(self.by_slug.find(self.tag_of_slug(slug), |place| self.slug_of(place) == slug)?)
    }

    /// The monitor that accepts this token now.
    pub(super) fn by_token(&self, hash: TokenHash, now: Timestamp) -> Option<&Arc<Record>> {
        let accepts = |record: &Arc<Record>| record.monitor.token.accepted(now).any(|token| token.hash() == hash);
        self.at(self.by_token.find(tag_of_token(hash), |place| self.at(place).is_some_and(accepts))?)
    }

    /// Those whose slugs come behind this one, in the order of slugs.
    pub(super) fn behind(&self, after: Option<&str>) -> impl Iterator<Item = &Arc<Record>> {
        self.order.behind(after, |place| self.slug_of(place)).filter_map(|place| self.at(place))
    }

    /// So many places from one on, some of which may be empty; none behind the last one.
    pub(super) fn places(&self, from: usize, count: usize) -> &[Option<Arc<Record>>] {
        let places = self.records.get(from..).unwrap_or_default();
        &places[..count.min(places.len())]
    }

    /// Takes over a new form of a record; `None` removes it.
    pub(super) fn set(&mut self, id: MonitorId, record: Option<Arc<Record>>) {
        let place = self.place(id);
        if let (Some(place), Some(new)) = (place, &record)
            && let Some(Some(old)) = self.records.get_mut(place as usize)
            && Arc::ptr_eq(&old.monitor, &new.monitor)
        {
            // A heartbeat: the names stay.
            old.clone_from(new);
            return;
        }
        if let Some(place) = place {
            self.remove(place);
        }
        if let Some(record) = record
            && let Some(place) = self.insert(record)
        {
            let records = &self.records;
            self.order.insert(place, |place| slug_of(records, place));
        }
    }

    pub(super) fn expect(&mut self, records: usize) {
        self.records.reserve_exact(records.saturating_sub(self.records.len()));
        for table in [&mut self.by_id, &mut self.by_token, &mut self.by_slug] {
            table.expect(records);
        }
    }

    /// Takes over records that are not known yet, and passes over those that are; they have no place in the order until
    /// [`Index::sort`]. A few at a time: what leads to them is read ahead, as one read does not wait for the other.
    pub(super) fn load(&mut self, block: &[Arc<Record>]) {
        let tagged: Vec<(Tags, &Arc<Record>)> = block.iter().map(|record| (self.tags(record), record)).collect();
        black_box(tagged.iter().fold(0, |all, (tags, _)| {
            let tokens = tags.tokens.iter().flatten().fold(0, |all, tag| all ^ self.by_token.read_ahead(*tag));
            all ^ self.by_id.read_ahead(tags.id) ^ self.by_slug.read_ahead(tags.slug) ^ tokens
        }));
        for (tags, record) in tagged {
            if self.place(record.id()).is_none() {
                self.enter(record.clone(), &tags);
            }
        }
    }

    /// How many are declared in a file.
    pub(super) fn declared(&self) -> usize {
        self.declared
    }

    pub(super) fn sort(&mut self) {
        let occupied = (0..).zip(&self.records).filter(|(_, record)| record.is_some()).map(|(place, _)| place);
        self.order = Order::sorted(occupied, |place| self.slug_of(place));
    }

    fn insert(&mut self, record: Arc<Record>) -> Option<Place> {
        let tags = self.tags(&record);
        self.enter(record, &tags)
    }

    fn enter(&mut self, record: Arc<Record>, tags: &Tags) -> Option<Place> {
        // 4,294,967,295 monitors in one process are out of reach of any memory.
        let place = self.free.pop().or_else(|| Place::try_from(self.records.len()).ok())?;
        if place as usize == self.records.len() {
            self.records.push(None);
        }
        self.by_id.insert(tags.id, place);
        self.by_slug.insert(tags.slug, place);
        tags.tokens.iter().flatten().for_each(|tag| self.by_token.insert(*tag, place));
        self.declared += usize::from(record.spec().declared_in.is_some());
        self.records[place as usize] = Some(record);
        Some(place)
    }

    /// Takes a record out. Another may have one of its names already, from the same batch: that one keeps it.
    fn remove(&mut self, place: Place) {
        let records = &self.records;
        self.order.remove(place, |place| slug_of(records, place));
        let Some(record) = self.records[place as usize].take() else { return };
        let tags = self.tags(&record);
        self.by_id.remove(tags.id, place);
        self.by_slug.remove(tags.slug, place);
        tags.tokens.iter().flatten().for_each(|tag| self.by_token.remove(*tag, place));
        self.declared -= usize::from(record.spec().declared_in.is_some());
        self.free.push(place);
    }

    fn place(&self, id: MonitorId) -> Option<Place> {
        self.by_id.find(tag_of_id(id), |place| self.at(place).is_some_and(|record| record.id() == id))
    }

    fn at(&self, place: Place) -> Option<&Arc<Record>> {
        self.records.get(place as usize)?.as_ref()
    }

    fn slug_of(&self, place: Place) -> &str {
        slug_of(&self.records, place)
    }

    fn tags(&self, record: &Record) -> Tags {
        let mut tokens = record.monitor.token.all().map(|token| tag_of_token(token.hash()));
        Tags {
            id: tag_of_id(record.id()),
            slug: self.tag_of_slug(&record.spec().slug),
            tokens: [tokens.next(), tokens.next()],
        }
    }

    fn tag_of_slug(&self, slug: &str) -> u32 {
        self.slug_hasher.hash_one(slug) as u32
    }
}

/// By which names a record is found.
struct Tags {
    id: u32,
    slug: u32,
    /// One, or two while the token is being rotated.
    tokens: [Option<u32>; 2],
}

fn slug_of(records: &[Option<Arc<Record>>], place: Place) -> &str {
    records.get(place as usize).and_then(Option::as_ref).map_or("", |record| &record.spec().slug)
}

fn tag_of_id(id: MonitorId) -> u32 {
    let id = u128::from_le_bytes(*id.as_bytes());
    // The bits that say which kind of UUID it is are the same in all; folding mixes them with others.
    let folded = (id as u64 ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul((id >> 64) as u64 | 1);
    (folded >> 32) as u32
}

fn tag_of_token(hash: TokenHash) -> u32 {
    let [a, b, c, d, ..] = *hash.as_bytes();
    u32::from_le_bytes([a, b, c, d])
}
