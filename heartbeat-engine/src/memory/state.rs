//! The maps of a [`super::MemoryStorage`] and how a batch changes them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;

use serde_json::Value;

use super::MemoryLimits;
use crate::{
    Applied, Batch, Change, Counts, CountsPer, DOCUMENT_BYTES_MAX, Delivery, DeliveryState, Document, DocumentWrite,
    Epoch, Incident, IncidentId, Lease, MonitorId, Name, Notification, NotificationId, Outage, OutboxEntry, Outcome,
    Page, PartitionId, PingEntry, Record, Settlement, StateChange, StorageError, Timestamp, Transition, Version,
    WatchLog,
};

/// A monitor with its own history, oldest first.
pub(crate) struct Slot {
    partition: PartitionId,
    record: Record,
    pub(crate) pings: VecDeque<PingEntry>,
    /// By the beginning of the hour.
    pub(crate) hours: BTreeMap<Timestamp, Counts>,
    /// With their places in the feed, which only grow.
    pub(crate) changes: VecDeque<(u64, StateChange)>,
}

impl Slot {
    fn count(&mut self, pings: &[PingEntry], hours_max: usize) {
        for ping in pings {
            let begins_at = CountsPer::Hour.begin(ping.arrived_at);
            let counts = self.hours.entry(begins_at).or_insert_with(|| Counts::new(begins_at));
            counts.add(ping.signal, ping.took());
        }
        while self.hours.len() > hours_max {
            self.hours.pop_first();
        }
    }
}

pub(crate) struct State {
    pub(super) limits: MemoryLimits,
    leases: BTreeMap<PartitionId, Lease>,
    pub(crate) monitors: BTreeMap<MonitorId, Slot>,
    names: HashMap<Name, MonitorId>,
    due: BTreeSet<(PartitionId, Timestamp, MonitorId)>,
    pub(crate) incidents: HashMap<IncidentId, Incident>,
    pub(crate) incident_order: BTreeSet<(Timestamp, IncidentId)>,
    pub(crate) incidents_of: BTreeSet<(MonitorId, Timestamp, IncidentId)>,
    closed: BTreeSet<(Timestamp, IncidentId)>,
    pub(crate) notifications: BTreeMap<u64, OutboxEntry>,
    pub(crate) notification_seqs: HashMap<NotificationId, u64>,
    pending: BTreeSet<u64>,
    settled: BTreeSet<u64>,
    last_seq: u64,
    /// What the latest batch put into the outbox, new or to be tried again.
    owed: Vec<NotificationId>,
    /// Whose change has which place in the feed.
    pub(super) feed: BTreeMap<u64, MonitorId>,
    pub(super) last_event: u64,
    pub(super) documents: BTreeMap<(String, String), (Version, Value)>,
    mark: Option<Timestamp>,
    /// By their end, then their start.
    outages: BTreeSet<(Timestamp, Timestamp)>,
    /// Hours of monitors that are not stored yet.
    pub(super) imported: HashMap<MonitorId, BTreeMap<Timestamp, Counts>>,
}

impl State {
    pub(crate) fn new(limits: MemoryLimits) -> Self {
        Self {
            limits,
            leases: BTreeMap::new(),
            monitors: BTreeMap::new(),
            names: HashMap::new(),
            due: BTreeSet::new(),
            incidents: HashMap::new(),
            incident_order: BTreeSet::new(),
            incidents_of: BTreeSet::new(),
            closed: BTreeSet::new(),
            notifications: BTreeMap::new(),
            notification_seqs: HashMap::new(),
            pending: BTreeSet::new(),
            settled: BTreeSet::new(),
            last_seq: 0,
            owed: Vec::new(),
            feed: BTreeMap::new(),
            last_event: 0,
            documents: BTreeMap::new(),
            mark: None,
            outages: BTreeSet::new(),
            imported: HashMap::new(),
        }
    }

    pub(crate) fn monitor_count(&self) -> usize {
        self.monitors.len()
    }

    pub(crate) fn commit(&mut self, batch: &Batch) -> Result<Applied, StorageError> {
        self.owed.clear();
        if batch.epoch != self.epoch(batch.partition) {
            return Err(StorageError::Fenced);
        }
        let applied = Applied {
            transitions: batch.transitions.iter().map(|t| self.transition(batch.partition, t)).collect(),
            documents: batch.documents.iter().map(|write| self.write_document(write)).collect(),
        };
        for notification in &batch.notifications {
            self.owe(notification);
        }
        for settlement in &batch.settlements {
            self.settle(settlement);
        }
        self.mark = batch.mark.or(self.mark);
        let kept = batch.forget_outages_before.unwrap_or(Timestamp::MIN)
            ..=batch.forget_outages_after.unwrap_or(Timestamp::MAX);
        self.outages.retain(|(to, _)| kept.contains(to));
        self.outages.extend(batch.outage.map(|outage| (outage.to, outage.from)));
        Ok(applied)
    }

