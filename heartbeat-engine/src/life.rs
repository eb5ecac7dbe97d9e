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
    /// judged or taken (S6.6). With what the clock that is never set showed at its end.
    Outage(Outage, Duration),
    /// Others may be alive: whether they are is to be seen first.
    Wait,
}

/// One node's part in the life of all.
///
/// That others are alive is seen by marks that change while it looks, so it does not matter how far their clocks are off.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    absence: Absence,
    waits: Option<Waiting>,
    /// Within so long another node that is alive stores a mark.
    patience: Duration,
    own_mark: Option<Timestamp>,
    /// An outage that may be stored, when it ended, and the mark that was found before: it is stored again as it was.
    doubted: Option<(Outage, Duration, Option<Timestamp>)>,
}

/// While it is to be seen whether others store marks.
#[derive(Clone, Debug)]
struct Waiting {
    since: Duration,
    /// By both clocks, when it looked last.
    looked: (Timestamp, Duration),
    /// The marks that it saw, each with the instant at which it first did; the first one may have been there for long.
    seen: Vec<(Timestamp, Duration)>,
}

/// By so much the marks of a node may differ from how fast the time goes.
const UNEVEN_MAX: Duration = Duration::from_secs(2);
/// What a store took longer to answer is too old to tell who is alive now.
pub(crate) const READ_MAX: Duration = Duration::from_secs(5);
/// So many marks are remembered.
const SEEN_MAX: usize = 16;

impl Waiting {
    /// Takes the stored mark; says whether it shows that somebody lives: it changed while this node looked, and is fresh by this
    /// node's clock, or goes on as the time does, whatever the clock that it comes from. A single one that is old may have been
    /// long on its way.
    fn see(&mut self, mark: Option<Timestamp>, now: Timestamp, monotonic: Duration) -> bool {
        let (wall, then) = std::mem::replace(&mut self.looked, (now, monotonic));
        // One of the clocks may be set, and the other stands still while the machine is suspended.
        if now.since(wall).max(monotonic.saturating_sub(then)) > MARK_AGE_MAX {
            self.seen.clear();
        }
        let Some(mark) = mark else { return false };
        if self.seen.last().is_none_or(|(last, _)| *last != mark) {
            if self.seen.len() >= SEEN_MAX {
                self.seen.remove(0);
            }
            self.seen.push((mark, monotonic));
        }
        let [_, before @ .., (latest, at)] = &*self.seen else { return false };
        if monotonic.saturating_sub(*at) > MARK_AGE_MAX {
            return false;
        }
        let goes_on = |(earlier, then): &(Timestamp, Duration)| {
            let (by_marks, by_clock) = (latest.since(*earlier), at.saturating_sub(*then));
            earlier < latest && by_marks.abs_diff(by_clock) <= UNEVEN_MAX
        };
        now.since(*latest) <= MARK_AGE_MAX || before.iter().any(goes_on)
    }
}

impl Life {
    /// Of a node that starts; others that are alive store marks at least every `patience`.
    pub(crate) fn new(patience: Duration) -> Self {
        Self { absence: Absence::since(None), waits: None, patience, own_mark: None, doubted: None }
    }

    /// What to do now, by what is stored; `others_may_live` says whether other nodes may be alive.
    pub(crate) fn look(
        &mut self,
        log: &WatchLog,
        others_may_live: bool,
        now: Timestamp,
        monotonic: Duration,
    ) -> LifeStep {
        if let Some((outage, ended, before)) = self.doubted {
            if !log.outages.contains(&outage) && log.mark == before {
                return LifeStep::Outage(outage, ended);
            }
            self.doubted = None;
        }
        let away = match self.own_mark {
            None => log.mark.map(|from| Outage { from, to: now }),
            Some(own_mark) => self.away(log, own_mark, now, monotonic),
        };
        let Some(outage) = away else { return LifeStep::Mark };
        let waits =
            self.waits.get_or_insert_with(|| Waiting { since: monotonic, looked: (now, monotonic), seen: Vec::new() });
        if waits.see(log.mark, now, monotonic) {
            return LifeStep::Mark;
        }
        if others_may_live && monotonic < waits.since + self.patience {
            return LifeStep::Wait;
        }
        // Otherwise the clock was set back.
        if outage.from < outage.to { LifeStep::Outage(outage, monotonic) } else { LifeStep::Mark }
    }

    /// The outage that there was, unless others were there; only of a node that has stored marks.
    fn away(&mut self, log: &WatchLog, own_mark: Timestamp, now: Timestamp, monotonic: Duration) -> Option<Outage> {
        let others = log.mark.filter(|mark| *mark != own_mark);
        let newest = others.map_or(own_mark, |mark| mark.max(own_mark));
        let look = self.absence.look(now, monotonic);
        if now.since(newest) > MARK_AGE_MAX {
            return Some(Outage { from: newest, to: now });
        }
        match look {
            // A clock that stepped forward tells nothing of the others, who were there.
            Look::Away(outage) if others.is_none() => Some(outage),
            _ => None,
        }
    }

