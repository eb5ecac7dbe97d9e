//! A hash table that leads to numbers of things; their keys are where the numbers lead.

/// An empty place. No thing has this number.
const VACANT: u64 = u64::MAX;
const ROOM_MIN: usize = 16;
/// For how many things memory is read ahead: so many reads are answered side by side, and what they brought is still in the cache
/// when it is used.
pub(crate) const READ_AHEAD: usize = 32;

/// Leads from tags, which are 32 bits of a hash, to the numbers of things; the same tag may lead to several.
///
/// It takes 9 to 11 bytes for each: open addressing, at most seven eighths full, and it grows by an eighth. An entry is the tag
/// above the number, so that it grows without a look at what it leads to. Entries lie roughly in the order of their tags, so
/// growing reads and writes memory from front to end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    entries: Vec<u64>,
    occupied: usize,
}

impl Table {
    /// The number with this tag that is the right one.
    pub(crate) fn find(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<u32> {
        self.search(tag, is_it).map(|place| number(self.entries[place]))
    }

    /// Reads where a search for this tag begins. Many such reads do not wait for each other, and a search that follows finds the
    /// place in the cache; the value is for `black_box`.
    pub(crate) fn read_ahead(&self, tag: u32) -> u64 {
        self.entries.get(self.home(u64::from(tag) << 32)).copied().unwrap_or_default()
    }

    /// Makes room for so many in all, so that it need not grow step by step.
    pub(crate) fn expect(&mut self, count: usize) {
        let room = count.saturating_mul(8).div_ceil(7) + 1;
        if room > self.entries.len() {
            self.resize(room);
        }
    }

    /// Puts in a number that is not there. `u32::MAX` with the tag `u32::MAX` has no place.
    pub(crate) fn insert(&mut self, tag: u32, number: u32) {
        if (self.occupied + 1) * 8 > self.entries.len() * 7 {
            self.grow();
        }
        self.occupied += 1;
        self.enter((u64::from(tag) << 32) | u64::from(number));
    }

    /// Takes out a number, if it is there.
    pub(crate) fn remove(&mut self, tag: u32, number: u32) {
        let Some(mut hole) = self.search(tag, |found| found == number) else { return };
        self.occupied -= 1;
        // Those behind it move up that would not be found any more.
        let mut place = self.after(hole);
        while self.entries[place] != VACANT {
            let home = self.home(self.entries[place]);
            if self.distance(home, place) >= self.distance(hole, place) {
                self.entries[hole] = self.entries[place];
                hole = place;
            }
            place = self.after(place);
        }
        self.entries[hole] = VACANT;
    }

    fn search(&self, tag: u32, is_it: impl Fn(u32) -> bool) -> Option<usize> {
        if self.entries.is_empty() {
            return None;
        }
        let mut place = self.home(u64::from(tag) << 32);
        loop {
            let entry = self.entries[place];
            if entry == VACANT {
                return None;
            }
            if entry >> 32 == u64::from(tag) && is_it(number(entry)) {
                return Some(place);
            }
            place = self.after(place);
        }
    }

    fn enter(&mut self, entry: u64) {
        let mut place = self.home(entry);
        while self.entries[place] != VACANT {
            place = self.after(place);
        }
        self.entries[place] = entry;
    }

    fn grow(&mut self) {
        self.resize((self.entries.len() + self.entries.len() / 8).max(ROOM_MIN));
    }

    fn resize(&mut self, room: usize) {
        for entry in std::mem::replace(&mut self.entries, vec![VACANT; room]) {
            if entry != VACANT {
                self.enter(entry);
            }
        }
    }

    /// Where the search for an entry begins: as far in the table as its tag is among all tags.
    fn home(&self, entry: u64) -> usize {
        ((u128::from(entry >> 32) * self.entries.len() as u128) >> 32) as usize
    }

    fn after(&self, place: usize) -> usize {
        if place + 1 == self.entries.len() { 0 } else { place + 1 }
    }

    /// How many places further `to` is, around the end.
    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.entries.len() - from }
    }
}

fn number(entry: u64) -> u32 {
    entry as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Few tags, at both ends, so that many share a place and the end of the table is passed.
    fn tag() -> impl Strategy<Value = u32> {
        prop_oneof![0..4_u32, (u32::MAX - 3)..=u32::MAX, any::<u32>()]
    }

    proptest! {
        #[test]
        fn numbers_are_found_as_in_a_set(deeds in prop::collection::vec((tag(), 0..40_u32, any::<bool>()), 1..400)) {
            let (mut table, mut set) = (Table::default(), BTreeSet::new());
            for (tag, number, put) in &deeds {
                if *put && set.insert((*tag, *number)) {
                    table.insert(*tag, *number);
                } else if !*put {
                    set.remove(&(*tag, *number));
                    table.remove(*tag, *number);
                }
            }
            prop_assert_eq!(table.occupied, set.len());
            for (tag, number, _) in deeds {
                let found = table.find(tag, |found| found == number);
                prop_assert_eq!(found, set.contains(&(tag, number)).then_some(number));
            }
        }
    }

    #[test]
    fn it_is_as_small_as_it_is_said_to_be() {
        let mut table = Table::default();
        for number in 0..100_000_u32 {
            table.insert(number.wrapping_mul(0x9e37_79b9), number);
            let bytes = table.entries.len() * 8;
            assert!(number < 1000 || bytes <= (number as usize + 1) * 11, "{bytes} bytes for {number}");
        }
    }
}
