//! In which order what is owed about a monitor goes to its channels where several nodes write about it (S7.3).
//!
//! A node hears in rounds what others came to owe. What it comes to owe itself, on a record that another node wrote, may be
//! ready before it has heard what that one owes: then it waits for a round that began later, is read from the store with what
//! is news, and all of it goes out as it was stored. Pure: what is asked and read, its host does.

use std::collections::HashMap;

use crate::{MonitorId, Notification, NotificationId};

/// The rounds of a node, and what waits for the next one.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    begun: u64,
    told: u64,
    waiting: Vec<NotificationId>,
}

/// One round: everything that others had written when it began is told in it.
#[derive(Debug, Default)]
pub(crate) struct Round {
    pub(crate) number: u64,
    /// What waited for it.
    pub(crate) owed: Vec<NotificationId>,
}

impl Rounds {
    /// Begins a round.
    pub(crate) fn begin(&mut self) -> Round {
        self.begun += 1;
        Round { number: self.begun, owed: std::mem::take(&mut self.waiting) }
    }

    /// All of a round was told to the seats.
    pub(crate) fn end(&mut self, number: u64) {
        self.told = number;
    }

    /// The number of the latest round that began.
    pub(crate) fn begun(&self) -> u64 {
        self.begun
    }

    /// The number of the latest round that was told.
    pub(crate) fn told(&self) -> u64 {
        self.told
    }

    /// Has stored notifications go out with the next round.
    pub(crate) fn wait(&mut self, owed: impl IntoIterator<Item = NotificationId>) {
        self.waiting.extend(owed);
    }
}

/// The monitors of a seat of which others may have come to owe something that it has not heard of, each with the latest round
/// that had begun by then.
#[derive(Debug, Default)]
pub(crate) struct Precedence(HashMap<MonitorId, u64>);

impl Precedence {
    /// A monitor's record was read from the store, so another node may have written it.
    pub(crate) fn read(&mut self, monitor: MonitorId, begun: u64) {
        self.0.insert(monitor, begun);
    }

    /// Whether a notification that this node came to owe about a monitor waits for the next round; it is handed in to that then.
    pub(crate) fn holds_own(&mut self, owed: &Notification, rounds: &mut Rounds) -> bool {
        self.holds(owed, |_| true, rounds)
    }

    /// Whether a notification that a round told waits for the next one, because something does that may be older.
    pub(crate) fn holds_told(&mut self, told: &Notification, round: u64, rounds: &mut Rounds) -> bool {
        self.holds(told, |since| since >= round, rounds)
    }

    fn holds(&mut self, owed: &Notification, if_since: impl Fn(u64) -> bool, rounds: &mut Rounds) -> bool {
        let Some(about) = &owed.monitor else { return false };
        let Some(since) = self.0.get_mut(&about.id).filter(|since| if_since(**since)) else { return false };
        // What comes later must not overtake it.
        *since = rounds.begun;
        rounds.waiting.push(owed.id);
        true
    }

    /// Everything was taken that the rounds up to this one told.
    pub(crate) fn told(&mut self, round: u64) {
        self.0.retain(|_, since| *since >= round);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AboutMonitor, NotificationKind, Severity, StatusWord, Timestamp};

    fn monitor(n: u8) -> MonitorId {
        MonitorId::from_bytes([n; 16])
    }

    /// The `n`-th message, about a monitor.
    fn message(n: u8, id: MonitorId) -> Notification {
        let (slug, name, tags) = (String::new(), String::new(), Vec::new());
        Notification {
            id: NotificationId::named(&[&[n]]),
            channel: "ops".to_owned(),
            kind: NotificationKind::Down,
            created_at: Timestamp::MIN,
            monitor: Some(AboutMonitor {
                id,
                slug,
                name,
                tags,
                severity: Severity::Critical,
                status: StatusWord::Down,
            }),
            incident: None,
            message: String::new(),
            ping: None,
            digest: None,
        }
    }

    #[test]
    fn what_is_owed_on_a_record_that_was_read_waits_for_a_round_that_began_later() {
        let (mut rounds, mut seat) = (Rounds::default(), Precedence::default());
        let (first, second, third) = (message(1, monitor(1)), message(2, monitor(1)), message(3, monitor(1)));
        let under_way = rounds.begin();
        seat.read(monitor(1), rounds.begun());
        assert!(seat.holds_own(&first, &mut rounds));
        assert!(!seat.holds_own(&message(9, monitor(2)), &mut rounds), "nobody else wrote the other");
        // It began before, and may not tell what the record owed.
        rounds.end(under_way.number);
        seat.told(rounds.told());
        assert!(seat.holds_own(&second, &mut rounds));

        let next = rounds.begin();
        assert_eq!(next.owed, [first.id, second.id]);
        assert!(!seat.holds_told(&first, next.number, &mut rounds));
        assert!(!seat.holds_told(&second, next.number, &mut rounds));
        rounds.end(next.number);
        seat.told(rounds.told());
        assert!(!seat.holds_own(&third, &mut rounds), "all that was owed before is out");
        assert_eq!(rounds.begin().owed, []);
    }

    #[test]
    fn what_a_round_tells_does_not_overtake_what_waits() {
        let (mut rounds, mut seat) = (Rounds::default(), Precedence::default());
        let (own, later) = (message(1, monitor(1)), message(2, monitor(1)));
        seat.read(monitor(1), rounds.begun());
        let round = rounds.begin();
        // Another node's next message was stored behind this one, and is told in the round that this one comes too late for.
        assert!(seat.holds_own(&own, &mut rounds));
        assert!(seat.holds_told(&later, round.number, &mut rounds));
        rounds.end(round.number);
        seat.told(rounds.told());
        let next = rounds.begin();
        assert_eq!(next.owed, [own.id, later.id]);
        assert!(!seat.holds_told(&own, next.number, &mut rounds));
    }

    #[test]
    fn what_is_taken_late_and_waits_again_is_not_overtaken_either() {
        let (mut rounds, mut seat) = (Rounds::default(), Precedence::default());
        let (told, own) = (message(1, monitor(1)), message(2, monitor(1)));
        let round = rounds.begin();
        seat.read(monitor(1), rounds.begun());
        rounds.end(round.number);
        let next = rounds.begin();
        rounds.end(next.number);
        // The seat was busy for two rounds.
        assert!(seat.holds_told(&told, round.number, &mut rounds));
        seat.told(rounds.told());
        assert!(seat.holds_own(&own, &mut rounds));
    }
}
