//! A storage that keeps everything in one JSON file, which it writes anew with every batch.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use heartbeat_engine::*;
use serde::{Deserialize, Serialize};

/// Everything that is kept, as it stands in the file.
#[derive(Clone, Default, Serialize, Deserialize)]
struct World {
    leases: BTreeMap<PartitionId, Lease>,
    monitors: BTreeMap<MonitorId, Kept>,
    incidents: Vec<Incident>,
    outbox: Vec<(OutboxEntry, Option<Vec<u8>>)>,
    documents: Vec<Document>,
    watch: WatchLog,
    /// The last place in the outbox, and in the feed, that was ever given.
    last_seq: u64,
    last_event: u64,
}

/// A monitor with its history, oldest first.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    partition: PartitionId,
    record: Record,
    pings: Vec<(PingEntry, Option<Vec<u8>>)>,
    changes: Vec<(u64, StateChange)>,
}

pub struct Snapshot {
    path: PathBuf,
    world: Mutex<World>,
    _lock: File,
}

impl Snapshot {
    pub fn open(path: &Path) -> Result<Self, StorageError> {
        let unavailable = |error: io::Error| StorageError::Unavailable(format!("{}: {error}", path.display()));
        let lock = File::create(path.with_extension("lock")).map_err(unavailable)?;
        lock.try_lock().map_err(|error| unavailable(error.into()))?;
        let mut world = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| StorageError::Corrupt(error.to_string()))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => World::default(),
            Err(error) => return Err(unavailable(error)),
        };
        // The JSON form of a heartbeat leaves its body out, which therefore stands beside it.
        for (ping, body) in world.monitors.values_mut().flat_map(|kept| &mut kept.pings) {
            ping.body.clone_from(body);
        }
        for (entry, body) in &mut world.outbox {
            entry.notification.ping.iter_mut().for_each(|ping| ping.body.clone_from(body));
        }
        Ok(Self { path: path.to_owned(), world: Mutex::new(world), _lock: lock })
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes a copy of everything, saves that, and only then lets others see it.
    fn change<T>(&self, change: impl FnOnce(&mut World) -> Result<T, StorageError>) -> Result<T, StorageError> {
        let mut world = self.world();
        let mut next = world.clone();
        let answer = change(&mut next)?;
        let saved = self.save(&next);
        if !matches!(saved, Err(StorageError::Unavailable(_))) {
            *world = next;
        }
        saved.map(|()| answer)
    }

    fn save(&self, world: &World) -> Result<(), StorageError> {
        let replace = || {
            let partial = self.path.with_extension("partial");
            let mut file = File::create(&partial)?;
            file.write_all(&serde_json::to_vec(world)?)?;
            file.sync_all()?;
            fs::rename(&partial, &self.path)
        };
        replace().map_err(|error| StorageError::Unavailable(error.to_string()))?;
        // From here on it is written, and only a loss of power could still undo it.
        let directory = File::open(self.path.parent().unwrap_or(Path::new("/")));
        directory.and_then(|it| it.sync_all()).map_err(|error| StorageError::Unknown(error.to_string()))
    }
}

impl World {
    fn commit(&mut self, batch: &Batch) -> Result<Applied, StorageError> {
        if batch.epoch != self.leases.get(&batch.partition).map_or(Epoch(0), |lease| lease.epoch) {
            return Err(StorageError::Fenced);
        }
        let applied = Applied {
            transitions: batch.transitions.iter().map(|one| self.transition(batch.partition, one)).collect(),
            documents: batch.documents.iter().map(|one| self.write_document(one)).collect(),
        };
        batch.notifications.iter().for_each(|notification| self.owe(notification));
        for settlement in &batch.settlements {
            let found = self.outbox.iter_mut().find(|(entry, _)| entry.notification.id == settlement.id);
            found.into_iter().for_each(|(entry, _)| entry.delivery.clone_from(&settlement.delivery));
        }
        self.watch.mark = batch.mark.or(self.watch.mark);
        let kept = batch.forget_outages_before.unwrap_or(Timestamp::MIN)
            ..=batch.forget_outages_after.unwrap_or(Timestamp::MAX);
        self.watch.outages.retain(|outage| kept.contains(&outage.to) && Some(*outage) != batch.outage);
        self.watch.outages.extend(batch.outage);
        self.watch.outages.sort_by_key(|outage| (outage.to, outage.from));
        forget_oldest(&mut self.incidents, 1000, |incident| !incident.is_open());
        forget_oldest(&mut self.outbox, 1000, |(entry, _)| entry.delivery.state != DeliveryState::Pending);
        Ok(applied)
    }