    fn transition(&mut self, partition: PartitionId, transition: &Transition) -> Outcome {
        let id = transition.monitor;
        let found = self.record(id).map(|record| record.version);
        if found != transition.expected {
            return Outcome::Conflict { found };
        }
        match &transition.change {
            Change::Put(record) => {
                let taken = Name::all_of(record).find(|name| self.names.get(name).is_some_and(|owner| *owner != id));
                if let Some(name) = taken {
                    return Outcome::NameTaken { field: name.field() };
                }
                let imported = self.imported.remove(&id).unwrap_or_default();
                let (pings, hours, changes) = self.take(id).map_or_else(
                    || (VecDeque::new(), imported, VecDeque::new()),
                    |slot| (slot.pings, slot.hours, slot.changes),
                );
                self.names.extend(Name::all_of(record).map(|name| (name, id)));
                self.due.insert((partition, record.health.wake_at(), id));
                let mut slot = Slot { partition, record: (**record).clone(), pings, hours, changes };
                slot.count(&transition.pings, self.limits.hours_per_monitor);
                slot.pings.extend(transition.pings.iter().cloned());
                surplus(&mut slot.pings, self.limits.pings_per_monitor);
                slot.changes.extend(transition.changes.iter().map(|change| {
                    self.last_event += 1;
                    self.feed.insert(self.last_event, id);
                    (self.last_event, change.clone())
                }));
                for (seq, _) in surplus(&mut slot.changes, self.limits.changes_per_monitor) {
                    self.feed.remove(&seq);
                }
                self.monitors.insert(id, slot);
            }
            Change::Remove => {
                for (seq, _) in self.take(id).into_iter().flat_map(|slot| slot.changes) {
                    self.feed.remove(&seq);
                }
            }
        }
        for incident in &transition.incidents {
            self.put_incident(incident);
        }
        for notification in &transition.notifications {
            self.owe(notification);
        }
        Outcome::Committed
    }

    /// Takes a monitor out of every index.
    fn take(&mut self, id: MonitorId) -> Option<Slot> {
        let slot = self.monitors.remove(&id)?;
        for name in Name::all_of(&slot.record) {
            self.names.remove(&name);
        }
        self.due.remove(&(slot.partition, slot.record.health.wake_at(), id));
        Some(slot)
    }

    pub(super) fn put_incident(&mut self, incident: &Incident) {
        self.forget_incident(incident.id);
        let key = (incident.opened_at, incident.id);
        self.incident_order.insert(key);
        self.incidents_of.insert((incident.monitor, key.0, key.1));
        self.incidents.insert(incident.id, incident.clone());
        if incident.is_open() {
            return;
        }
        self.closed.insert(key);
        let of_monitor = (incident.monitor, Timestamp::MIN, IncidentId::from_bytes([0; 16]))
            ..=(incident.monitor, Timestamp::MAX, IncidentId::from_bytes([0xff; 16]));
        let closed_of_monitor: Vec<IncidentId> = (self.incidents_of.range(of_monitor))
            .filter(|(_, at, id)| self.closed.contains(&(*at, *id)))
            .map(|(_, _, id)| *id)
            .collect();
        let surplus = closed_of_monitor.len().saturating_sub(self.limits.incidents_per_monitor);
        for id in &closed_of_monitor[..surplus] {
            self.forget_incident(*id);
        }
        while self.closed.len() > self.limits.incidents_closed {
            let Some((_, oldest)) = self.closed.first().copied() else { break };
            self.forget_incident(oldest);
        }
    }

    fn forget_incident(&mut self, id: IncidentId) {
        if let Some(incident) = self.incidents.remove(&id) {
            self.incident_order.remove(&(incident.opened_at, id));
            self.closed.remove(&(incident.opened_at, id));
            self.incidents_of.remove(&(incident.monitor, incident.opened_at, id));
        }
    }

    fn owe(&mut self, notification: &Notification) {
        if self.notification_seqs.contains_key(&notification.id) {
            return;
        }
        self.last_seq += 1;
        let delivery = Delivery::pending(notification.created_at);
        let entry = OutboxEntry { seq: self.last_seq, notification: notification.clone(), delivery };
        self.notification_seqs.insert(notification.id, entry.seq);
        self.pending.insert(entry.seq);
        self.owed.push(notification.id);
        self.notifications.insert(entry.seq, entry);
    }

