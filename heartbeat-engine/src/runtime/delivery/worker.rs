//! One channel's task: tries what is owed, in order per monitor, and has the outcomes stored (S7.3, S7.4).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::attempt::{Attempted, attempt, record};
use super::lane::Lane;
use super::window::Window;
use super::{Owed, digest};
use crate::runtime::inbox::Work;
use crate::runtime::metrics::{Backlog, Trouble, add};
use crate::runtime::shared::Shared;
use crate::{DeliveryState, Notification, NotificationId, NotificationKind, Timestamp};

/// How long a channel may fail before that is told (S7.4).
const TOLD_AFTER: Duration = Duration::from_secs(300);
/// How many notifications are read from the store at a time.
const PAGE: usize = 256;

/// A notification in its lane.
#[derive(Debug)]
struct Waiting {
    owed: Owed,
    /// Its place in the order in which notifications came.
    place: u64,
    /// Whether it goes out by itself; one that does not yet may be told within a digest (S7.9).
    admitted: bool,
}

impl Waiting {
    /// When it is due: at once where it was not tried yet, whatever the wall clock showed when it was made.
    fn due_at(&self, now: Timestamp) -> Timestamp {
        let at = self.owed.delivery.next_attempt_at;
        if self.owed.delivery.attempts == 0 { at.min(now) } else { at }
    }
}

