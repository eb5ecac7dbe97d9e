//! Which partitions a node should hold when several share a store: a fair share, and nothing moves that need not.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::PartitionId;

/// The other nodes, as far as one of them knows: who lives is seen by what changes, so no two clocks are compared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Neighbours {
    seen: BTreeMap<String, Seen>,
}

#[derive(Clone, Debug)]
struct Seen {
    beat: u64,
    since: Duration,
}

impl Neighbours {
    /// Takes what was read: every node but this one, each with a number that it changes as long as it lives.
    pub(crate) fn handle_found(&mut self, nodes: impl IntoIterator<Item = (String, u64)>, monotonic: Duration) {
        let mut before = std::mem::take(&mut self.seen);
        for (node, beat) in nodes {
            let seen = match before.remove(&node) {
                Some(seen) if seen.beat == beat => seen,
                _ => Seen { beat, since: monotonic },
            };
            self.seen.insert(node, seen);
        }
    }

    /// Those that may live: they changed within `ttl`, or were not watched for so long yet.
    pub(crate) fn alive(&self, ttl: Duration, monotonic: Duration) -> Vec<&str> {
        let alive = self.seen.iter().filter(|(_, seen)| monotonic < seen.since + ttl);
        alive.map(|(node, _)| node.as_str()).collect()
    }

    /// Those that have not changed for so long, each with the number that it has.
    pub(crate) fn gone(&self, length: Duration, monotonic: Duration) -> Vec<(String, u64)> {
        let gone = self.seen.iter().filter(|(_, seen)| monotonic >= seen.since + length);
        gone.map(|(node, seen)| (node.clone(), seen.beat)).collect()
    }
}

/// How the partitions are held: by whom each, where anybody does.
pub(crate) type Holders<'a> = [Option<&'a str>];

/// The partitions that `node` should hold, among `alive` (other nodes). What is held by a dead node or by nobody is free.
///
/// Every node may hold its even share, and so many nodes one more as partitions are left over: those that have the most
/// already. Who holds more gives up its last ones; who holds less takes free ones, each node beginning at another place.
pub(crate) fn wanted(node: &str, alive: &[&str], holders: &Holders<'_>) -> Vec<PartitionId> {
    let mut counts: BTreeMap<&str, usize> = alive.iter().map(|other| (*other, 0)).collect();
    counts.insert(node, 0);
    for holder in holders.iter().flatten() {
        if let Some(count) = counts.get_mut(holder) {
            *count += 1;
        }
    }
    let quota = quota(node, &counts, holders.len());
    let held = |partition: &usize| holders[*partition] == Some(node);
    let mut wanted: Vec<usize> = (0..holders.len()).filter(held).take(quota).collect();
    let free = |partition: &usize| holders[*partition].is_none_or(|holder| !counts.contains_key(holder));
    let place = counts.keys().position(|other| *other == node).unwrap_or(0);
    let begin = holders.len() * place / counts.len();
    let in_turn = (begin..holders.len()).chain(0..begin);
    let room = quota.saturating_sub(wanted.len());
    wanted.extend(in_turn.filter(free).take(room));
    wanted.sort_unstable();
    wanted.into_iter().filter_map(|partition| u16::try_from(partition).ok()).map(PartitionId).collect()
}

