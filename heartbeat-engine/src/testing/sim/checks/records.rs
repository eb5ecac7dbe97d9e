//! Records: who may write them, and how they may change.

use std::time::Duration;

use super::{Checker, Coverage, Fault, Seen, Verdict, View, fault, shares};
use crate::testing::sim::policies::spans;
use crate::{Record, State, Timestamp};

pub(super) struct StaleEpochNeverWrites;

impl Checker for StaleEpochNeverWrites {
    fn promise(&self) -> &'static str {
        "a holder of an earlier epoch never writes"
    }

    fn see(&mut self, seen: &Seen<'_>, _: &View<'_>, _: &mut Coverage) -> Verdict {
        match seen {
            Seen::Applied { batch, epoch, .. } if batch.epoch != *epoch => {
                let text = format!("a batch of epoch {} was written under epoch {}", batch.epoch.0, epoch.0);
                Err(Fault(None, text))
            }
            _ => Ok(()),
        }
    }
}

pub(super) struct OnlyTheHolderJudges;

impl Checker for OnlyTheHolderJudges {
    fn promise(&self) -> &'static str {
        "only the holder of the lease judges silence"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        let Seen::Applied { batch, by, .. } = seen else { return Ok(()) };
        if view.judges(*by, batch.partition) {
            return Ok(());
        }
        for share in shares(seen) {
            // What somebody asks for has everything judged that was due before.
            let asked = share.after.is_none_or(|after| {
                let edited = share.before.is_none_or(|before| before.monitor.revision != after.monitor.revision);
                edited || after.health.state == State::Paused
            });
            if let Some(incident) = share.opened().find(|_| !asked && share.transition.pings.is_empty()) {
                return fault(share.monitor, format!("{by:?} judged without the lease: {}", incident.detail));
            }
        }
        Ok(())
    }
}

pub(super) struct VersionsGrow;

impl Checker for VersionsGrow {
    fn promise(&self) -> &'static str {
        "a record is written over the version that it was built on"
    }

    fn see(&mut self, seen: &Seen<'_>, _: &View<'_>, _: &mut Coverage) -> Verdict {
        for share in shares(seen) {
            let found = share.before.map(|before| before.version);
            if share.transition.expected != found {
                let text = format!("built on {:?}, written over {found:?}", share.transition.expected);
                return fault(share.monitor, text);
            }
            if let (Some(before), Some(after)) = (share.before, share.after)
                && after.version <= before.version
            {
                return fault(share.monitor, format!("version {} follows {}", after.version, before.version));
            }
        }
        Ok(())
    }
}

pub(super) struct NeverBack;

impl Checker for NeverBack {
    fn promise(&self) -> &'static str {
        "S2.8 a heartbeat never moves a deadline back"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        // Where clocks are set back by hours, S6.7 may.
        if view.steps() {
            return Ok(());
        }
        for share in shares(seen) {
            let (Some(before), Some(after)) = (share.before, share.after) else { continue };
            let same = before.monitor.revision == after.monitor.revision;
            let paused = before.health.state == State::Paused
                || share.transition.changes.iter().any(|change| change.to == State::Paused);
            let (Some(was), Some(is)) = (before.health.expectation, after.health.expectation) else { continue };
            if !same || paused {
                continue;
            }
            let every = after.spec().schedule.is_every();
            // What a window in force holds back counts again when it is over.
            let waited = before.health.moves.held.unwrap_or(was.deadline);
            let back = if every { is.deadline < waited } else { is.occurrence < was.occurrence };
            if back {
                return fault(share.monitor, format!("{was:?} became {is:?}"));
            }
        }
        Ok(())
    }
}

pub(super) struct NothingInTheFuture;

impl Checker for NothingInTheFuture {
    fn promise(&self) -> &'static str {
        "S6.7 no stored time stays in the future"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        if !matches!(seen, Seen::LookOver | Seen::End) {
            return Ok(());
        }
        let latest = view.clocks().map(|clock| clock.wall(view.now)).max().unwrap_or(Timestamp::MAX);
        let horizon = latest + Duration::from_secs(61) + view.skew();
        for monitor in 0..view.jobs.len() {
            let Some(record) = view.record(monitor).filter(|_| view.is_steady_for(view.partition(monitor), 120)) else {
                continue;
            };
            let health = &record.health;
            let begun = health.runs.iter().map(|run| run.began_at).max().unwrap_or(Timestamp::MIN);
            let times = [
                ("its last heartbeat for the schedule", health.based_at),
                ("what claimed times are compared with", health.latest_at),
                ("the last outage that was looked at", health.outages_seen),
                ("the beginning of a run", begun),
            ];
            if let Some((what, at)) = times.into_iter().find(|(_, at)| *at > horizon) {
                return fault(monitor, format!("{what} lies at {at}, and it is {latest}"));
            }
            let longest = record.spec().schedule.period().map(|period| 2 * (period + record.spec().grace.length()));
            let awaited = health.expectation.filter(|_| health.state != State::Down);
            let horizon = behind_windows(horizon, record, view);
            if let (Some(awaited), Some(longest)) = (awaited, longest)
                && awaited.deadline > horizon + longest
                && view.policies_known_for(Duration::from_secs(150))
            {
                return fault(monitor, format!("a deadline at {} is awaited, and it is {latest}", awaited.deadline));
            }
        }
        Ok(())
    }
}

/// The end of the windows that are in force then and follow one another: they put a deadline behind it.
fn behind_windows(at: Timestamp, record: &Record, view: &View<'_>) -> Timestamp {
    let day = Duration::from_secs(86_400);
    let windows = view.policies.covering(&record.monitor);
    let mut spans: Vec<_> = windows.iter().flat_map(|window| spans(&window.spec, at - day, at + day)).collect();
    spans.sort_unstable();
    spans.into_iter().fold(at, |end, span| if span.0 <= end { end.max(span.1) } else { end })
}
