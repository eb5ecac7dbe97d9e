//! One channel's task: tries what is owed, in order per monitor, and has the outcomes stored (S7.3, S7.4).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::window::Window;
use super::{Owed, digest};
use crate::runtime::inbox::Work;
use crate::runtime::metrics::{Backlog, Trouble, add};
use crate::runtime::random;
use crate::runtime::shared::Shared;
use crate::{
    Attempt, Delivery, DeliveryError, DeliveryState, MonitorId, Notification, NotificationId, NotificationKind,
    Receipt, Timestamp, pause_after,
};

/// How long a notification is tried before it is given up (S7.4).
const GIVEN_UP_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long a channel may fail before that is told (S7.4).
const TOLD_AFTER: Duration = Duration::from_secs(300);
/// How many notifications are read from the store at a time.
const PAGE: usize = 256;

/// Messages of one monitor go out one after another; those of no monitor share a lane.
type Lane = Option<MonitorId>;

/// A notification in its lane.
#[derive(Debug)]
struct Waiting {
    owed: Owed,
    /// Its place in the order in which notifications came.
    place: u64,
    /// Whether it goes out by itself; one that does not yet may be told within a digest (S7.9).
    admitted: bool,
}

/// What a digest stands for: its place in the order, and the lanes of what it covers.
#[derive(Debug)]
struct Cover {
    place: u64,
    lanes: HashSet<Lane>,
}

struct Attempted {
    lane: Lane,
    outcome: Result<Receipt, DeliveryError>,
}

#[derive(Debug)]
pub(super) struct Worker {
    shared: Arc<Shared>,
    channel: String,
    overflow: Arc<AtomicBool>,
    lanes: HashMap<Lane, VecDeque<Waiting>>,
    busy: HashSet<Lane>,
    /// The digests that are not settled.
    digests: HashMap<NotificationId, Cover>,
    window: Window,
    places: u64,
    count: usize,
    /// Settled or grouped ones are remembered until that is surely stored.
    settled: VecDeque<NotificationId>,
    failing_since: Option<Timestamp>,
    told: bool,
    /// When an attempt last began or ended.
    active_at: Timestamp,
}

impl Worker {
    pub(super) fn new(shared: Arc<Shared>, channel: String, overflow: Arc<AtomicBool>) -> Self {
        Self {
            shared,
            channel,
            overflow,
            lanes: HashMap::new(),
            busy: HashSet::new(),
            digests: HashMap::new(),
            window: Window::default(),
            places: 0,
            count: 0,
            settled: VecDeque::new(),
            failing_since: None,
            told: false,
            active_at: Timestamp::MIN,
        }
    }

    /// Works until the inlet is closed and every attempt that is under way has ended.
    pub(super) async fn run(mut self, mut inlet: mpsc::Receiver<Owed>) {
        let mut attempts: JoinSet<Attempted> = JoinSet::new();
        let mut open = true;
        loop {
            if open {
                self.refill().await;
                self.group();
                self.start(&mut attempts);
            }
            self.report();
            let pause = self.pause();
            tokio::select! {
                owed = inlet.recv(), if open => match owed {
                    Some(owed) => self.take(owed),
                    None => open = false,
                },
                Some(ended) = attempts.join_next() => self.ended(ended),
                () = tokio::time::sleep(pause), if open => {}
                else => break,
            }
        }
    }

    fn take(&mut self, owed: Owed) {
        let id = owed.notification.id;
        let lane = lane(&owed.notification);
        let waiting = self.lanes.entry(lane).or_default();
        if let Some(known) = waiting.iter_mut().find(|known| known.owed.notification.id == id) {
            let delivery = &mut known.owed.delivery;
            delivery.next_attempt_at = delivery.next_attempt_at.min(owed.delivery.next_attempt_at);
            return;
        }
        if self.count >= self.shared.limits.channel_queue {
            self.overflow.store(true, Ordering::Release);
            return;
        }
        self.places += 1;
        let mut place = self.places;
        if let Some(digest) = &owed.notification.digest {
            let lanes = || digest.covers.iter().map(|(_, monitor)| *monitor).collect();
            place = self.digests.entry(id).or_insert_with(|| Cover { place, lanes: lanes() }).place;
        }
        let admitted = owed.delivery.attempts > 0 || owed.notification.digest.is_some();
        waiting.push_back(Waiting { owed, place, admitted });
        self.count += 1;
    }

