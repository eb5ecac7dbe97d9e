//! One channel's deliveries: what is owed, outcomes and time in by `handle_*`; attempts, writes and wishes out by `poll_*`.
//!
//! Pure: no clock, no I/O, no randomness. Messages of one monitor go out in order, one at a time; what fails is tried
//! again or given up; bursts are told in digests; what does not fit into memory stays in the store and is read in order.

mod digest;
mod failing;
mod held;
mod lane;
mod outcome;
mod queue;
mod refill;
mod settled;
mod window;
mod write;

pub use failing::Failing;
pub use window::Grouping;
pub use write::OutboxWrite;

use crate::{
    Delivery, DeliveryError, DeliveryState, Digest, Notification, NotificationId, OutboxEntry, Receipt, Timestamp,
};
use digest::Part;
use failing::Fortune;
use held::Held;
use queue::Queue;
use refill::Refill;
use settled::Settled;
use window::Window;
use write::Unwritten;

/// Unsettled digests beyond which no further one is made; what is held back waits, for the next one.
const DIGESTS_MAX: usize = 16;

/// A notification that is to be delivered, and how that stands.
#[derive(Clone, PartialEq, Debug)]
pub struct Owed {
    /// What is owed.
    pub notification: Notification,
    /// How it stands.
    pub delivery: Delivery,
}

impl Owed {
    /// Nothing was tried yet.
    #[must_use]
    pub fn fresh(notification: Notification) -> Self {
        let delivery = Delivery::pending(notification.created_at);
        Self { notification, delivery }
    }
}

impl From<OutboxEntry> for Owed {
    fn from(entry: OutboxEntry) -> Self {
        Self { notification: entry.notification, delivery: entry.delivery }
    }
}

/// How much an outbox does and holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutboxLimits {
    /// Notifications that wait in memory; digests come on top.
    pub queue: usize,
    /// Notifications beyond those that wait for a digest: of each its id and what the digest says of it is held, some
    /// hundred bytes. What does not fit in here either stays in the store, and is told in further digests.
    pub held: usize,
    /// Attempts that are under way at the same time, for different monitors.
    pub parallel: usize,
}

/// What an outbox must know of its channel.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct OutboxSettings {
    /// How its messages are grouped.
    pub grouping: Grouping,
    /// The channels that are told when this one keeps failing or gives something up (S7.4): those of the watcher, and the
    /// channel's fallback.
    pub told: Vec<String>,
}

/// An attempt that must be made now.
#[derive(Clone, PartialEq, Debug)]
pub struct Due {
    /// What is to be delivered.
    pub notification: Notification,
    /// Counts the attempts from 1.
    pub number: u32,
    /// The recipients that need no further attempt.
    pub recipients_done: Vec<String>,
}

/// What an outcome came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The channel took it.
    Delivered,
    /// It failed for this reason, and is tried again.
    Waits(String),
    /// It is given up, for this reason.
    Dead(String),
}

/// How an outbox stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutboxStatus {
    /// Notifications that wait in memory, also those of which an attempt is under way.
    pub waiting: usize,
    /// When the oldest of them came to be owed.
    pub oldest: Option<Timestamp>,
    /// Since when an attempt has been due and none began or ended.
    pub idle_since: Option<Timestamp>,
    /// Present while every attempt fails.
    pub failing: Option<Failing>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// What is stored is being handed in.
    Loading,
    Open,
    Closing,
}

/// The deliveries of one channel.
///
/// After a start every stored notification that is pending is handed in by [`Outbox::handle_owed`], in the order of
/// `seq`, and then [`Outbox::handle_loaded`] is called; before that nothing goes out. From then on every notification is
/// handed in when it is committed, before the write it was in is acknowledged. A spurious call does nothing.
#[derive(Debug)]
pub struct Outbox {
    channel: String,
    settings: OutboxSettings,
    /// Counts the settings.
    revision: u64,
    limits: OutboxLimits,
    phase: Phase,
    queue: Queue,
    held: Held,
    window: Window,
    /// A window has ended, and more that was owed within it is only in the store.
    draining: bool,
    refill: Refill,
    settled: Settled,
    fortune: Fortune,
    /// When an attempt last began or ended.
    active_at: Timestamp,
    /// The number of the last write that was given out.
    writes: u64,
    unwritten: Unwritten,
}

impl Outbox {
    /// The outbox of a channel, which waits for what is stored.
    #[must_use]
    pub fn new(channel: impl Into<String>, settings: OutboxSettings, limits: OutboxLimits) -> Self {
        Self {
            channel: channel.into(),
            settings,
            revision: 0,
            limits: OutboxLimits { queue: limits.queue.max(1), parallel: limits.parallel.max(1), ..limits },
            phase: Phase::Loading,
            queue: Queue::default(),
            held: Held::default(),
            window: Window::default(),
            draining: false,
            refill: Refill::default(),
            settled: Settled::default(),
            fortune: Fortune::default(),
            active_at: Timestamp::MIN,
            writes: 0,
            unwritten: Unwritten::default(),
        }
    }

