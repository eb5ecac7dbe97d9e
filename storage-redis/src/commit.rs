//! Writes batches.
//!
//! What belongs to a partition is one call of `lua/commit.lua`. A heartbeat carries the new state alone: whether the wish
//! changed is found there, by its revision, and only then the wish is sent, with its names reserved before.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::try_join_all;
use heartbeat_engine::{Applied, Batch, Change, MonitorId, Name, Outcome, Record, StorageError, Transition, Version};
use redis::Cmd;

use crate::codec;
use crate::error::unencodable;
use crate::names::{self, Reserved};
use crate::records;
use crate::script::COMMIT;
use crate::store::{Lane, Store};
use crate::{documents, fold, watch};

/// How often transitions of a batch are sent: first without wishes, then with those that are wanted, and again where names
/// were reserved too long ago.
const ROUNDS_MAX: usize = 4;

/// Writes a batch. See [`heartbeat_engine::Storage::commit`].
pub(crate) async fn commit(store: &Store, batch: &Batch) -> Result<Applied, StorageError> {
    let lane = store.lanes.take();
    let since = store.before_writing().await?;
    if watch::has_part(batch) {
        check_epoch(store, batch).await?;
        watch::write(store, batch).await?;
    }
    let mut writing = Writing::new(store, &lane, batch);
    let transitions = writing.write().await;
    let transitions = transitions.map_err(|error| if writing.wrote { in_the_middle(error) } else { error })?;
    let documents = documents::write(store, &lane, &batch.documents).await.map_err(in_the_middle)?;
    store.wait_for_replicas(since).await?;
    Ok(Applied { transitions, documents })
}

/// What an error means behind a call that wrote something.
fn in_the_middle(error: StorageError) -> StorageError {
    match error {
        StorageError::Unavailable(text) => StorageError::Unknown(text),
        other => other,
    }
}

/// A zombie must not leave a mark of life; what follows is fenced by the script itself.
async fn check_epoch(store: &Store, batch: &Batch) -> Result<(), StorageError> {
    let mut command = redis::cmd("HGET");
    command.arg(store.keys.lease(batch.partition)).arg("epoch");
    let epoch: Option<u64> = store.read(&command).await?;
    if epoch.unwrap_or(0) == batch.epoch.0 { Ok(()) } else { Err(StorageError::Fenced) }
}

/// A wish that is to be written, or a record that is removed.
#[derive(Default)]
struct Wish {
    reserved: Option<Reserved>,
    /// The names that the monitor had before.
    before: Vec<Name>,
}

/// A batch on its way.
struct Writing<'a> {
    store: &'a Store,
    lane: &'a Lane<'a>,
    batch: &'a Batch,
    outcomes: BTreeMap<usize, Outcome>,
    wishes: BTreeMap<usize, Wish>,
    /// Whose heartbeats are so many that the oldest should be counted and forgotten.
    long: BTreeSet<MonitorId>,
    /// Whether a call was answered that may have written some of it.
    wrote: bool,
}

/// What the script answers.
type Answer = (Vec<u8>, Vec<u8>, Vec<u8>);

impl<'a> Writing<'a> {
    fn new(store: &'a Store, lane: &'a Lane<'a>, batch: &'a Batch) -> Self {
        let (outcomes, wishes, long) = Default::default();
        Self { store, lane, batch, outcomes, wishes, long, wrote: false }
    }

    async fn write(&mut self) -> Result<Vec<Outcome>, StorageError> {
        let transitions = &self.batch.transitions;
        let mut pending: Vec<usize> = (0..transitions.len()).collect();
        let mut wanted: Vec<usize> = pending.iter().copied().filter(|n| has_wish(&transitions[*n])).collect();
        for round in 0..ROUNDS_MAX {
            self.prepare(&wanted).await?;
            pending.retain(|n| !self.outcomes.contains_key(n));
            // The first call also writes the rest of the batch, and finds whether it is fenced.
            if round > 0 && pending.is_empty() {
                break;
            }
            let answer = self.send(&pending, round == 0).await?;
            self.wrote = true;
            pending = self.take(&pending, &answer)?;
            wanted.clone_from(&pending);
            self.settle_names().await?;
        }
        if !pending.is_empty() {
            return Err(StorageError::Unknown("names could not be reserved and written in time".to_owned()));
        }
        fold::fold_all(self.store, self.batch.partition, &self.long).await;
        Ok(std::mem::take(&mut self.outcomes).into_values().collect())
    }

