//! Things of monitors, in one piece of memory: found by the id of the monitor, and named by a small number.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use crate::MonitorId;

/// A map by monitor. The order of iteration follows from its history alone.
pub(crate) type IdMap<V> = HashMap<MonitorId, V, BuildHasherDefault<IdHasher>>;
/// A set of monitors. The order of iteration follows from its history alone.
pub(crate) type IdSet = HashSet<MonitorId, BuildHasherDefault<IdHasher>>;

/// Multipliers of the hash, from the digits of pi.
const MIX: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];
/// An empty place of the table. No thing has this number.
const VACANT: u64 = u64::MAX;
const TABLE_MIN: usize = 16;

/// One `T` for each of many monitors. The order of iteration follows from the insertions and removals alone.
///
/// The hash is fast and not keyed: ids are drawn at random by the engine, and nobody else chooses them.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    things: Vec<Option<(MonitorId, T)>>,
    free: Vec<u32>,
    /// Open addressing: the upper half of a hash above the number of the thing; a power of two, at most three quarters full.
    table: Vec<u64>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { things: Vec::new(), free: Vec::new(), table: vec![VACANT; TABLE_MIN] }
    }
}

impl<T> Slab<T> {
    pub(crate) fn len(&self) -> usize {
        self.things.len() - self.free.len()
    }

    /// The number of a monitor's thing; it stays the same until the thing is removed.
    pub(crate) fn find(&self, id: &MonitorId) -> Option<u32> {
        self.search(id).map(|place| number(self.table[place]))
    }

    pub(crate) fn at(&self, number: u32) -> Option<&T> {
        self.things.get(number as usize)?.as_ref().map(|(_, thing)| thing)
    }

    pub(crate) fn at_mut(&mut self, number: u32) -> Option<&mut T> {
        self.things.get_mut(number as usize)?.as_mut().map(|(_, thing)| thing)
    }

    pub(crate) fn get(&self, id: &MonitorId) -> Option<&T> {
        self.at(self.find(id)?)
    }

    pub(crate) fn get_mut(&mut self, id: &MonitorId) -> Option<&mut T> {
        self.at_mut(self.find(id)?)
    }

    /// Puts in the thing of a monitor; takes the place of the one before, if there is one.
    pub(crate) fn insert(&mut self, id: MonitorId, thing: T) -> u32 {
        if let Some(number) = self.find(&id) {
            self.things[number as usize] = Some((id, thing));
            return number;
        }
        if (self.len() + 1) * 4 > self.table.len() * 3 {
            self.grow();
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.things.push(None);
            // Memory ends before 2^32 monitors.
            (self.things.len() - 1) as u32
        });
        self.things[number as usize] = Some((id, thing));
        self.enter(hash(&id), number);
        number
    }

    /// Takes out the thing of a monitor, with the number that it had.
    pub(crate) fn remove(&mut self, id: &MonitorId) -> Option<(u32, T)> {
        let place = self.search(id)?;
        let number = number(self.table[place]);
        self.vacate(place);
        self.free.push(number);
        self.things[number as usize].take().map(|(_, thing)| (number, thing))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (MonitorId, &T)> {
        self.things.iter().flatten().map(|(id, thing)| (*id, thing))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (MonitorId, &mut T)> {
        self.things.iter_mut().flatten().map(|(id, thing)| (*id, thing))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, thing)| thing)
    }

    /// The place in the table that leads to the thing of a monitor.
    fn search(&self, id: &MonitorId) -> Option<usize> {
        let hash = hash(id);
        let mut place = self.home(hash);
        loop {
            let entry = self.table[place];
            if entry == VACANT {
                return None;
            }
            if entry >> 32 == hash >> 32
                && self.things[number(entry) as usize].as_ref().is_some_and(|(found, _)| found == id)
            {
                return Some(place);
            }
            place = self.after(place);
        }
    }

    fn enter(&mut self, hash: u64, number: u32) {
        let mut place = self.home(hash);
        while self.table[place] != VACANT {
            place = self.after(place);
        }
        self.table[place] = (hash >> 32 << 32) | u64::from(number);
    }

    /// Empties a place, and moves those behind it up that would not be found any more.
    fn vacate(&mut self, mut hole: usize) {
        let mask = self.table.len() - 1;
        let mut place = self.after(hole);
        while self.table[place] != VACANT {
            let home = self.home(self.table[place]);
            if (place.wrapping_sub(home) & mask) >= (place.wrapping_sub(hole) & mask) {
                self.table[hole] = self.table[place];
                hole = place;
            }
            place = self.after(place);
        }
        self.table[hole] = VACANT;
    }

    fn grow(&mut self) {
        let larger = vec![VACANT; self.table.len() * 2];
        for entry in std::mem::replace(&mut self.table, larger) {
            if entry != VACANT {
                self.enter(entry, number(entry));
            }
        }
    }

    /// Where the search for a hash begins. Only its upper half counts, which the table keeps.
    fn home(&self, hash: u64) -> usize {
        (hash >> 32) as usize & (self.table.len() - 1)
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.table.len() - 1)
    }
}

fn number(entry: u64) -> u32 {
    entry as u32
}

/// Hashes ids and nothing else.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0 ^= bytes.try_into().map_or(0, mixed);
    }

    /// The length, which all ids have in common.
    fn write_usize(&mut self, _: usize) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

fn hash(id: &MonitorId) -> u64 {
    mixed(*id.as_bytes())
}

fn mixed(bytes: [u8; 16]) -> u64 {
    let halves = u128::from_ne_bytes(bytes);
    let product = u128::from(halves as u64 ^ MIX[0]) * u128::from((halves >> 64) as u64 ^ MIX[1]);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Few hashes, so that many ids share a place.
    fn id(n: u8) -> MonitorId {
        MonitorId::from_bytes([n; 16])
    }

    proptest! {
        #[test]
        fn things_are_found_as_in_a_map(deeds in prop::collection::vec((any::<u8>(), any::<bool>()), 1..600)) {
            let (mut slab, mut map) = (Slab::default(), BTreeMap::new());
            for (turn, (n, put)) in deeds.into_iter().enumerate() {
                if put {
                    let known = slab.find(&id(n));
                    let number = slab.insert(id(n), turn);
                    prop_assert!(known.is_none_or(|known| known == number));
                    map.insert(id(n), (number, turn));
                } else {
                    prop_assert_eq!(slab.remove(&id(n)), map.remove(&id(n)));
                }
                prop_assert_eq!(slab.len(), map.len());
            }
            for n in 0..=255 {
                prop_assert_eq!(slab.find(&id(n)), map.get(&id(n)).map(|found| found.0));
                prop_assert_eq!(slab.get(&id(n)), map.get(&id(n)).map(|found| &found.1));
            }
            let mut found: Vec<_> = slab.iter().map(|(id, turn)| (id, *turn)).collect();
            found.sort_unstable();
            prop_assert_eq!(found, map.into_iter().map(|(id, (_, turn))| (id, turn)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_same_history_gives_the_same_order_and_numbers_are_used_again() {
        let made = || {
            let mut slab = Slab::default();
            for n in 0..100 {
                slab.insert(id(n), n);
            }
            for n in 0..50 {
                assert!(slab.remove(&id(n * 2)).is_some());
            }
            for n in 100..120 {
                slab.insert(id(n), n);
            }
            slab
        };
        let (one, other) = (made(), made());
        assert!(one.iter().eq(other.iter()));
        assert_eq!(one.things.len(), 100);
        assert_eq!(one.at(one.find(&id(110)).unwrap()), Some(&110));
    }
}