    /// Takes a stored notification of this channel. One that does not fit in is asked for again by [`Outbox::poll_page`].
    pub fn handle_owed(&mut self, owed: Owed) {
        // What comes during a shutdown is told after the next start.
        if self.phase == Phase::Closing {
            return;
        }
        if let Some(owed) = self.must_queue_up(owed) {
            self.enter(owed);
        }
    }

    /// All that was stored is handed in.
    pub fn handle_loaded(&mut self) {
        if self.phase == Phase::Loading {
            self.phase = Phase::Open;
        }
    }

    /// Takes a dead or waiting notification that somebody wants to be tried again, and that is stored as pending now.
    pub fn handle_retry(&mut self, owed: Owed) {
        let id = owed.notification.id;
        if let Some(known) = self.queue.find_mut(id) {
            let delivery = &mut known.owed.delivery;
            delivery.next_attempt_at = delivery.next_attempt_at.min(owed.delivery.next_attempt_at);
            return;
        }
        match self.settled.find(id) {
            // It was delivered or told within a digest while the wish was on its way: that stays the truth.
            Some(delivery) if delivery.state != DeliveryState::Dead => self.settle(id, delivery.clone()),
            _ => {
                self.settled.forget(id);
                self.unwritten.forget(id);
                self.outdates(id);
                self.handle_owed(owed);
            }
        }
    }

    /// The channel has other settings: what failed before is tried at once, and its failures count from now.
    pub fn handle_settings(&mut self, settings: OutboxSettings, now: Timestamp) {
        self.settings = settings;
        self.revision += 1;
        self.leave_held();
        self.fortune.clear();
        for waiting in self.queue.all_mut() {
            let delivery = &mut waiting.owed.delivery;
            delivery.next_attempt_at = delivery.next_attempt_at.min(now);
        }
    }

    /// Takes the outcome of an attempt that [`Outbox::poll_attempt`] asked for; `jitter` from 0 to 1 lengthens the pause
    /// before the next one a little. `None` when no such attempt is under way.
    pub fn handle_outcome(
        &mut self,
        id: NotificationId,
        outcome: &Result<Receipt, DeliveryError>,
        now: Timestamp,
        jitter: f64,
    ) -> Option<Verdict> {
        let (lane, revision) = self.queue.end(id)?;
        self.active_at = now;
        let Owed { notification, delivery } = &mut self.queue.first(lane)?.owed;
        let failure = outcome::record(delivery, outcome, notification.created_at, now, jitter);
        let outdated = revision != self.revision;
        if outdated {
            delivery.next_attempt_at = delivery.next_attempt_at.min(now);
        }
        let (notification, delivery) = (notification.clone(), delivery.clone());
        let state = delivery.state;
        if state != DeliveryState::Pending {
            self.queue.settle_first(lane);
            self.remember(id, delivery.clone());
            let covered = notification.digest.iter().flat_map(|digest| &digest.covers);
            covered.for_each(|(covered, _)| self.settle_covered(*covered, &delivery));
        }
        // A digest's own outcome comes after those of what it covers.
        self.settle(id, delivery);
        Some(self.judge(state, failure, &notification, now, outdated))
    }

    /// The write with this number, and all before it, are stored.
    pub fn handle_written(&mut self, number: u64) {
        self.settled.handle_written(number);
    }

    /// An orderly end begins: only what was not tried yet is tried still, once.
    pub fn close(&mut self) {
        self.phase = Phase::Closing;
    }

