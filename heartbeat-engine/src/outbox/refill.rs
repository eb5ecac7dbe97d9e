//! What did not fit into memory: it is read from the store, and nothing overtakes it there.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Outbox, Owed, Phase, digest};
use crate::{Notification, NotificationId, OutboxEntry, Page, Timestamp};

/// How long after a failure the store is read again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Refill {
    /// Something is only in the store.
    overflow: bool,
    scan: Option<Scan>,
    /// Before this instant it is not read again.
    not_before: Option<Timestamp>,
}

/// A reading of the store, page by page from the start.
#[derive(Debug, Default)]
struct Scan {
    after: u64,
    /// The page is being read.
    asked: bool,
    /// What was handed over meanwhile: what is only in the store came before it.
    late: Vec<Owed>,
    /// Some of that did not fit in.
    missed: bool,
    /// What somebody wanted to be tried again meanwhile: a page shows it as it was before.
    retried: BTreeSet<NotificationId>,
}

impl Refill {
    /// Whether something that is owed may be only in the store.
    pub(super) fn is_behind(&self) -> bool {
        self.overflow || self.scan.is_some()
    }

    /// Whether a page is being read, which may show what was settled meanwhile as owed.
    pub(super) fn is_reading(&self) -> bool {
        self.scan.is_some()
    }

    /// Whether something is known to be only in the store, and nothing reads it.
    pub(super) fn overflows(&self) -> bool {
        self.overflow
    }

    /// Something that is owed is only in the store.
    pub(super) fn overflow(&mut self) {
        self.overflow = true;
    }
}

impl Outbox {
    /// Which page of the store must be read: the notifications behind this `seq` ([`crate::Storage::outbox`]). It is handed
    /// in by [`Outbox::handle_page`]; until then nothing more is asked for.
    pub fn poll_page(&mut self, now: Timestamp) -> Option<u64> {
        if self.phase != Phase::Open {
            return None;
        }
        if self.may_scan(now) {
            self.refill = Refill { scan: Some(Scan::default()), ..Refill::default() };
        }
        let scan = self.refill.scan.as_mut().filter(|scan| !scan.asked)?;
        scan.asked = true;
        Some(scan.after)
    }

    /// Takes the page that [`Outbox::poll_page`] asked for; what is owed to other channels is passed over.
    pub fn handle_page(&mut self, page: Page<OutboxEntry>) {
        let Some(mut scan) = self.refill.scan.take().filter(|scan| scan.asked) else { return };
        for entry in page.items {
            scan.after = entry.seq;
            let id = entry.notification.id;
            if entry.notification.channel == self.channel && !scan.retried.contains(&id) {
                // Its place is here, and it may be settled and forgotten when the reading ends.
                scan.late.retain(|late| late.notification.id != id);
                self.enter(entry.into());
            }
        }
        if page.more && self.queue.len() >= self.limits.queue && !self.can_hold() {
            self.refill.overflow = true;
        }
        if self.refill.overflow {
            return;
        }
        if page.more {
            self.refill.scan = Some(Scan { asked: false, ..scan });
        } else {
            scan.late.into_iter().for_each(|owed| self.enter(owed));
            self.refill.overflow |= scan.missed;
        }
    }

    /// The page could not be read; it is asked for again a little later.
    pub fn handle_page_failed(&mut self, now: Timestamp) {
        if self.refill.scan.take().is_some() {
            self.refill = Refill { overflow: true, scan: None, not_before: Some(now + AGAIN_AFTER) };
        }
    }

    /// When the store may be read again after a failure.
    pub(super) fn reads_again_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.refill.not_before.filter(|at| self.refill.overflow && *at > now)
    }

    /// What the page that is being read says of this notification is outdated.
    pub(super) fn outdates(&mut self, id: NotificationId) {
        if let Some(scan) = &mut self.refill.scan {
            scan.retried.insert(id);
        }
    }

    /// Keeps what was handed over out while something that came before it is only in the store.
    pub(super) fn must_queue_up(&mut self, owed: Owed) -> Option<Owed> {
        if owed.notification.digest.is_some() {
            // A digest has its place by what it covers.
            return Some(owed);
        }
        match &mut self.refill.scan {
            Some(scan) if scan.late.len() < self.limits.queue => scan.late.push(owed),
            Some(scan) => scan.missed = true,
            None => return Some(owed),
        }
        None
    }

    /// Puts a notification into its lane, unless it is there or is settled already. Of one that does not fit, what a digest
    /// needs is held, or it stays in the store.
    pub(super) fn enter(&mut self, owed: Owed) {
        let id = owed.notification.id;
        if self.queue.find_mut(id).is_some() || self.held.contains(id) || self.settled.find(id).is_some() {
            return;
        }
        if self.phase == Phase::Loading {
            self.restore(&owed.notification);
        }
        if self.queue.covers(id) {
            return self.group_with(id, owed.notification.created_at);
        }
        let full = self.refill.overflow || !self.held.is_empty() || self.queue.len() >= self.limits.queue;
        // Digests are few, and what they cover waits for them.
        if !full || owed.notification.digest.is_some() {
            self.queue.push(owed);
        } else if !self.hold(owed) {
            self.refill.overflow = true;
        }
    }

    /// A digest that was stored by an earlier process stands for what it covers, also where that process did not come to
    /// store that it does.
    fn restore(&mut self, digest: &Notification) {
        let Some(content) = &digest.digest else { return };
        let ids: BTreeSet<NotificationId> = content.covers.iter().map(|(id, _)| *id).collect();
        let waited = ids.iter().filter(|id| self.held.contains(**id) || self.queue.find_mut(**id).is_some());
        let waited: Vec<NotificationId> = waited.copied().collect();
        self.held.remove(&ids);
        self.queue.reserve(digest);
        self.queue.cover(digest.id, ids);
        waited.into_iter().for_each(|id| self.group_with(id, digest.created_at));
    }

    /// What a digest of an earlier process covers is to be stored so.
    fn group_with(&mut self, id: NotificationId, at: Timestamp) {
        let delivery = digest::grouped(at);
        self.remember(id, delivery.clone());
        self.settle(id, delivery);
    }

    /// Whether the store is being read, or is to be read now.
    pub(super) fn reads(&self, now: Timestamp) -> bool {
        self.refill.scan.is_some() || self.may_scan(now)
    }

    /// Whether there is room for a good part of what is only in the store, which knows of most of what was settled.
    pub(super) fn may_scan(&self, now: Timestamp) -> bool {
        let rests = self.refill.not_before.is_some_and(|at| at > now && at <= now + AGAIN_AFTER);
        self.refill.overflow
            && self.refill.scan.is_none()
            && !rests
            && self.held.is_empty()
            && self.queue.len() <= self.limits.queue / 2
            && self.settled.unwritten() <= self.limits.queue
    }
}
