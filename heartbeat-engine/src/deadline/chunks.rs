//! Lists of indices in blocks of two cache lines, taken from one pool.

/// How many indices a block holds, besides the number of the next one.
pub(super) const ROOM: usize = 31;
const NOTHING: u32 = u32::MAX;

/// A list of indices in no particular order; its blocks lie in [`Chunks`].
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    /// The first block, the only one that is not full.
    head: u32,
    /// How many indices that one holds.
    filled: u32,
}

impl List {
    pub(super) const EMPTY: Self = Self { head: NOTHING, filled: 0 };

    pub(super) fn is_empty(self) -> bool {
        self.head == NOTHING
    }
}

#[derive(Clone, Debug)]
struct Chunk {
    items: [u32; ROOM],
    next: u32,
}

/// The blocks of many lists.
#[derive(Debug)]
pub(super) struct Chunks {
    pool: Vec<Chunk>,
    free: u32,
}

impl Chunks {
    pub(super) const fn new() -> Self {
        Self { pool: Vec::new(), free: NOTHING }
    }

    pub(super) fn push(&mut self, list: &mut List, index: u32) {
        if list.head == NOTHING || list.filled as usize == ROOM {
            *list = List { head: self.take_free(list.head), filled: 0 };
        }
        if let Some(chunk) = self.pool.get_mut(list.head as usize) {
            chunk.items[list.filled as usize] = index;
            list.filled += 1;
        }
    }

    /// Takes the indices of one block off the list into `into`, and says how many there are; none when it is empty.
    pub(super) fn pop_chunk(&mut self, list: &mut List, into: &mut [u32; ROOM]) -> usize {
        let Some(chunk) = self.pool.get_mut(list.head as usize) else { return 0 };
        let count = list.filled as usize;
        into.copy_from_slice(&chunk.items);
        let next = std::mem::replace(&mut chunk.next, self.free);
        self.free = list.head;
        *list = if next == NOTHING { List::EMPTY } else { List { head: next, filled: ROOM as u32 } };
        count
    }

    /// The indices of a list that fits into one block.
    pub(super) fn if_single(&self, list: List) -> Option<&[u32]> {
        let chunk = self.pool.get(list.head as usize)?;
        (chunk.next == NOTHING).then(|| &chunk.items[..list.filled as usize])
    }

    #[cfg(test)]
    pub(super) fn pool_len(&self) -> usize {
        self.pool.len()
    }

    /// A block in front of `next`.
    fn take_free(&mut self, next: u32) -> u32 {
        let at = self.free;
        if let Some(chunk) = self.pool.get_mut(at as usize) {
            self.free = std::mem::replace(&mut chunk.next, next);
            return at;
        }
        self.pool.push(Chunk { items: [0; ROOM], next });
        (self.pool.len() - 1) as u32
    }
}
