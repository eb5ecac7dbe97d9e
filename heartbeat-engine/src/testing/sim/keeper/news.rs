//! News of what other nodes wrote, and what is owed to channels for which this node delivers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{AGAIN_AFTER, Errand, HURRY, Keeper};
use crate::outbox::Owed;
use crate::testing::sim::coverage::Deed;
use crate::testing::sim::mutant::Mutant;
use crate::testing::sim::node::Op;
use crate::testing::sim::world::{Event, Life as Start, World};
use crate::{DeliveryState, News, NotificationId, OutboxEntry, PartitionId, StorageError, Timestamp};

/// Until a round begins that something waits for.
const SOON: Duration = Duration::from_millis(1);
/// From here on news took long.
const SLOW: Duration = Duration::from_secs(5);

impl Keeper {
    /// News took from one instant to the other to be told, or to be taken by a seat whose write was under way.
    pub(in crate::testing::sim) fn took(&mut self, from: Timestamp, now: Timestamp) {
        if now.since(from) > SLOW {
            self.slow_until = now;
        }
    }

    /// Whether the store was so slow since an instant that what others came to owe is delayed by that.
    pub(in crate::testing::sim) fn was_slow_since(&self, from: Timestamp, now: Timestamp) -> bool {
        self.slow_until >= from || (self.round.is_some() && now.since(self.round_since) > SLOW)
    }
}

impl World {
    /// What was written by a node is news for the others.
    pub(in crate::testing::sim) fn news_for_others(&mut self, writer: usize) {
        for node in 0..self.nodes.len() {
            if node != writer && self.nodes[node].up {
                let mut pause = self.rng.millis(1, 100);
                if !self.calm && self.rng.permille(15) {
                    self.note(Deed::NewsLate);
                    pause += self.rng.secs(1, 6);
                }
                self.hears_by(node, self.now + pause);
            }
        }
    }

    fn hears_by(&mut self, node: usize, at: Timestamp) {
        if self.keeper(node).is_some_and(|keeper| keeper.hears_at > at) {
            self.hears_later(node, at);
        }
    }

    /// Puts off the next time at which a node asks for news.
    pub(in crate::testing::sim) fn hears_later(&mut self, node: usize, at: Timestamp) {
        let life = Start { node, life: self.nodes[node].life };
        let Some(keeper) = self.keeper(node) else { return };
        keeper.hears_at = at;
        self.queue.push(at, Event::Hears(life));
    }

    pub(in crate::testing::sim) fn ask_for_news(&mut self, node: usize) {
        let now = self.now;
        let loses = !self.calm && self.rng.below(1500) == 0;
        let Some(keeper) = self.keeper(node).filter(|keeper| keeper.hears_at == now) else { return };
        keeper.hears_at = Timestamp::MAX;
        if !keeper.loaded {
            return;
        }
        if keeper.is_on(|errand| matches!(errand, Errand::News | Errand::Told(_))) {
            return self.hears_later(node, now + HURRY);
        }
        // A position that nobody gave is one that was too long ago.
        let position = if loses { Some("long ago".to_owned()) } else { keeper.position.clone() };
        if keeper.round.is_none() {
            keeper.round = Some(keeper.rounds.begin());
            keeper.round_since = now;
        }
        self.run_errand(node, Errand::News, Op::ReadNews(position));
    }

    /// What others wrote has come.
    pub(super) fn told(&mut self, node: usize, news: Result<(News, Timestamp), StorageError>) {
        let Ok((news, at)) = news else { return self.hears_later(node, self.now + HURRY) };
        if news.missed {
            self.note(Deed::NewsMissed);
            return self.begin_anew(node);
        }
        let monotonic = self.monotonic(node);
        let ignores = self.is_mutant(Mutant::StrangersOwedIgnored);
        let Some(keeper) = self.keeper(node) else { return };
        let mut ids = if ignores { Vec::new() } else { news.owed.clone() };
        // What waited is told with the last of the news, and may be older than some of it.
        ids.extend(keeper.round.iter().filter(|_| !news.more).flat_map(|round| &round.owed));
        if !ids.is_empty() && !keeper.claims.held(monotonic).is_empty() {
            self.run_errand(node, Errand::Told(Box::new((news, at))), Op::ReadOwed(ids));
        } else {
            self.tell_seats(node, (news, at));
        }
    }

