//! A channel's outbox between a store and a far end, with everything that can go wrong with both; every attempt and every
//! write is judged by a naive view of all that was ever owed.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use heartbeat_engine::outbox::{Due, Outbox, OutboxLimits, OutboxSettings, OutboxWrite, Owed, Verdict};
use heartbeat_engine::{
    AboutMonitor, Delivery, DeliveryError, DeliveryState, Grouping, MonitorId, Notification, NotificationId,
    NotificationKind, OutboxEntry, Page, Receipt, Settlement, Severity, StatusWord, Timestamp,
};

pub const DAY: Duration = Duration::from_secs(24 * 3600);
const PAGE: usize = 3;

/// Messages of one key go out in order: those of one monitor, or those of none.
type Key = Option<MonitorId>;

pub fn key(monitor: u8) -> Key {
    (monitor > 0).then(|| MonitorId::from_bytes([monitor; 16]))
}

/// The `n`-th message, about this monitor; 0 is none.
pub fn message(n: u64, monitor: u8, at: Timestamp) -> Notification {
    let about = |id| AboutMonitor {
        id,
        slug: format!("job-{monitor}"),
        name: String::new(),
        tags: Vec::new(),
        severity: Severity::Critical,
        status: StatusWord::Down,
    };
    Notification {
        id: NotificationId::named(&[&n.to_be_bytes()]),
        channel: "ops".to_owned(),
        kind: NotificationKind::Down,
        created_at: at,
        monitor: key(monitor).map(about),
        incident: None,
        message: format!("message {n}"),
        ping: None,
        digest: None,
    }
}

pub fn is_settled(state: DeliveryState) -> bool {
    matches!(state, DeliveryState::Delivered | DeliveryState::Dead)
}

pub struct World {
    pub now: Timestamp,
    pub outbox: Outbox,
    pub store: Vec<OutboxEntry>,
    pub under_way: Vec<Due>,
    /// What waits for the next commit.
    pub fresh: Vec<Notification>,
    pub writes: Vec<OutboxWrite>,
    /// A page as it was when it was read.
    pub page: Option<Page<OutboxEntry>>,
    pub settings: OutboxSettings,
    limits: OutboxLimits,
    owed: u64,
    /// What was settled in this life, or is in the store.
    ended: BTreeSet<NotificationId>,
    /// What somebody had tried again: its order is its own affair.
    pub retried: BTreeSet<NotificationId>,
    taken: BTreeMap<NotificationId, usize>,
    given_up: BTreeSet<NotificationId>,
    attempts: BTreeMap<NotificationId, u32>,
    pub crashes: usize,
    /// Each attempt that was begun, in order.
    pub log: Vec<(Timestamp, Notification, u32)>,
}

impl World {
    pub fn new(grouping: Grouping, limits: OutboxLimits) -> Self {
        let settings = OutboxSettings { grouping, told: vec!["boss".to_owned(), "ops".to_owned()] };
        let mut outbox = Outbox::new("ops", settings.clone(), limits);
        outbox.handle_loaded();
        Self {
            now: Timestamp::from_secs(1_000_000),
            outbox,
            store: Vec::new(),
            under_way: Vec::new(),
            fresh: Vec::new(),
            writes: Vec::new(),
            page: None,
            settings,
            limits,
            owed: 0,
            ended: BTreeSet::new(),
            retried: BTreeSet::new(),
            taken: BTreeMap::new(),
            given_up: BTreeSet::new(),
            attempts: BTreeMap::new(),
            crashes: 0,
            log: Vec::new(),
        }
    }

    pub fn owe(&mut self, monitor: u8) -> NotificationId {
        self.owed += 1;
        let message = message(self.owed, monitor, self.now);
        let id = message.id;
        self.fresh.push(message);
        id
    }

    pub fn entry(&self, id: NotificationId) -> &OutboxEntry {
        self.store.iter().find(|entry| entry.notification.id == id).unwrap()
    }

