//! The driver: reads what is stored, and has the seats of all partitions work, beside what a node does for all of them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::task::JoinSet;

use crate::evaluator::Evaluator;
use crate::runtime::channels;
use crate::runtime::error::StartError;
use crate::runtime::inbox::Inbox;
use crate::runtime::life_keeper::LifeKeeper;
use crate::runtime::listener;
use crate::runtime::loading::Portions;
use crate::runtime::outbox_reader::each_owed;
use crate::runtime::policies::{MAINTENANCE, ROUTE};
use crate::runtime::seat::{PAUSE_MAX, Seat};
use crate::runtime::shared::Shared;
use crate::table::READ_AHEAD;
use crate::{PartitionId, State, StorageError, Tenure};

/// How much of the monitors is read while loading before it is foretold from that how many there are.
const FORETELLING: f64 = 0.25;

/// Does the engine's work while it runs. It ends when the engine is shut down or its last handle is dropped; when the
/// driver is dropped before, calls are answered `Stopped`.
#[derive(Debug)]
pub struct Driver {
    shared: Arc<Shared>,
    loaded: Option<Loaded>,
}

/// What was read, and what goes on from there.
#[derive(Debug)]
struct Loaded {
    seats: Vec<Seat>,
    /// Behind which what other nodes write is news.
    position: String,
}

/// Why the work came to an end.
enum Ending {
    /// The engine was shut down.
    Stopped,
    /// The storage, which belongs to one process, was taken over by another.
    TakenOver,
    /// Some of what other nodes wrote is not known: all has to be read anew.
    Missed,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.shared.inboxes.iter().for_each(Inbox::close);
        for inbox in &self.shared.inboxes {
            // Who waits is answered by its sender's end.
            drop(inbox.take(&*self.shared.clock));
        }
        self.shared.stopped.send_replace(true);
    }
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, loaded: None }
    }

    /// Reads what is stored: monitors, channels, and where the storage belongs to this process, owed notifications. Calls are
    /// taken from then on, and answered while [`Driver::run`] runs.
    ///
    /// # Errors
    /// When the storage cannot be read.
    pub async fn load(&mut self) -> Result<(), StartError> {
        self.loaded = Some(self.read().await?);
        self.shared.loaded.store(true, Ordering::Release);
        self.shared.inboxes.iter().for_each(Inbox::open);
        Ok(())
    }

    async fn read(&self) -> Result<Loaded, StorageError> {
        let shared = &self.shared;
        let epoch = match (shared.tenure, shared.partitions()) {
            (Tenure::Exclusive, 1) => Some(shared.lease.take().await?),
            (Tenure::Exclusive, several) => {
                let why = format!("it has {several} partitions, which nodes share out: choose Tenure::Shared");
                return Err(StorageError::Unavailable(why));
            }
            (Tenure::Shared { .. }, _) => None,
        };
        // What is written while all this is read is news, or known already.
        let position = shared.storage.news(None).await?.position;
        read_documents(shared).await?;
        let mut seats: Vec<Seat> = match epoch {
            Some(epoch) => vec![Seat::alone(shared.clone(), epoch, shared.storage.watch_log().await?)],
            None => shared.all_partitions().map(|p| Seat::among_others(shared.clone(), p)).collect(),
        };
        read_monitors(shared, &mut seats).await?;
        if let (Some(_), [seat]) = (epoch, &mut seats[..]) {
            each_owed(&*shared.storage, |entry| seat.restore(entry.into())).await?;
            seat.restored();
        }
        Ok(Loaded { seats, position })
    }

    /// Works until the engine is shut down; where the storage belongs to this process, also until another one takes it over.
    pub async fn run(mut self) {
        let mut keeper = LifeKeeper::new(self.shared.clone());
        loop {
            if self.loaded.is_none() && !self.load_again().await {
                return;
            }
            let Some(loaded) = self.loaded.take() else { return };
            match self.work(loaded, &mut keeper).await {
                Ending::Stopped => {
                    keeper.leave().await;
                    return self.shared.lease.resign().await;
                }
                // Whatever is owed is told by the other one.
                Ending::TakenOver => return,
                Ending::Missed => self.begin_anew(),
            }
        }
    }

    async fn work(&self, loaded: Loaded, keeper: &mut LifeKeeper) -> Ending {
        let shared = &self.shared;
        let mut seats = JoinSet::new();
        loaded.seats.into_iter().for_each(|seat| _ = seats.spawn(seat.run()));
        let all_ended = async {
            while let Some(ended) = seats.join_next().await {
                // A seat that panicked would leave its monitors unwatched.
                if !matches!(ended, Ok(Ok(()))) {
                    return Ending::TakenOver;
                }
            }
            Ending::Stopped
        };
        tokio::select! {
            ending = all_ended => ending,
            () = shared.lease.attend(|| shared.knows_life(shared.clock.now()), || shared.nudge_all()) => Ending::Stopped,
            () = keeper.attend() => Ending::Stopped,
            () = shared.reader.attend(shared) => Ending::Stopped,
            () = listener::listen(shared, loaded.position) => Ending::Missed,
        }
    }

    /// Loads, again where that fails and the storage is shared; says whether it did.
    async fn load_again(&mut self) -> bool {
        let shared = self.shared.clone();
        loop {
            let loaded = tokio::select! {
                loaded = self.load() => loaded,
                () = closed(&shared) => return false,
            };
            let Err(error) = loaded else { return true };
            tracing::error!(%error, "the engine could not load what is stored");
            shared.counters.report(|standing| standing.store_error = Some(error.to_string()));
            if shared.tenure == Tenure::Exclusive {
                return false;
            }
            tokio::time::sleep(PAUSE_MAX).await;
        }
    }

    /// Answers no calls until everything is read anew.
    fn begin_anew(&self) {
        tracing::warn!("so much was written by other nodes meanwhile that everything is read anew");
        self.shared.loaded.store(false, Ordering::Release);
        self.shared.inboxes.iter().for_each(Inbox::suspend);
    }
}

