//! Who should hold which partition: one node at a time works on it, under a lease that it renews.

use std::time::Duration;

use crate::{Epoch, Lease, PartitionId, StorageError, Timestamp};

/// How a partition is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tenure {
    /// The storage belongs to one process, which takes every partition over at once and keeps it.
    Exclusive,
    /// Several nodes share the storage: a lease that was not renewed for this long is free, by the clock of the node that
    /// watches it.
    Shared {
        /// How long a lease lasts after it was taken or renewed.
        ttl: Duration,
    },
}

/// What must be done with the storage for a lease.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LeaseStep {
    /// Read the partition's lease and hand it in with [`Claim::handle_found`].
    Read,
    /// Swap `next` in for `expected`, and tell how that went with [`Claim::handle_swapped`].
    Swap {
        /// What was read.
        expected: Lease,
        /// What it should be.
        next: Lease,
    },
}

/// A lease as it was read, and since when it is known to be so.
#[derive(Clone, Debug)]
struct Seen {
    lease: Lease,
    since: Duration,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    epoch: Epoch,
    /// The node steps down at this instant of its own clock, before anybody else may take over.
    until: Duration,
    renew_at: Duration,
}

/// One node's claim to one partition: when to read its lease, when to take or renew it, and whether the node holds it.
///
/// Times are instants of the node's own clock that is never set, so nodes need not agree about the time: who watches a
/// lease counts from when it saw it change, and its holder from before it asked for it. A node that is frozen for longer
/// does not know that it lost its lease; the epoch fences what it writes then.
#[derive(Clone, Debug)]
pub struct Claim {
    partition: PartitionId,
    node: String,
    tenure: Tenure,
    seen: Option<Seen>,
    held: Option<Held>,
    /// The epoch that it held last.
    held_last: Option<Epoch>,
    /// The swap that was asked for, and when.
    asked: Option<(Lease, Duration)>,
    under_way: bool,
    /// When the lease is read again.
    read_at: Duration,
    /// A free lease is taken.
    wanted: bool,
    /// What is held is given up.
    letting_go: bool,
}

impl Claim {
    /// Claims `partition` for `node`, a name that no other start of any node has.
    pub fn new(partition: PartitionId, node: impl Into<String>, tenure: Tenure) -> Self {
        Self {
            partition,
            node: node.into(),
            tenure,
            seen: None,
            held: None,
            held_last: None,
            asked: None,
            under_way: false,
            read_at: Duration::ZERO,
            wanted: true,
            letting_go: false,
        }
    }

    /// The epoch under which the node may work on the partition now; `None` when it must not.
    #[must_use]
    pub fn epoch(&self, monotonic: Duration) -> Option<Epoch> {
        self.held.filter(|held| monotonic < held.until).map(|held| held.epoch)
    }

    /// Who held the lease when it was read last; `None` when nobody did, or that is not known.
    #[must_use]
    pub fn holder(&self) -> Option<&str> {
        let held = self.seen.as_ref().map(|seen| &seen.lease).filter(|lease| lease.expires_at != Timestamp::MIN);
        held.map(|lease| lease.node.as_str()).filter(|node| !node.is_empty())
    }

    /// The latest epoch of the lease that was read or asked for, whoever holds it: under this one writes are taken.
    #[must_use]
    pub fn known_epoch(&self) -> Option<Epoch> {
        let held = self.held.map(|held| held.epoch);
        held.or_else(|| self.seen.as_ref().map(|seen| seen.lease.epoch))
    }

    /// Whether the lease was free when it was read last, or would be by now.
    #[must_use]
    pub fn is_free(&self, monotonic: Duration) -> bool {
        self.held.is_none() && self.seen.as_ref().is_some_and(|seen| monotonic >= self.free_at(seen))
    }

    /// Whether the lease is to be taken when it is free; it is unless told. What is held is held on to: see
    /// [`Claim::let_go`].
    pub fn want(&mut self, wanted: bool) {
        self.wanted = wanted;
    }