    /// Lets a burst of messages out one by one, and makes a digest of the others when their window ends (S7.9).
    fn group(&mut self) {
        let now = self.shared.clock.now();
        let grouping = self.shared.channels.grouping(&self.channel);
        if self.window.close(now) {
            self.make_digest(now);
        }
        let mut fresh: Vec<&mut Waiting> =
            self.lanes.values_mut().flatten().filter(|waiting| !waiting.admitted).collect();
        fresh.sort_unstable_by_key(|waiting| waiting.place);
        for waiting in fresh {
            if !self.window.admit(now, grouping) {
                return;
            }
            waiting.admitted = true;
        }
    }

    /// Makes a digest of the messages that were held back, unless it is a single one.
    fn make_digest(&mut self, now: Timestamp) {
        let held = self.lanes.values().flatten().filter(|waiting| !waiting.admitted).count();
        if held < 2 {
            return;
        }
        let mut covered = Vec::with_capacity(held);
        for waiting in self.lanes.values_mut() {
            let (kept, taken) = std::mem::take(waiting).into_iter().partition(|waiting| waiting.admitted);
            *waiting = kept;
            let taken: VecDeque<Waiting> = taken;
            covered.extend(taken);
        }
        self.lanes.retain(|_, waiting| !waiting.is_empty());
        self.count -= covered.len();
        covered.sort_unstable_by_key(|waiting| waiting.place);
        let covered: Vec<Notification> = covered.into_iter().map(|waiting| waiting.owed.notification).collect();
        covered.iter().for_each(|notification| self.remember(notification.id));
        let digest = digest::digest(&self.channel, now, &covered);
        self.places += 1;
        self.digests.insert(digest.id, Cover { place: self.places, lanes: covered.iter().map(lane).collect() });
        let grouped = digest::grouped(&covered, now);
        self.shared.inbox.push_inner(&*self.shared.clock, Work::Group(Box::new(digest), grouped));
    }

    fn remember(&mut self, id: NotificationId) {
        self.settled.push_back(id);
        if self.settled.len() > 2 * self.shared.limits.channel_queue {
            self.settled.pop_front();
        }
    }

