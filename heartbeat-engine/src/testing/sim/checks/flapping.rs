//! Monitors that flap (S7.10).

use std::collections::BTreeSet;

use super::{Checker, Coverage, Seen, Share, Verdict, View, fault, shares};
use crate::testing::sim::coverage::Deed;
use crate::{Flapping, NotificationKind};

pub(super) struct FlappingSettles;

impl Checker for FlappingSettles {
    fn promise(&self) -> &'static str {
        "S7.10 who hears that a monitor flaps hears that it has settled, and nothing between"
    }

    fn see(&mut self, seen: &Seen<'_>, _: &View<'_>, coverage: &mut Coverage) -> Verdict {
        shares(seen).try_for_each(|share| look(&share, coverage))
    }
}

fn look(share: &Share<'_>, coverage: &mut Coverage) -> Verdict {
    let told = |kinds: &[NotificationKind]| -> Vec<&str> {
        let of_kind = share.transition.notifications.iter().filter(|told| kinds.contains(&told.kind));
        of_kind.map(|told| told.channel.as_str()).collect()
    };
    let set = |channels: &[String]| -> BTreeSet<String> { channels.iter().cloned().collect() };
    let flapping = |record: &crate::Record| record.health.flaps.flapping.as_deref().cloned();
    let was: Option<Flapping> = share.before.and_then(flapping);
    let is: Option<Flapping> = share.after.and_then(flapping);
    let begins = told(&[NotificationKind::Flapping]);
    let ends = told(&[NotificationKind::Settled, NotificationKind::Closed]);
    match (&was, &is) {
        (None, Some(is)) => {
            coverage.note(Deed::Flapping);
            if begins.iter().map(ToString::to_string).collect::<BTreeSet<_>>() != set(&is.told) {
                return fault(share.monitor, format!("it flaps, told to {begins:?}, and says {:?}", is.told));
            }
        }
        (Some(was), None) => {
            coverage.note(Deed::Settled);
            let heard: BTreeSet<String> = ends.iter().map(ToString::to_string).collect();
            if !set(&was.told).is_subset(&heard) {
                return fault(share.monitor, format!("{:?} heard that it flaps, {heard:?} that it ended", was.told));
            }
        }
        (Some(was), Some(is)) if was.since == is.since => {
            let single = told(&[
                NotificationKind::Down,
                NotificationKind::Recovered,
                NotificationKind::Reminder,
                NotificationKind::Escalated,
            ]);
            if !single.is_empty() {
                return fault(share.monitor, format!("it flaps, and a single change is told to {single:?}"));
            }
        }
        _ => {}
    }
    Ok(())
}
