//! No false alert (S8.2).

use std::time::Duration;

use super::{Checker, Coverage, Seen, Share, Verdict, View, fault, shares};
use crate::testing::sim::plan::Behaviour;
use crate::{Cause, Incident, Record, Timestamp};

/// No run of a simulated job may last longer.
const RUN_MAX: Duration = Duration::from_secs(900);

/// No node is frozen for longer.
const NAP_MAX: Duration = Duration::from_secs(3600);

pub(super) struct NoFalseAlert;

impl Checker for NoFalseAlert {
    fn promise(&self) -> &'static str {
        "S8.2 no false alert"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        for share in shares(seen) {
            for incident in share.opened() {
                judge(&share, incident, view)?;
            }
        }
        Ok(())
    }
}

fn judge(share: &Share<'_>, incident: &Incident, view: &View<'_>) -> Verdict {
    let job = &view.jobs[share.monitor];
    let reports = matches!(
        view.plan.monitors[share.monitor].behaviour,
        Behaviour::Healthy | Behaviour::Dies(_) | Behaviour::Returns(..)
    );
    let promised = reports && !job.exempt && job.silent_since.is_none() && job.id == Some(share.transition.monitor);
    if !promised {
        return Ok(());
    }
    let told = format!("{}, opened at {}, seen at {}", incident.detail, incident.opened_at, incident.detected_at);
    // The run of a report that was lost stays open, whatever is reported after it. Its start may have waited at a frozen node.
    let waited = if view.plan.is_shared() { NAP_MAX } else { Duration::ZERO };
    let lost_run = job.run_lost_at.is_some_and(|at| view.now.since(at) < RUN_MAX + waited && job.lost.is_empty());
    match (incident.cause, job.lost.as_slice()) {
        (Cause::Overrun, _) if lost_run => Ok(()),
        (Cause::Failed | Cause::Value, _) => fault(share.monitor, format!("nothing failed: {told}")),
        (Cause::Missed, []) if was_brought_nearer(view, share.monitor) => Ok(()),
        (_, []) => fault(share.monitor, format!("every report was acknowledged in its window: {told}")),
        // A wall clock that is set forward by hours is an outage too, and nothing is promised of two in a row.
        (_, [_]) if view.steps() => Ok(()),
        (_, [(from, to)]) if was_away(view, share.monitor, *from, *to) => {
            fault(share.monitor, format!("a single report was lost to an outage, from {from} to {to}: {told}"))
        }
        _ => Ok(()),
    }
}

/// Whether a step of the wall clock since the last report brought the deadline of a period nearer: one that is shorter than
/// the wait and ends before the window begins is an outage that took nothing (S6.2).
fn was_brought_nearer(view: &View<'_>, monitor: usize) -> bool {
    let Some(spec) = view.record(monitor).map(Record::spec).filter(|_| view.steps()) else { return false };
    let Some(period) = spec.schedule.period() else { return false };
    let since = view.jobs[monitor].acknowledged_at;
    let gaps = &view.store.life(view.partition(monitor)).gaps;
    gaps.iter().any(|gap| gap.from == gap.to && gap.to >= since && gap.length < period + spec.grace.length())
}

/// Whether nobody watched for a while in this stretch of true time, and nodes can know it in spite of their clocks.
fn was_away(view: &View<'_>, monitor: usize, from: Timestamp, to: Timestamp) -> bool {
    view.store.life(view.partition(monitor)).was_away(view.now, (from, to), view.skew())
}