    /// Reads what did not fit in earlier, once there is room for a good part of it.
    async fn refill(&mut self) {
        let limit = self.shared.limits.channel_queue;
        if self.count > limit / 2 || !self.overflow.swap(false, Ordering::AcqRel) {
            return;
        }
        let mut after = 0;
        loop {
            let page = match self.shared.storage.outbox(after, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(channel = %self.channel, %error, "owed notifications could not be read");
                    self.overflow.store(true, Ordering::Release);
                    return;
                }
            };
            for entry in page.items {
                after = entry.seq;
                if entry.notification.channel == self.channel && !self.settled.contains(&entry.notification.id) {
                    self.take(Owed { notification: entry.notification, delivery: entry.delivery });
                }
            }
            if !page.more || self.count >= limit {
                return;
            }
        }
    }

    /// Begins the attempts that are due, the longest waiting first.
    fn start(&mut self, attempts: &mut JoinSet<Attempted>) {
        let now = self.shared.clock.now();
        let mut room = self.shared.limits.channel_parallel.max(1).saturating_sub(self.busy.len());
        if room == 0 {
            return;
        }
        let mut due: Vec<(Timestamp, u64, Lane)> = self
            .lanes
            .iter()
            .filter(|(lane, _)| !self.busy.contains(*lane))
            .filter_map(|(lane, waiting)| waiting.front().map(|first| (first, *lane)))
            .filter(|(first, lane)| first.admitted && !self.must_wait(first, *lane))
            .map(|(first, lane)| (first.owed.delivery.next_attempt_at, first.place, lane))
            .filter(|(at, ..)| *at <= now)
            .collect();
        due.sort_unstable();
        for (_, _, lane) in due {
            let Some(first) = self.lanes.get(&lane).and_then(VecDeque::front) else { continue };
            self.busy.insert(lane);
            self.active_at = now;
            attempts.spawn(attempt(self.shared.clone(), lane, first.owed.clone(), now));
            room -= 1;
            if room == 0 {
                return;
            }
        }
    }

    /// Whether something of the same monitor that came before is not settled yet, in a digest or beside it (S7.3).
    fn must_wait(&self, waiting: &Waiting, lane: Lane) -> bool {
        let before = |other: &Waiting| other.place < waiting.place;
        match self.digests.get(&waiting.owed.notification.id) {
            Some(cover) => {
                let mut firsts = cover.lanes.iter().filter_map(|lane| self.lanes.get(lane)?.front());
                firsts.any(before)
            }
            None => self.digests.values().any(|cover| cover.place < waiting.place && cover.lanes.contains(&lane)),
        }
    }

    /// How long until something is due that waits; a long time when nothing does.
    fn pause(&self) -> Duration {
        let full = self.busy.len() >= self.shared.limits.channel_parallel.max(1);
        let idle = self.lanes.iter().filter(|(lane, _)| !full && !self.busy.contains(*lane));
        let firsts = idle.filter_map(|(lane, waiting)| waiting.front().map(|first| (first, *lane)));
        let ready = firsts.filter(|(first, lane)| first.admitted && !self.must_wait(first, *lane));
        let next = ready
            .map(|(first, _)| first)
            .map(|first| first.owed.delivery.next_attempt_at)
            .chain(self.window.ends_at())
            .min();
        let retry_read =
            if self.overflow.load(Ordering::Acquire) { Duration::from_secs(1) } else { Duration::from_secs(3600) };
        next.map_or(retry_read, |at| at.since(self.shared.clock.now()).max(Duration::from_millis(1)).min(retry_read))
    }

    fn ended(&mut self, ended: Result<Attempted, tokio::task::JoinError>) {
        // A lane's attempt catches its notifier's panic itself; a task that ended otherwise was cancelled with the runtime.
        let Ok(Attempted { lane, outcome }) = ended else { return };
        self.busy.remove(&lane);
        let now = self.shared.clock.now();
        self.active_at = now;
        let Some(first) = self.lanes.get_mut(&lane).and_then(VecDeque::front_mut) else { return };
        let Owed { notification, delivery } = &mut first.owed;
        delivery.attempts += 1;
        let failure = record(delivery, &outcome, notification.created_at, now);
        let settlements = digest::settlements(notification, delivery);
        let state = delivery.state;
        let notification = notification.clone();
        if state != DeliveryState::Pending {
            self.remember(notification.id);
            self.digests.remove(&notification.id);
            self.forget_first(lane);
        }
        self.shared.inbox.push_inner(&*self.shared.clock, Work::Settle(settlements));
        self.note(state, failure, &notification, now);
    }

    fn forget_first(&mut self, lane: Lane) {
        let Some(waiting) = self.lanes.get_mut(&lane) else { return };
        waiting.pop_front();
        self.count -= 1;
        if waiting.is_empty() {
            self.lanes.remove(&lane);
        }
    }

    /// Counts the outcome, and tells of a channel that keeps failing or gave something up.
    fn note(&mut self, state: DeliveryState, failure: Option<String>, notification: &Notification, now: Timestamp) {
        let counters = &self.shared.counters;
        let channel = self.channel.clone();
        match (state, failure) {
            // A digest is never told within another.
            (DeliveryState::Grouped, _) => {}
            (DeliveryState::Delivered, refused) => {
                add(&counters.delivered, 1);
                self.failing_since = None;
                self.told = false;
                counters.set_trouble(&channel, None);
                if let Some(reason) = refused {
                    self.tell(notification, now, &format!("channel {channel} did not reach everybody: {reason}"));
                }
            }
            (DeliveryState::Dead, reason) => {
                add(&counters.dead, 1);
                let reason = reason.unwrap_or_default();
                tracing::error!(channel = %channel, notification = %notification.id, %reason, "a notification was given up");
                let text = format!(
                    "channel {channel} could not deliver this, and gave it up ({reason}): {}",
                    notification.message
                );
                self.tell(notification, now, &text);
            }
            (DeliveryState::Pending, reason) => {
                add(&counters.delivery_errors, 1);
                let reason = reason.unwrap_or_default();
                tracing::warn!(channel = %channel, notification = %notification.id, %reason, "a delivery failed and will be tried again");
                let since = *self.failing_since.get_or_insert(now);
                counters.set_trouble(&channel, Some(Trouble { since, error: reason.clone() }));
                if now.since(since) >= TOLD_AFTER && !self.told {
                    self.told = true;
                    self.tell(
                        notification,
                        now,
                        &format!("channel {channel} has been failing since {since}: {reason}"),
                    );
                }
            }
        }
    }

    /// Owes a message about this channel to those who watch the watcher, and to its fallback (S7.4).
    fn tell(&self, about: &Notification, now: Timestamp, message: &str) {
        if about.kind == NotificationKind::ChannelFailing {
            return;
        }
        let fallback = self.shared.channels.fallback(&self.channel);
        let mut channels: Vec<String> = self.shared.watcher_channels.iter().cloned().chain(fallback).collect();
        channels.retain(|channel| *channel != self.channel);
        channels.sort_unstable();
        channels.dedup();
        let notification = |channel: String| Notification {
            id: NotificationId::named(&[
                b"channel failing",
                about.id.as_bytes(),
                &now.as_millis().to_be_bytes(),
                channel.as_bytes(),
            ]),
            channel,
            kind: NotificationKind::ChannelFailing,
            created_at: now,
            monitor: about.monitor.clone(),
            incident: about.incident.clone(),
            message: message.to_owned(),
            ping: None,
            digest: None,
        };
        let owed: Vec<Notification> = channels.into_iter().map(notification).collect();
        if !owed.is_empty() {
            self.shared.inbox.push_inner(&*self.shared.clock, Work::Notify(owed));
        }
    }

    fn report(&self) {
        let oldest = self.lanes.values().flatten().map(|waiting| waiting.owed.notification.created_at).min();
        let firsts = self.lanes.values().filter_map(VecDeque::front).filter(|first| first.admitted);
        let due = firsts.map(|first| first.owed.delivery.next_attempt_at).min();
        let idle_since = due.map(|at| at.max(self.active_at));
        self.shared.counters.set_backlog(&self.channel, Backlog { count: self.count as u64, oldest, idle_since });
    }
}

