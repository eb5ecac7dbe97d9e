//! What the faults make of a batch.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use heartbeat_engine::{
    Applied, Batch, Change, Epoch, Name, Outcome, Record, Storage, StorageError, Timestamp, Transition, Version,
};

use super::{Broken, Fault, dawdle};

fn put(transition: &mut Transition) -> Option<&mut Record> {
    match &mut transition.change {
        Change::Put(record) => Some(Arc::make_mut(record)),
        Change::Remove => None,
    }
}

impl Broken {
    /// The batch as a storage with the fault would treat it.
    pub(super) async fn spoiled(&self, batch: &Batch) -> Result<Batch, StorageError> {
        let mut batch = batch.clone();
        match self.fault {
            Fault::IgnoresEpochs => {
                let leases = self.inner.leases().await?;
                let lease = leases.into_iter().find(|lease| lease.partition == batch.partition);
                batch.epoch = lease.map_or(Epoch(0), |lease| lease.epoch);
            }
            Fault::OverwritesOtherVersions => {
                for transition in &mut batch.transitions {
                    transition.expected = self.inner.load(&[transition.monitor]).await?[0].as_ref().map(|r| r.version);
                }
            }
            Fault::LetsNamesBeTakenOver => {
                for transition in &mut batch.transitions {
                    let Change::Put(record) = &mut transition.change else { continue };
                    let owner = self.inner.find(&Name::Slug(record.spec().slug.as_str().to_owned())).await?;
                    if owner.is_some_and(|owner| owner != transition.monitor) {
                        let spec = &mut Arc::make_mut(&mut Arc::make_mut(record).monitor).spec;
                        spec.slug = format!("{}-again", spec.slug).into();
                    }
                }
            }
            Fault::LosesBodies => {
                batch.transitions.iter_mut().flat_map(|t| &mut t.pings).for_each(|ping| ping.body = None);
            }
            Fault::KeepsTheLatestMark if batch.outage.is_some() => (),
            Fault::KeepsTheLatestMark => batch.mark = batch.mark.max(self.inner.watch_log().await?.mark),
            Fault::KeepsIncidentsOpen => {
                batch.transitions.iter_mut().for_each(|t| t.incidents.retain(heartbeat_engine::Incident::is_open));
            }
            Fault::TakesLargeDocuments => {
                for document in &mut batch.documents {
                    let large = document.body.as_ref().is_some_and(|body| body.to_string().len() > 64 * 1024);
                    document.body = document.body.take().map(|body| if large { "cut".into() } else { body });
                }
            }
            Fault::RemovesNothing => batch.transitions.retain(|t| matches!(t.change, Change::Put(_))),
            Fault::SplitsFolds => {
                batch.transitions.iter_mut().for_each(|t| t.pings.truncate(1));
            }
            Fault::ForgetsIncidentsOfTheRemoved => {
                let removed = batch.transitions.iter_mut().filter(|t| matches!(t.change, Change::Remove));
                removed.for_each(|t| t.incidents.clear());
            }
            Fault::KeepsTheFuture => batch.forget_outages_after = None,
            Fault::ForgetsTheNewOutage if batch.forget_outages_after.is_some() => batch.outage = None,
            Fault::OverwritesDocuments => {
                for write in &mut batch.documents {
                    let found = self.inner.documents(&write.kind).await?;
                    let stored = found.into_iter().find(|found| found.id == write.id).map(|found| found.version);
                    write.expected = stored.or(write.expected);
                }
            }
            _ => self.spoil_more(&mut batch).await?,
        }
        Ok(batch)
    }

