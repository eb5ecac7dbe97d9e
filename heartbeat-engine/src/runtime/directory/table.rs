//! A hash table of places: 8 bytes for each, and the keys are where the places lead.

use hashbrown::HashTable;

use super::order::Place;

/// Leads from tags, which are parts of a hash, to places; the same tag may lead to several.
#[derive(Debug, Default)]
pub(super) struct Table {
    // The tag is kept, so that the table grows without a look at what it leads to.
    entries: HashTable<(u32, Place)>,
}

impl Table {
    /// The place with this tag that is the right one.
    pub(super) fn find(&self, tag: u32, is_it: impl Fn(Place) -> bool) -> Option<Place> {
        self.entries.find(spread(tag), |(found, place)| *found == tag && is_it(*place)).map(|(_, place)| *place)
    }

    pub(super) fn insert(&mut self, tag: u32, place: Place) {
        self.entries.insert_unique(spread(tag), (tag, place), |(tag, _)| spread(*tag));
    }

    pub(super) fn remove(&mut self, tag: u32, place: Place) {
        if let Ok(entry) = self.entries.find_entry(spread(tag), |entry| *entry == (tag, place)) {
            entry.remove();
        }
    }
}

/// The table looks at the lowest and the highest bits of 64.
fn spread(tag: u32) -> u64 {
    u64::from(tag).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
