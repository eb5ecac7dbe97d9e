//! No missed alert (S8.1, S6.4): whoever is silent is found, however often the watcher is away.

use std::time::Duration;

use super::{Checker, Coverage, Seen, Verdict, View, fault, shares};
use crate::testing::sim::plan::Plan;
use crate::testing::sim::policies::spans;
use crate::testing::sim::storage::Gap;
use crate::{Effect, Grace, MonitorSpec, PartitionId, Record, Signal, State, Timestamp};

/// What is known of a monitor: the true time of what last moved its schedule.
pub(super) struct NoMissedAlert {
    moved_at: Vec<Timestamp>,
    /// The true time since when outages count: an edit of the grace leaves what they did.
    heard_at: Vec<Timestamp>,
    /// The deadline that an edit of the grace left where it was, because the occurrence had passed (S3.9).
    kept: Vec<Timestamp>,
    /// The outages that the watcher stored, by true time. It may take a mark for lost that was written.
    stored: Vec<(PartitionId, Gap)>,
}

impl NoMissedAlert {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            moved_at: vec![plan.start; plan.monitors.len()],
            heard_at: vec![plan.start; plan.monitors.len()],
            kept: vec![Timestamp::MIN; plan.monitors.len()],
            stored: Vec::new(),
        }
    }
}

impl Checker for NoMissedAlert {
    fn promise(&self) -> &'static str {
        "S8.1 no missed alert"
    }

    fn see(&mut self, seen: &Seen<'_>, view: &View<'_>, _: &mut Coverage) -> Verdict {
        if let Seen::Applied { batch, .. } = seen
            && let Some(outage) = batch.outage
        {
            let gap = Gap { from: view.now, to: view.now, length: outage.length() };
            self.stored.push((batch.partition, gap));
        }
        for share in shares(seen) {
            let Some(after) = share.after else { continue };
            let before = share.before;
            let reports = share
                .transition
                .pings
                .iter()
                .any(|ping| ping.effect == Effect::Counted && !matches!(ping.signal, Signal::Start | Signal::Log));
            let anew = before.is_none_or(|before| {
                before.spec().schedule != after.spec().schedule
                    || before.spec().early != after.spec().early
                    || before.health.armed != after.health.armed
                    || (before.health.state == State::Paused) != (after.health.state == State::Paused)
            });
            let recovered = share.transition.changes.iter().any(|change| change.to == State::Up);
            if reports || anew || recovered {
                self.heard_at[share.monitor] = view.now;
                self.kept[share.monitor] = Timestamp::MIN;
            }
            let edited = before.is_some_and(|before| before.monitor.revision != after.monitor.revision);
            if reports || anew || recovered || edited {
                self.moved_at[share.monitor] = view.now;
            }
            let late = before.and_then(|before| before.health.expectation);
            if let (Some(late), true) = (late.filter(|late| late.occurrence <= view.now + view.skew()), edited && !anew)
            {
                self.kept[share.monitor] = late.deadline;
            }
        }
        if !matches!(seen, Seen::LookOver | Seen::End) {
            return Ok(());
        }
        for monitor in 0..view.jobs.len() {
            self.look(monitor, view)?;
        }
        Ok(())
    }
}

impl NoMissedAlert {
    fn look(&self, monitor: usize, view: &View<'_>) -> Verdict {
        let partition = view.partition(monitor);
        let Some(record) = view.record(monitor) else { return Ok(()) };
        let health = &record.health;
        if matches!(health.state, State::Down | State::Paused) || !health.armed || !view.is_steady_for(partition, 60) {
            return Ok(());
        }
        let (since, heard_at) = (self.moved_at[monitor], self.heard_at[monitor]);
        let beside = |other: PartitionId| view.plan.is_shared() || other == partition;
        let stored = self.stored.iter().filter(|(other, _)| beside(*other)).map(|(_, gap)| gap);
        let gaps: Vec<Gap> =
            view.store.life(partition).gaps.iter().chain(stored).copied().filter(|gap| gap.to >= heard_at).collect();
        if !view.policies_known_for(Duration::from_secs(150)) {
            return Ok(());
        }
        let windows = Windows::of(record, heard_at.min(since), view);
        if windows.covers(view.now - Duration::from_secs(75) - view.skew(), view.now) {
            return Ok(());
        }
        let gaps = windows.merged(gaps);
        let slack = 4 * view.skew() + Duration::from_secs(75);
        let bound = bound(record.spec(), since, self.kept[monitor], &gaps, &windows, view);
        let bound = windows.behind(bound) + slack;
        if view.now > bound {
            let text = format!(
                "silent since {since}, it should have been found by {bound} and is {:?} at {}: {:?}",
                health.state, view.now, health.expectation
            );
            return fault(monitor, text);
        }
        Ok(())
    }
}

