//! Writes batches.
//!
//! What belongs to a partition is one share of a call of `lua/commit.lua`. A heartbeat carries the new state alone: whether the
//! wish changed is found there, by its revision, and only then the wish is sent, with its names reserved before.

use std::collections::BTreeMap;

use futures_util::future::try_join_all;
use heartbeat_engine::{Applied, Batch, MonitorId, Name, Outcome, StorageError, Transition, Version};

use crate::names::{self, Reserved};
use crate::rounds::Answer;
use crate::share::{self, ShareMaker};
use crate::store::Store;
use crate::{documents, fold, records, watch};

/// How often transitions of a batch are sent: first without wishes, then with those that are wanted, and again where names
/// were reserved too long ago.
const ROUNDS_MAX: usize = 4;

/// Writes a batch. See [`heartbeat_engine::Storage::commit`].
pub(crate) async fn commit(store: &Store, batch: &Batch) -> Result<Applied, StorageError> {
    let since = store.before_writing().await?;
    if watch::has_part(batch) {
        check_epoch(store, batch).await?;
        watch::write(store, batch).await?;
    }
    let mut writing = Writing::new(store, batch);
    let transitions = writing.write().await;
    let transitions = transitions.map_err(|error| if writing.wrote { in_the_middle(error) } else { error })?;
    let documents = documents::write(store, &batch.documents).await.map_err(in_the_middle)?;
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
    batch: &'a Batch,
    outcomes: BTreeMap<usize, Outcome>,
    wishes: BTreeMap<usize, Wish>,
    /// Whose oldest heartbeats may have to be counted and forgotten, each with the number of its latest.
    long: BTreeMap<MonitorId, u64>,
    /// Whether a call was answered that may have written some of it.
    wrote: bool,
}

impl<'a> Writing<'a> {
    fn new(store: &'a Store, batch: &'a Batch) -> Self {
        let (outcomes, wishes, long) = Default::default();
        Self { store, batch, outcomes, wishes, long, wrote: false }
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
            pending = self.send(&pending, round == 0).await?;
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
        let puts = wanted.iter().filter_map(|n| Some((*n, share::put(&transitions[*n])?)));
        let reservations = puts.map(|(n, record)| async move { Ok((n, names::reserve(store, record).await?)) });
        for (n, reservation) in try_join_all(reservations).await? {
            match reservation {
                Ok(reserved) => self.wishes.entry(n).or_default().reserved = Some(reserved),
                Err(taken) => drop(self.outcomes.insert(n, taken)),
            }
        }
        Ok(())
    }

    /// Sends transitions; says which are to be sent again, with their wishes.
    async fn send(&mut self, pending: &[usize], with_rest: bool) -> Result<Vec<usize>, StorageError> {
        let mut maker = ShareMaker::default();
        for n in pending {
            let with_wish = self.wishes.get(n).is_some_and(|wish| wish.reserved.is_some());
            maker.add(*n, &self.batch.transitions[*n], with_wish)?;
        }
        let until_ms = self.wishes.values().filter_map(|wish| Some(wish.reserved.as_ref()?.until_ms)).min();
        let (share, order) = maker.finish(self.store, self.batch, until_ms.unwrap_or(0), with_rest)?;
        let answer = self.store.rounds.write(share).await?;
        self.wrote = true;
        self.take(&order, &answer)
    }

    /// Takes what became of transitions; says which are to be sent again, with their wishes.
    fn take(&mut self, sent: &[usize], answer: &Answer) -> Result<Vec<usize>, StorageError> {
        let Answer { letters, found } = answer;
        if letters.len() != sent.len() {
            return Err(StorageError::Unknown("Redis answered for another number of transitions".to_owned()));
        }
        let mut again = Vec::new();
        let mut found = found.chunks_exact(8);
        for (n, letter) in sent.iter().zip(letters) {
            match letter {
                b'k' => {
                    self.outcomes.insert(*n, Outcome::Committed);
                    let transition = &self.batch.transitions[*n];
                    self.long.extend(fold::is_due(transition).map(|latest| (transition.monitor, latest)));
                }
                b'c' => {
                    let version = found.next().and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
                    let found = version.filter(|version| *version > 0).map(Version);
                    self.outcomes.insert(*n, Outcome::Conflict { found });
                }
                _ => again.push(*n),
            }
        }
        Ok(again)
    }

    /// Frees the names of those that are written or cannot be.
    async fn settle_names(&mut self) -> Result<(), StorageError> {
        for (n, wish) in std::mem::take(&mut self.wishes) {
            let transition = &self.batch.transitions[n];
            match (self.outcomes.get(&n), share::put(transition)) {
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
    transition.expected.is_none() || share::put(transition).is_none()
}