    /// Stores what waits, and hands it over. Without `writes`, those were decided while the batch was under way already.
    pub fn commit(&mut self, writes: bool) {
        let stored = self.store_batch(writes);
        for notification in stored.iter().filter(|notification| notification.digest.is_none()) {
            if notification.channel == "ops" {
                self.outbox.handle_owed(Owed::fresh(notification.clone()));
            }
        }
        if writes {
            for notification in stored.into_iter().filter(|notification| notification.digest.is_some()) {
                self.outbox.handle_owed(Owed::fresh(notification));
            }
            std::mem::take(&mut self.writes).iter().for_each(|write| self.outbox.handle_written(write.number));
        }
        self.turn();
    }

    /// Stores what waits, as [`World::commit`], and goes down before anybody hears of it.
    pub fn commit_and_crash(&mut self, writes: bool) {
        self.store_batch(writes);
        self.crash();
    }

    /// Stores what is owed by now, and goes down before any outcome is stored: a write is not one step where what it is
    /// about is kept in several places.
    pub fn commit_messages_and_crash(&mut self) {
        self.writes.iter_mut().for_each(|write| write.settlements.clear());
        self.commit_and_crash(true);
    }

    fn store_batch(&mut self, with_writes: bool) -> Vec<Notification> {
        let mut stored = std::mem::take(&mut self.fresh);
        let writes = if with_writes { self.writes.clone() } else { Vec::new() };
        stored.extend(writes.iter().flat_map(|write| write.notifications.clone()));
        for notification in &stored {
            let seq = self.store.len() as u64 + 1;
            if self.store.iter().any(|entry| entry.notification.id == notification.id) {
                assert_eq!(notification.kind, NotificationKind::ChannelFailing, "an id twice");
                continue;
            }
            self.check_digest(notification);
            let delivery = Delivery::pending(notification.created_at);
            self.store.push(OutboxEntry { seq, notification: notification.clone(), delivery });
        }
        for write in &writes {
            for settlement in &write.settlements {
                self.check_settlement(settlement);
                let entry = self.store.iter_mut().find(|entry| entry.notification.id == settlement.id).unwrap();
                entry.delivery = settlement.delivery.clone();
            }
        }
        stored
    }

    fn check_digest(&self, digest: &Notification) {
        let Some(content) = &digest.digest else { return };
        assert!(content.total() >= 2, "a digest of one message");
        let covered: Vec<&OutboxEntry> = content.covers.iter().map(|(id, _)| self.entry(*id)).collect();
        assert!(covered.iter().all(|entry| entry.notification.digest.is_none()), "a digest in a digest");
        let kept = covered.iter().filter(|entry| !self.retried.contains(&entry.notification.id));
        let kept: Vec<_> = kept.collect();
        assert!(kept.iter().all(|entry| !self.ended.contains(&entry.notification.id)), "what was told is told again");
        assert!(kept.iter().map(|entry| entry.seq).is_sorted(), "the order in a digest");
    }

    fn check_settlement(&self, settlement: &Settlement) {
        let id = settlement.id;
        match settlement.delivery.state {
            DeliveryState::Delivered => assert!(self.taken.contains_key(&id), "nobody took it"),
            DeliveryState::Dead => assert!(self.given_up.contains(&id), "nobody gave it up"),
            DeliveryState::Grouped => assert!(self.digests_of(id).next().is_some(), "no digest tells it"),
            DeliveryState::Pending => {}
        }
    }

    fn digests_of(&self, id: NotificationId) -> impl Iterator<Item = &OutboxEntry> {
        self.store.iter().filter(move |entry| covered(&entry.notification).any(|covered| covered == id))
    }

    /// Everything in memory is gone, and the next process begins.
    pub fn crash(&mut self) {
        self.crashes += 1;
        self.restart();
    }

    fn restart(&mut self) {
        self.outbox = Outbox::new("ops", self.settings.clone(), self.limits);
        (self.under_way, self.fresh, self.writes, self.page) = (Vec::new(), Vec::new(), Vec::new(), None);
        let settled = self.store.iter().filter(|entry| is_settled(entry.delivery.state));
        self.ended = settled.map(|entry| entry.notification.id).collect();
        self.attempts = self.store.iter().map(|entry| (entry.notification.id, entry.delivery.attempts)).collect();
        for entry in self.pending(0, usize::MAX).items {
            if entry.notification.channel == "ops" {
                self.outbox.handle_owed(entry.into());
            }
            assert_eq!(self.outbox.poll_attempt(self.now), None, "an attempt before all was handed in");
        }
        self.outbox.handle_loaded();
        self.turn();
    }

