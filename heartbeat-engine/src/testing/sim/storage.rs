//! The storage that all nodes share: the state of the memory storage for each partition, and what is true about the
//! watcher's life beside what the watcher believes.

use std::time::Duration;

use super::mutant::Mutant;
use crate::memory::MemoryLimits;
use crate::memory::state::State;
use crate::{
    Applied, Batch, Epoch, HistoryItem, HistoryQuery, Incident, Lease, MonitorId, Outage, OutboxEntry, Outcome, Page,
    PartitionId, Record, StorageError, Timestamp, WatchLog,
};

/// A stretch of true time in which nobody watched a partition, or by which a wall clock was set forward.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gap {
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    pub(super) length: Duration,
}

/// What is true of one partition's watcher.
#[derive(Clone, Debug, Default)]
pub(super) struct Truth {
    pub(super) gaps: Vec<Gap>,
    /// When a mark was last written, and under which epoch.
    marked: Option<(Timestamp, Epoch)>,
    /// Since when marks are written without a gap.
    pub(super) steady_since: Timestamp,
}

impl Truth {
    /// A mark was written, which a node sent at `sent_at`.
    fn mark(&mut self, now: Timestamp, sent_at: Timestamp, epoch: Epoch) {
        if self.marked.is_some_and(|(before, _)| sent_at < before) {
            return;
        }
        if let Some((before, held)) = self.marked
            && (held != epoch || sent_at.since(before) > Duration::from_secs(15))
        {
            self.gaps.push(Gap { from: before, to: sent_at, length: sent_at.since(before) });
            self.steady_since = now;
        }
        self.marked = Some((sent_at, epoch));
    }

    pub(super) fn note_step(&mut self, now: Timestamp, length: Duration) {
        self.gaps.push(Gap { from: now, to: now, length });
        self.steady_since = now;
    }

    /// The time since the last mark, where that is a gap already.
    pub(super) fn open_gap(&self, now: Timestamp) -> Option<Gap> {
        let (from, _) = self.marked?;
        let length = now.since(from);
        (length > Duration::from_secs(15)).then_some(Gap { from, to: now, length })
    }

    /// Whether nobody watched for a while in this stretch of true time, and nodes whose clocks differ by up to `skew` can
    /// know it.
    pub(super) fn was_away(&self, now: Timestamp, (from, to): (Timestamp, Timestamp), skew: Duration) -> bool {
        let seen = Duration::from_secs(16) + 2 * skew;
        let lies_there = |gap: &Gap| gap.from < to && gap.to > from && gap.length > seen && gap.from != gap.to;
        self.gaps.iter().copied().chain(self.open_gap(now)).any(|gap| lies_there(&gap))
    }

    pub(super) fn last_mark(&self) -> Option<Timestamp> {
        self.marked.map(|(at, _)| at)
    }
}

struct Shelf {
    state: State,
    truth: Truth,
}

/// What a write did.
pub(super) struct Written {
    pub(super) result: Result<Applied, StorageError>,
    /// The records before it, one for each transition.
    pub(super) before: Vec<Option<Record>>,
    /// The epoch of the partition's lease then.
    pub(super) epoch: Epoch,
}

/// Everything of a partition that a node reads when it takes over.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) log: WatchLog,
    pub(super) records: Vec<Record>,
    pub(super) outbox: Vec<OutboxEntry>,
}

pub(super) struct Store {
    shelves: Vec<Shelf>,
    mutant: Option<Mutant>,
    writes: u64,
    /// It refuses everything until then.
    pub(super) refuses_until: Timestamp,
}

impl Store {
    pub(super) fn new(partitions: u16, mutant: Option<Mutant>) -> Self {
        let shelf = |_| Shelf { state: State::new(MemoryLimits::default()), truth: Truth::default() };
        Self { shelves: (0..partitions).map(shelf).collect(), mutant, writes: 0, refuses_until: Timestamp::MIN }
    }