    /// Reserves names, and reads the names that a monitor had before.
    async fn prepare(&mut self, wanted: &[usize]) -> Result<(), StorageError> {
        let (store, transitions) = (self.store, &self.batch.transitions);
        let existing: Vec<usize> = wanted.iter().copied().filter(|n| transitions[*n].expected.is_some()).collect();
        let ids: Vec<MonitorId> = existing.iter().map(|n| transitions[*n].monitor).collect();
        let before = if ids.is_empty() { Vec::new() } else { records::load(store, &ids).await? };
        for (n, record) in existing.into_iter().zip(before) {
            self.wishes.entry(n).or_default().before = record.iter().flat_map(Name::all_of).collect();
        }
        let puts = wanted.iter().filter_map(|n| Some((*n, put(&transitions[*n])?)));
        let reservations = puts.map(|(n, record)| async move { Ok((n, names::reserve(store, record).await?)) });
        for (n, reservation) in try_join_all(reservations).await? {
            match reservation {
                Ok(reserved) => self.wishes.entry(n).or_default().reserved = Some(reserved),
                Err(taken) => drop(self.outcomes.insert(n, taken)),
            }
        }
        Ok(())
    }

    async fn send(&self, pending: &[usize], with_rest: bool) -> Result<Answer, StorageError> {
        let call = self.call(pending, with_rest)?;
        self.store.write(&COMMIT, &call).await
    }

    fn call(&self, pending: &[usize], with_rest: bool) -> Result<Cmd, StorageError> {
        let Batch { partition, epoch, transitions, notifications, settlements, .. } = self.batch;
        let limits = &self.store.options.limits;
        let mut call = COMMIT.on(&[&self.store.keys.lease(*partition)]);
        call.arg(epoch.0).arg(self.lane.name()).arg(self.lane.next_batch());
        call.arg(limits.pings_per_monitor).arg(limits.changes_per_monitor).arg(limits.incidents_per_monitor);
        call.arg(limits.incidents_closed).arg(limits.notifications_settled);
        let until_ms = self.wishes.values().filter_map(|wish| Some(wish.reserved.as_ref()?.until_ms)).min();
        call.arg(until_ms.unwrap_or(0)).arg(pending.len());
        let mut scratch = Vec::new();
        for n in pending {
            let with_wish = self.wishes.get(n).is_some_and(|wish| wish.reserved.is_some());
            add_transition(&mut call, &mut scratch, &transitions[*n], with_wish)?;
        }
        let (notifications, settlements) =
            if with_rest { (&notifications[..], &settlements[..]) } else { Default::default() };
        call.arg(notifications.len());
        for owed in notifications {
            scratch.clear();
            codec::notification(&mut scratch, owed)?;
            call.arg(&scratch[..]);
        }
        call.arg(settlements.len());
        for settlement in settlements {
            call.arg(codec::settlement(settlement)?);
        }
        Ok(call)
    }

    /// Takes what became of transitions; says which are to be sent again, with their wishes.
    fn take(&mut self, sent: &[usize], answer: &Answer) -> Result<Vec<usize>, StorageError> {
        let (letters, found, long) = answer;
        if letters.len() != sent.len() {
            return Err(StorageError::Unknown("Redis answered for another number of transitions".to_owned()));
        }
        let mut again = Vec::new();
        let mut found = found.chunks_exact(8);
        for (n, letter) in sent.iter().zip(letters) {
            match letter {
                b'k' => drop(self.outcomes.insert(*n, Outcome::Committed)),
                b'c' => {
                    let version = found.next().and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
                    let found = version.filter(|version| *version > 0).map(Version);
                    self.outcomes.insert(*n, Outcome::Conflict { found });
                }
                _ => again.push(*n),
            }
        }
        let ids = long.chunks_exact(16).filter_map(|id| id.try_into().ok());
        self.long.extend(ids.map(MonitorId::from_bytes));
        Ok(again)
    }