async fn read_documents(shared: &Shared) -> Result<(), StorageError> {
    let Shared { storage, channels, policies, .. } = shared;
    // What an attempt before, which failed, had read.
    channels.forget_stored();
    policies.clear();
    for document in storage.documents(channels::DOCUMENT_KIND).await? {
        channels.load(&document);
    }
    for kind in [MAINTENANCE, ROUTE] {
        storage.documents(kind).await?.iter().for_each(|document| policies.load(document));
    }
    Ok(())
}

async fn read_monitors(shared: &Shared, seats: &mut [Seat]) -> Result<(), StorageError> {
    let Shared { storage, limits, directory, counters, terms, .. } = shared;
    directory.clear();
    counters.loaded.store(0, Ordering::Relaxed);
    let mut portions = Portions::begin(storage, terms, limits.load_page);
    let mut foretold = false;
    let mut down = Vec::new();
    while let Some(portion) = portions.next().await? {
        counters.count_loaded(portion.records.len(), portion.covered);
        // Most of them is still to come, and what is foretold is no more than a few times what was read.
        if !foretold && portion.covered >= FORETELLING {
            foretold = true;
            let expected = counters.expected.load(Ordering::Relaxed);
            let expected = usize::try_from(expected + expected / 64).unwrap_or(0);
            directory.expect(expected);
            let each = expected / seats.len().max(1);
            seats.iter_mut().for_each(|seat| seat.evaluator().expect(each));
        }
        directory.load(&portion.records);
        for block in portion.records.chunks(READ_AHEAD) {
            if let [seat] = seats {
                seat.evaluator().read_ahead(block.iter().map(|record| record.id()));
            }
            for record in block {
                let partition = PartitionId::of(record.id(), shared.partitions());
                if shared.partitions() > 1 && record.health.state == State::Down {
                    down.push((partition, record.clone()));
                }
                evaluator_of(seats, partition).handle_record(record.id(), Some(record.clone()));
            }
        }
    }
    directory.loaded();
    for (partition, record) in down {
        for other in shared.all_partitions().filter(|other| *other != partition) {
            evaluator_of(seats, other).handle_parent(record.id(), record.spec().slug.as_str(), true);
        }
    }
    Ok(())
}

fn evaluator_of(seats: &mut [Seat], partition: PartitionId) -> &mut Evaluator {
    // A partition is a remainder by their number, so there is one.
    seats[usize::from(partition.0)].evaluator()
}

/// Waits until the engine is shut down.
async fn closed(shared: &Shared) {
    while !shared.is_closed() {
        shared.first_inbox().filled().await;
    }
}
