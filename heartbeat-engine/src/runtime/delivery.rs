//! Delivery: owed notifications to their channels, a task for each channel, so that one that hangs delays no other (S7.5).

mod digest;
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
}

impl Deliveries {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, outlets: HashMap::new(), workers: JoinSet::new() }
    }

    /// Hands a stored notification to its channel's task; one that does not fit in stays in the store until there is room.
    pub(crate) fn hand_over(&mut self, owed: Owed) {
        let outlet = match self.outlets.get(&owed.notification.channel) {
            Some(outlet) => outlet,
            None => self.open(owed.notification.channel.clone()),
        };
        if outlet.inlet.try_send(owed).is_err() {
            outlet.overflow.store(true, Ordering::Release);
        }
    }

    /// Lets attempts that are under way end, and waits for that.
    pub(crate) async fn close(&mut self) {
        self.outlets.clear();
        while self.workers.join_next().await.is_some() {}
    }

    fn open(&mut self, channel: String) -> &Outlet {
        let (inlet, outlet) = mpsc::channel(self.shared.limits.channel_queue.max(1));
        let overflow = Arc::new(AtomicBool::new(false));
        self.workers.spawn(Worker::new(self.shared.clone(), channel.clone(), overflow.clone()).run(outlet));
        self.outlets.entry(channel).or_insert(Outlet { inlet, overflow })
    }
}
