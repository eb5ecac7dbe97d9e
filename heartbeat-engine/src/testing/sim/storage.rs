//! The storage that all nodes share: the state of the memory storage, and what is true about the watcher's life beside what
//! the watcher believes. One node has a state of its own for each partition; several nodes share one of all partitions.

use std::time::Duration;

use super::beside::Beside;
use super::mutant::Mutant;
use crate::memory::MemoryLimits;
use crate::memory::news::NewsLog;
use crate::memory::state::State;
use crate::{
    Applied, Batch, Epoch, HistoryItem, HistoryQuery, Incident, Lease, MonitorId, NotificationId, Outage, OutboxEntry,
    Outcome, PartitionId, Record, StorageError, Timestamp, WatchLog,
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

    fn note_step(&mut self, now: Timestamp, length: Duration) {
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
    /// One for each partition, or one for all.
    states: Vec<State>,
    partitions: u16,
    /// What is true of each partition: by the marks of those who judge it.
    truths: Vec<Truth>,
    /// What is true of all nodes together, where several share the store: by the marks of any of them.
    life: Option<Truth>,
    pub(super) news: NewsLog,
    mutant: Option<Mutant>,
    writes: u64,
    /// It refuses everything until then.
    pub(super) refuses_until: Timestamp,
    /// A storage on which everything is done as well.
    pub(super) beside: Option<Beside>,
}

/// A handle to the store: one start of one node, and the name under which that claims leases.
#[derive(Clone, Copy, Debug)]
pub(super) struct Handle<'a> {
    pub(super) number: u64,
    pub(super) name: &'a str,
}

impl Store {
    pub(super) fn new(partitions: u16, is_shared: bool, mutant: Option<Mutant>) -> Self {
        let states = if is_shared { 1 } else { partitions };
        let mut news = NewsLog::default();
        news.told = is_shared;
        Self {
            states: (0..states).map(|_| State::new(MemoryLimits::default())).collect(),
            partitions,
            truths: vec![Truth::default(); usize::from(partitions)],
            life: is_shared.then(Truth::default),
            news,
            mutant,
            writes: 0,
            refuses_until: Timestamp::MIN,
            beside: None,
        }
    }

    pub(super) fn write(&mut self, batch: &Batch, now: Timestamp, sent_at: Timestamp, by: Handle<'_>) -> Written {
        let epoch = self.epoch(batch.partition);
        self.writes += 1;
        let lost = self.mutant == Some(Mutant::LostTail) && self.writes.is_multiple_of(40);
        let marks = batch.mark.is_some();
        let altered = self.altered(batch, epoch);
        let batch = altered.as_ref().unwrap_or(batch);
        let before = batch.transitions.iter().map(|t| self.record(batch.partition, t.monitor).cloned()).collect();
        if lost {
            let transitions = batch.transitions.iter().map(|_| Outcome::Committed).collect();
            let documents = batch.documents.iter().map(|_| Outcome::Committed).collect();
            return Written { result: Ok(Applied { transitions, documents }), before, epoch };
        }
        let state = self.state_mut(batch.partition);
        let mut result = state.commit(batch);
        let owed = state.take_owed();
        if let Some(beside) = &mut self.beside {
            result = beside.commit(by.number, batch, &result);
        }
        if let Ok(applied) = &result {
            self.news.note(by.number, batch, applied, owed);
            if marks {
                self.marked(batch, now, sent_at, by.name);
            }
        }
        Written { result, before, epoch }
    }

    fn marked(&mut self, batch: &Batch, now: Timestamp, sent_at: Timestamp, by: &str) {
        let Some(life) = &mut self.life else {
            return self.truths[usize::from(batch.partition.0)].mark(now, sent_at, batch.epoch);
        };
        // The life of all goes on whatever becomes of leases.
        life.mark(now, sent_at, Epoch(0));
        for lease in
            self.states[0].leases().into_iter().filter(|lease| lease.node == by && lease.expires_at > Timestamp::MIN)
        {
            self.truths[usize::from(lease.partition.0)].mark(now, sent_at, lease.epoch);
        }
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

    pub(super) fn state(&self, partition: PartitionId) -> &State {
        self.states.get(usize::from(partition.0)).filter(|_| self.life.is_none()).unwrap_or(&self.states[0])
    }

    fn state_mut(&mut self, partition: PartitionId) -> &mut State {
        let number = if self.life.is_some() { 0 } else { usize::from(partition.0) };
        &mut self.states[number]
    }

    /// Since when a partition has been judged without a gap.
    pub(super) fn truth(&self, partition: PartitionId) -> &Truth {
        &self.truths[usize::from(partition.0)]
    }

    /// When nobody was there who might have taken what a partition's jobs report.
    pub(super) fn life(&self, partition: PartitionId) -> &Truth {
        self.life.as_ref().unwrap_or_else(|| self.truth(partition))
    }

    pub(super) fn note_step(&mut self, now: Timestamp, length: Duration) {
        if self.life.is_some() {
            // Others were there, or the outage is stored. Whoever judges looks at the clocks first.
            return self.truths.iter_mut().for_each(|truth| truth.steady_since = now);
        }
        self.truths.iter_mut().for_each(|truth| truth.note_step(now, length));
    }

    pub(super) fn epoch(&self, partition: PartitionId) -> Epoch {
        self.state(partition).epoch(partition)
    }

    pub(super) fn lease(&self, partition: PartitionId) -> Option<Lease> {
        self.leases(partition).into_iter().find(|lease| lease.partition == partition)
    }

    /// The leases that lie beside a partition's.
    pub(super) fn leases(&self, partition: PartitionId) -> Vec<Lease> {
        self.state(partition).leases()
    }

    pub(super) fn swap_lease(&mut self, by: Handle<'_>, expected: &Lease, next: &Lease) -> bool {
        let swapped = self.state_mut(next.partition).swap_lease(expected, next);
        match &mut self.beside {
            Some(beside) => beside.swap_lease(by.number, expected, next, swapped),
            None => swapped,
        }
    }

    pub(super) fn record(&self, partition: PartitionId, id: MonitorId) -> Option<&Record> {
        self.state(partition).record(id)
    }

    pub(super) fn records(&self, partition: PartitionId) -> impl Iterator<Item = &Record> {
        let partitions = self.partitions;
        self.state(partition).records().filter(move |record| PartitionId::of(record.id(), partitions) == partition)
    }

    pub(super) fn documents(&self, partition: PartitionId, kind: &str) -> Vec<crate::Document> {
        self.state(partition).documents(kind)
    }

    pub(super) fn watch_log(&self, partition: PartitionId) -> WatchLog {
        self.state(partition).watch_log()
    }

    pub(super) fn outages(&self, partition: PartitionId) -> Vec<Outage> {
        crate::absence::joined(self.watch_log(partition).outages)
    }

    pub(super) fn incidents_of(&self, partition: PartitionId, id: MonitorId) -> Vec<Incident> {
        let query = HistoryQuery::Incidents { monitor: Some(id), open: None, before: None };
        let page = self.state(partition).history(&query, usize::MAX);
        let incident = |item| if let HistoryItem::Incident(incident) = item { Some(incident) } else { None };
        page.items.into_iter().filter_map(incident).collect()
    }

    pub(super) fn notification(&self, partition: PartitionId, id: NotificationId) -> Option<&OutboxEntry> {
        self.state(partition).notification(id)
    }

    /// The notifications that are kept in this partition, or beside it in one order with them.
    pub(super) fn notifications(&self, partition: PartitionId) -> impl Iterator<Item = &OutboxEntry> {
        self.state(partition).notifications.values()
    }
}