/// How many of `partitions` a node may hold.
fn quota(node: &str, counts: &BTreeMap<&str, usize>, partitions: usize) -> usize {
    let (even, left_over) = (partitions / counts.len(), partitions % counts.len());
    let mut order: Vec<(&str, usize)> = counts.iter().map(|(other, count)| (*other, *count)).collect();
    // The most first, ties by name.
    order.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let place = order.iter().position(|(other, _)| *other == node).unwrap_or(order.len());
    even + usize::from(place < left_over)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(wanted: &[PartitionId]) -> Vec<u16> {
        wanted.iter().map(|partition| partition.0).collect()
    }

    #[test]
    fn a_single_node_takes_everything() {
        assert_eq!(numbers(&wanted("a", &[], &[None; 4])), [0, 1, 2, 3]);
        assert_eq!(numbers(&wanted("a", &[], &[Some("dead"), None, Some("a")])), [0, 1, 2]);
    }

    #[test]
    fn who_joins_takes_nothing_that_is_held_and_the_others_give_up_what_is_too_much() {
        let holders = [Some("a"), Some("a"), Some("a"), Some("b"), Some("b"), Some("b")];
        assert_eq!(numbers(&wanted("c", &["a", "b"], &holders)), [] as [u16; 0]);
        assert_eq!(numbers(&wanted("a", &["b", "c"], &holders)), [0, 1]);
        assert_eq!(numbers(&wanted("b", &["a", "c"], &holders)), [3, 4]);
        let given_up = [Some("a"), Some("a"), None, Some("b"), Some("b"), None];
        assert_eq!(numbers(&wanted("c", &["a", "b"], &given_up)), [2, 5]);
        assert_eq!(numbers(&wanted("a", &["b", "c"], &given_up)), [0, 1]);
    }

    #[test]
    fn what_is_left_over_stays_with_who_has_it() {
        let holders = [Some("a"), Some("a"), Some("b"), Some("b"), None];
        assert_eq!(numbers(&wanted("a", &["b", "c"], &holders)), [0, 1]);
        assert_eq!(numbers(&wanted("b", &["a", "c"], &holders)), [2, 3]);
        assert_eq!(numbers(&wanted("c", &["a", "b"], &holders)), [4]);
    }

    #[test]
    fn a_node_is_alive_while_it_changes_and_for_as_long_as_it_was_not_watched() {
        let secs = Duration::from_secs;
        let (mut neighbours, ttl) = (Neighbours::default(), secs(10));
        let one = |beat| [("a".to_owned(), beat)];
        neighbours.handle_found(one(7), secs(100));
        assert_eq!(neighbours.alive(ttl, secs(109)), ["a"]);
        assert!(neighbours.alive(ttl, secs(110)).is_empty());
        assert_eq!(neighbours.gone(ttl, secs(110)), [("a".to_owned(), 7)]);
        neighbours.handle_found(one(7), secs(105));
        neighbours.handle_found(one(8), secs(106));
        assert_eq!(neighbours.alive(ttl, secs(115)), ["a"]);
        neighbours.handle_found([], secs(107));
        assert!(neighbours.alive(ttl, secs(107)).is_empty(), "it left in order");
    }

    /// Lets every node act in turn until nothing changes; counts the partitions that moved.
    fn settle<'a>(nodes: &[&'a str], holders: &mut [Option<&'a str>]) -> usize {
        let before = holders.to_vec();
        for _ in 0..10 {
            let seen = holders.to_vec();
            for node in nodes {
                let alive: Vec<&str> = nodes.iter().filter(|other| *other != node).copied().collect();
                let wanted = wanted(node, &alive, &seen);
                for (partition, holder) in holders.iter_mut().enumerate() {
                    let wants = wanted.contains(&PartitionId(partition as u16));
                    match *holder {
                        Some(held) if held == *node && !wants => *holder = None,
                        Some(held) if nodes.contains(&held) => {}
                        _ if wants => *holder = Some(node),
                        _ => {}
                    }
                }
            }
        }
        before.iter().zip(holders).filter(|(before, after)| before != after).count()
    }

    proptest! {
        #[test]
        fn shares_become_even_and_only_what_must_move_moves(
            partitions in 1usize..70,
            first in 1usize..6,
            later in 1usize..6,
        ) {
            const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
            let mut holders = vec![None; partitions];
            settle(&NAMES[..first], &mut holders);
            let moved = settle(&NAMES[..later], &mut holders);
            let counts = |nodes: &[&str]| nodes.iter().map(|n| holders.iter().filter(|h| **h == Some(*n)).count()).collect::<Vec<_>>();
            let counts = counts(&NAMES[..later]);
            prop_assert_eq!(counts.iter().sum::<usize>(), partitions);
            prop_assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{:?}", counts);
            // What must move: the shares of those who left, or of those who came.
            let (few, many) = (first.min(later), first.max(later));
            let most = (many - few) * partitions.div_ceil(many);
            prop_assert!(moved <= most, "{moved} of {partitions} moved from {first} to {later} nodes");
        }
    }
}
