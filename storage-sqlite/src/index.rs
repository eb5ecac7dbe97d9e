//! What is known of every monitor without asking the database: its version, when it wakes, and where its newest entry in
//! the log is.
//!
//! The writer needs the version for each compare-and-swap, readers need the place in the log; a look-up in the file would
//! cost more than all the rest of a heartbeat. It is filled at opening and follows each commit, before that is answered.
//! The lock is held for single look-ups or for one group of commits, never while SQLite works.
//!
//! It takes 50 bytes for each monitor, and 4 to 11 for the table that leads to them. Maps of the standard library would
//! take half as much again, and stop the writer while a million entries move.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};

use heartbeat_engine::{Monitor, MonitorId, PartitionId, Timestamp};

use crate::log::Position;
use crate::wish_text::WishTexts;

/// How many entries one block holds.
const BLOCK: usize = 4096;
const EMPTY: u32 = u32::MAX;
/// The id in an entry that is free.
const NOBODY: [u8; 16] = [0xff; 16];
/// How often a reader lets others run while it waits for the index to follow a commit.
const YIELDS_MAX: u32 = 1 << 16;

/// What is known of a monitor.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) id: [u8; 16],
    pub(crate) version: u64,
    pub(crate) wake_at: i64,
    /// The wish that is stored, if this process has seen it: a heartbeat brings the same one again.
    pub(crate) monitor: Weak<Monitor>,
    pub(crate) newest: Newest,
}

/// Where the newest entry of a monitor is, and whether it is in the monitor's row already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Newest(u64);

impl Newest {
    const FOLDED: u64 = 1 << 63;

    /// It is in the row, as everything before it.
    pub(crate) const fn folded(position: Position) -> Self {
        Self(position.0 | Self::FOLDED)
    }

    /// It is in the log alone.
    pub(crate) const fn tail(position: Position) -> Self {
        Self(position.0)
    }

    /// The position, if it is in the log alone.
    pub(crate) fn in_tail(self) -> Option<Position> {
        (self.0 & Self::FOLDED == 0).then_some(Position(self.0))
    }

    pub(crate) const fn position(self) -> Position {
        Position(self.0 & !Self::FOLDED)
    }
}

/// All monitors.
#[derive(Debug, Default)]
pub(crate) struct Index {
    table: RwLock<Table>,
    /// What was read of wishes.
    pub(crate) texts: WishTexts,
}

impl Index {
    pub(crate) fn new(table: Table) -> Self {
        Self { table: RwLock::new(table), texts: WishTexts::default() }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where what is not in the row of these monitors begins to be read.
    pub(crate) fn tails(&self, ids: &[MonitorId]) -> Vec<Option<Position>> {
        let table = self.read();
        ids.iter().map(|id| table.tail(id.as_bytes())).collect()
    }

    /// Waits for the index to follow a commit that a reader has seen in the database already, so that whatever is read
    /// next finds it, too. The writer does nothing in between, so this takes no time; it is bounded all the same.
    pub(crate) fn wait_for(&self, id: &[u8; 16], position: Position) {
        let follows = || self.read().find(id).is_none_or(|(entry, _)| entry.newest.position() >= position);
        for _ in 0..YIELDS_MAX {
            if follows() {
                return;
            }
            std::thread::yield_now();
        }
    }

    /// The wishes that a reader has seen in the database, each with the version of its record. A wish counts only where no
    /// other version came meanwhile.
    pub(crate) fn learn<'a>(&self, seen: impl Iterator<Item = (MonitorId, u64, &'a Arc<Monitor>)>) {
        let mut table = self.write();
        let mut guess = 0;
        for (id, version, monitor) in seen {
            let Some(number) = table.number(id.as_bytes(), guess) else { continue };
            guess = number + 1;
            let entry = table.entry_mut(number);
            if entry.version == version && entry.monitor.strong_count() == 0 {
                entry.monitor = Arc::downgrade(monitor);
            }
        }
    }

    /// The monitors of a partition that wake before an instant, soonest first. The lock is let go of now and then.
    pub(crate) fn due(&self, partition: PartitionId, before: Timestamp, limit: usize) -> Vec<(MonitorId, Timestamp)> {
        let mut soonest = std::collections::BinaryHeap::new();
        let blocks = self.read().blocks.len();
        for block in 0..blocks {
            let table = self.read();
            for entry in table.block(block, partition.0) {
                if entry.wake_at < before.as_millis() && entry.wake_at < i64::MAX && limit > 0 {
                    let found = (entry.wake_at, entry.id);
                    if soonest.len() < limit {
                        soonest.push(found);
                    } else if soonest.peek().is_some_and(|last| *last > found) {
                        soonest.pop();
                        soonest.push(found);
                    }
                }
            }
        }
        let found = soonest.into_sorted_vec().into_iter();
        found.map(|(wake_at, id)| (MonitorId::from_bytes(id), Timestamp::from_millis(wake_at))).collect()
    }

    /// Everybody whose newest entry is in the log alone, in the order of ids. The lock is let go of now and then.
    pub(crate) fn tailing(&self) -> Vec<[u8; 16]> {
        let mut found = Vec::new();
        let blocks = self.read().blocks.len();
        for block in 0..blocks {
            let table = self.read();
            let entries = table.blocks.get(block).into_iter().flatten();
            found.extend(entries.filter(|entry| entry.newest.in_tail().is_some()).map(|entry| entry.id));
        }
        found.sort_unstable();
        found
    }
}

