//! Delivery: owed notifications to their channels, a task for each channel, so that one that hangs delays no other (S7.5).

mod attempt;
mod digest;
mod lane;
mod window;
mod worker;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::runtime::shared::Shared;
use crate::{Delivery, Notification};
use worker::Worker;

/// A notification that is to be delivered, and how that stands.
#[derive(Debug, Clone)]
pub(crate) struct Owed {
    pub(crate) notification: Notification,
    pub(crate) delivery: Delivery,
}

impl Owed {
    pub(crate) fn fresh(notification: Notification) -> Self {
        let delivery = Delivery::pending(notification.created_at);
        Self { notification, delivery }
    }
}

#[derive(Debug)]
struct Outlet {
    inlet: mpsc::Sender<Owed>,
    /// Something did not fit in and must be read from the store.
    overflow: Arc<AtomicBool>,
}

/// The deliveries of all channels.
#[derive(Debug)]
pub(crate) struct Deliveries {
    shared: Arc<Shared>,
    outlets: HashMap<String, Outlet>,
    workers: JoinSet<()>,
    closed: bool,
}

impl Deliveries {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, outlets: HashMap::new(), workers: JoinSet::new(), closed: false }
    }

    /// Hands a stored notification to its channel's task; one that does not fit in stays in the store until there is room.
    pub(crate) fn hand_over(&mut self, owed: Owed) {
        if self.closed {
            // It is stored, and told after the next start.
            return;
        }
        let outlet = match self.outlets.get(&owed.notification.channel) {
            Some(outlet) => outlet,
            None => self.open(owed.notification.channel.clone()),
        };
        // Nothing overtakes what is only in the store; a digest keeps its place by itself.
        let behind = owed.notification.digest.is_none() && outlet.overflow.load(Ordering::Acquire);
        if behind || outlet.inlet.try_send(owed).is_err() {
            outlet.overflow.store(true, Ordering::Release);
        }
    }

    /// Hands nothing over any more; the tasks end when all that they have was tried.
    pub(crate) fn close(&mut self) -> JoinSet<()> {
        self.closed = true;
        self.outlets.clear();
        std::mem::take(&mut self.workers)
    }

    fn open(&mut self, channel: String) -> &Outlet {
        let (inlet, outlet) = mpsc::channel(self.shared.limits.channel_queue.max(1));
        let overflow = Arc::new(AtomicBool::new(false));
        self.workers.spawn(Worker::new(self.shared.clone(), channel.clone(), overflow.clone()).run(outlet));
        self.outlets.entry(channel).or_insert(Outlet { inlet, overflow })
    }
}
