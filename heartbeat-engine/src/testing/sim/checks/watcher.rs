//! The watcher's own outages: stored, and told once.

use std::collections::HashMap;
use std::time::Duration;

use super::{Checker, Coverage, Fault, Seen, Verdict, View};
use crate::life::READ_MAX;
use crate::testing::sim::clock::shift;
use crate::{NotificationKind, Outage, PartitionId};

pub(super) struct OutageStored;

impl Checker for OutageStored {
    fn promise(&self) -> &'static str {
        "S6.6 an outage of the watcher is stored"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        if let Seen::Applied { batch, .. } = seen
            && let Some(outage) = batch.outage
        {
            let log = view.store.watch_log(batch.partition);
            if !log.outages.contains(&outage) {
                return Err(Fault(None, format!("{outage:?} is not among {:?}", log.outages)));
            }
        }
        if !matches!(seen, Seen::LookOver) || view.steps() {
            return Ok(());
        }
        for partition in view.states().filter(|partition| view.is_steady_for(*partition, 20)) {
            let Some(gap) = view.store.life(partition).gaps.last().copied() else { continue };
            let noticed = gap.length > Duration::from_secs(17) + READ_MAX + 3 * view.skew();
            if !noticed || view.now.since(gap.to) > Duration::from_secs(180) || gap.from == gap.to {
                continue;
            }
            let middle = shift(gap.from, i64::try_from(gap.length.as_millis() / 2).unwrap_or(0));
            let skew = view.skew() + Duration::from_secs(1);
            let covers = |outage: &Outage| outage.from <= middle + skew && outage.to + skew >= middle;
            if !view.store.outages(partition).iter().any(covers) {
                let text = format!("nobody watched partition {} from {} to {}", partition.0, gap.from, gap.to);
                return Err(Fault(None, format!("{text}, and no outage says so")));
            }
        }
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct OutageTold {
    told: HashMap<PartitionId, Vec<Outage>>,
}

impl Checker for OutageTold {
    fn promise(&self) -> &'static str {
        "S6.3 an outage of the watcher is told once"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        let Seen::Applied { batch, .. } = seen else { return Ok(()) };
        let messages = || batch.notifications.iter().filter(|owed| owed.kind == NotificationKind::WatcherOutage);
        let Some(outage) = batch.outage else { return Ok(()) };
        let told = self.told.entry(batch.partition).or_default();
        if told.contains(&outage) {
            return Ok(());
        }
        if outage.length() > Duration::from_secs(60) && messages().count() < view.plan.watcher_channels.len() {
            return Err(Fault(None, format!("{outage:?} is not told to {:?}", view.plan.watcher_channels)));
        }
        if messages().count() == 0 {
            return Ok(());
        }
        // Clocks that differ, and are set, let outages overlap a little.
        let margin = 2 * view.skew() + Duration::from_secs(3);
        let again = told.iter().find(|other| outage.from + margin < other.to && other.from + margin < outage.to);
        if let Some(other) = again.filter(|_| !view.steps() && !view.plan.late_repeats) {
            return Err(Fault(None, format!("{outage:?} is told, and {other:?} was told before")));
        }
        told.push(outage);
        Ok(())
    }
}
