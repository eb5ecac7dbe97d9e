//! What a [`super::MemoryStorage`] takes in that another storage kept.

use super::state::{State, surplus};
use crate::{Imported, StateChange, StorageError};

impl State {
    pub(super) fn import(&mut self, imported: &Imported) -> Result<(), StorageError> {
        if imported.epoch != self.epoch(imported.partition) {
            return Err(StorageError::Fenced);
        }
        for (id, counts) in &imported.counts {
            if self.record(*id).is_none() {
                self.imported.insert(*id, counts.iter().map(|hour| (hour.begins_at, *hour)).collect());
            }
        }
        for (seq, change) in &imported.events {
            self.import_event(*seq, change);
        }
        for incident in &imported.incidents {
            self.put_incident(incident);
        }
        for document in &imported.documents {
            let key = (document.kind.clone(), document.id.clone());
            self.documents.insert(key, (document.version, document.body.clone()));
        }
        Ok(())
    }

    fn import_event(&mut self, seq: u64, change: &StateChange) {
        let Some(slot) = self.monitors.get_mut(&change.monitor).filter(|_| !self.feed.contains_key(&seq)) else {
            return;
        };
        self.feed.insert(seq, change.monitor);
        self.last_event = self.last_event.max(seq);
        slot.changes.push_back((seq, change.clone()));
        for (gone, _) in surplus(&mut slot.changes, self.limits.changes_per_monitor) {
            self.feed.remove(&gone);
        }
    }
}