fn lane(notification: &Notification) -> Lane {
    notification.monitor.as_ref().map(|monitor| monitor.id)
}

/// One attempt; a notifier that panics has failed like any other.
async fn attempt(shared: Arc<Shared>, lane: Lane, owed: Owed, now: Timestamp) -> Attempted {
    let Some(notifier) = shared.channels.notifier(&owed.notification.channel) else {
        let reason = format!("there is no channel `{}`", owed.notification.channel);
        return Attempted { lane, outcome: Err(DeliveryError::refused(reason)) };
    };
    let timeout = shared.limits.attempt_timeout;
    let delivered = tokio::spawn(async move {
        let attempt = Attempt::new(owed.delivery.attempts + 1, now, timeout).sparing(&owed.delivery.recipients_done);
        tokio::time::timeout(timeout, notifier.deliver(&owed.notification, attempt)).await
    });
    let outcome = match delivered.await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(DeliveryError::unknown(format!("no answer within {} s", timeout.as_secs()))),
        Err(_) => Err(DeliveryError::retry("the notifier panicked")),
    };
    Attempted { lane, outcome }
}

/// Puts an attempt's outcome into the delivery's state; answers what went wrong, if something did.
fn record(
    delivery: &mut Delivery,
    outcome: &Result<Receipt, DeliveryError>,
    created_at: Timestamp,
    now: Timestamp,
) -> Option<String> {
    let error = match outcome {
        Ok(receipt) => {
            delivery.state = DeliveryState::Delivered;
            delivery.settled_at = Some(now);
            let refused: Vec<String> =
                receipt.refused_recipients.iter().map(|(who, why)| format!("{who}: {why}")).collect();
            delivery.last_error = (!refused.is_empty()).then(|| refused.join("; "));
            return delivery.last_error.clone();
        }
        Err(error) => error,
    };
    let reason = error.to_string();
    delivery.last_error = Some(reason.clone());
    let mut pause = pause_after(delivery.attempts, random::unit());
    let mut dead = now.since(created_at) >= GIVEN_UP_AFTER;
    match error {
        DeliveryError::Refused { .. } => dead = true,
        DeliveryError::Retry { after, recipients_done, .. } => {
            pause = pause.max(after.unwrap_or_default());
            for recipient in recipients_done {
                if !delivery.recipients_done.contains(recipient) {
                    delivery.recipients_done.push(recipient.clone());
                }
            }
        }
        DeliveryError::Unknown { .. } => {}
    }
    if dead {
        delivery.state = DeliveryState::Dead;
        delivery.settled_at = Some(now);
    } else {
        delivery.next_attempt_at = now + pause;
    }
    Some(reason)
}