    fn transition(&mut self, partition: PartitionId, transition: &Transition) -> Outcome {
        let id = transition.monitor;
        let found = self.monitors.get(&id).map(|kept| kept.record.version);
        if found != transition.expected {
            return Outcome::Conflict { found };
        }
        match &transition.change {
            Change::Remove => drop(self.monitors.remove(&id)),
            Change::Put(record) => {
                let is_taken = |name: &Name| self.find(name).is_some_and(|owner| owner != id);
                if let Some(name) = Name::all_of(record).find(is_taken) {
                    return Outcome::NameTaken { field: name.field() };
                }
                let (pings, changes) =
                    self.monitors.remove(&id).map(|old| (old.pings, old.changes)).unwrap_or_default();
                let mut kept = Kept { partition, record: (**record).clone(), pings, changes };
                kept.pings.extend(transition.pings.iter().map(|ping| (ping.clone(), ping.body.clone())));
                let places = self.last_event + 1..;
                kept.changes.extend(places.zip(transition.changes.iter().cloned()));
                self.last_event += transition.changes.len() as u64;
                forget_oldest(&mut kept.pings, 100, |_| true);
                forget_oldest(&mut kept.changes, 1000, |_| true);
                self.monitors.insert(id, kept);
            }
        }
        for incident in &transition.incidents {
            self.incidents.retain(|old| old.id != incident.id);
            self.incidents.push(incident.clone());
        }
        transition.notifications.iter().for_each(|notification| self.owe(notification));
        Outcome::Committed
    }

    fn owe(&mut self, notification: &Notification) {
        if self.outbox.iter().any(|(entry, _)| entry.notification.id == notification.id) {
            return;
        }
        self.last_seq += 1;
        let delivery = Delivery::pending(notification.created_at);
        let body = notification.ping.as_ref().and_then(|ping| ping.body.clone());
        self.outbox.push((OutboxEntry { seq: self.last_seq, notification: notification.clone(), delivery }, body));
    }

    fn write_document(&mut self, write: &DocumentWrite) -> Outcome {
        let place = self.documents.iter().position(|found| (&found.kind, &found.id) == (&write.kind, &write.id));
        let found = place.map(|place| self.documents[place].version);
        if found != write.expected {
            return Outcome::Conflict { found };
        }
        let bytes = write.body.as_ref().map_or(0, |body| body.to_string().len());
        if bytes > DOCUMENT_BYTES_MAX {
            return Outcome::TooLarge { bytes };
        }
        place.map(|place| self.documents.remove(place));
        self.documents.extend(write.body.clone().map(|body| {
            let version = found.map_or(Version::FIRST, Version::next);
            Document { kind: write.kind.clone(), id: write.id.clone(), version, body }
        }));
        self.documents.sort_by(|a, b| (&a.kind, &a.id).cmp(&(&b.kind, &b.id)));
        Outcome::Committed
    }

    fn find(&self, name: &Name) -> Option<MonitorId> {
        let mut records = self.monitors.values().map(|kept| &kept.record);
        records.find(|record| Name::all_of(record).any(|own| own == *name)).map(Record::id)
    }

    fn history(&self, query: &HistoryQuery, limit: usize) -> Option<Page<HistoryItem>> {
        let of = |monitor: &MonitorId| self.monitors.get(monitor).into_iter();
        Some(match query {
            HistoryQuery::Pings { monitor, before } => {
                let pings = of(monitor).flat_map(|kept| kept.pings.iter().rev()).map(|(ping, _)| ping);
                let wanted = pings.filter(|ping| before.is_none_or(|before| ping.n < before));
                Page::cut(wanted.map(|ping| HistoryItem::Ping(Box::new(ping.clone()))), limit)
            }
            HistoryQuery::Changes { monitor, before } => {
                let changes = of(monitor).flat_map(|kept| kept.changes.iter().rev()).map(|(_, change)| change);
                let all: Vec<_> = changes.filter(|it| before.is_none_or(|before| it.version.0 < before)).collect();
                // A page never ends between two changes of one version.
                let last = limit.checked_sub(1).and_then(|last| all.get(last)).map(|change| change.version);
                let count = all.iter().take_while(|change| last.is_none_or(|last| change.version >= last)).count();
                Page::cut(all.into_iter().cloned().map(HistoryItem::Change), count)
            }
            HistoryQuery::Incidents { monitor, open, before } => {
                let mut found: Vec<_> = self.incidents.iter().collect();
                found.sort_by_key(|incident| std::cmp::Reverse((incident.opened_at, incident.id)));
                found.retain(|incident| monitor.is_none_or(|monitor| incident.monitor == monitor));
                found.retain(|incident| open.is_none_or(|open| incident.is_open() == open));
                found.retain(|incident| before.is_none_or(|before| (incident.opened_at, incident.id) < before));
                Page::cut(found.into_iter().cloned().map(HistoryItem::Incident), limit)
            }
            HistoryQuery::Notifications { state, incident, before } => {
                let mut found: Vec<_> = self.outbox.iter().rev().map(|(entry, _)| entry).collect();
                found.retain(|entry| state.is_none_or(|state| entry.delivery.state == state));
                found.retain(|entry| before.is_none_or(|before| entry.seq < before));
                let about = |entry: &OutboxEntry| entry.notification.incident.as_ref().map(|incident| incident.id);
                found.retain(|entry| incident.is_none_or(|incident| about(entry) == Some(incident)));
                Page::cut(found.into_iter().map(|entry| HistoryItem::Notification(Box::new(entry.clone()))), limit)
            }
            HistoryQuery::Incident(id) => {
                let found = self.incidents.iter().filter(|incident| incident.id == *id);
                Page::cut(found.cloned().map(HistoryItem::Incident), limit)
            }
            HistoryQuery::Notification(id) => {
                let found = self.outbox.iter().map(|(entry, _)| entry).filter(|entry| entry.notification.id == *id);
                Page::cut(found.map(|entry| HistoryItem::Notification(Box::new(entry.clone()))), limit)
            }
            HistoryQuery::Feed { after } => {
                let mut found: Vec<_> = self.monitors.values().flat_map(|kept| kept.changes.clone()).collect();
                found.sort_by_key(|(seq, _)| *seq);
                found.retain(|(seq, _)| seq > after);
                Page::cut(found.into_iter().map(|(seq, change)| HistoryItem::Event { seq, change }), limit)
            }
            HistoryQuery::LatestEvent => {
                let events = self.monitors.values().filter_map(|kept| kept.changes.last());
                let latest = events.max_by_key(|(seq, _)| *seq).cloned();
                Page::cut(latest.map(|(seq, change)| HistoryItem::Event { seq, change }), limit)
            }
            _ => return None,
        })
    }
}