    /// Gives up what is held, so that another node may take it at once.
    pub fn let_go(&mut self) {
        self.wanted = false;
        self.letting_go = self.held.is_some();
    }

    /// What to do now; `None` when there is nothing, or an answer is awaited.
    pub fn poll(&mut self, now: Timestamp, monotonic: Duration) -> Option<LeaseStep> {
        if self.under_way {
            return None;
        }
        let step = match (self.held, &self.seen) {
            (Some(held), Some(seen)) if monotonic < held.until => {
                let due = self.letting_go || monotonic >= held.renew_at;
                due.then(|| self.swap(&seen.lease, held.epoch, now))?
            }
            (Some(_), _) => {
                self.lose(monotonic);
                LeaseStep::Read
            }
            (None, Some(seen)) if self.wanted && monotonic >= self.free_at(seen) => {
                self.swap(&seen.lease, Epoch(seen.lease.epoch.0 + 1), now)
            }
            (None, _) if monotonic >= self.read_at => LeaseStep::Read,
            (None, _) => return None,
        };
        if let LeaseStep::Swap { next, .. } = &step {
            self.asked = Some((next.clone(), monotonic));
        }
        self.under_way = true;
        Some(step)
    }

    /// Takes the partition's lease as it was read; `None` when there never was one.
    pub fn handle_found(&mut self, lease: Option<Lease>, monotonic: Duration) {
        self.under_way = false;
        self.read_at = monotonic + self.pace();
        let lease = lease.unwrap_or_else(|| Lease {
            partition: self.partition,
            epoch: Epoch(0),
            node: String::new(),
            expires_at: Timestamp::MIN,
        });
        // A renewal that was found too late holds nothing: the node stepped down, and begins anew under its next epoch.
        if let Some((asked, at)) = self.asked.take()
            && asked == lease
            && asked.expires_at != Timestamp::MIN
            && self.held_last != Some(asked.epoch)
        {
            self.hold(asked.epoch, at);
        }
        let since = self.seen.take().filter(|seen| seen.lease == lease).map_or(monotonic, |seen| seen.since);
        self.seen = Some(Seen { lease, since });
    }

    /// Takes that the lease could not be read.
    pub fn handle_unread(&mut self, monotonic: Duration) {
        self.under_way = false;
        self.read_at = monotonic + self.pace();
    }

    /// Takes how the swap went: whether it was done, or why that is not known.
    pub fn handle_swapped(&mut self, result: &Result<bool, StorageError>, monotonic: Duration) {
        self.under_way = false;
        match (result, self.asked.clone()) {
            (Ok(true), Some((lease, at))) => {
                self.asked = None;
                let given_up = lease.expires_at == Timestamp::MIN;
                let lapsed = self.held_last == Some(lease.epoch) && self.epoch(monotonic).is_none();
                if given_up || lapsed {
                    self.held = None;
                    self.letting_go = false;
                } else {
                    self.hold(lease.epoch, at);
                }
                self.seen = Some(Seen { lease, since: monotonic });
            }
            (Ok(_), _) => {
                self.asked = None;
                self.lose(monotonic);
            }
            // It may have been done: reading tells.
            (Err(StorageError::Unknown(_)), _) if self.held.is_none() => self.read_again(monotonic + self.pace()),
            // What is held stays held until it ends; it is tried again soon.
            (Err(_), _) => {
                let pace = self.pace() / 4;
                if let Some(held) = &mut self.held {
                    held.renew_at = monotonic + pace;
                } else {
                    self.asked = None;
                    self.read_again(monotonic + pace);
                }
            }
        }
    }

    /// Takes that a write was fenced: somebody else holds the partition.
    pub fn handle_fenced(&mut self, monotonic: Duration) {
        self.lose(monotonic);
    }