/// What a digest stands for: its place in the order, and the lanes of what it covers.
#[derive(Debug)]
struct Cover {
    place: u64,
    lanes: HashSet<Lane>,
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
    settled: VecDeque<(NotificationId, Timestamp)>,
    failing_since: Option<Timestamp>,
    told: bool,
    /// When an attempt last began or ended.
    active_at: Timestamp,
    closing: bool,
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
            closing: false,
        }
    }

    /// Works until the inlet is closed and everything that is due then was tried once.
    pub(super) async fn run(mut self, mut inlet: mpsc::Receiver<Owed>) {
        let mut attempts: JoinSet<Attempted> = JoinSet::new();
        loop {
            if !self.closing {
                self.refill().await;
                self.group();
            }
            self.start(&mut attempts);
            self.report();
            let pause = self.pause();
            tokio::select! {
                owed = inlet.recv(), if !self.closing => match owed {
                    // What is only in the store came before it; it is read with that.
                    Some(owed) if owed.notification.digest.is_none() && self.overflow.load(Ordering::Acquire) => {}
                    Some(owed) => self.take(owed),
                    None => self.closing = true,
                },
                Some(ended) = attempts.join_next() => self.ended(ended),
                () = tokio::time::sleep(pause), if !self.closing => {}
                else => break,
            }
        }
    }

    fn take(&mut self, owed: Owed) {
        let id = owed.notification.id;
        let lane = Lane::of(&owed.notification);
        let mut known = self.lanes.get_mut(&lane).into_iter().flatten();
        if let Some(known) = known.find(|known| known.owed.notification.id == id) {
            let delivery = &mut known.owed.delivery;
            delivery.next_attempt_at = delivery.next_attempt_at.min(owed.delivery.next_attempt_at);
            return;
        }
        if self.is_settled(&owed) {
            return;
        }
        let is_digest = owed.notification.digest.is_some();
        // Digests are few, and what they cover waits for them.
        if self.count >= self.shared.limits.channel_queue && !is_digest {
            self.overflow.store(true, Ordering::Release);
            return;
        }
        self.places += 1;
        let mut place = self.places;
        if let Some(digest) = &owed.notification.digest {
            let lanes = || digest.covers.iter().map(|(_, monitor)| Lane::of_monitor(*monitor)).collect();
            place = self.digests.entry(id).or_insert_with(|| Cover { place, lanes: lanes() }).place;
        }
        let admitted = owed.delivery.attempts > 0 || is_digest;
        self.lanes.entry(lane).or_default().push_back(Waiting { owed, place, admitted });
        self.count += 1;
    }

    /// Whether it was settled since it was read or handed over; one that somebody wants to be tried again was not.
    fn is_settled(&self, owed: &Owed) -> bool {
        let id = owed.notification.id;
        self.settled.iter().any(|(settled, at)| *settled == id && owed.delivery.next_attempt_at <= *at)
    }

    /// Lets a burst of messages out one by one, and makes a digest of the others when their window ends (S7.9).
    fn group(&mut self) {
        let now = self.shared.clock.now();
        let grouping = self.shared.channels.grouping(&self.channel);
        if self.window.close(now, grouping) {
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
        // What stands behind a message that keeps failing goes on waiting: it would hold the whole digest up.
        let is_held = |waiting: &VecDeque<Waiting>| waiting.front().is_some_and(|first| !first.admitted);
        if self.lanes.values().filter(|waiting| is_held(waiting)).map(VecDeque::len).sum::<usize>() < 2 {
            return;
        }
        let mut covered = Vec::new();
        for waiting in self.lanes.values_mut().filter(|waiting| is_held(waiting)) {
            covered.append(&mut Vec::from(std::mem::take(waiting)));
        }
        self.lanes.retain(|_, waiting| !waiting.is_empty());
        self.count -= covered.len();
        covered.sort_unstable_by_key(|waiting| waiting.place);
        let covered: Vec<Notification> = covered.into_iter().map(|waiting| waiting.owed.notification).collect();
        covered.iter().for_each(|notification| self.remember(notification.id, now));
        let digest = digest::digest(&self.channel, now, &covered);
        self.places += 1;
        self.digests.insert(digest.id, Cover { place: self.places, lanes: covered.iter().map(Lane::of).collect() });
        let grouped = digest::grouped(&covered, now);
        self.shared.inbox.push_inner(&*self.shared.clock, Work::Group(Box::new(digest), grouped));
    }

    fn remember(&mut self, id: NotificationId, now: Timestamp) {
        self.settled.push_back((id, now));
        if self.settled.len() > 2 * self.shared.limits.channel_queue {
            self.settled.pop_front();
        }
    }

    /// Reads what did not fit in earlier, once there is room for a good part of it.
    async fn refill(&mut self) {
        let limit = self.shared.limits.channel_queue;
        // A store that takes no writes still owes what was settled meanwhile.
        let store_ails = self.shared.counters.standing().store_error.is_some();
        if store_ails || self.count > limit / 2 || !self.overflow.swap(false, Ordering::AcqRel) {
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
                if entry.notification.channel == self.channel {
                    self.take(Owed { notification: entry.notification, delivery: entry.delivery });
                }
            }
            if !page.more {
                return;
            }
            if self.count >= limit {
                self.overflow.store(true, Ordering::Release);
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
            .ready()
            .filter(|(_, lane)| !self.busy.contains(lane))
            .filter(|(first, _)| !self.closing || first.owed.delivery.attempts == 0)
            .map(|(first, lane)| (first.due_at(now), first.place, lane))
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
        let place = waiting.place;
        match self.digests.get(&waiting.owed.notification.id) {
            Some(cover) => {
                let mut firsts = cover.lanes.iter().filter_map(|lane| self.lanes.get(lane)?.front());
                let mut digests = self.digests.values().filter(|other| other.place < place);
                firsts.any(|first| first.place < place) || digests.any(|other| !other.lanes.is_disjoint(&cover.lanes))
            }
            None => self.digests.values().any(|cover| cover.place < place && cover.lanes.contains(&lane)),
        }
    }

    /// How long until something is due that waits; a long time when nothing does.
    fn pause(&self) -> Duration {
        let now = self.shared.clock.now();
        let full = self.busy.len() >= self.shared.limits.channel_parallel.max(1);
        let ready = self.ready().filter(|(_, lane)| !full && !self.busy.contains(lane));
        let window = self.window.ends_at(self.shared.channels.grouping(&self.channel));
        let next = ready.map(|(first, _)| first.due_at(now)).chain(window).min();
        let retry_read =
            if self.overflow.load(Ordering::Acquire) { Duration::from_secs(1) } else { Duration::from_secs(3600) };
        next.map_or(retry_read, |at| at.since(now).max(Duration::from_millis(1)).min(retry_read))
    }

    /// The first of each lane that may go out, be it due or not.
    fn ready(&self) -> impl Iterator<Item = (&Waiting, Lane)> {
        let firsts = self.lanes.iter().filter_map(|(lane, waiting)| waiting.front().map(|first| (first, *lane)));
        firsts.filter(|(first, lane)| first.admitted && !self.must_wait(first, *lane))
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
            self.remember(notification.id, now);
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
        let due = self.ready().map(|(first, _)| first.owed.delivery.next_attempt_at).min();
        let idle_since = due.map(|at| at.max(self.active_at));
        self.shared.counters.set_backlog(&self.channel, Backlog { count: self.count as u64, oldest, idle_since });
    }
}