/// The table itself: entries in blocks, which never move, and an open table of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Table {
    blocks: Vec<Vec<Entry>>,
    /// Beside the entries, where two bytes are not padded to eight.
    partitions: Vec<u16>,
    /// Numbers of entries, each at the hash of its id or soon behind; a power of two, at most three quarters in use.
    slots: Vec<u32>,
    free: Vec<u32>,
    count: usize,
}

impl Table {
    /// A table with room for so many.
    pub(crate) fn with_capacity(count: usize) -> Self {
        let slots = (count.saturating_mul(4) / 3 + 1).next_power_of_two();
        Self { partitions: Vec::with_capacity(count), slots: vec![EMPTY; slots], ..Self::default() }
    }

    pub(crate) fn find(&self, id: &[u8; 16]) -> Option<(&Entry, u16)> {
        let number = self.slots[self.slot_of(id)?];
        Some((self.entry(number), self.partitions[number as usize]))
    }

    /// The number of a monitor's entry. `guess` is what it is when the monitors are asked for in the order in which they were
    /// put in, as they are at the start: then nothing has to be looked for.
    pub(crate) fn number(&self, id: &[u8; 16], guess: u32) -> Option<u32> {
        let guessed = self.blocks.get(guess as usize / BLOCK).and_then(|block| block.get(guess as usize % BLOCK));
        if guessed.is_some_and(|entry| entry.id == *id && *id != NOBODY) {
            return Some(guess);
        }
        Some(self.slots[self.slot_of(id)?])
    }

    pub(crate) fn find_mut(&mut self, id: &[u8; 16]) -> Option<(&mut Entry, &mut u16)> {
        let number = self.slots[self.slot_of(id)?] as usize;
        Some((&mut self.blocks[number / BLOCK][number % BLOCK], &mut self.partitions[number]))
    }

    pub(crate) fn tail(&self, id: &[u8; 16]) -> Option<Position> {
        self.find(id).and_then(|(entry, _)| entry.newest.in_tail())
    }