    /// Hands news on, and moves the position behind them.
    pub(super) fn tell_seats(&mut self, node: usize, (news, at): (News, Timestamp)) {
        let now = self.now;
        let Some(keeper) = self.keeper(node) else { return };
        keeper.position = Some(news.position);
        if let Some(round) = keeper.round.take_if(|_| !news.more) {
            keeper.rounds.end(round.number);
            keeper.took(keeper.round_since, now);
        }
        if news.more {
            self.hears_soon(node);
        }
        let mut of_partition: BTreeMap<u16, Vec<_>> = BTreeMap::new();
        for written in news.monitors {
            of_partition.entry(self.partition_of(written.monitor)).or_default().push(written);
        }
        for partition in 0..self.plan.partitions {
            let written = of_partition.remove(&partition).unwrap_or_default();
            let Some(service) = self.nodes[node].service(partition) else { continue };
            let any = !written.is_empty();
            service.among.news.extend(written);
            if !news.more {
                service.among.news_until = at;
            }
            if any {
                self.see_to(node, partition);
            }
        }
    }

    /// Looks, with the next round of news, for what may have come to be owed.
    pub(in crate::testing::sim) fn look_for(&mut self, node: usize, owed: Vec<NotificationId>) {
        if owed.is_empty() {
            return;
        }
        self.note(Deed::DoubtfulSettled);
        if let Some(keeper) = self.keeper(node) {
            keeper.rounds.wait(owed);
        }
        self.hears_soon(node);
    }

    /// Asks for news soon, because something waits for that.
    pub(in crate::testing::sim) fn hears_soon(&mut self, node: usize) {
        self.hears_by(node, self.now + SOON);
    }

    /// Hands over what was found to be owed to channels for which this node delivers, by way of the seats that keep it.
    pub(super) fn hand_over_found(&mut self, node: usize, mut found: Vec<OutboxEntry>) {
        let (now, monotonic) = (self.now, self.monotonic(node));
        let Some(round) = self.keeper(node).and_then(|keeper| keeper.round.as_ref()).map(|round| round.number) else {
            return;
        };
        // Those of one monitor go out in their order.
        found.sort_by_key(|entry| entry.seq);
        for entry in found {
            let home = self.plan.home_of_channel(&entry.notification.channel);
            let delivers = self.keeper(node).is_some_and(|keeper| keeper.claims.epoch(home, monotonic).is_some());
            if delivers && entry.delivery.state == DeliveryState::Pending {
                self.note(Deed::StrangersOwed);
                let keeps = PartitionId::of_notification(entry.notification.id, self.plan.partitions).0;
                if let Some(service) = self.nodes[node].service(keeps) {
                    service.among.told.push((entry, round, now));
                }
                self.see_to(node, keeps);
            }
        }
    }

    pub(super) fn outbox_read(
        &mut self,
        node: usize,
        partitions: BTreeSet<u16>,
        found: Result<Vec<OutboxEntry>, StorageError>,
    ) {
        let again_at = self.now + AGAIN_AFTER / 2;
        let Ok(found) = found else {
            if let Some(keeper) = self.keeper(node) {
                keeper.unread.extend(partitions);
                keeper.unread_at = again_at;
            }
            return;
        };
        for partition in partitions {
            let home = |entry: &&OutboxEntry| self.plan.home_of_channel(&entry.notification.channel).0 == partition;
            let owed: Vec<Owed> = found.iter().filter(home).cloned().map(Owed::from).collect();
            self.restore(node, partition, owed);
        }
    }
}