/// Forgets the oldest of those that may be forgotten, so that at most `limit` of these are left.
fn forget_oldest<T>(items: &mut Vec<T>, limit: usize, may_go: impl Fn(&T) -> bool) {
    let mut surplus = items.iter().filter(|item| may_go(item)).count().saturating_sub(limit);
    items.retain(|item| {
        let goes = surplus > 0 && may_go(item);
        surplus -= usize::from(goes);
        !goes
    });
}

#[async_trait]
impl Storage for Snapshot {
    async fn commit(&self, batch: &Batch) -> Result<Applied, StorageError> {
        self.change(|world| world.commit(batch))
    }

    async fn swap_lease(&self, expected: &Lease, next: &Lease) -> Result<bool, StorageError> {
        self.change(|world| {
            let found = world.leases.get(&expected.partition);
            let found = found.map_or((Epoch(0), ""), |lease| (lease.epoch, lease.node.as_str()));
            let matches = found == (expected.epoch, expected.node.as_str());
            if matches {
                world.leases.insert(expected.partition, next.clone());
            }
            Ok(matches)
        })
    }

    async fn leases(&self) -> Result<Vec<Lease>, StorageError> {
        Ok(self.world().leases.values().cloned().collect())
    }

    async fn load(&self, ids: &[MonitorId]) -> Result<Vec<Option<Record>>, StorageError> {
        let world = self.world();
        Ok(ids.iter().map(|id| world.monitors.get(id).map(|kept| kept.record.clone())).collect())
    }

    async fn find(&self, name: &Name) -> Result<Option<MonitorId>, StorageError> {
        Ok(self.world().find(name))
    }

    async fn due(
        &self,
        partition: PartitionId,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<(MonitorId, Timestamp)>, StorageError> {
        let world = self.world();
        let own = world.monitors.iter().filter(|(_, kept)| kept.partition == partition);
        let mut due: Vec<_> = own.map(|(id, kept)| (*id, kept.record.health.wake_at())).collect();
        due.retain(|(_, at)| *at < before);
        due.sort_by_key(|(id, at)| (*at, *id));
        due.truncate(limit);
        Ok(due)
    }

    async fn outbox(&self, after: u64, limit: usize) -> Result<Page<OutboxEntry>, StorageError> {
        let world = self.world();
        let pending = world.outbox.iter().filter(|(entry, _)| entry.delivery.state == DeliveryState::Pending);
        Ok(Page::cut(pending.map(|(entry, _)| entry).filter(|entry| entry.seq > after).cloned(), limit))
    }

    async fn monitors(&self, after: Option<MonitorId>, limit: usize) -> Result<Page<Record>, StorageError> {
        let world = self.world();
        let behind = world.monitors.iter().filter(|(id, _)| after.is_none_or(|after| **id > after));
        Ok(Page::cut(behind.map(|(_, kept)| kept.record.clone()), limit))
    }

    async fn history(&self, query: &HistoryQuery, limit: usize) -> Result<Page<HistoryItem>, StorageError> {
        let unknown = || StorageError::Unavailable(format!("this storage does not know {query:?}"));
        self.world().history(query, limit).ok_or_else(unknown)
    }

    async fn documents(&self, kind: &str) -> Result<Vec<Document>, StorageError> {
        Ok(self.world().documents.iter().filter(|document| document.kind == kind).cloned().collect())
    }

    async fn watch_log(&self) -> Result<WatchLog, StorageError> {
        Ok(self.world().watch.clone())
    }
}