    pub(crate) fn put(&mut self, entry: Entry, partition: u16) {
        if let Some(slot) = self.slot_of(&entry.id) {
            let number = self.slots[slot] as usize;
            self.blocks[number / BLOCK][number % BLOCK] = entry;
            self.partitions[number] = partition;
            return;
        }
        if (self.count + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let slot = self.free_slot(&entry.id);
        self.slots[slot] = self.store(entry, partition);
        self.count += 1;
    }

    pub(crate) fn remove(&mut self, id: &[u8; 16]) {
        let Some(mut hole) = self.slot_of(id) else { return };
        let number = self.slots[hole];
        let gone = &mut self.blocks[number as usize / BLOCK][number as usize % BLOCK];
        gone.id = NOBODY;
        gone.monitor = Weak::new();
        gone.newest = Newest::folded(Position(0));
        gone.wake_at = i64::MAX;
        self.free.push(number);
        self.count -= 1;
        // Those behind it move up, as far as their hash allows, so that no look-up stops at the hole.
        let mask = self.slots.len() - 1;
        let mut next = (hole + 1) & mask;
        while self.slots[next] != EMPTY {
            let home = self.home(&self.entry(self.slots[next]).id);
            if (next.wrapping_sub(home) & mask) >= (next.wrapping_sub(hole) & mask) {
                self.slots[hole] = self.slots[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.slots[hole] = EMPTY;
    }

    fn block(&self, block: usize, partition: u16) -> impl Iterator<Item = &Entry> {
        let entries = self.blocks.get(block).into_iter().flatten();
        let partitions = self.partitions.iter().skip(block * BLOCK);
        entries.zip(partitions).filter(move |(_, of)| **of == partition).map(|(entry, _)| entry)
    }

    pub(crate) fn entry(&self, number: u32) -> &Entry {
        &self.blocks[number as usize / BLOCK][number as usize % BLOCK]
    }

    fn entry_mut(&mut self, number: u32) -> &mut Entry {
        &mut self.blocks[number as usize / BLOCK][number as usize % BLOCK]
    }

    fn store(&mut self, entry: Entry, partition: u16) -> u32 {
        if let Some(number) = self.free.pop() {
            self.blocks[number as usize / BLOCK][number as usize % BLOCK] = entry;
            self.partitions[number as usize] = partition;
            return number;
        }
        let number = self.partitions.len();
        if number.is_multiple_of(BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        self.blocks[number / BLOCK].push(entry);
        self.partitions.push(partition);
        number as u32
    }

    fn home(&self, id: &[u8; 16]) -> usize {
        mix(id) as usize & (self.slots.len() - 1)
    }

    fn slot_of(&self, id: &[u8; 16]) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut slot = self.home(id);
        while self.slots[slot] != EMPTY {
            if self.entry(self.slots[slot]).id == *id {
                return Some(slot);
            }
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        None
    }

    fn free_slot(&self, id: &[u8; 16]) -> usize {
        let mut slot = self.home(id);
        while self.slots[slot] != EMPTY {
            slot = (slot + 1) & (self.slots.len() - 1);
        }
        slot
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![EMPTY; (old.len() * 2).max(64)];
        for number in old.into_iter().filter(|number| *number != EMPTY) {
            let slot = self.free_slot(&self.entry(number).id);
            self.slots[slot] = number;
        }
    }
}

/// Both halves of an id, spread over 64 bits. Ids are made by the engine, so nobody can choose them to collide.
fn mix(id: &[u8; 16]) -> u64 {
    let whole = u128::from_le_bytes(*id);
    let (low, high) = (whole as u64, (whole >> 64) as u64);
    let product = u128::from(low ^ 0x2545_F491_4F6C_DD1D).wrapping_mul(u128::from(high ^ 0x9E37_79B9_7F4A_7C15 | 1));
    (product as u64) ^ ((product >> 64) as u64)
}

/// The same for maps of ids.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(id) = bytes.first_chunk() {
            self.0 ^= mix(id);
        }
    }

    /// The length of an array, which is the same for all.
    fn write_usize(&mut self, _: usize) {}
}

pub(crate) type ByIds = BuildHasherDefault<IdHasher>;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn id(n: u8) -> [u8; 16] {
        // Few enough that slots collide.
        [n % 16, 0, 0, 0, 0, 0, 0, n / 16, 0, 0, 0, 0, 0, 0, 0, n]
    }

    fn entry(n: u8, version: u64) -> Entry {
        let newest = Newest::tail(Position(version));
        Entry { id: id(n), version, wake_at: i64::from(n), monitor: Weak::new(), newest }
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(steps in prop::collection::vec((any::<bool>(), 0..100_u8, 1..50_u64), 0..400)) {
            let mut table = Table::default();
            let mut map = BTreeMap::new();
            for (put, n, version) in steps {
                if put {
                    table.put(entry(n, version), n.into());
                    map.insert(n, version);
                } else {
                    table.remove(&id(n));
                    map.remove(&n);
                }
            }
            for n in 0..100 {
                let numbers = [0, 1, u32::from(n), 200].map(|guess| table.number(&id(n), guess));
                let by_number = numbers.map(|number| number.map(|number| table.entry(number).version));
                assert_eq!(by_number, [map.get(&n).copied(); 4], "{n}");
                let found = table.find(&id(n)).map(|(entry, partition)| (entry.version, partition));
                assert_eq!(found, map.get(&n).map(|version| (*version, u16::from(n))), "{n}");
            }
            let index = Index::new(table);
            assert_eq!(index.tailing().len(), map.len());
            let due = index.due(PartitionId(7), Timestamp::MAX, 10);
            assert_eq!(due.len(), usize::from(map.contains_key(&7)));
        }
    }

    #[test]
    fn due_is_cut_after_the_soonest() {
        let mut table = Table::with_capacity(10);
        (0..100).rev().for_each(|n| table.put(entry(n, 1), 0));
        let index = Index::new(table);
        let due = |before, limit| index.due(PartitionId(0), Timestamp::from_millis(before), limit);
        let at = |n: u8| (MonitorId::from_bytes(id(n)), Timestamp::from_millis(n.into()));
        assert_eq!(due(50, 3), [at(0), at(1), at(2)]);
        assert_eq!((due(2, 10), due(5, 0)), (vec![at(0), at(1)], vec![]));
    }

    #[test]
    fn a_reader_waits_for_the_index_to_follow_a_commit() {
        let index = Index::default();
        index.write().put(entry(1, 5), 0);
        let (ready, begins) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                ready.send(()).unwrap();
                index.write().put(entry(1, 9), 0);
            });
            begins.recv().unwrap();
            index.wait_for(&id(1), Position(9));
            assert_eq!(index.read().tail(&id(1)), Some(Position(9)));
            // It waits neither for a monitor that is gone nor for ever.
            index.wait_for(&id(2), Position(9));
            index.wait_for(&id(1), Position(10));
        });
    }

    #[test]
    fn an_entry_is_as_small_as_it_is_said_to_be() {
        assert_eq!(size_of::<Entry>() + size_of::<u16>(), 50);
    }
}