    /// The notifications that came to be owed, or are to be tried again, by the latest batch.
    pub(crate) fn take_owed(&mut self) -> Vec<NotificationId> {
        std::mem::take(&mut self.owed)
    }

    fn settle(&mut self, settlement: &Settlement) {
        let Some(seq) = self.notification_seqs.get(&settlement.id).copied() else { return };
        let Some(entry) = self.notifications.get_mut(&seq) else { return };
        entry.delivery = settlement.delivery.clone();
        if entry.delivery.state == DeliveryState::Pending {
            self.settled.remove(&seq);
            self.pending.insert(seq);
            self.owed.push(settlement.id);
            return;
        }
        self.pending.remove(&seq);
        self.settled.insert(seq);
        while self.settled.len() > self.limits.notifications_settled {
            let Some(oldest) = self.settled.pop_first() else { break };
            if let Some(entry) = self.notifications.remove(&oldest) {
                self.notification_seqs.remove(&entry.notification.id);
            }
        }
    }

    fn write_document(&mut self, write: &DocumentWrite) -> Outcome {
        let key = (write.kind.clone(), write.id.clone());
        let found = self.documents.get(&key).map(|(version, _)| *version);
        if found != write.expected {
            return Outcome::Conflict { found };
        }
        match &write.body {
            Some(body) => {
                let bytes = body.to_string().len();
                if bytes > DOCUMENT_BYTES_MAX {
                    return Outcome::TooLarge { bytes };
                }
                self.documents.insert(key, (found.map_or(Version::FIRST, Version::next), body.clone()));
            }
            None => drop(self.documents.remove(&key)),
        }
        Outcome::Committed
    }

    pub(crate) fn swap_lease(&mut self, expected: &Lease, next: &Lease) -> bool {
        let matches = match self.leases.get(&expected.partition) {
            Some(lease) => lease.epoch == expected.epoch && lease.node == expected.node,
            None => expected.epoch == Epoch(0) && expected.node.is_empty(),
        };
        if matches {
            self.leases.insert(expected.partition, next.clone());
        }
        matches
    }

    /// The epoch of a partition's lease; 0 where there never was one.
    pub(crate) fn epoch(&self, partition: PartitionId) -> Epoch {
        self.leases.get(&partition).map_or(Epoch(0), |lease| lease.epoch)
    }

    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.leases.values().cloned().collect()
    }

    pub(crate) fn record(&self, id: MonitorId) -> Option<&Record> {
        self.monitors.get(&id).map(|slot| &slot.record)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn records(&self) -> impl Iterator<Item = &Record> {
        self.monitors.values().map(|slot| &slot.record)
    }

    #[cfg(feature = "testing")]
    pub(crate) fn notification(&self, id: NotificationId) -> Option<&OutboxEntry> {
        self.notifications.get(self.notification_seqs.get(&id)?)
    }

    pub(crate) fn find(&self, name: &Name) -> Option<MonitorId> {
        self.names.get(name).copied()
    }

    pub(crate) fn due(&self, partition: PartitionId, before: Timestamp, limit: usize) -> Vec<(MonitorId, Timestamp)> {
        let nobody = MonitorId::from_bytes([0; 16]);
        let range = (partition, Timestamp::MIN, nobody)..(partition, before, nobody);
        self.due.range(range).take(limit).map(|(_, at, id)| (*id, *at)).collect()
    }

    pub(crate) fn outbox(&self, after: u64, limit: usize) -> Page<OutboxEntry> {
        let pending = self.pending.range((Bound::Excluded(after), Bound::Unbounded));
        Page::cut(pending.filter_map(|seq| self.notifications.get(seq)).cloned(), limit)
    }

    pub(crate) fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Page<Record> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Page::cut(self.monitors.range((from, Bound::Unbounded)).map(|(_, slot)| slot.record.clone()), limit)
    }

    pub(crate) fn documents(&self, kind: &str) -> Vec<Document> {
        (self.documents.range((kind.to_owned(), String::new())..))
            .take_while(|((found, _), _)| found == kind)
            .map(|((kind, id), (version, body))| Document {
                kind: kind.clone(),
                id: id.clone(),
                version: *version,
                body: body.clone(),
            })
            .collect()
    }

    pub(crate) fn watch_log(&self) -> WatchLog {
        let outages = self.outages.iter().map(|(to, from)| Outage { from: *from, to: *to }).collect();
        WatchLog { mark: self.mark, outages }
    }
}

/// Takes out what is beyond the limit, the oldest first.
pub(super) fn surplus<T>(history: &mut VecDeque<T>, limit: usize) -> std::collections::vec_deque::Drain<'_, T> {
    history.drain(..history.len().saturating_sub(limit))
}
