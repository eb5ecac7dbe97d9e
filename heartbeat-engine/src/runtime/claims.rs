//! A node's claims to all partitions of a store that it shares: which leases it takes, renews and gives up, by what it read.
//! Pure: times are arguments, and what it reads and writes its host does.

use std::time::Duration;

use crate::shares::{self, Neighbours};
use crate::{Claim, Epoch, Lease, LeaseStep, PartitionId, StorageError, Tenure, Timestamp};

/// See the module.
#[derive(Debug)]
pub(crate) struct Claims {
    claims: Vec<Claim>,
    /// Partitions that are held and that others should have: their seats end their work on them first.
    leaving: Vec<bool>,
    neighbours: Neighbours,
}

impl Claims {
    /// The claims of a node that starts, to so many partitions.
    pub(crate) fn new(node: &str, tenure: Tenure, partitions: u16) -> Self {
        let claims: Vec<Claim> = (0..partitions.max(1)).map(|p| Claim::new(PartitionId(p), node, tenure)).collect();
        Self { leaving: vec![false; claims.len()], claims, neighbours: Neighbours::default() }
    }

    /// Every claim, in the order of partitions.
    pub(crate) fn all(&self) -> &[Claim] {
        &self.claims
    }

    pub(crate) fn neighbours(&self) -> &Neighbours {
        &self.neighbours
    }

    /// The epoch under which the node may judge what is in the partition now; `None` when it must not.
    pub(crate) fn epoch(&self, partition: PartitionId, monotonic: Duration) -> Option<Epoch> {
        let (claim, leaving) = self.of(partition)?;
        if leaving { None } else { claim.epoch(monotonic) }
    }

    /// Whether the partition is to be given up, and its seat has to end its work first and say so.
    pub(crate) fn is_leaving(&self, partition: PartitionId, monotonic: Duration) -> bool {
        self.of(partition).is_some_and(|(claim, leaving)| leaving && claim.epoch(monotonic).is_some())
    }

    /// The epoch under which writes to the partition are taken, as far as is known.
    pub(crate) fn known_epoch(&self, partition: PartitionId) -> Option<Epoch> {
        self.of(partition)?.0.known_epoch()
    }

    /// The partitions that the node holds.
    pub(crate) fn held(&self, monotonic: Duration) -> Vec<PartitionId> {
        let held = self.claims.iter().enumerate().filter(|(_, claim)| claim.epoch(monotonic).is_some());
        held.filter_map(|(number, _)| u16::try_from(number).ok()).map(PartitionId).collect()
    }

    /// A write under an epoch was fenced: another node has the partition, or this one has it under a later epoch.
    pub(crate) fn handle_fenced(&mut self, partition: PartitionId, under: Epoch, monotonic: Duration) {
        if let Some(claim) = self.claims.get_mut(usize::from(partition.0))
            && claim.epoch(monotonic).is_none_or(|held| held <= under)
        {
            claim.handle_fenced(monotonic);
        }
    }

    /// The seat of a partition that is given up has ended its work on it.
    pub(crate) fn let_go(&mut self, partition: PartitionId) {
        let number = usize::from(partition.0);
        if let (Some(claim), Some(leaving)) = (self.claims.get_mut(number), self.leaving.get_mut(number)) {
            claim.let_go();
            *leaving = false;
        }
    }

    /// Gives up everything that is held.
    pub(crate) fn let_go_of_all(&mut self) {
        self.claims.iter_mut().for_each(Claim::let_go);
        self.leaving.fill(false);
    }

    /// Takes the leases as they are stored.
    pub(crate) fn handle_leases(&mut self, leases: &[Lease], monotonic: Duration) {
        for (number, claim) in self.claims.iter_mut().enumerate() {
            let found = leases.iter().find(|lease| usize::from(lease.partition.0) == number);
            match claim.epoch(monotonic) {
                None => claim.handle_found(found.cloned(), monotonic),
                Some(held) if found.is_none_or(|lease| lease.epoch != held) => claim.handle_fenced(monotonic),
                Some(_) => {}
            }
        }
    }

    /// Takes what was read: the other nodes, each with a number that it changes as long as it lives, and the leases. Then
    /// decides which partitions `node` takes when they are free, and which it gives up. Before it `knows_life` it takes
    /// nothing but the first, whose holder finds out: it could not judge yet.
    pub(crate) fn handle_found(
        &mut self,
        node: &str,
        others: impl IntoIterator<Item = (String, u64)>,
        leases: &[Lease],
        (ttl, monotonic): (Duration, Duration),
        knows_life: bool,
    ) {
        self.neighbours.handle_found(others, monotonic);
        self.handle_leases(leases, monotonic);
        let holders: Vec<Option<&str>> = self
            .claims
            .iter()
            .map(|claim| match claim.epoch(monotonic) {
                Some(_) => Some(node),
                None => claim.holder().filter(|_| !claim.is_free(monotonic)),
            })
            .collect();
        let wanted = shares::wanted(node, &self.neighbours.alive(ttl, monotonic), &holders);
        for (number, claim) in self.claims.iter_mut().enumerate() {
            let wants = wanted.iter().any(|partition| usize::from(partition.0) == number);
            let held = claim.epoch(monotonic).is_some();
            self.leaving[number] = held && !wants;
            claim.want(wants && (knows_life || number == 0));
        }
    }

    /// The leases that are to be swapped now, by partition: what was expected and what comes next. Each is answered by
    /// [`Claims::handle_swapped`].
    pub(crate) fn poll_swaps(&mut self, now: Timestamp, monotonic: Duration) -> Vec<(usize, Lease, Lease)> {
        let mut swaps = Vec::new();
        for (number, claim) in self.claims.iter_mut().enumerate() {
            match claim.poll(now, monotonic) {
                Some(LeaseStep::Swap { expected, next }) => swaps.push((number, expected, next)),
                // It is read with the others in the next round.
                Some(LeaseStep::Read) => claim.handle_unread(monotonic),
                None => {}
            }
        }
        swaps
    }

    /// Takes how the swap of a partition's lease went.
    pub(crate) fn handle_swapped(&mut self, number: usize, result: &Result<bool, StorageError>, monotonic: Duration) {
        if let Some(claim) = self.claims.get_mut(number) {
            claim.handle_swapped(result, monotonic);
        }
    }

    fn of(&self, partition: PartitionId) -> Option<(&Claim, bool)> {
        let number = usize::from(partition.0);
        Some((self.claims.get(number)?, *self.leaving.get(number)?))
    }
}
