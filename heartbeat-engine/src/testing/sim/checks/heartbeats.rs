//! Heartbeats: acknowledged ones are kept, and all are judged by when they arrived.

use std::collections::{HashMap, HashSet};

use super::{Checker, Coverage, Fault, Seen, Verdict, View, fault, shares};
use crate::testing::sim::world::Life;
use crate::{Cause, Epoch, PingEntry, Timestamp};

fn mark(ping: &PingEntry) -> Option<u64> {
    ping.message.as_deref()?.parse().ok()
}

#[derive(Default)]
pub(super) struct AcknowledgedIsStored {
    stored: HashSet<u64>,
}

impl Checker for AcknowledgedIsStored {
    fn promise(&self) -> &'static str {
        "S8.3 acknowledged means stored"
    }

    fn see(&mut self, seen: &Seen<'_>, _: &View<'_>, _: &mut Coverage) -> Verdict {
        for share in shares(seen) {
            self.stored.extend(share.transition.pings.iter().filter_map(mark));
        }
        match seen {
            Seen::Answered { monitor, mark, done: true } if !self.stored.contains(mark) => {
                fault(*monitor, format!("heartbeat {mark} was acknowledged and is not stored"))
            }
            _ => Ok(()),
        }
    }
}

#[derive(Default)]
pub(super) struct StampedOnArrival {
    stamps: HashMap<u64, Timestamp>,
}

impl Checker for StampedOnArrival {
    fn promise(&self) -> &'static str {
        "S3.7 a heartbeat counts from its arrival"
    }

    fn see(&mut self, seen: &Seen<'_>, _: &View<'_>, _: &mut Coverage) -> Verdict {
        if let Seen::Stamped { mark, wall, .. } = seen {
            let latest = self.stamps.entry(*mark).or_insert(*wall);
            *latest = (*latest).max(*wall);
        }
        for share in shares(seen) {
            for ping in &share.transition.pings {
                let stamp = mark(ping).and_then(|mark| self.stamps.get(&mark));
                if stamp.is_some_and(|stamp| ping.arrived_at > *stamp) {
                    let text = format!("{} arrived at {stamp:?} and is stored as of {}", ping.signal, ping.arrived_at);
                    return fault(share.monitor, text);
                }
            }
        }
        Ok(())
    }
}

/// Heartbeats that wait in an inbox: the monitor, when it was stamped, and by whom.
#[derive(Default)]
pub(super) struct InTime {
    waiting: HashMap<u64, (usize, Timestamp, Life)>,
}

impl Checker for InTime {
    fn promise(&self) -> &'static str {
        "S3.7 a heartbeat stamped before the deadline is in time"
    }

    fn see(&mut self, seen: &Seen<'_>, _: &View<'_>, _: &mut Coverage) -> Verdict {
        match seen {
            Seen::Stamped { monitor, mark, wall, by } => {
                self.waiting.insert(*mark, (*monitor, *wall, *by));
            }
            Seen::Answered { mark, .. } => {
                self.waiting.remove(mark);
            }
            Seen::Applied { batch, by, .. } => {
                for share in shares(seen) {
                    for mark in share.transition.pings.iter().filter_map(mark) {
                        self.waiting.remove(&mark);
                    }
                    let missed = share.opened().find(|incident| incident.cause == Cause::Missed);
                    let Some(missed) = missed.filter(|_| batch.epoch != Epoch(0)) else { continue };
                    let overlooked = self.waiting.values().find(|(monitor, at, waits_at)| {
                        *monitor == share.monitor && *at <= missed.opened_at && waits_at == by
                    });
                    if let Some((_, at, _)) = overlooked {
                        let text =
                            format!("a deadline at {} was judged while a heartbeat of {at} waited", missed.opened_at);
                        return Err(Fault(Some(share.monitor), text));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