    /// Whether it was closed.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.phase == Phase::Closing
    }

    /// Whether the end has come: it was closed, and nothing is under way nor to be tried.
    #[must_use]
    pub fn is_closed(&self, now: Timestamp) -> bool {
        self.phase == Phase::Closing && self.queue.attempts() == 0 && self.queue.next(now, true).is_none()
    }

    /// The attempt that must be begun now, if one must; [`Outbox::handle_outcome`] tells how it went. To be called until it
    /// gives none, for the same `now`.
    pub fn poll_attempt(&mut self, now: Timestamp) -> Option<Due> {
        self.queue.look_at_clock(now);
        match self.phase {
            Phase::Loading => return None,
            Phase::Open => self.group(now),
            Phase::Closing => {}
        }
        if self.queue.attempts() >= self.limits.parallel {
            return None;
        }
        let lane = self.queue.next(now, self.phase == Phase::Closing)?;
        let Owed { notification, delivery } = self.queue.begin(lane, self.revision)?.clone();
        self.active_at = now;
        Some(Due {
            notification,
            number: delivery.attempts.saturating_add(1),
            recipients_done: delivery.recipients_done,
        })
    }

    /// When [`Outbox::poll_attempt`] and [`Outbox::poll_page`] must be asked again at the latest, if nothing is handed in
    /// before.
    #[must_use]
    pub fn poll_wake(&self, now: Timestamp) -> Timestamp {
        if self.phase != Phase::Open {
            return Timestamp::MAX;
        }
        let has_room = self.queue.attempts() < self.limits.parallel;
        let due = has_room.then(|| self.queue.due_at(now)).flatten();
        let window = self.window.ends_at(self.settings.grouping);
        if self.may_scan(now) {
            return now;
        }
        [due, window, self.reads_again_at(now)].into_iter().flatten().min().unwrap_or(Timestamp::MAX)
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> OutboxStatus {
        let oldest = self.queue.all().map(|waiting| waiting.owed.notification.created_at);
        OutboxStatus {
            waiting: self.queue.len() + self.held.len(),
            oldest: oldest.chain(self.held.oldest()).min(),
            idle_since: self.queue.due_since().map(|at| at.max(self.active_at)),
            failing: self.fortune.failing.clone(),
        }
    }

    /// Lets a burst of messages out one by one, and makes a digest of the others when their window ends (S7.9). What does
    /// not fit into memory is told in further digests right away, not a window later each.
    fn group(&mut self, now: Timestamp) {
        let grouping = self.settings.grouping;
        let ended = self.window.close(now, grouping);
        if ended || (self.draining && !self.reads(now)) {
            self.end_window(now);
            self.draining = !grouping.wait.is_zero() && self.refill.is_behind();
        }
        // Where digests do not get through, single messages may.
        if self.draining && self.queue.unsettled_digests() < DIGESTS_MAX {
            return;
        }
        if !self.held.is_empty() {
            self.window.open(now);
        }
        for waiting in self.queue.not_admitted() {
            if !self.window.admit(now, grouping) {
                return;
            }
            waiting.admitted = true;
        }
    }

    /// Makes a digest of the messages that were held back, unless it is a single one, which goes out as itself.
    fn end_window(&mut self, now: Timestamp) {
        let grouping = self.settings.grouping;
        self.leave_overtaking();
        if self.held.is_empty()
            && let Some(single) = self.queue.single_held()
        {
            self.window.admit(now, grouping);
            single.admitted = true;
            return;
        }
        if grouping.wait.is_zero() || self.queue.unsettled_digests() >= DIGESTS_MAX {
            // Single messages may get through, when they are read.
            return self.leave_held();
        }
        let whole = self.queue.take_held().into_iter().enumerate();
        let mut parts: Vec<Part> = whole.map(|(n, whole)| Part::of(whole, n < Digest::ITEMS_MAX)).collect();
        parts.extend(self.held.take());
        if parts.is_empty() {
            return;
        }
        if parts.len() == 1 {
            // Nothing waits whole beside it, which it would come after now: it goes out as itself, when it is read.
            return self.refill.overflow();
        }
        let covered = parts.iter().map(|part| (part.id, digest::grouped(part.created_at.max(now))));
        let covered: Vec<(NotificationId, Delivery)> = covered.collect();
        let digest = digest::digest(&self.channel, now, self.writes, parts);
        self.queue.reserve(&digest);
        self.unwritten.owe(digest);
        covered.iter().for_each(|(id, delivery)| self.settle_covered(*id, delivery));
    }

    /// Tells of a channel that keeps failing or gave something up.
    fn judge(
        &mut self,
        state: DeliveryState,
        failure: Option<String>,
        about: &Notification,
        now: Timestamp,
        outdated: bool,
    ) -> Verdict {
        let channel = self.channel.clone();
        match (state, failure) {
            (DeliveryState::Delivered | DeliveryState::Grouped, refused) => {
                self.fortune.clear();
                if let Some(reason) = refused {
                    self.tell(about, now, &format!("channel {channel} did not reach everybody: {reason}"));
                }
                Verdict::Delivered
            }
            (DeliveryState::Dead, reason) => {
                let reason = reason.unwrap_or_default();
                let what = &about.message;
                self.tell(
                    about,
                    now,
                    &format!("channel {channel} could not deliver this, and gave it up ({reason}): {what}"),
                );
                Verdict::Dead(reason)
            }
            (DeliveryState::Pending, reason) => {
                let reason = reason.unwrap_or_default();
                // What the former settings led to says nothing of the new ones.
                if !outdated && let Some(since) = self.fortune.failed(&reason, now) {
                    self.tell(about, now, &format!("channel {channel} has been failing since {since}: {reason}"));
                }
                Verdict::Waits(reason)
            }
        }
    }

    /// Owes a message about this channel to those who watch the watcher, and to its fallback (S7.4).
    fn tell(&mut self, about: &Notification, now: Timestamp, message: &str) {
        let mut to: Vec<String> = self.settings.told.clone();
        to.retain(|channel| *channel != self.channel);
        to.sort_unstable();
        to.dedup();
        failing::owed(to, about, message, now).into_iter().for_each(|owed| self.unwritten.owe(owed));
    }
}