    /// Frees the names of those that are written or cannot be.
    async fn settle_names(&mut self) -> Result<(), StorageError> {
        for (n, wish) in std::mem::take(&mut self.wishes) {
            let transition = &self.batch.transitions[n];
            match (self.outcomes.get(&n), put(transition)) {
                (Some(Outcome::Committed), Some(record)) => {
                    let kept: Vec<Name> = Name::all_of(record).collect();
                    let gone = wish.before.into_iter().filter(|name| !kept.contains(name));
                    names::release(self.store, transition.monitor, record.version, gone).await?;
                }
                (Some(Outcome::Committed), None) => {
                    let version = transition.expected.unwrap_or_default();
                    names::release(self.store, transition.monitor, version, wish.before).await?;
                }
                (_, Some(record)) => {
                    if let Some(reserved) = wish.reserved {
                        names::give_back(self.store, record, reserved).await?;
                    }
                }
                (_, None) => (),
            }
        }
        Ok(())
    }
}

/// Whether names must be looked after before it is known whether the wish changed.
fn has_wish(transition: &Transition) -> bool {
    transition.expected.is_none() || put(transition).is_none()
}

fn put(transition: &Transition) -> Option<&Record> {
    match &transition.change {
        Change::Put(record) => Some(record),
        Change::Remove => None,
    }
}

/// Adds a transition to a call of `commit.lua`, where its form is told.
fn add_transition(
    call: &mut Cmd,
    scratch: &mut Vec<u8>,
    transition: &Transition,
    with_wish: bool,
) -> Result<(), StorageError> {
    let Transition { monitor, expected, change: _, pings, changes, incidents, notifications } = transition;
    let record = put(transition);
    scratch.clear();
    scratch.push(match (record, expected) {
        (Some(_), None) => b'C',
        (Some(_), Some(_)) => b'P',
        (None, _) => b'R',
    });
    scratch.extend_from_slice(monitor.as_bytes());
    scratch.extend_from_slice(&expected.unwrap_or_default().0.to_be_bytes());
    let state = record.map(codec::state).transpose()?.unwrap_or_default();
    scratch.extend_from_slice(&u32::try_from(state.len()).map_err(unencodable)?.to_be_bytes());
    call.arg(&scratch[..]).arg(state);
    let wish = record.filter(|_| with_wish);
    // The heartbeats of a monitor that is removed go with it.
    let pings = if record.is_some() { &pings[..] } else { &[] };
    let changes = if record.is_some() { &changes[..] } else { &[] };
    let parts = usize::from(wish.is_some()) + pings.len() + changes.len() + incidents.len() + notifications.len();
    call.arg(parts);
    let mut part = |letter: u8, write: &dyn Fn(&mut Vec<u8>) -> Result<(), StorageError>| {
        scratch.clear();
        scratch.push(letter);
        write(scratch)?;
        call.arg(&scratch[..]);
        Ok::<(), StorageError>(())
    };
    let json = |out: &mut Vec<u8>, bytes: Result<Vec<u8>, StorageError>| bytes.map(|bytes| out.extend(bytes));
    if let Some(record) = wish {
        part(b'w', &|out| json(out, codec::json(&*record.monitor)))?;
    }
    for ping in pings {
        part(b'p', &|out| {
            codec::ping(out, ping);
            Ok(())
        })?;
    }
    for change in changes {
        part(b'c', &|out| json(out, codec::json(change)))?;
    }
    for incident in incidents {
        part(b'i', &|out| codec::incident(out, incident))?;
    }
    for owed in notifications {
        part(b'n', &|out| codec::notification(out, owed))?;
    }
    Ok(())
}
