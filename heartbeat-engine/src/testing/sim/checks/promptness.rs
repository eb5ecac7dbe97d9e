//! What is due is done: at once in quiet times (S8.5), soon in others, and in the end everything heals.

use std::time::Duration;

use super::{Checker, Coverage, Fault, Seen, Verdict, View, fault, shares};
use crate::step::{Event, Surroundings, step};
use crate::testing::sim::among::Role;
use crate::testing::sim::plan::Behaviour;
use crate::{Cause, State};

pub(super) struct Prompt;

/// 10 ms, and what the store and the monitors before it in the queue take.
const DECIDED_WITHIN: Duration = Duration::from_millis(10 + 10 * 6);

impl Checker for Prompt {
    fn promise(&self) -> &'static str {
        "S8.5 a going down is decided at once"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        // Who only takes a heartbeat after a deadline, by its own clock, may come before whoever judges.
        if matches!(seen, Seen::Applied { batch, by, .. } if !view.judges(*by, batch.partition)) {
            return Ok(());
        }
        for share in shares(seen) {
            // An edit of the grace may leave a deadline in the past behind one that is awaited (S3.9).
            let edited = view.plan.monitors[share.monitor].tampered;
            let known = view.policies_known_for(Duration::from_secs(150));
            let steady = known && view.calm && !edited && view.is_steady_for(view.partition(share.monitor), 60);
            for incident in share.opened().filter(|incident| steady && incident.cause == Cause::Missed) {
                let late = incident.detected_at.since(incident.opened_at);
                if late > DECIDED_WITHIN {
                    return fault(share.monitor, format!("it was decided {late:?} after the deadline"));
                }
            }
        }
        Ok(())
    }
}

pub(super) struct NothingDueWaits;

impl Checker for NothingDueWaits {
    fn promise(&self) -> &'static str {
        "S8.1 nothing that is due waits"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        if !matches!(seen, Seen::LookOver | Seen::End) || view.steps() {
            return Ok(());
        }
        if !view.policies_known_for(Duration::from_secs(150)) {
            return Ok(());
        }
        let routes: Vec<crate::Route> = view.policies.routes.iter().map(|route| (**route).clone()).collect();
        let judged_at = view.now - Duration::from_secs(70) - view.skew();
        for partition in view.partitions().filter(|partition| view.is_steady_for(*partition, 150)) {
            let outages = view.store.outages(partition);
            for record in view.store.records(partition) {
                if record.health.wake_at() >= judged_at {
                    continue;
                }
                let parents = &record.spec().depends_on;
                let parents = parents.iter().filter_map(|parent| view.store.record(partition, *parent));
                let down = parents.filter(|parent| parent.health.state == State::Down);
                let down_parents: Vec<String> = down.map(|parent| parent.spec().slug.as_str().to_owned()).collect();
                let maintenance = view.policies.covering(&record.monitor);
                let around = Surroundings {
                    outages: &outages,
                    maintenance: &maintenance,
                    routes: &routes,
                    down_parents: &down_parents,
                };
                let Ok(Some(left)) = step(record, &Event::Wake, judged_at, around) else { continue };
                let monitor = crate::testing::sim::plan::Plan::index_of(record.id());
                // What only leaves a line in the history may have been applied in memory, to be stored with the next write.
                let counts = |change: &&crate::StateChange| change.from != change.to || change.reason.contains(" of ");
                if let Some(change) = left.changes.iter().find(counts) {
                    return fault(monitor, format!("due since {}: {}", change.at, change.reason));
                }
                if let Some(owed) = left.notifications.first() {
                    return fault(monitor, format!("`{}` is due at {judged_at} and not told", owed.kind));
                }
            }
        }
        Ok(())
    }
}

pub(super) struct Heals;

impl Checker for Heals {
    fn promise(&self) -> &'static str {
        "it heals when the faults end"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        if !matches!(seen, Seen::End) {
            return Ok(());
        }
        for partition in view.partitions() {
            if !view.is_steady_for(partition, 60) {
                return Err(Fault(None, format!("nobody watches partition {}", partition.0)));
            }
            let held = view
                .nodes
                .iter()
                .filter_map(|node| node.seats.get(usize::from(partition.0))?.service.as_deref())
                .filter(|service| matches!(service.role, Role::Judges { .. }));
            let count = held.count();
            if count != 1 {
                return Err(Fault(None, format!("{count} nodes hold partition {}", partition.0)));
            }
        }
        for (monitor, job) in view.jobs.iter().enumerate() {
            let Some(record) = view.record(monitor) else { continue };
            let reports = matches!(view.plan.monitors[monitor].behaviour, Behaviour::Healthy | Behaviour::Returns(..));
            let enough = job.acknowledged > record.spec().recovery_threshold && job.silent_since.is_none();
            // Only a person resumes it, and whoever meant to has given up.
            let waits = record.health.state == State::Paused && record.health.manual_resume;
            // A run whose end was lost stays open to its limit, whatever is reported meanwhile.
            let overran = record.health.incident.as_ref().is_some_and(|open| open.cause == Cause::Overrun);
            let lost_run = overran && job.run_lost_at.is_some();
            if reports && enough && !waits && !lost_run && !job.exempt && record.health.state != State::Up {
                let text = format!("its last {} reports were acknowledged", job.acknowledged);
                return fault(monitor, format!("{text}, and it is {:?}", record.health.state));
            }
        }
        Ok(())
    }
}
