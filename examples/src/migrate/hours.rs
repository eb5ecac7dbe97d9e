//! Counted hours, parted from the heartbeats that are kept: a storage counts these itself once they are written to it.

use std::collections::BTreeMap;

use heartbeat_engine::{Counts, CountsPer, Durations, PingEntry, Signal, Timestamp};

/// What the hours have beside the kept heartbeats, oldest first. Where an hour has less than its heartbeats, because they came
/// before they were counted or are older than hours are kept, it has nothing beside them.
pub(super) fn beside(hours: &[Counts], pings: &[PingEntry]) -> Vec<Counts> {
    let kept = counted(pings);
    let none = |begins_at| Counts::new(begins_at);
    let parted = hours.iter().map(|hour| less(hour, kept.get(&hour.begins_at).unwrap_or(&none(hour.begins_at))));
    let mut parted: Vec<Counts> = parted.filter(|hour| hour.total() > 0 || hour.durations.count > 0).collect();
    parted.sort_unstable_by_key(|hour| hour.begins_at);
    parted
}

/// The hours as every storage that has these heartbeats counts them, oldest first.
pub(super) fn whole(hours: &[Counts], pings: &[PingEntry]) -> Vec<Counts> {
    let mut whole = counted(pings);
    for hour in beside(hours, pings) {
        whole.entry(hour.begins_at).or_insert_with(|| Counts::new(hour.begins_at)).merge(&hour);
    }
    whole.into_values().collect()
}

fn counted(pings: &[PingEntry]) -> BTreeMap<Timestamp, Counts> {
    let mut hours = BTreeMap::new();
    for ping in pings {
        let begins_at = CountsPer::Hour.begin(ping.arrived_at);
        hours.entry(begins_at).or_insert_with(|| Counts::new(begins_at)).add(ping.signal, ping.took());
    }
    hours
}

fn less(hour: &Counts, kept: &Counts) -> Counts {
    let mut rest = Counts::new(hour.begins_at);
    for signal in Signal::ALL {
        rest.add_many(signal, hour.of(signal).saturating_sub(kept.of(signal)));
    }
    let (all, kept) = (hour.durations, kept.durations);
    if let (Some(count @ 1..), Some(sum_ms)) = (all.count.checked_sub(kept.count), all.sum_ms.checked_sub(kept.sum_ms))
    {
        // The shortest and the longest of the whole hour are right once the kept ones come to it; one alone is its sum.
        let (min_ms, max_ms) = if count == 1 { (sum_ms, sum_ms) } else { (all.min_ms, all.max_ms) };
        rest.durations = Durations { count, sum_ms, min_ms, max_ms };
    }
    rest
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use heartbeat_engine::testing::fixtures::ping;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn at(hour: i64, signal: Signal, ms: Option<u64>) -> PingEntry {
        let arrived_at = Timestamp::from_millis(hour * HOUR + 5);
        PingEntry { arrived_at, signal, duration: ms.map(Duration::from_millis), run_duration: None, ..ping(1) }
    }

    fn sums(pings: &[PingEntry]) -> Vec<Counts> {
        counted(pings).into_values().rev().collect()
    }

    #[test]
    fn what_is_beside_and_what_is_kept_are_the_whole() {
        let all = [
            at(1, Signal::Success, Some(9)),
            at(1, Signal::Success, Some(3)),
            at(1, Signal::Fail, Some(7)),
            at(2, Signal::Start, None),
            at(2, Signal::Success, Some(40)),
            at(2, Signal::Success, Some(20)),
            at(3, Signal::Log, None),
        ];
        let hours = sums(&all);
        for kept in 0..=all.len() {
            let kept = &all[kept..];
            assert_eq!(whole(&hours, kept), counted(&all).into_values().collect::<Vec<_>>(), "{} are kept", kept.len());
            let mut written = beside(&hours, kept);
            written.extend(counted(kept).into_values());
            assert_eq!(written.iter().map(Counts::total).sum::<u64>(), 7);
        }
        assert_eq!(beside(&hours, &all), []);
        let alone = beside(&hours, &all[1..]);
        assert_eq!(alone[0].durations, Durations { count: 1, sum_ms: 9, min_ms: 9, max_ms: 9 });
    }

    #[test]
    fn heartbeats_that_were_never_counted_are_the_whole_hour() {
        let kept = [at(1, Signal::Success, Some(9)), at(1, Signal::Success, Some(3)), at(5, Signal::Fail, None)];
        for hours in [Vec::new(), sums(&kept[..1])] {
            assert_eq!(whole(&hours, &kept), counted(&kept).into_values().collect::<Vec<_>>());
            assert_eq!(beside(&hours, &kept), []);
        }
    }
}