    async fn spoil_more(&self, batch: &mut Batch) -> Result<(), StorageError> {
        let transitions = &mut batch.transitions;
        match self.fault {
            Fault::ClipsTimes => transitions.iter_mut().filter_map(put).for_each(|record| {
                record.health.latest_at = record.health.latest_at.min(Timestamp::from_secs(1 << 40));
            }),
            Fault::CutsLargeBatches => transitions.truncate(999),
            Fault::TakesEmptyForNone => {
                let pings = transitions.iter_mut().flat_map(|transition| &mut transition.pings);
                pings.for_each(|ping| ping.body = ping.body.take().filter(|body| !body.is_empty()));
            }
            Fault::LosesDigests => batch.notifications.iter_mut().for_each(|message| message.digest = None),
            Fault::LosesWhoWasTold => {
                let incidents = transitions.iter_mut().flat_map(|transition| &mut transition.incidents);
                incidents.for_each(|incident| incident.told.truncate(1));
            }
            Fault::LosesErrors => batch.settlements.iter_mut().for_each(|one| one.delivery.last_error = None),
            Fault::KeepsOldOutages if batch.forget_outages_after.is_none() => batch.forget_outages_before = None,
            Fault::RoundsNumbers => {
                for number in batch.documents.iter_mut().filter_map(|write| write.body.as_mut()?.get_mut("number")) {
                    *number = 0.1.into();
                }
            }
            Fault::TakesAnyEpochWithoutALease => {
                let leases = self.inner.leases().await?;
                if batch.partition.0 > 0 && leases.iter().all(|lease| lease.partition != batch.partition) {
                    batch.epoch = Epoch(0);
                }
            }
            Fault::KeepsTheOldName
            | Fault::CreatesAnew
            | Fault::MakesWhatIsMissing
            | Fault::LetsTokensBeTakenOver
            | Fault::ComparesBeforeWriting
            | Fault::KeepsTheFirstForm => {
                for transition in transitions {
                    self.spoil_transition(transition).await?;
                }
            }
            Fault::TakesNewerEpochs => {
                let lease = self.inner.leases().await?.into_iter().find(|lease| lease.partition == batch.partition);
                batch.epoch = lease.map_or(batch.epoch, |lease| lease.epoch.min(batch.epoch));
            }
            Fault::LetsNamesBeTakenTwiceAtOnce => {
                let mut seen = std::collections::BTreeSet::new();
                for record in transitions.iter_mut().filter_map(put) {
                    while !seen.insert(record.spec().slug.as_str().to_owned()) {
                        let spec = &mut Arc::make_mut(&mut record.monitor).spec;
                        spec.slug = format!("{}-again", spec.slug).into();
                    }
                }
            }
            Fault::RemembersOldSlugs
            | Fault::RemembersOldTokens
            | Fault::BelievesEveryName
            | Fault::IsConfusedBySwaps
            | Fault::RemembersDeadlines => {
                let edits = transitions.len() == 2 && transitions.iter().all(|one| one.expected.is_some());
                for record in transitions.iter_mut().filter_map(put) {
                    for name in Name::all_of(record) {
                        let mut names = self.names.lock().unwrap();
                        let before = names.insert(format!("{name:?}"), record.id());
                        if self.fault == Fault::IsConfusedBySwaps && edits && before.is_some_and(|id| id != record.id())
                        {
                            self.busy.store(true, Ordering::Relaxed);
                        }
                    }
                    self.deadlines.lock().unwrap().entry(record.id()).or_insert(record.health.wake_at());
                }
            }
            _ => (),
        }
        Ok(())
    }

