//! Where calls wait for the driver: bounded, stamped in the order in which they are taken.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};

use crate::evaluator::{Done, Refusal, Request};
use crate::outbox::{OutboxWrite, Owed};
use crate::runtime::error::Unavailable;
use crate::{
    Clock, DocumentWrite, MonitorId, MonitorNews, Notification, OutboxEntry, Outcome, Settlement, StorageError,
    Timestamp,
};

/// One thing for the driver to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// A request to the evaluator, and where its answer goes.
    Request(Request, oneshot::Sender<Result<Done, Refusal>>),
    /// A change of a document.
    Document(DocumentWrite, oneshot::Sender<Result<Outcome, StorageError>>),
    /// What a channel's outbox must have stored.
    Outbox(String, OutboxWrite),
    /// A notification that somebody wants to be tried again now.
    Retry(Box<OutboxEntry>),
    /// What is stored and owed to a channel of this partition.
    Owed(Box<Owed>),
    /// The same, read from the store when the partition was taken over.
    Stored(Box<Owed>),
    /// All that was stored then has been handed over.
    OutboxRead,
    /// A notification that somebody wants to be tried again, to a channel of this partition; it is pending in the store.
    Again(Box<OutboxEntry>),
    /// A notification of this partition that a round of news told; it is pending in the store.
    Told(Box<OutboxEntry>, u64),
    /// Parts of a channel's write that this partition keeps.
    Apart(Apart),
    /// A channel's write is stored, in all partitions.
    Written(String, u64),
    /// What other nodes wrote.
    News(Vec<MonitorNews>),
    /// Whether a monitor of another partition is down.
    Parent(MonitorId, String, bool),
    /// Other nodes wrote documents of this kind.
    Reread(String),
}

/// Parts of what a channel's outbox has stored.
#[derive(Debug)]
pub(crate) struct Apart {
    pub(crate) notifications: Vec<Notification>,
    pub(crate) settlements: Vec<Settlement>,
    /// Told when they are stored.
    pub(crate) stored: oneshot::Sender<()>,
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Phase {
    Loading,
    Open,
    Closed,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    waiting: Vec<(Timestamp, Work)>,
    /// Taken by the driver and not decided yet.
    undecided: usize,
    limit: usize,
}

/// The queue between the callers and the driver.
///
/// An entry is stamped under the same lock that the driver takes to empty the queue, so no entry that is stamped at or
/// before a deadline is left behind when the deadline is judged (S3.7).
#[derive(Debug)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    filled: Notify,
}

impl Inbox {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::new(State { phase: Phase::Loading, waiting: Vec::new(), undecided: 0, limit }),
            filled: Notify::new(),
        }
    }

    /// Takes work from a caller.
    pub(crate) fn push(&self, clock: &dyn Clock, work: Work) -> Result<(), Unavailable> {
        let mut state = self.lock();
        match state.phase {
            Phase::Loading => return Err(Unavailable::Loading),
            Phase::Closed => return Err(Unavailable::Stopped),
            Phase::Open if state.waiting.len() + state.undecided >= state.limit => return Err(Unavailable::Overloaded),
            Phase::Open => state.waiting.push((clock.now(), work)),
        }
        let first = state.waiting.len() == 1;
        drop(state);
        if first {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// Takes work from inside the runtime, whatever the phase and beyond the limit: it was owed already.
    pub(crate) fn push_inner(&self, clock: &dyn Clock, work: Work) {
        let mut state = self.lock();
        state.waiting.push((clock.now(), work));
        drop(state);
        self.filled.notify_one();
    }

    /// Empties the queue; the time is read under the same lock.
    pub(crate) fn take(&self, clock: &dyn Clock) -> (Timestamp, Vec<(Timestamp, Work)>) {
        let mut state = self.lock();
        (clock.now(), std::mem::take(&mut state.waiting))
    }

    /// Lets the driver look at the clock again.
    pub(crate) fn nudge(&self) {
        self.filled.notify_one();
    }

    /// Waits until there may be work.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Takes calls from now on, unless it was closed meanwhile.
    pub(crate) fn open(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Loading {
            state.phase = Phase::Open;
        }
    }

    /// Takes no calls until it is opened again, unless it was closed; what waits is dropped.
    pub(crate) fn suspend(&self) {
        let mut state = self.lock();
        if state.phase == Phase::Open {
            state.phase = Phase::Loading;
        }
        state.undecided = 0;
        let dropped = std::mem::take(&mut state.waiting);
        drop(state);
        drop(dropped);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().phase == Phase::Closed
    }

    /// Takes how many requests the driver has taken and not decided yet, which count towards the limit, and says whether
    /// nothing waits and nothing will any more.
    pub(crate) fn is_done(&self, undecided: usize) -> bool {
        let mut state = self.lock();
        state.undecided = undecided;
        state.waiting.is_empty() && state.phase != Phase::Open
    }

    /// No more calls are taken; those that wait are still decided.
    pub(crate) fn close(&self) {
        self.lock().phase = Phase::Closed;
        self.filled.notify_one();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.lock().phase == Phase::Open
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    // The state is whole after every statement, so a panicking caller leaves nothing half done.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
