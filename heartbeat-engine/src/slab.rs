//! Things of monitors, in one piece of memory: found by the id of the monitor, and named by a small number.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use crate::MonitorId;
use crate::table::Table;

/// A map by monitor. The order of iteration follows from its history alone.
pub(crate) type IdMap<V> = HashMap<MonitorId, V, BuildHasherDefault<IdHasher>>;
/// A set of monitors. The order of iteration follows from its history alone.
pub(crate) type IdSet = HashSet<MonitorId, BuildHasherDefault<IdHasher>>;

/// Multipliers of the hash, from the digits of pi.
const MIX: [u64; 2] = [0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344];
/// What belongs to one monitor.
pub(crate) trait OfMonitor {
    /// The monitor's id.
    fn monitor(&self) -> MonitorId;
}

/// One `T` for each of many monitors. The order of iteration follows from the insertions and removals alone.
///
/// The hash is fast and not keyed: ids are drawn at random by the engine, and nobody else chooses them.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    things: Vec<Option<T>>,
    free: Vec<u32>,
    table: Table,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { things: Vec::new(), free: Vec::new(), table: Table::default() }
    }
}

impl<T: OfMonitor> Slab<T> {
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.things.len() - self.free.len()
    }

    /// Makes room for so many in all.
    pub(crate) fn expect(&mut self, count: usize) {
        self.things.reserve_exact(count.saturating_sub(self.things.len()));
        self.table.expect(count);
    }

    /// The number of a monitor's thing; it stays the same until the thing is removed.
    pub(crate) fn find(&self, id: &MonitorId) -> Option<u32> {
        self.table.find(tag(id), |number| self.at(number).is_some_and(|thing| thing.monitor() == *id))
    }

    /// See [`Table::read_ahead`].
    pub(crate) fn read_ahead(&self, id: &MonitorId) -> u64 {
        self.table.read_ahead(tag(id))
    }

    pub(crate) fn at(&self, number: u32) -> Option<&T> {
        self.things.get(number as usize)?.as_ref()
    }

    pub(crate) fn at_mut(&mut self, number: u32) -> Option<&mut T> {
        self.things.get_mut(number as usize)?.as_mut()
    }

    pub(crate) fn get(&self, id: &MonitorId) -> Option<&T> {
        self.at(self.find(id)?)
    }

    pub(crate) fn get_mut(&mut self, id: &MonitorId) -> Option<&mut T> {
        self.at_mut(self.find(id)?)
    }

    /// Puts in the thing of a monitor; takes the place of the one before, if there is one.
    pub(crate) fn insert(&mut self, thing: T) -> u32 {
        let id = thing.monitor();
        if let Some(number) = self.find(&id) {
            self.things[number as usize] = Some(thing);
            return number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.things.push(None);
            // Memory ends before 2^32 monitors.
            (self.things.len() - 1) as u32
        });
        self.things[number as usize] = Some(thing);
        self.table.insert(tag(&id), number);
        number
    }

    /// Takes out the thing of a monitor, with the number that it had.
    pub(crate) fn remove(&mut self, id: &MonitorId) -> Option<(u32, T)> {
        let number = self.find(id)?;
        self.table.remove(tag(id), number);
        self.free.push(number);
        self.things[number as usize].take().map(|thing| (number, thing))
    }

    /// Those of `count` numbers from one on, and where to go on, if there are more.
    pub(crate) fn numbered(&self, from: u32, count: usize) -> (impl Iterator<Item = &T>, Option<u32>) {
        let rest = self.things.get(from as usize..).unwrap_or_default();
        let things = &rest[..count.min(rest.len())];
        (things.iter().flatten(), (things.len() < rest.len()).then(|| from + things.len() as u32))
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.things.iter().flatten()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.things.iter_mut().flatten()
    }
}

fn tag(id: &MonitorId) -> u32 {
    (mixed(*id.as_bytes()) >> 32) as u32
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

    impl<V> OfMonitor for (MonitorId, V) {
        fn monitor(&self) -> MonitorId {
            self.0
        }
    }

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
                    let number = slab.insert((id(n), turn));
                    prop_assert!(known.is_none_or(|known| known == number));
                    map.insert(id(n), (number, (id(n), turn)));
                } else {
                    prop_assert_eq!(slab.remove(&id(n)), map.remove(&id(n)));
                }
                prop_assert_eq!(slab.len(), map.len());
            }
            for n in 0..=255 {
                prop_assert_eq!(slab.find(&id(n)), map.get(&id(n)).map(|found| found.0));
                prop_assert_eq!(slab.get(&id(n)), map.get(&id(n)).map(|found| &found.1));
            }
            let mut found: Vec<_> = slab.values().copied().collect();
            found.sort_unstable();
            prop_assert_eq!(found, map.into_values().map(|(_, thing)| thing).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_same_history_gives_the_same_order_and_numbers_are_used_again() {
        let made = || {
            let mut slab = Slab::default();
            for n in 0..100 {
                slab.insert((id(n), n));
            }
            for n in 0..50 {
                assert!(slab.remove(&id(n * 2)).is_some());
            }
            for n in 100..120 {
                slab.insert((id(n), n));
            }
            slab
        };
        let (one, other) = (made(), made());
        assert!(one.values().eq(other.values()));
        assert_eq!(one.things.len(), 100);
        assert_eq!(one.at(one.find(&id(110)).unwrap()), Some(&(id(110), 110)));
    }
}
