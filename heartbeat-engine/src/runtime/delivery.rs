//! Delivery: owed notifications to their channels, a task for each channel, so that one that hangs delays no other (S7.5).
//! What goes out when is decided by the [`Outbox`] of each channel.

mod attempt;
mod worker;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::outbox::{Outbox, OutboxLimits, Owed};
use crate::runtime::Limits;
use crate::runtime::shared::Shared;
use worker::Worker;

/// A channel's outbox, which the driver hands notifications in to and the channel's task works on.
#[derive(Debug)]
struct Outlet {
    outbox: Mutex<Outbox>,
    handed_in: Notify,
}

impl Outlet {
    // The outbox is whole after every call, so a panicking caller leaves nothing half done.
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hand_in(&self, hand_in: impl FnOnce(&mut Outbox)) {
        hand_in(&mut self.outbox());
        self.handed_in.notify_one();
    }
}

/// The deliveries of all channels.
#[derive(Debug)]
pub(crate) struct Deliveries {
    shared: Arc<Shared>,
    outlets: HashMap<String, Arc<Outlet>>,
    workers: JoinSet<()>,
    loaded: bool,
    closed: bool,
}

impl Deliveries {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, outlets: HashMap::new(), workers: JoinSet::new(), loaded: false, closed: false }
    }

    /// Hands a stored notification to its channel's task.
    pub(crate) fn hand_over(&mut self, owed: Owed) {
        if let Some(outlet) = self.outlet(&owed.notification.channel) {
            outlet.hand_in(|outbox| outbox.handle_owed(owed));
        }
    }

    /// Hands over a stored notification that somebody wants to be tried again.
    pub(crate) fn retry(&mut self, owed: Owed) {
        if let Some(outlet) = self.outlet(&owed.notification.channel) {
            outlet.hand_in(|outbox| outbox.handle_retry(owed));
        }
    }

    /// What a channel's outbox wanted to be stored is.
    pub(crate) fn written(&self, channel: &str, number: u64) {
        if let Some(outlet) = self.outlets.get(channel) {
            outlet.hand_in(|outbox| outbox.handle_written(number));
        }
    }

    /// Everything that was stored is handed over; the channels begin.
    pub(crate) fn loaded(&mut self) {
        self.loaded = true;
        self.outlets.values().for_each(|outlet| outlet.hand_in(Outbox::handle_loaded));
    }

    /// Hands nothing over any more; the tasks end when all that they have was tried.
    pub(crate) fn close(&mut self) -> JoinSet<()> {
        self.closed = true;
        self.outlets.values().for_each(|outlet| outlet.hand_in(Outbox::close));
        std::mem::take(&mut self.workers)
    }

    /// The outlet of a channel; `None` at the end, when what is stored is told after the next start.
    fn outlet(&mut self, channel: &str) -> Option<&Outlet> {
        if self.closed {
            return None;
        }
        if !self.outlets.contains_key(channel) {
            self.open(channel);
        }
        self.outlets.get(channel).map(|outlet| &**outlet)
    }

    fn open(&mut self, channel: &str) {
        let limits = &self.shared.limits;
        let Limits { channel_queue: queue, channel_held: held, channel_parallel: parallel, .. } = *limits;
        let limits = OutboxLimits { queue, held, parallel };
        let changes = self.shared.channels.changes();
        let (settings, change) = worker::settings(&self.shared, channel);
        let mut outbox = Outbox::new(channel, settings, limits);
        if self.loaded {
            outbox.handle_loaded();
        }
        let outlet = Arc::new(Outlet { outbox: Mutex::new(outbox), handed_in: Notify::new() });
        let worker = Worker::new(self.shared.clone(), channel.to_owned(), outlet.clone(), changes, change);
        self.workers.spawn(worker.run());
        self.outlets.insert(channel.to_owned(), outlet);
    }
}
