//! From local times to instants, across clock changes (S2.4).

use super::civil::{DAY_S, END_S, FIRST_S};
use super::zone::{Span, Zone};

/// Two offsets of one zone differ by less than this.
const SHIFT_S: i64 = 2 * DAY_S;

/// The calendar and the rules of the zones repeat after 400 years: what has not come by then never comes. One year more
/// has room for any offset.
const HORIZON_S: i64 = 401 * 146_097 * DAY_S / 400;

/// Local times of a schedule, in local seconds.
pub(super) trait LocalTimes {
    /// The first one after `after`, where that is not after `upto`.
    fn next(&self, after: i64, upto: i64) -> Option<i64>;
}

/// The first occurrence after the instant `t` when each local time happens once: skipped ones at the end of the gap,
/// repeated ones the first time.
pub(super) fn next_fixed(zone: &Zone, times: &impl LocalTimes, t: i64) -> Option<i64> {
    let t = in_range(t);
    let span = zone.span_at(t);
    let seen = latest_shown(zone, span, t);
    let local = times.next(seen, seen + HORIZON_S)?;
    Some(first_reaching(zone, span, local)).filter(|at| *at < END_S)
}

/// The first occurrence after the instant `t` when every instant counts at which the clock shows one of the times.
pub(super) fn next_shown(zone: &Zone, times: &impl LocalTimes, t: i64) -> Option<i64> {
    let t = in_range(t);
    let mut span = zone.span_at(t);
    let limit = t + HORIZON_S;
    let mut local = times.next(t + span.offset, limit)?;
    while local - span.offset >= span.until {
        let next = zone.span_at(span.until);
        let (ended, resumed) = (span.until + span.offset, span.until + next.offset);
        if resumed < ended {
            local = times.next(resumed - 1, ended).unwrap_or(local);
        } else if local < resumed {
            local = times.next(resumed - 1, limit)?;
        }
        span = next;
    }
    Some(local - span.offset).filter(|at| *at < END_S)
}

/// The first instant after `t` whose local date is later than that of `t`.
pub(super) fn next_date(zone: &Zone, t: i64) -> i64 {
    let span = zone.span_at(t);
    let midnight = ((t + span.offset).div_euclid(DAY_S) + 1) * DAY_S;
    first_reaching(zone, span, midnight)
}

/// The first instant in or after `span` at which the clock shows `local` or later.
fn first_reaching(zone: &Zone, mut span: Span, local: i64) -> i64 {
    loop {
        let at = local - span.offset;
        if at < span.until {
            return at.max(span.from);
        }
        span = zone.span_at(span.until);
    }
}

/// The latest local time that the clock has shown up to `t`, which `span` holds.
fn latest_shown(zone: &Zone, span: Span, t: i64) -> i64 {
    let mut latest = t + span.offset;
    let mut from = span.from;
    while from > t - SHIFT_S {
        let before = zone.span_at(from - 1);
        latest = latest.max(from - 1 + before.offset);
        from = before.from;
    }
    latest
}

/// Earlier instants than any calendar's are as good as the first one; from its end on nothing comes.
fn in_range(t: i64) -> i64 {
    t.clamp(FIRST_S, END_S)
}

/// What the clock shows at `t`.
pub(super) fn local(zone: &Zone, t: i64) -> i64 {
    let t = in_range(t);
    t + zone.span_at(t).offset
}
