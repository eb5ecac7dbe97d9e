//! The priority queue of deadlines: a timing wheel that is re-armed lazily.
//!
//! A heartbeat nearly always moves a deadline *later*. Then only the deadline is stored and the entry stays where it is:
//! when its slot is opened, it goes on to where the deadline of *now* belongs. Only an *earlier* deadline needs a new
//! entry. The work so grows with the deadlines that pass, not with the heartbeats.
//!
//! Slots are 64 ms wide; a slot of each level covers 256 of the level below. What is due in an opened slot is told apart to the
//! millisecond. Eight levels reach over all instants, so nothing is special about what is far away.

mod chunks;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use chunks::{Chunks, List, ROOM};

use crate::Timestamp;

/// How wide a slot of the lowest level is: 2^6 ms.
const SLOT_BITS: u32 = 6;
const SLOT_MS: usize = 1 << SLOT_BITS;
/// 2^8 slots on each level.
const DIGIT_BITS: u32 = 8;
const DIGITS: usize = 1 << DIGIT_BITS;
/// As many levels as cover 64 bits.
const LEVELS: usize = 8;

/// Where an entry lies: in the slot `level * 256 + digit`, or in one of the following.
type Place = u16;
/// One millisecond of the slot that is open; the first of 64.
const OPEN: Place = (LEVELS * DIGITS) as Place;
/// Among those that were behind the wheel when they were put in.
const BEHIND: Place = OPEN + SLOT_MS as Place;
const NOWHERE: Place = Place::MAX;

/// A slot that is to be divided further is opened so many milliseconds before it begins: thousands of looks may be needed
/// until nothing is left to move, and what is due then must not wait for them.
const LEAD_MS: Key = 2_000;

/// How many entries one look at the queue may move before it has to be continued.
pub(crate) const MOVES_MAX: u32 = 8_192;

/// Milliseconds from the earliest instant on.
type Key = u64;

#[derive(Clone, Copy, Debug)]
struct Item {
    /// `Timestamp::MAX` is never.
    deadline: Timestamp,
    /// Where its entry lies, which comes to the front at the deadline or before.
    place: Place,
    /// Where an entry lies that was left behind when the deadline became earlier; it is used again when the deadline is
    /// later than that.
    spare: Place,
}

const NEVER: Item = Item { deadline: Timestamp::MAX, place: NOWHERE, spare: NOWHERE };

/// When which of many things, named by small numbers, must be looked at next; soonest first, to the millisecond.
#[derive(Debug)]
pub(crate) struct Deadlines {
    items: Vec<Item>,
    chunks: Chunks,
    slots: Vec<List>,
    /// Of each level, which slots hold entries.
    occupied: [[u64; DIGITS / 64]; LEVELS],
    /// The open slot, counted in slots of the lowest level. Everything on the wheel lies behind it in time.
    now: u64,
    /// What was taken out of the slots that begin there, and has not been looked at yet.
    opening: Option<(List, Place)>,
    /// The open slot by its milliseconds, and which of them hold entries.
    open: Vec<Vec<u32>>,
    open_occupied: u64,
    /// What lay before the open slot when it was put in: the clock was set back, or the deadline had passed already.
    behind: BinaryHeap<Reverse<(Key, u32)>>,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            chunks: Chunks::new(),
            slots: vec![List::EMPTY; LEVELS * DIGITS],
            occupied: [[0; DIGITS / 64]; LEVELS],
            now: 0,
            opening: None,
            open: vec![Vec::new(); SLOT_MS],
            open_occupied: 0,
            behind: BinaryHeap::new(),
        }
    }
}

impl Deadlines {
    /// An empty queue for deadlines around this instant or later; others have their place too, but cost more.
    pub(crate) fn starting_at(instant: Timestamp) -> Self {
        Self { now: key(instant) >> SLOT_BITS, ..Self::default() }
    }

    /// Makes room for so many in all.
    pub(crate) fn expect(&mut self, count: usize) {
        self.items.reserve_exact(count.saturating_sub(self.items.len()));
    }

    /// Sets the deadline of `index`; `Timestamp::MAX` for never.
    pub(crate) fn set(&mut self, index: u32, deadline: Timestamp) {
        let at = index as usize;
        if at >= self.items.len() {
            self.items.resize(at + 1, NEVER);
        }
        let before = std::mem::replace(&mut self.items[at].deadline, deadline);
        if deadline < before {
            self.put_earlier(index, key(deadline));
        }
    }

    /// The deadline of `index`, `Timestamp::MAX` where it has none.
    pub(crate) fn get(&self, index: u32) -> Timestamp {
        self.items.get(index as usize).map_or(Timestamp::MAX, |item| item.deadline)
    }

