//! What the writer's transaction makes of the index, held back until it is committed.

use std::collections::HashMap;

use crate::index::{ByIds, Entry, Index, Newest};
use crate::log::Position;

/// An entry of the index with its partition; `None`: the monitor is removed.
pub(crate) type Standing = Option<(Entry, u16)>;

#[derive(Default)]
pub(crate) struct Staged {
    changed: HashMap<[u8; 16], Standing, ByIds>,
    /// What was staged before the batch changed it.
    before: Vec<([u8; 16], Option<Standing>)>,
    folded: Vec<([u8; 16], Position)>,
    folded_before: usize,
}

impl Staged {
    /// A batch begins.
    pub(crate) fn mark(&mut self) {
        self.before.clear();
        self.folded_before = self.folded.len();
    }

    /// The batch is rolled back.
    pub(crate) fn roll_back(&mut self) {
        for (id, before) in self.before.drain(..).rev() {
            match before {
                Some(standing) => self.changed.insert(id, standing),
                None => self.changed.remove(&id),
            };
        }
        self.folded.truncate(self.folded_before);
    }

    /// The transaction is rolled back.
    pub(crate) fn clear(&mut self) {
        self.changed.clear();
        self.before.clear();
        self.folded.clear();
        self.folded_before = 0;
    }

    pub(crate) fn find(&self, id: &[u8; 16]) -> Option<&Standing> {
        self.changed.get(id)
    }

    pub(crate) fn set(&mut self, id: [u8; 16], standing: Standing) {
        let before = self.changed.insert(id, standing);
        self.before.push((id, before));
    }

    /// The monitor's row now has everything up to this position.
    pub(crate) fn set_folded(&mut self, id: [u8; 16], position: Position) {
        self.folded.push((id, position));
    }

    /// The transaction is committed.
    pub(crate) fn publish(&mut self, index: &Index) {
        if self.changed.is_empty() && self.folded.is_empty() {
            return;
        }
        let mut table = index.write();
        for (id, standing) in self.changed.drain() {
            match standing {
                Some((entry, partition)) => table.put(entry, partition),
                None => table.remove(&id),
            }
        }
        for (id, position) in self.folded.drain(..) {
            if let Some((entry, _)) = table.find_mut(&id)
                && entry.newest == Newest::tail(position)
            {
                entry.newest = Newest::folded(position);
            }
        }
        drop(table);
        self.clear();
    }
}