    async fn spoil_transition(&self, transition: &mut Transition) -> Result<(), StorageError> {
        let stored = self.inner.load(&[transition.monitor]).await?.remove(0);
        let found = stored.as_ref().map(|record| record.version);
        match (self.fault, &stored) {
            (Fault::KeepsTheOldName, Some(stored)) => {
                for record in put(transition).into_iter() {
                    Arc::make_mut(&mut record.monitor).spec.name.clone_from(&stored.spec().name);
                }
            }
            (Fault::CreatesAnew, Some(stored))
                if transition.expected.is_none() && transition.pings.is_empty() && stored.version == Version::FIRST =>
            {
                transition.expected = found;
            }
            (Fault::MakesWhatIsMissing, None) => transition.expected = None,
            (Fault::ComparesBeforeWriting, _) if transition.expected == found => {
                dawdle().await;
                let now = self.inner.load(&[transition.monitor]).await?.remove(0);
                transition.expected = now.map(|record| record.version);
            }
            (Fault::KeepsTheFirstForm, _) => {
                let mut new = Vec::new();
                for incident in transition.incidents.drain(..) {
                    let query = heartbeat_engine::HistoryQuery::Incident(incident.id);
                    if self.inner.history(&query, 1).await?.items.is_empty() {
                        new.push(incident);
                    }
                }
                transition.incidents = new;
            }
            (Fault::LetsTokensBeTakenOver, _) => {
                let id = transition.monitor;
                let Some(record) = put(transition) else { return Ok(()) };
                let tokens: Vec<Name> = Name::all_of(record).filter(|name| name.field() == "token").collect();
                for name in tokens {
                    if self.inner.find(&name).await?.is_some_and(|owner| owner != id) {
                        let another = heartbeat_engine::Token::new(format!("another-{id}")).unwrap();
                        Arc::make_mut(&mut record.monitor).token = heartbeat_engine::Rotating::new(another);
                        break;
                    }
                }
            }
            _ => (),
        }
        Ok(())
    }

    /// What it wrongly writes after the batch.
    pub(super) async fn aftermath(&self, batch: &Batch, applied: &Applied) -> Result<(), StorageError> {
        let conflicts = (batch.transitions.iter().zip(&applied.transitions))
            .filter(|(_, outcome)| matches!(outcome, Outcome::Conflict { .. }))
            .map(|(transition, _)| transition);
        for transition in conflicts {
            if self.fault == Fault::PublishesConflicts {
                self.busy.store(true, Ordering::Relaxed);
            }
            if self.fault != Fault::WritesPingsOfConflicts {
                continue;
            }
            if let Some(record) = self.inner.load(&[transition.monitor]).await?.remove(0) {
                let expected = Some(record.version);
                let again = heartbeat_engine::Transition {
                    expected,
                    change: Change::Put(Arc::new(record)),
                    changes: vec![],
                    incidents: vec![],
                    notifications: vec![],
                    ..transition.clone()
                };
                self.inner.commit(&Batch { transitions: vec![again], epoch: batch.epoch, ..Batch::default() }).await?;
            }
        }
        let nameless = batch.transitions.iter().zip(&applied.transitions);
        let nameless = nameless.filter(|(_, outcome)| matches!(outcome, Outcome::NameTaken { .. }));
        for (transition, _) in nameless.filter(|_| self.fault == Fault::WritesMessagesOfTakenNames) {
            let notifications = transition.notifications.clone();
            self.inner.commit(&Batch { notifications, epoch: batch.epoch, ..Batch::default() }).await?;
        }
        for notification in batch.transitions.iter().flat_map(|transition| &transition.notifications) {
            if self.fault == Fault::OwesAgain {
                let delivery = heartbeat_engine::Delivery::pending(notification.created_at);
                let settlements = vec![heartbeat_engine::Settlement { id: notification.id, delivery }];
                self.inner.commit(&Batch { settlements, epoch: batch.epoch, ..Batch::default() }).await?;
            }
        }
        let removals = batch.transitions.iter().filter(|transition| matches!(transition.change, Change::Remove));
        self.removals.fetch_add(removals.count() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// What it says of a batch; where nothing else is known, that it is written.
    pub(super) fn told(&self, batch: &Batch, mut applied: Applied) -> Applied {
        applied.documents.resize(batch.documents.len(), Outcome::Committed);
        applied.transitions.resize(batch.transitions.len(), Outcome::Committed);
        for (transition, outcome) in batch.transitions.iter().zip(&mut applied.transitions) {
            if let (Fault::FlattersTheNewer, Outcome::Conflict { found: Some(found) }) = (self.fault, outcome) {
                *found = transition.expected.map_or(*found, |expected| expected.max(*found));
            }
        }
        applied
    }
}