    /// An instant at or before the first deadline, after which it is worth while to look: the deadline itself where that is
    /// little work to say. `None` when there is none.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        if let Some(Reverse((at, _))) = self.behind.peek() {
            return Some(instant(*at));
        }
        if self.opening.is_some() {
            return Some(instant((self.now << SLOT_BITS).saturating_sub(LEAD_MS)));
        }
        if self.open_occupied != 0 {
            return Some(instant(self.first_open()));
        }
        let place = self.first_slot()?;
        let start = self.start_of(place);
        let Some(indices) = self.chunks.if_single(self.slots[usize::from(place)]) else {
            return Some(instant(start.saturating_sub(lead_of(place))));
        };
        let end = start | span_of(place);
        let keys = indices.iter().filter_map(|index| self.items.get(*index as usize)).map(|item| key(item.deadline));
        Some(instant(keys.filter(|key| (start..=end).contains(key)).min().unwrap_or(start)))
    }

    /// Takes the first deadline if it lies before `now`; its index has none then. Moves at most `moves` entries: when none are
    /// left, it may return `None` although something is due, and [`Deadlines::next`] does not lie after `now`.
    pub(crate) fn pop_before(&mut self, now: Timestamp, moves: &mut u32) -> Option<(Timestamp, u32)> {
        let now = key(now);
        while let Some(Reverse((at, index))) = self.behind.peek().copied()
            && at < now
            && *moves > 0
        {
            *moves -= 1;
            self.behind.pop();
            if let Some(deadline) = self.judge(index, BEHIND, at) {
                return Some((deadline, index));
            }
        }
        if self.behind.peek().is_some_and(|Reverse((at, _))| *at < now) {
            return None;
        }
        loop {
            while self.opening.is_some() {
                if *moves == 0 {
                    return None;
                }
                *moves = moves.saturating_sub(self.open_chunk());
            }
            while self.open_occupied != 0 {
                let at = self.first_open();
                if at >= now || *moves == 0 {
                    return None;
                }
                *moves -= 1;
                let millisecond = (at & (SLOT_MS as u64 - 1)) as usize;
                let entries = &mut self.open[millisecond];
                let index = entries.pop();
                if entries.is_empty() {
                    self.open_occupied &= !(1 << millisecond);
                }
                if let Some(index) = index
                    && let Some(deadline) = self.judge(index, OPEN + millisecond as Place, at)
                {
                    return Some((deadline, index));
                }
            }
            if !self.open_next(now) {
                return None;
            }
        }
    }

    /// What becomes of an entry that came to the front at `at`: its deadline where that has come, else it goes on.
    fn judge(&mut self, index: u32, place: Place, at: Key) -> Option<Timestamp> {
        let item = self.items.get_mut(index as usize)?;
        if item.place != place {
            // Left behind; there may be several of the same place.
            if item.spare == place {
                item.spare = NOWHERE;
            }
            return None;
        }
        let deadline = item.deadline;
        if deadline == Timestamp::MAX || key(deadline) <= at {
            item.deadline = Timestamp::MAX;
            item.place = std::mem::replace(&mut item.spare, NOWHERE);
            return (deadline < Timestamp::MAX).then_some(deadline);
        }
        self.go_on(index, key(deadline));
        None
    }

    /// Puts an entry where its deadline belongs, or relies on one that was left behind and comes to the front before.
    fn go_on(&mut self, index: u32, deadline: Key) {
        let spare = self.items[index as usize].spare;
        if spare != NOWHERE && self.start_of(spare) <= deadline {
            let item = &mut self.items[index as usize];
            (item.place, item.spare) = (spare, NOWHERE);
            return;
        }
        let place = self.place_of(deadline);
        self.items[index as usize].place = place;
        self.put(index, place, deadline);
    }

    /// Sees to it that an entry comes to the front by a deadline that became earlier.
    fn put_earlier(&mut self, index: u32, deadline: Key) {
        let item = self.items[index as usize];
        let place = self.place_of(deadline);
        // Of those behind, the entries' own instants count.
        if item.place != NOWHERE && place != BEHIND && self.start_of(item.place) <= deadline {
            return;
        }
        let spare = if item.spare == NOWHERE && item.place != place { item.place } else { item.spare };
        let spare = if spare == BEHIND { NOWHERE } else { spare };
        self.items[index as usize] = Item { place, spare, ..item };
        self.put(index, place, deadline);
    }

    fn put(&mut self, index: u32, place: Place, deadline: Key) {
        if place < OPEN {
            let (level, digit) = (usize::from(place) / DIGITS, usize::from(place) % DIGITS);
            self.chunks.push(&mut self.slots[usize::from(place)], index);
            self.occupied[level][digit / 64] |= 1 << (digit % 64);
        } else if place < BEHIND {
            let millisecond = usize::from(place - OPEN);
            self.open[millisecond].push(index);
            self.open_occupied |= 1 << millisecond;
        } else {
            self.behind.push(Reverse((deadline, index)));
        }
    }

    fn place_of(&self, deadline: Key) -> Place {
        let slot = deadline >> SLOT_BITS;
        if slot < self.now {
            return BEHIND;
        }
        let differs = slot ^ self.now;
        if differs == 0 {
            return OPEN + (deadline & (SLOT_MS as u64 - 1)) as Place;
        }
        let level = differs.ilog2() / DIGIT_BITS;
        let digit = (slot >> (level * DIGIT_BITS)) & (DIGITS as u64 - 1);
        (u64::from(level) * DIGITS as u64 + digit) as Place
    }

    /// When what lies there comes to the front; for what is behind, at once.
    fn start_of(&self, place: Place) -> Key {
        let start = self.now << SLOT_BITS;
        if place < OPEN {
            let digit = (u64::from(place) % DIGITS as u64) << (level_of(place) * DIGIT_BITS + SLOT_BITS);
            let above = span_of(place) | ((DIGITS as u64 - 1) << (level_of(place) * DIGIT_BITS) << SLOT_BITS);
            (start & !above) | digit
        } else if place < BEHIND {
            start + Key::from(place - OPEN)
        } else {
            0
        }
    }

    /// The first instant of the open slot that holds entries.
    fn first_open(&self) -> Key {
        (self.now << SLOT_BITS) + Key::from(self.open_occupied.trailing_zeros())
    }

    /// The first slot that holds entries. Those of a lower level come before those of a higher one.
    fn first_slot(&self) -> Option<Place> {
        let words = self.occupied.as_flattened();
        let word = words.iter().position(|word| *word != 0)?;
        Some((word * 64) as Place + words[word].trailing_zeros() as Place)
    }

    /// Moves the wheel to the next slot that holds entries, if that begins before `now`; else as far as to `now`.
    fn open_next(&mut self, now: Key) -> bool {
        let place = self.first_slot();
        let start = place.map(|place| self.start_of(place) >> SLOT_BITS);
        let opens = |place: Place, start: u64| start << SLOT_BITS < now.saturating_add(lead_of(place));
        let Some((place, start)) = place.zip(start).filter(|(place, start)| opens(*place, *start)) else {
            let before_next = start.map_or(u64::MAX, |start| start - 1);
            self.now = self.now.max((now >> SLOT_BITS).min(before_next));
            return false;
        };
        self.now = start;
        let list = std::mem::replace(&mut self.slots[usize::from(place)], List::EMPTY);
        self.occupied[usize::from(place) / DIGITS][usize::from(place) % DIGITS / 64] &= !(1 << (place % 64));
        self.opening = Some((list, place));
        true
    }

    /// Distributes one block of the slot that is being opened; says how many entries that were.
    fn open_chunk(&mut self) -> u32 {
        let Some((list, place)) = &mut self.opening else { return 0 };
        let place = *place;
        let mut indices = [0; ROOM];
        let count = self.chunks.pop_chunk(list, &mut indices);
        if list.is_empty() {
            self.opening = None;
        }
        // All deadlines at first, so that they are fetched from memory side by side.
        let mut deadlines = [Timestamp::MAX; ROOM];
        for (deadline, index) in deadlines.iter_mut().zip(&indices[..count]) {
            *deadline = self.items[*index as usize].deadline;
        }
        for (deadline, index) in deadlines.into_iter().zip(&indices[..count]) {
            let item = &mut self.items[*index as usize];
            if item.place != place {
                // Left behind; there may be several of the same place.
                if item.spare == place {
                    item.spare = NOWHERE;
                }
            } else if deadline == Timestamp::MAX {
                item.place = std::mem::replace(&mut item.spare, NOWHERE);
            } else {
                self.go_on(*index, key(deadline));
            }
        }
        count as u32
    }
}

fn level_of(place: Place) -> u32 {
    u32::from(place) / DIGITS as u32
}

fn lead_of(place: Place) -> Key {
    if level_of(place) == 0 { 0 } else { LEAD_MS }
}

/// The last instant of a slot, counted from its first.
fn span_of(place: Place) -> Key {
    (1 << (level_of(place) * DIGIT_BITS) << SLOT_BITS) - 1
}

fn key(at: Timestamp) -> Key {
    at.as_millis().cast_unsigned() ^ (1 << 63)
}

fn instant(key: Key) -> Timestamp {
    Timestamp::from_millis((key ^ (1 << 63)).cast_signed())
}
