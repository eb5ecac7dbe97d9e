//! The life of several nodes together: there is an outage only while none of them was alive (S6.5).

use std::time::Duration;

use crate::absence::{Absence, Look, MARK_AGE_MAX};
use crate::{Outage, Timestamp, WatchLog};

/// What a node must do about the life of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum LifeStep {
    /// Store a mark, and go on.
    Mark,
    /// None was alive: the outage is stored with the mark, by the node that holds the first partition, before anything is
    /// judged or taken (S6.6).
    Outage(Outage),
    /// Others may be alive: whether they are is to be seen first.
    Wait,
}

/// One node's part in the life of all.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    absence: Absence,
    /// The mark that was found at the start, and when that was.
    found: Option<(Option<Timestamp>, Duration)>,
    /// Within so long another node that is alive stores a mark.
    patience: Duration,
    own_mark: Option<Timestamp>,
}

impl Life {
    /// Of a node that starts; others that are alive store marks at least every `patience`.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { absence: Absence::since(None), found: None, patience, own_mark: None }
    }

    /// What to do now, by what is stored. At the start, `others_may_live` says whether other nodes may be alive.
    pub(crate) fn look(
        &mut self,
        log: &WatchLog,
        others_may_live: bool,
        now: Timestamp,
        monotonic: Duration,
    ) -> LifeStep {
        let Some(own_mark) = self.own_mark else {
            let (found, since) = *self.found.get_or_insert((log.mark, monotonic));
            let may_wait = others_may_live && monotonic < since + self.patience;
            return match log.mark {
                None => LifeStep::Mark,
                // Somebody stored it since.
                Some(mark) if log.mark != found && now.since(mark) <= MARK_AGE_MAX => LifeStep::Mark,
                Some(_) if may_wait => LifeStep::Wait,
                Some(mark) if mark < now => LifeStep::Outage(Outage { from: mark, to: now }),
                // The clock was set back.
                Some(_) => LifeStep::Mark,
            };
        };
        let newest = log.mark.map_or(own_mark, |mark| mark.max(own_mark));
        let look = self.absence.look(now, monotonic);
        if now.since(newest) > MARK_AGE_MAX {
            return LifeStep::Outage(Outage { from: newest, to: now });
        }
        match look {
            // A clock that stepped forward tells nothing of the others, who were there.
            Look::Away(outage) if log.mark.is_none_or(|mark| mark == own_mark) => LifeStep::Outage(outage),
            _ => LifeStep::Mark,
        }
    }

    /// The mark is stored.
    pub(crate) fn marked(&mut self, mark: Timestamp, monotonic: Duration) {
        self.own_mark = Some(mark);
        self.absence.marked(mark, monotonic, true);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(10);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn log(mark: i64) -> WatchLog {
        WatchLog { mark: Some(at(mark)), outages: Vec::new() }
    }

    #[test]
    fn a_first_start_and_one_after_everybody_was_gone() {
        assert_eq!(Life::new(TTL).look(&WatchLog::default(), false, at(5), secs(0)), LifeStep::Mark);
        let outage = Outage { from: at(3), to: at(5) };
        assert_eq!(Life::new(TTL).look(&log(3), false, at(5), secs(0)), LifeStep::Outage(outage));
        assert_eq!(Life::new(TTL).look(&log(9), false, at(5), secs(0)), LifeStep::Mark, "the clock was set back");
    }

    #[test]
    fn who_joins_waits_until_others_are_seen_to_live_or_to_be_dead() {
        let mut life = Life::new(TTL);
        assert_eq!(life.look(&log(3), true, at(5), secs(0)), LifeStep::Wait);
        assert_eq!(life.clone().look(&log(6), true, at(6), secs(1)), LifeStep::Mark);
        assert_eq!(life.look(&log(3), true, at(14), secs(9)), LifeStep::Wait);
        let outage = Outage { from: at(3), to: at(15) };
        assert_eq!(life.look(&log(3), true, at(15), secs(10)), LifeStep::Outage(outage), "all of them wait");
    }

    #[test]
    fn there_is_no_outage_while_another_node_stores_marks() {
        let mut life = Life::new(TTL);
        life.marked(at(100), secs(0));
        // It was frozen for half a minute.
        assert_eq!(life.clone().look(&log(128), true, at(130), secs(30)), LifeStep::Mark);
        let outage = Outage { from: at(101), to: at(130) };
        assert_eq!(life.clone().look(&log(101), true, at(130), secs(30)), LifeStep::Outage(outage));
        // Its clock was set forward.
        let step = Outage { from: at(102), to: at(110) };
        assert_eq!(life.clone().look(&log(100), false, at(110), secs(2)), LifeStep::Outage(step));
        assert_eq!(life.look(&log(101), true, at(110), secs(2)), LifeStep::Mark);
    }
}