    /// An orderly end and a new start: what is under way ends well, and nothing is tried twice.
    pub fn shut_down(&mut self) {
        self.commit(true);
        self.outbox.close();
        self.turn();
        while let Some(due) = self.under_way.first().cloned() {
            let first = self.log.len();
            self.end_attempt(&due, &Ok(Receipt::default()));
            self.turn();
            assert!(self.log[first..].iter().all(|(_, _, number)| *number == 1), "only first attempts");
        }
        assert!(self.outbox.is_closed(self.now));
        // What is told of this channel, and a digest that was just made, are written and not handed over.
        self.store_batch(true);
        self.restart();
    }

    fn pending(&self, after: u64, limit: usize) -> Page<OutboxEntry> {
        let mut behind = self.store.iter().filter(|entry| entry.seq > after);
        let mut items: Vec<OutboxEntry> = Vec::new();
        while items.len() < limit
            && let Some(entry) = behind.find(|entry| entry.delivery.state == DeliveryState::Pending)
        {
            items.push(entry.clone());
        }
        Page { items, more: behind.any(|entry| entry.delivery.state == DeliveryState::Pending) }
    }

    /// Does what the outbox asks for.
    pub fn turn(&mut self) {
        while let Some(due) = self.outbox.poll_attempt(self.now) {
            self.check_attempt(&due);
            self.log.push((self.now, due.notification.clone(), due.number));
            self.under_way.push(due);
        }
        assert!(self.under_way.len() <= self.limits.parallel);
        if let Some(after) = self.outbox.poll_page(self.now) {
            assert!(self.page.is_none(), "one page at a time");
            self.page = Some(self.pending(after, PAGE));
        }
        while let Some(write) = self.outbox.poll_write() {
            self.writes.push(write);
        }
        assert!(self.outbox.poll_wake(self.now) > self.now, "it wakes for nothing");
        let status = self.outbox.status();
        let digests = self.store.iter().filter(|entry| entry.notification.digest.is_some()).count();
        assert!(status.waiting <= self.limits.queue + self.limits.held + digests, "{status:?}");
    }

    fn check_attempt(&self, due: &Due) {
        let id = due.notification.id;
        let stored = self.entry(id);
        assert_eq!(stored.notification, due.notification, "not what is stored");
        let settled = self.ended.contains(&id) && !self.retried.contains(&id);
        assert!(!settled, "{} was settled", due.notification.message);
        assert_eq!(due.number, self.attempts.get(&id).copied().unwrap_or(0) + 1, "{}", due.notification.message);
        let keys = keys(&due.notification);
        let others = self.under_way.iter().flat_map(|other| self::keys(&other.notification));
        assert!(others.into_iter().all(|other| !keys.contains(&other)), "two attempts at once for one monitor");
        if self.retried.contains(&id) {
            return;
        }
        // Whatever came before for one of its monitors is settled, or told with it.
        let told: BTreeSet<NotificationId> = covered(&due.notification).chain([id]).collect();
        for key in keys {
            let of_key = self.store.iter().filter(|entry| entry.notification.digest.is_none());
            let of_key = of_key.filter(|entry| entry.notification.channel == "ops" && key == self::key_of(entry));
            let of_key: Vec<_> = of_key.filter(|entry| !self.retried.contains(&entry.notification.id)).collect();
            let last = of_key.iter().filter(|entry| told.contains(&entry.notification.id)).map(|entry| entry.seq).max();
            for entry in of_key.iter().filter(|entry| last.is_some_and(|last| entry.seq < last)) {
                let id = entry.notification.id;
                assert!(
                    told.contains(&id) || self.ended.contains(&id),
                    "{} overtakes {}",
                    due.notification.message,
                    entry.notification.message
                );
            }
        }
    }

    /// Ends the `index`-th attempt.
    pub fn end(&mut self, index: usize, outcome: &Result<Receipt, DeliveryError>) {
        if self.under_way.is_empty() {
            return;
        }
        let due = self.under_way[index % self.under_way.len()].clone();
        self.end_attempt(&due, outcome);
        self.turn();
    }