    /// The mark is stored.
    pub(crate) fn marked(&mut self, mark: Timestamp, monotonic: Duration) {
        self.own_mark = Some(mark);
        (self.waits, self.doubted) = (None, None);
        self.absence.marked(mark, monotonic, true);
    }

    /// Nobody knows whether the outage was stored. It ended when the clock that is never set showed `ended`; `mark_before` was the
    /// stored mark.
    pub(crate) fn doubted(&mut self, outage: Outage, ended: Duration, mark_before: Option<Timestamp>) {
        self.doubted = Some((outage, ended, mark_before));
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
        assert_eq!(Life::new(TTL).look(&log(3), false, at(5), secs(0)), LifeStep::Outage(outage, secs(0)));
        assert_eq!(Life::new(TTL).look(&log(9), false, at(5), secs(0)), LifeStep::Mark, "the clock was set back");
    }

    #[test]
    fn who_joins_waits_until_others_are_seen_to_live_or_to_be_dead() {
        let mut life = Life::new(TTL);
        assert_eq!(life.look(&log(3), true, at(5), secs(0)), LifeStep::Wait);
        assert_eq!(life.clone().look(&log(6), true, at(6), secs(1)), LifeStep::Mark);
        assert_eq!(life.look(&log(3), true, at(14), secs(9)), LifeStep::Wait);
        let outage = Outage { from: at(3), to: at(15) };
        assert_eq!(life.look(&log(3), true, at(15), secs(10)), LifeStep::Outage(outage, secs(10)), "all of them wait");
    }

    #[test]
    fn there_is_no_outage_while_another_node_stores_marks() {
        let mut life = Life::new(TTL);
        life.marked(at(100), secs(0));
        // It was frozen for half a minute.
        assert_eq!(life.clone().look(&log(128), true, at(130), secs(30)), LifeStep::Mark);
        let outage = Outage { from: at(101), to: at(130) };
        assert_eq!(life.clone().look(&log(101), false, at(130), secs(30)), LifeStep::Outage(outage, secs(30)));
        // Its clock was set forward.
        let step = Outage { from: at(102), to: at(110) };
        assert_eq!(life.clone().look(&log(100), false, at(110), secs(2)), LifeStep::Outage(step, secs(2)));
        assert_eq!(life.look(&log(101), true, at(110), secs(2)), LifeStep::Mark);
    }

    #[test]
    fn clocks_that_are_far_apart_hide_nobody() {
        let mut life = Life::new(TTL);
        // The others are 40 s behind.
        assert_eq!(life.look(&log(60), true, at(100), secs(0)), LifeStep::Wait);
        assert_eq!(life.look(&log(61), true, at(104), secs(4)), LifeStep::Wait, "it may have been long on its way");
        assert_eq!(life.look(&log(64), true, at(107), secs(7)), LifeStep::Mark, "somebody's clock goes on");
        life.marked(at(107), secs(7));
        // It was frozen for 20 s.
        assert_eq!(life.look(&log(84), true, at(127), secs(27)), LifeStep::Wait);
        assert_eq!(
            life.look(&log(87), true, at(130), secs(30)),
            LifeStep::Wait,
            "the first may have been there for long"
        );
        assert_eq!(life.look(&log(90), true, at(133), secs(33)), LifeStep::Mark);
    }

    #[test]
    fn a_clock_that_steps_forward_right_after_the_last_mark_waits_for_the_others() {
        let mut life = Life::new(TTL);
        life.marked(at(100), secs(0));
        assert_eq!(life.look(&log(100), true, at(110), secs(2)), LifeStep::Wait);
        assert_eq!(life.look(&log(103), true, at(111), secs(3)), LifeStep::Mark);
    }

    #[test]
    fn an_outage_that_may_be_stored_is_stored_again_as_it_was() {
        let mut life = Life::new(TTL);
        let outage = Outage { from: at(3), to: at(50) };
        assert_eq!(life.look(&log(3), false, at(50), secs(1)), LifeStep::Outage(outage, secs(1)));
        life.doubted(outage, secs(1), Some(at(3)));
        assert_eq!(life.look(&log(3), false, at(55), secs(6)), LifeStep::Outage(outage, secs(1)));
        let stored = WatchLog { mark: Some(at(50)), outages: vec![outage] };
        assert_eq!(life.look(&stored, false, at(56), secs(7)), LifeStep::Mark);
    }
}