    /// When [`Claim::poll`] is of use next.
    #[must_use]
    pub fn poll_wake(&self) -> Duration {
        if self.under_way {
            return Duration::MAX;
        }
        match (&self.held, &self.seen) {
            (Some(held), _) if !self.letting_go => held.renew_at.min(held.until),
            (Some(_), _) => Duration::ZERO,
            (None, Some(seen)) if self.wanted => self.free_at(seen).min(self.read_at),
            (None, _) => self.read_at,
        }
    }

    fn swap(&self, expected: &Lease, epoch: Epoch, now: Timestamp) -> LeaseStep {
        let expires_at = match self.tenure {
            _ if self.letting_go => Timestamp::MIN,
            Tenure::Exclusive => Timestamp::MAX,
            Tenure::Shared { ttl } => now + ttl,
        };
        let next = Lease { partition: self.partition, epoch, node: self.node.clone(), expires_at };
        LeaseStep::Swap { expected: expected.clone(), next }
    }

    fn hold(&mut self, epoch: Epoch, asked_at: Duration) {
        self.held_last = Some(epoch);
        self.held = Some(match self.tenure {
            Tenure::Exclusive => Held { epoch, until: Duration::MAX, renew_at: Duration::MAX },
            // The margin is for clocks that run at different speeds.
            Tenure::Shared { ttl } => Held { epoch, until: asked_at + ttl * 4 / 5, renew_at: asked_at + ttl / 3 },
        });
    }

    fn lose(&mut self, monotonic: Duration) {
        self.held = None;
        self.letting_go = false;
        self.read_again(monotonic);
    }

    fn read_again(&mut self, at: Duration) {
        self.seen = None;
        self.read_at = at;
    }

    fn free_at(&self, seen: &Seen) -> Duration {
        let resigned = seen.lease.node.is_empty() || seen.lease.expires_at == Timestamp::MIN;
        let own = seen.lease.node == self.node;
        match self.tenure {
            Tenure::Shared { ttl } if !(resigned || own) => seen.since + ttl,
            Tenure::Exclusive | Tenure::Shared { .. } => Duration::ZERO,
        }
    }