    fn end_attempt(&mut self, due: &Due, outcome: &Result<Receipt, DeliveryError>) {
        let id = due.notification.id;
        self.under_way.retain(|other| other.notification.id != id);
        let verdict = self.outbox.handle_outcome(id, outcome, self.now, 0.5).unwrap();
        self.attempts.insert(id, due.number);
        let told: Vec<_> = covered(&due.notification).chain([id]).collect();
        match verdict {
            Verdict::Delivered => {
                assert!(outcome.is_ok());
                told.iter().for_each(|id| *self.taken.entry(*id).or_default() += 1);
                self.ended.extend(told);
            }
            Verdict::Dead(_) => {
                let refused = matches!(outcome, Err(DeliveryError::Refused { .. }));
                let old = self.now.since(due.notification.created_at) >= DAY && due.number >= 10;
                assert!(refused || (outcome.is_err() && old), "given up too early");
                self.given_up.extend(&told);
                self.ended.extend(told);
            }
            Verdict::Waits(_) => assert!(outcome.is_err()),
        }
        assert_eq!(self.outbox.handle_outcome(id, outcome, self.now, 0.5), None, "a spurious call does nothing");
    }

    pub fn answer_page(&mut self, well: bool) {
        match self.page.take() {
            Some(page) if well => self.outbox.handle_page(page),
            Some(_) => self.outbox.handle_page_failed(self.now),
            None => {}
        }
        self.turn();
    }

    pub fn advance(&mut self, by: Duration) {
        self.now = self.now + by;
        self.turn();
    }

    pub fn set_grouping(&mut self, grouping: Grouping) {
        self.settings.grouping = grouping;
        self.outbox.handle_settings(self.settings.clone(), self.now);
        self.turn();
    }

    /// Somebody has the `index`-th of the dead tried again.
    pub fn retry_dead(&mut self, index: usize) {
        let dead: Vec<usize> = (0..self.store.len())
            .filter(|at| self.store[*at].notification.channel == "ops")
            .filter(|at| self.store[*at].delivery.state == DeliveryState::Dead)
            .collect();
        if dead.is_empty() {
            return;
        }
        let entry = &mut self.store[dead[index % dead.len()]];
        entry.delivery = Delivery::pending(self.now);
        let id = entry.notification.id;
        self.ended.remove(&id);
        self.attempts.insert(id, 0);
        self.retried.insert(id);
        self.outbox.handle_retry(entry.clone().into());
        self.turn();
    }

    /// From now on everything works; it must come to rest with every message settled.
    pub fn heal(&mut self) {
        for _ in 0..5000 {
            self.commit(true);
            self.answer_page(true);
            while !self.under_way.is_empty() {
                self.end(0, &Ok(Receipt::default()));
            }
            let rests = self.writes.is_empty() && self.page.is_none();
            if rests && self.unsettled().is_empty() {
                return;
            }
            let wake = self.outbox.poll_wake(self.now);
            if rests && wake < Timestamp::MAX {
                self.now = wake.max(self.now + Duration::from_secs(60));
                self.turn();
            }
        }
        assert_eq!(self.unsettled(), Vec::<(String, DeliveryState)>::new(), "{:#?}", self.outbox);
    }

    pub fn unsettled(&self) -> Vec<(String, DeliveryState)> {
        let ops = self.store.iter().filter(|entry| entry.notification.channel == "ops");
        let open = ops.filter(|entry| !is_settled(entry.delivery.state));
        open.map(|entry| (entry.notification.message.clone(), entry.delivery.state)).collect()
    }

    /// How often the far end took the message that it got most often, by itself or in a digest.
    pub fn most_taken(&self) -> usize {
        self.taken.values().copied().max().unwrap_or(0)
    }
}

fn covered(notification: &Notification) -> impl Iterator<Item = NotificationId> + '_ {
    notification.digest.iter().flat_map(|digest| &digest.covers).map(|(id, _)| *id)
}

fn key_of(entry: &OutboxEntry) -> Key {
    entry.notification.monitor.as_ref().map(|monitor| monitor.id)
}

/// The monitors that a message is about, or those of the messages in a digest.
fn keys(notification: &Notification) -> BTreeSet<Key> {
    match &notification.digest {
        Some(digest) => digest.covers.iter().map(|(_, monitor)| *monitor).collect(),
        None => BTreeSet::from([notification.monitor.as_ref().map(|monitor| monitor.id)]),
    }
}
