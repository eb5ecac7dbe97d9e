//! What waits, in its lanes, and what may go out now (S7.3).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Owed;
use super::lane::Lane;
use crate::{Notification, NotificationId, Timestamp};

/// A notification in its lane.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) owed: Owed,
    /// Its place in the order in which notifications came.
    pub(super) place: u64,
    /// Whether it goes out by itself; one that does not yet may be told within a digest (S7.9).
    pub(super) admitted: bool,
}

/// How far nodes' clocks may differ.
const AHEAD_MAX: Duration = Duration::from_secs(60);
/// What is read from the store is tried again after so long at the latest: until when it waits may have been told by a
/// clock that was set back since (S6.7).
const STORED_WAIT_MAX: Duration = Duration::from_secs(3600);

impl Waiting {
    /// When it is due: at once where it was not tried yet, whatever the wall clock showed when it was made.
    fn due_at(&self, now: Timestamp) -> Timestamp {
        let at = self.owed.delivery.next_attempt_at;
        if self.owed.delivery.attempts == 0 { at.min(now) } else { at }
    }
}

/// What an unsettled digest stands for: the lanes of what it covers, and the unsettled digests before it that have some of
/// these.
#[derive(Debug)]
struct Cover {
    lanes: BTreeSet<Lane>,
    behind: BTreeSet<NotificationId>,
    /// What it covers, where the store may still show that as owed: it was made by an earlier process.
    ids: BTreeSet<NotificationId>,
}

