//! The stretches of time in which silence proves nothing: the watcher's outages (S6.2) and maintenance windows (S5.3).

use std::time::Duration;

use crate::Timestamp;
use crate::absence::Outage;
use crate::maintenance::JOINED_MAX;
use crate::step::{Draft, Surroundings};

/// How many stretches are applied one by one; with windows the rest counts as one of them then.
const STRETCHES_MAX: usize = 1_000;
/// The shortest time.
pub(super) const INSTANT: Duration = Duration::from_millis(1);

/// Outages and windows that overlap, and windows that touch, as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Stretch {
    pub(super) span: Outage,
    /// Whether maintenance windows are part of it.
    pub(super) announced: bool,
    /// Whether its first instant lies in a window. The first instant of an outage was observed still.
    pub(super) begins_in_window: bool,
}

impl Stretch {
    /// The watcher's outage alone.
    pub(super) fn plain(span: Outage) -> Self {
        Self { span, announced: false, begins_in_window: false }
    }

    /// Whether what was due at `at`, before its end, could not be judged before its end.
    pub(super) fn hides(&self, at: Timestamp) -> bool {
        self.span.from < at || (self.begins_in_window && self.span.from == at)
    }

    /// Itself; where so many were applied one by one that the rest, until `until`, counts as one, that.
    pub(super) fn bounded(mut self, applied: usize, until: Timestamp) -> Self {
        if self.announced && applied >= STRETCHES_MAX {
            self.span.to = self.span.to.max(until);
        }
        self
    }

    /// Whether it can be applied. The end of a window in force is not known yet: somebody may end it early.
    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        !self.announced || self.span.to <= now
    }
}

impl Surroundings<'_> {
    /// The end of the maintenance windows that `at` lies in; those that overlap or touch are one.
    pub(super) fn window_end(&self, at: Timestamp) -> Option<Timestamp> {
        let holds = |window: &(Timestamp, Timestamp)| window.0 <= at;
        let (from, to) = self.first_ending_after(at).find(holds)?;
        Some(self.grown(Outage { from, to }, &[]).to)
    }

    /// The first stretch that ends after `x`, if it has begun before `now`. Outages beyond `horizon` were stored before the
    /// clock was set back and count no more (S6.7).
    pub(super) fn stretch_after(&self, x: Timestamp, now: Timestamp, horizon: Timestamp) -> Option<Stretch> {
        let known = self.outages.partition_point(|outage| outage.to <= horizon);
        let outages = self.outages.get(..known).unwrap_or_default();
        let outage = outages.get(outages.partition_point(|outage| outage.to <= x)).copied();
        let windows = self.first_ending_after(x).map(|(from, to)| Outage { from, to });
        let window = windows.min_by_key(|span| span.from);
        let first = outage.into_iter().chain(window).min_by_key(|span| span.from).filter(|span| span.from < now)?;
        if self.maintenance.is_empty() {
            return Some(Stretch::plain(first));
        }
        let span = self.grown(first, outages);
        let announced = self
            .maintenance
            .iter()
            .any(|window| window.spec.ending_after(span.from).is_some_and(|(from, _)| from < span.to));
        let begins_in_window = announced && self.window_end(span.from).is_some();
        Some(Stretch { span, announced, begins_in_window })
    }

    /// The span with everything that it overlaps; a window that it touches belongs to it where its edge is a window's too.
    fn grown(&self, mut span: Outage, outages: &[Outage]) -> Outage {
        for _ in 0..JOINED_MAX {
            let before = span;
            for window in self.maintenance {
                if let Some((from, _)) = window.spec.ending_after(span.from) {
                    span.from = span.from.min(from);
                }
                if let Some((_, to)) = window.spec.ending_after(span.to).filter(|(from, _)| *from < span.to) {
                    span.to = to;
                }
            }
            for edge in [span.from, span.to] {
                let next = outages.get(outages.partition_point(|outage| outage.to <= edge));
                if let Some(outage) = next.filter(|outage| outage.from < span.to) {
                    span = Outage { from: span.from.min(outage.from), to: span.to.max(outage.to) };
                }
            }
            if span == before {
                span = self.with_touching(span);
            }
            if span == before {
                break;
            }
        }
        span
    }

    /// The span, which overlaps no further window, with a window on either side that touches one in it.
    fn with_touching(&self, mut span: Outage) -> Outage {
        let ends_at = |at: Timestamp| self.first_ending_after(at - INSTANT).find(|(_, to)| *to == at);
        let begins_at = |at: Timestamp| self.first_ending_after(at).find(|(from, _)| *from == at);
        if let (Some((from, _)), Some(_)) = (ends_at(span.from), begins_at(span.from)) {
            span.from = from;
        }
        if let (Some(_), Some((_, to))) = (ends_at(span.to), begins_at(span.to)) {
            span.to = to;
        }
        span
    }

    /// Of each maintenance, the first window that ends after `x`.
    fn first_ending_after(&self, x: Timestamp) -> impl Iterator<Item = (Timestamp, Timestamp)> {
        self.maintenance.iter().filter_map(move |window| window.spec.ending_after(x))
    }
}

impl Draft<'_> {
    /// The end of the maintenance windows in which an instant lies; those that overlap or touch are one (S5.3).
    pub(super) fn in_maintenance(&self, at: Timestamp) -> Option<Timestamp> {
        self.around.window_end(at)
    }

    /// The first stretch that ends after `x`, if it has begun before `now`.
    pub(super) fn stretch_after(&self, x: Timestamp, now: Timestamp) -> Option<Stretch> {
        self.around.stretch_after(x, now, self.horizon(now))
    }
}