/// By when silence since `since` is found at the latest (S6.4), by true time. Time in which whole windows lie in outages
/// does not count: it begins behind the last of those. A deadline that an edit `kept` comes first.
fn bound(
    spec: &MonitorSpec,
    since: Timestamp,
    kept: Timestamp,
    gaps: &[Gap],
    windows: &Windows,
    view: &View<'_>,
) -> Timestamp {
    let grace = spec.grace.length();
    let whole = match spec.schedule.period() {
        Some(period) => period + grace,
        None => grace,
    };
    let since = gaps.iter().filter(|gap| gap.length >= whole).map(|gap| gap.to).fold(since, Timestamp::max);
    let longest = gaps.iter().map(|gap| gap.length).filter(|length| *length < whole).max().unwrap_or_default();
    let further = spec.failure_threshold - 1;
    // A deadline inside an outage is put behind it, at most twice.
    let put_off = if gaps.is_empty() { Duration::ZERO } else { 2 * (longest + grace) };
    if let Some(period) = spec.schedule.period() {
        let first = since + period + grace;
        let first = first.max(kept);
        let second = if gaps.is_empty() { first } else { first + period + grace + longest };
        return second + put_off + further * (period + put_off);
    }
    let deadline = |occurrence| spec.schedule.deadline(occurrence, spec.grace);
    let skew = view.skew();
    let mut occurrence = spec.schedule.awaited_after(since + skew, spec.early);
    if !gaps.is_empty() {
        occurrence = spec.schedule.next_after(deadline(occurrence) + longest + spec.early);
    }
    let mut left = further;
    while left > 0 || windows.hold(occurrence) {
        left -= u32::from(left > 0 && !windows.hold(occurrence));
        occurrence = spec.schedule.next_after(occurrence);
    }
    let day = if spec.grace == Grace::EndOfDay && !gaps.is_empty() { 86_400 } else { 0 };
    deadline(occurrence).max(kept) + put_off * (further + 1) + Duration::from_secs(day)
}

/// The maintenance windows of a monitor, in order.
struct Windows(Vec<(Timestamp, Timestamp)>);

impl Windows {
    fn of(record: &Record, from: Timestamp, view: &View<'_>) -> Self {
        let covering = view.policies.windows.iter().filter(|window| window.covers(record));
        let to = view.now + Duration::from_secs(86_400);
        let mut all: Vec<_> = covering.flat_map(|window| spans(&window.spec, from, to)).collect();
        all.sort_unstable();
        Self(all)
    }

    /// Whether one of them lies in this stretch.
    fn covers(&self, from: Timestamp, to: Timestamp) -> bool {
        self.0.iter().any(|span| span.0 < to && span.1 > from)
    }

    fn hold(&self, at: Timestamp) -> bool {
        self.covers(at, at + Duration::from_millis(1))
    }

    /// The first instant from this one on that lies in none of them.
    fn behind(&self, at: Timestamp) -> Timestamp {
        self.0.iter().fold(at, |at, span| if span.0 <= at && at < span.1 { span.1 } else { at })
    }

    /// The gaps and the windows that have begun; what overlaps or touches is one.
    fn merged(&self, gaps: Vec<Gap>) -> Vec<Gap> {
        if self.0.is_empty() {
            return gaps;
        }
        let windows = self.0.iter().map(|span| Gap { from: span.0, to: span.1, length: span.1.since(span.0) });
        let mut all: Vec<Gap> = gaps.into_iter().chain(windows).collect();
        all.sort_by_key(|gap| gap.from);
        let mut merged: Vec<Gap> = Vec::new();
        for gap in all {
            match merged.last_mut() {
                Some(last) if gap.from <= last.to + Duration::from_secs(60) => {
                    last.to = last.to.max(gap.to);
                    last.length = last.length.max(gap.length).max(last.to.since(last.from));
                }
                _ => merged.push(gap),
            }
        }
        merged
    }
}