/// The lanes of one channel.
///
/// An unsettled digest comes before everything else in the lanes that it covers, wherever its place in the store is: when
/// it was made it took all that was in them, so what is there now came later. What left them before is stored as settled
/// when the digest is stored, so a restart finds the same.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: BTreeMap<Lane, VecDeque<Waiting>>,
    lane_of: BTreeMap<NotificationId, Lane>,
    /// The digests that are not settled, also those that are not stored yet.
    digests: BTreeMap<NotificationId, Cover>,
    /// The latest time that was seen.
    shown_at: Option<Timestamp>,
    /// The lanes in which an attempt is under way, each with what its caller noted.
    under_way: BTreeMap<Lane, u64>,
    places: u64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.lane_of.len()
    }

    /// Lets no pause end in the future of a wall clock that was set back (S6.7): what waits is tried again at once, and
    /// what was stored before soon.
    pub(super) fn look_at_clock(&mut self, now: Timestamp) {
        let horizon = now + AHEAD_MAX;
        let set_back = self.shown_at.is_some_and(|at| at > horizon);
        let first = self.shown_at.is_none();
        self.shown_at = Some(now);
        if set_back || first {
            for waiting in self.all_mut() {
                let ahead = set_back || waiting.owed.notification.created_at > horizon;
                let latest = if ahead { now } else { now + STORED_WAIT_MAX };
                let delivery = &mut waiting.owed.delivery;
                delivery.next_attempt_at = delivery.next_attempt_at.min(latest);
            }
        }
    }

    pub(super) fn unsettled_digests(&self) -> usize {
        self.digests.len()
    }

    /// Whether what waits in this lane goes out by itself, one after the other.
    pub(super) fn goes_on(&self, lane: Lane) -> bool {
        self.lanes.get(&lane).is_some_and(|waiting| !is_held(waiting))
    }

    pub(super) fn attempts(&self) -> usize {
        self.under_way.len()
    }

    pub(super) fn find_mut(&mut self, id: NotificationId) -> Option<&mut Waiting> {
        let waiting = self.lanes.get_mut(self.lane_of.get(&id)?)?;
        waiting.iter_mut().find(|waiting| waiting.owed.notification.id == id)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Waiting> {
        self.lanes.values().flatten()
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Waiting> {
        self.lanes.values_mut().flatten()
    }

    /// Puts a notification at the end of its lane.
    pub(super) fn push(&mut self, mut owed: Owed) {
        self.places += 1;
        if let Some(now) = self.shown_at {
            owed.delivery.next_attempt_at = owed.delivery.next_attempt_at.min(now + STORED_WAIT_MAX);
        }
        self.reserve(&owed.notification);
        let lane = Lane::of(&owed.notification);
        self.lane_of.insert(owed.notification.id, lane);
        let admitted = owed.delivery.attempts > 0 || owed.notification.digest.is_some();
        self.lanes.entry(lane).or_default().push_back(Waiting { owed, place: self.places, admitted });
    }

    /// Keeps a digest's place until it is stored and comes back.
    pub(super) fn reserve(&mut self, notification: &Notification) {
        let Some(digest) = &notification.digest else { return };
        if self.digests.contains_key(&notification.id) {
            return;
        }
        let lanes: BTreeSet<Lane> = digest.covers.iter().map(|(_, monitor)| Lane::of_monitor(*monitor)).collect();
        let earlier = self.digests.iter().filter(|(_, other)| !other.lanes.is_disjoint(&lanes));
        let behind = earlier.map(|(id, _)| *id).collect();
        self.digests.insert(notification.id, Cover { lanes, behind, ids: BTreeSet::new() });
    }

    /// Remembers what a digest of an earlier process covers, and takes out what waits of that.
    pub(super) fn cover(&mut self, digest: NotificationId, ids: BTreeSet<NotificationId>) {
        for waiting in self.lanes.values_mut() {
            waiting.retain(|waiting| !ids.contains(&waiting.owed.notification.id));
        }
        self.lanes.retain(|_, waiting| !waiting.is_empty());
        self.lane_of.retain(|id, _| !ids.contains(id));
        if let Some(cover) = self.digests.get_mut(&digest) {
            cover.ids = ids;
        }
    }

    /// Whether a digest of an earlier process tells this one.
    pub(super) fn covers(&self, id: NotificationId) -> bool {
        self.digests.values().any(|cover| cover.ids.contains(&id))
    }

    /// The lane whose first is due, the longest waiting one.
    pub(super) fn next(&self, now: Timestamp, only_first_attempts: bool) -> Option<Lane> {
        let free = self.free().filter(|(first, _)| !only_first_attempts || first.owed.delivery.attempts == 0);
        let due = free.map(|(first, lane)| (first.due_at(now), first.place, lane)).filter(|(at, ..)| *at <= now);
        due.min().map(|(_, _, lane)| lane)
    }

    /// When the next attempt is due.
    pub(super) fn due_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.free().map(|(first, _)| first.due_at(now)).min()
    }

    /// Since when something has been due, be an attempt of it under way or not.
    pub(super) fn due_since(&self) -> Option<Timestamp> {
        self.ready().map(|(first, _)| first.owed.delivery.next_attempt_at).min()
    }

    /// Begins an attempt of the first of a lane.
    pub(super) fn begin(&mut self, lane: Lane, note: u64) -> Option<&Owed> {
        let first = self.lanes.get(&lane)?.front()?;
        self.under_way.insert(lane, note);
        Some(&first.owed)
    }

    /// Ends the attempt of this notification; answers its lane and what was noted when it began.
    pub(super) fn end(&mut self, id: NotificationId) -> Option<(Lane, u64)> {
        let lane = *self.lane_of.get(&id)?;
        self.first(lane).filter(|first| first.owed.notification.id == id)?;
        Some((lane, self.under_way.remove(&lane)?))
    }

    pub(super) fn first(&mut self, lane: Lane) -> Option<&mut Waiting> {
        self.lanes.get_mut(&lane)?.front_mut()
    }

    /// Takes out the first of a lane, which is settled.
    pub(super) fn settle_first(&mut self, lane: Lane) {
        let Some(waiting) = self.lanes.get_mut(&lane) else { return };
        if let Some(first) = waiting.pop_front() {
            let id = first.owed.notification.id;
            self.lane_of.remove(&id);
            self.digests.remove(&id);
            // One that is tried again after it was given up comes after those that are here now.
            self.digests.values_mut().for_each(|cover| _ = cover.behind.remove(&id));
        }
        if waiting.is_empty() {
            self.lanes.remove(&lane);
        }
    }

    /// Those that do not go out by themselves yet, in order.
    pub(super) fn not_admitted(&mut self) -> Vec<&mut Waiting> {
        let mut fresh: Vec<_> = self.all_mut().filter(|waiting| !waiting.admitted).collect();
        fresh.sort_unstable_by_key(|waiting| waiting.place);
        fresh
    }

    pub(super) fn count_not_admitted(&self) -> usize {
        self.all().filter(|waiting| !waiting.admitted).count()
    }

    /// The only message that is held back, if it is one.
    pub(super) fn single_held(&mut self) -> Option<&mut Waiting> {
        let mut held = self.lanes.values_mut().filter(|waiting| is_held(waiting)).flatten();
        let single = held.next()?;
        held.next().is_none().then_some(single)
    }

    /// Takes out the lanes that are held back, in order. What stands behind a message that keeps failing goes on waiting:
    /// it would hold a whole digest up.
    pub(super) fn take_held(&mut self) -> Vec<Notification> {
        let mut taken: Vec<Waiting> = Vec::new();
        for waiting in self.lanes.values_mut().filter(|waiting| is_held(waiting)) {
            taken.extend(std::mem::take(waiting));
        }
        self.lanes.retain(|_, waiting| !waiting.is_empty());
        taken.sort_unstable_by_key(|waiting| waiting.place);
        let taken: Vec<Notification> = taken.into_iter().map(|waiting| waiting.owed.notification).collect();
        for notification in &taken {
            self.lane_of.remove(&notification.id);
        }
        taken
    }

    /// The first of each lane that may go out and is not under way, be it due or not.
    fn free(&self) -> impl Iterator<Item = (&Waiting, Lane)> {
        self.ready().filter(|(_, lane)| !self.under_way.contains_key(lane))
    }

    /// The first of each lane that nothing of the same monitor must precede (S7.3).
    fn ready(&self) -> impl Iterator<Item = (&Waiting, Lane)> {
        let firsts = self.lanes.iter().filter_map(|(lane, waiting)| waiting.front().map(|first| (first, *lane)));
        firsts.filter(|(first, lane)| first.admitted && !self.must_wait(first, *lane))
    }

    fn must_wait(&self, waiting: &Waiting, lane: Lane) -> bool {
        match self.digests.get(&waiting.owed.notification.id) {
            Some(cover) => !cover.behind.is_empty() || self.under_way.keys().any(|lane| cover.lanes.contains(lane)),
            None => self.digests.values().any(|cover| cover.lanes.contains(&lane)),
        }
    }
}

fn is_held(waiting: &VecDeque<Waiting>) -> bool {
    waiting.front().is_some_and(|first| !first.admitted)
}