    pub(super) fn write(&mut self, batch: &Batch, now: Timestamp, sent_at: Timestamp) -> Written {
        let epoch = self.epoch(batch.partition);
        self.writes += 1;
        let lost = self.mutant == Some(Mutant::LostTail) && self.writes.is_multiple_of(40);
        let marks = batch.mark.is_some();
        let altered = self.altered(batch, epoch);
        let batch = altered.as_ref().unwrap_or(batch);
        let shelf = &mut self.shelves[usize::from(batch.partition.0)];
        let before = batch.transitions.iter().map(|t| shelf.state.record(t.monitor).cloned()).collect();
        if lost {
            let transitions = batch.transitions.iter().map(|_| Outcome::Committed).collect();
            return Written { result: Ok(Applied { transitions, documents: Vec::new() }), before, epoch };
        }
        let result = shelf.state.commit(batch);
        if result.is_ok() && marks {
            shelf.truth.mark(now, sent_at, batch.epoch);
        }
        Written { result, before, epoch }
    }

    /// The batch as a storage with the known bug takes it.
    fn altered(&self, batch: &Batch, epoch: Epoch) -> Option<Batch> {
        let mutant = self.mutant?;
        let mut altered = batch.clone();
        match mutant {
            Mutant::SkipFence => altered.epoch = epoch,
            Mutant::MarkNotStored => altered.mark = None,
            Mutant::OutageNotStored => altered.outage = None,
            Mutant::TornWrite if self.writes.is_multiple_of(3) => {
                altered.transitions.iter_mut().for_each(|transition| transition.notifications.clear());
            }
            Mutant::NoCompareAndSwap => {
                for transition in &mut altered.transitions {
                    transition.expected = self.record(batch.partition, transition.monitor).map(|record| record.version);
                }
            }
            _ => return None,
        }
        Some(altered)
    }

    fn shelf(&self, partition: PartitionId) -> &Shelf {
        &self.shelves[usize::from(partition.0)]
    }

    pub(super) fn truth(&self, partition: PartitionId) -> &Truth {
        &self.shelf(partition).truth
    }

    pub(super) fn note_step(&mut self, now: Timestamp, length: Duration) {
        self.shelves.iter_mut().for_each(|shelf| shelf.truth.note_step(now, length));
    }

    pub(super) fn epoch(&self, partition: PartitionId) -> Epoch {
        self.shelf(partition).state.epoch(partition)
    }

    pub(super) fn lease(&self, partition: PartitionId) -> Option<Lease> {
        self.shelf(partition).state.leases().into_iter().next()
    }

    pub(super) fn swap_lease(&mut self, expected: &Lease, next: &Lease) -> bool {
        self.shelves[usize::from(next.partition.0)].state.swap_lease(expected, next)
    }

    pub(super) fn record(&self, partition: PartitionId, id: MonitorId) -> Option<&Record> {
        self.shelf(partition).state.record(id)
    }

    pub(super) fn records(&self, partition: PartitionId) -> impl Iterator<Item = &Record> {
        self.shelf(partition).state.records()
    }

    pub(super) fn documents(&self, partition: PartitionId, kind: &str) -> Vec<crate::Document> {
        self.shelf(partition).state.documents(kind)
    }

    pub(super) fn watch_log(&self, partition: PartitionId) -> WatchLog {
        self.shelf(partition).state.watch_log()
    }

    pub(super) fn outages(&self, partition: PartitionId) -> Vec<Outage> {
        crate::absence::joined(self.watch_log(partition).outages)
    }

    pub(super) fn incidents_of(&self, partition: PartitionId, id: MonitorId) -> Vec<Incident> {
        let query = HistoryQuery::Incidents { monitor: Some(id), open: None, before: None };
        let page = self.shelf(partition).state.history(&query, usize::MAX);
        let incident = |item| if let HistoryItem::Incident(incident) = item { Some(incident) } else { None };
        page.items.into_iter().filter_map(incident).collect()
    }

    pub(super) fn notification(&self, partition: PartitionId, id: crate::NotificationId) -> Option<&OutboxEntry> {
        self.shelf(partition).state.notification(id)
    }

    pub(super) fn notifications(&self, partition: PartitionId) -> impl Iterator<Item = &OutboxEntry> {
        self.shelf(partition).state.notifications.values()
    }

    pub(super) fn outbox_page(&self, partition: PartitionId, after: u64, limit: usize) -> Page<OutboxEntry> {
        self.shelf(partition).state.outbox(after, limit)
    }

    pub(super) fn snapshot(&self, partition: PartitionId) -> Snapshot {
        let state = &self.shelf(partition).state;
        Snapshot {
            log: state.watch_log(),
            records: state.monitors(None, usize::MAX).items,
            outbox: state.outbox(0, usize::MAX).items,
        }
    }
}