    /// How often a lease is looked at that somebody else holds.
    fn pace(&self) -> Duration {
        match self.tenure {
            Tenure::Exclusive => Duration::ZERO,
            Tenure::Shared { ttl } => ttl / 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn now() -> Timestamp {
        Timestamp::from_secs(1_000_000)
    }

    fn shared(node: &str) -> Claim {
        Claim::new(PartitionId(3), node, Tenure::Shared { ttl: TTL })
    }

    /// A storage of one lease.
    #[derive(Default)]
    struct Shelf(Option<Lease>);

    impl Shelf {
        fn carry_out(&mut self, claim: &mut Claim, monotonic: Duration) {
            while let Some(step) = claim.poll(now() + monotonic, monotonic) {
                match step {
                    LeaseStep::Read => claim.handle_found(self.0.clone(), monotonic),
                    LeaseStep::Swap { expected, next } => {
                        let swapped = self.swap(&expected, &next);
                        claim.handle_swapped(&Ok(swapped), monotonic);
                    }
                }
            }
        }

        fn swap(&mut self, expected: &Lease, next: &Lease) -> bool {
            let (epoch, node) = self.0.as_ref().map_or((Epoch(0), ""), |lease| (lease.epoch, lease.node.as_str()));
            let same = expected.epoch == epoch && expected.node == node;
            if same {
                self.0 = Some(next.clone());
            }
            same
        }
    }

    #[test]
    fn a_free_lease_is_taken_renewed_and_given_up_before_it_ends() {
        let (mut shelf, mut a) = (Shelf::default(), shared("a"));
        shelf.carry_out(&mut a, secs(0));
        assert_eq!(a.epoch(secs(0)), Some(Epoch(1)));
        assert_eq!(a.epoch(secs(7)), Some(Epoch(1)));
        assert_eq!(a.epoch(secs(8)), None, "nobody renewed it");
        shelf.carry_out(&mut a, secs(4));
        assert_eq!((a.epoch(secs(11)), a.epoch(secs(12))), (Some(Epoch(1)), None));
    }

    #[test]
    fn another_node_takes_over_when_it_saw_no_renewal_for_the_whole_time() {
        let (mut shelf, mut a, mut b) = (Shelf::default(), shared("a"), shared("b"));
        shelf.carry_out(&mut a, secs(0));
        // The clocks have nothing in common.
        shelf.carry_out(&mut b, secs(500));
        assert_eq!(b.holder(), Some("a"));
        shelf.carry_out(&mut a, secs(4));
        for second in [504, 508, 512, 513] {
            shelf.carry_out(&mut b, secs(second));
            assert_eq!(b.epoch(secs(second)), None, "it saw a change at 504: {second}");
        }
        shelf.carry_out(&mut b, secs(514));
        assert_eq!(b.holder(), Some("b"));
        assert_eq!(b.epoch(secs(514)), Some(Epoch(2)));
        shelf.carry_out(&mut a, secs(15));
        assert_eq!(a.epoch(secs(15)), None);
    }

    #[test]
    fn who_resigns_lets_another_in_at_once() {
        let (mut shelf, mut a, mut b) = (Shelf::default(), shared("a"), shared("b"));
        shelf.carry_out(&mut a, secs(0));
        a.let_go();
        shelf.carry_out(&mut a, secs(1));
        assert_eq!((a.epoch(secs(1)), a.holder()), (None, None));
        shelf.carry_out(&mut b, secs(1));
        assert_eq!(b.epoch(secs(1)), Some(Epoch(2)));
    }

    #[test]
    fn a_swap_without_an_answer_is_found_by_reading() {
        let (mut shelf, mut a) = (Shelf::default(), shared("a"));
        assert_eq!(a.poll(now(), secs(0)), Some(LeaseStep::Read));
        a.handle_found(None, secs(0));
        let Some(LeaseStep::Swap { expected, next }) = a.poll(now(), secs(0)) else { panic!("it is free") };
        assert!(shelf.swap(&expected, &next));
        a.handle_swapped(&Err(StorageError::Unknown("no answer".to_owned())), secs(2));
        assert_eq!(a.epoch(secs(2)), None);
        shelf.carry_out(&mut a, secs(6));
        assert_eq!(a.epoch(secs(7)), Some(Epoch(1)), "it holds from before it asked");
    }

    #[test]
    fn who_stepped_down_comes_back_under_another_epoch() {
        let (mut shelf, mut a) = (Shelf::default(), shared("a"));
        shelf.carry_out(&mut a, secs(0));
        let Some(LeaseStep::Swap { expected, next }) = a.poll(now(), secs(4)) else { panic!("it is time to renew") };
        assert!(shelf.swap(&expected, &next));
        let mut b = a.clone();
        a.handle_swapped(&Err(StorageError::Unknown("no answer".to_owned())), secs(9));
        b.handle_swapped(&Ok(true), secs(9));
        for claim in [&mut a, &mut b] {
            assert_eq!(claim.epoch(secs(9)), None, "it was renewed, and nobody said so in time");
            let epoch = shelf.0.as_ref().map(|lease| lease.epoch.0 + 1);
            shelf.carry_out(claim, secs(9));
            assert_eq!(claim.epoch(secs(9)).map(|epoch| epoch.0), epoch);
        }
    }

    #[test]
    fn an_exclusive_claim_takes_over_at_once_and_for_good() {
        let (mut shelf, mut a) = (Shelf::default(), Claim::new(PartitionId(3), "a", Tenure::Exclusive));
        shelf.carry_out(&mut shared("b"), secs(0));
        shelf.carry_out(&mut a, secs(0));
        assert_eq!(a.epoch(secs(1_000_000)), Some(Epoch(2)));
        assert_eq!(a.poll_wake(), Duration::MAX);
    }
}
