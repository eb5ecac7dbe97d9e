//! One channel's task: makes the attempts that its outbox asks for, and has stored what it wants to be stored.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use super::Outlet;
use super::attempt::attempt;
use crate::outbox::{OutboxSettings, Verdict};
use crate::runtime::inbox::Work;
use crate::runtime::metrics::{Backlog, ChannelStanding, Trouble};
use crate::runtime::random;
use crate::runtime::shared::Shared;
use crate::{
    DeliveryError, Notification, NotificationId, NotificationKind, OutboxEntry, Page, Receipt, StorageError, Timestamp,
};

/// How many notifications are read from the store at a time.
const PAGE: usize = 256;
/// How long it sleeps at most, whatever the clock does meanwhile.
const SLEEP_MAX: Duration = Duration::from_secs(3600);

/// What a channel's outbox must know, and the number of the change that made it so.
pub(super) fn settings(shared: &Shared, channel: &str) -> (OutboxSettings, u64) {
    let (grouping, fallback, change) = shared.channels.delivery(channel);
    let told = shared.watcher_channels.iter().cloned().chain(fallback).collect();
    (OutboxSettings { grouping, told }, change)
}

/// Something that was under way and has ended.
#[derive(Debug)]
enum Ended {
    Attempt(Tried, Result<Receipt, DeliveryError>),
    Page(Result<Page<OutboxEntry>, StorageError>),
}

/// What was tried to be delivered.
#[derive(Debug, Clone, Copy)]
struct Tried {
    id: NotificationId,
    /// Where it tells that a monitor is down, since when.
    down_since: Option<Timestamp>,
}

impl Tried {
    fn new(notification: &Notification) -> Self {
        let incident = notification.incident.as_ref().filter(|_| notification.kind == NotificationKind::Down);
        Self { id: notification.id, down_since: incident.map(|incident| incident.opened_at) }
    }
}

#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    channel: String,
    outlet: Arc<Outlet>,
    changes: watch::Receiver<u64>,
    /// The change that made the channel what the outbox knows.
    change: u64,
    under_way: JoinSet<Ended>,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        channel: String,
        outlet: Arc<Outlet>,
        changes: watch::Receiver<u64>,
        change: u64,
    ) -> Self {
        Self { shared, channel, outlet, changes, change, under_way: JoinSet::new() }
    }

    /// Works until the outbox is closed and everything that is due then was tried once.
    pub(super) async fn run(mut self) {
        while let Some(pause) = self.turn() {
            tokio::select! {
                () = self.outlet.handed_in.notified() => {}
                Some(ended) = self.under_way.join_next() => self.ended(ended),
                Ok(()) = self.changes.changed() => self.look_at_channel(),
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Begins what the outbox asks for; answers how long to wait then, `None` at the end.
    fn turn(&mut self) -> Option<Duration> {
        let now = self.shared.clock.now();
        let mut outbox = self.outlet.outbox();
        // A node that was frozen past its lease tells nothing: another one does by now.
        let partition = self.shared.partition_of_channel(&self.channel);
        let may_attempt = self.shared.lease.epoch(partition).is_some();
        while may_attempt && let Some(due) = outbox.poll_attempt(now) {
            let (shared, tried) = (self.shared.clone(), Tried::new(&due.notification));
            self.under_way.spawn(async move { Ended::Attempt(tried, attempt(shared, due, now).await) });
        }
        if let Some(after) = outbox.poll_page(now) {
            let storage = self.shared.storage.clone();
            self.under_way.spawn(async move { Ended::Page(storage.outbox(after, PAGE).await) });
        }
        while let Some(write) = outbox.poll_write() {
            let inbox = self.shared.inbox(partition);
            inbox.push_inner(&*self.shared.clock, Work::Outbox(self.channel.clone(), write));
        }
        let status = outbox.status();
        // What is left when the channel is given up to another node is told by that one.
        let ended = outbox.is_closed(now) || (outbox.is_closing() && !may_attempt && self.under_way.is_empty());
        let wake_at = (!ended).then(|| outbox.poll_wake(now));
        drop(outbox);
        self.shared.counters.of_channel(&self.channel, |standing| {
            standing.backlog =
                Backlog { count: status.waiting as u64, oldest: status.oldest, idle_since: status.idle_since };
            standing.trouble = status.failing.map(|failing| Trouble { since: failing.since, error: failing.error });
        });
        wake_at.map(|at| at.since(now).clamp(Duration::from_millis(1), SLEEP_MAX))
    }

    fn look_at_channel(&mut self) {
        let (settings, change) = settings(&self.shared, &self.channel);
        if change != self.change {
            self.change = change;
            self.outlet.outbox().handle_settings(settings, self.shared.clock.now());
        }
    }

    fn ended(&mut self, ended: Result<Ended, tokio::task::JoinError>) {
        let now = self.shared.clock.now();
        match ended {
            Ok(Ended::Attempt(tried, outcome)) => {
                let verdict = self.outlet.outbox().handle_outcome(tried.id, &outcome, now, random::unit());
                self.note(tried, verdict, now);
            }
            Ok(Ended::Page(Ok(page))) => self.outlet.outbox().handle_page(page),
            Ok(Ended::Page(Err(error))) => {
                tracing::warn!(channel = %self.channel, %error, "owed notifications could not be read");
                self.outlet.outbox().handle_page_failed(now);
            }
            // An attempt catches its notifier's panic itself; a task that ended otherwise was cancelled with the runtime.
            Err(_) => {}
        }
    }

    fn note(&self, Tried { id, down_since }: Tried, verdict: Option<Verdict>, now: Timestamp) {
        let channel = &self.channel;
        let count = |change: fn(&mut ChannelStanding)| self.shared.counters.of_channel(channel, change);
        match verdict {
            Some(Verdict::Delivered) => {
                count(|standing| standing.delivered += 1);
                if let Some(down_since) = down_since {
                    let lag = u64::try_from(now.since(down_since).as_millis()).unwrap_or(u64::MAX);
                    self.shared.counters.alerts.count(lag);
                }
            }
            Some(Verdict::Waits(reason)) => {
                count(|standing| standing.errors += 1);
                tracing::warn!(%channel, notification = %id, %reason, "a delivery failed and will be tried again");
            }
            Some(Verdict::Dead(reason)) => {
                count(|standing| standing.dead += 1);
                tracing::error!(%channel, notification = %id, %reason, "a notification was given up");
            }
            None => {}
        }
    }
}
