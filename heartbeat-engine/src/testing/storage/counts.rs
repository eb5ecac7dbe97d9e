//! Heartbeats counted by the hour and by the day.

use std::time::Duration;

use super::super::fixtures::{at, create, monitor_id, next, ping, record, remove, replace};
use super::{StorageHarness, history, outcome, put};
use crate::{
    Counts, CountsPer, HistoryItem, HistoryQuery, Outcome, Page, PingEntry, Signal, Storage, Timestamp, Transition,
    Version,
};

const HOUR: i64 = 3600;

/// The `n`-th heartbeat, so many seconds after the beginning of time.
fn arrived(n: u64, seconds: i64) -> PingEntry {
    PingEntry { arrived_at: at(seconds), at: at(seconds), ..ping(n) }
}

async fn counts(
    storage: &impl Storage,
    n: u64,
    per: CountsPer,
    (since, before): (Option<i64>, Option<i64>),
    limit: usize,
) -> Page<Counts> {
    let query = HistoryQuery::Counts { monitor: monitor_id(n), per, since: since.map(at), before: before.map(at) };
    let counts = |item| match item {
        HistoryItem::Counts(counts) => counts,
        other => panic!("a page of counts holds {other:?}"),
    };
    let page = history(storage, query, limit).await;
    Page { items: page.items.into_iter().map(counts).collect(), more: page.more }
}

fn counted(begins_at: Timestamp, heartbeats: &[(Signal, Option<u64>)]) -> Counts {
    let mut counts = Counts::new(begins_at);
    for (signal, ms) in heartbeats {
        counts.add(*signal, ms.map(Duration::from_millis));
    }
    counts
}

/// Every heartbeat is counted in the hour of UTC in which it arrived, by its signal and with how long its run took, whatever
/// time it stands for: also when the clock was set back, when it is not kept itself any more, and after a crash. What
/// conflicts is not counted, and a monitor that is made anew begins anew.
pub async fn heartbeats_are_counted_by_the_hour<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    let ms = |ms| Some(Duration::from_millis(ms));
    let first = vec![
        PingEntry { signal: Signal::Start, ..arrived(1, 10) },
        PingEntry { run_duration: ms(3000), duration: ms(9), at: at(-HOUR), ..arrived(2, 13) },
        PingEntry { duration: ms(0), ..arrived(3, HOUR - 1) },
        PingEntry { signal: Signal::Fail, duration: ms(70_000), ..arrived(4, HOUR) },
    ];
    let other = Transition { pings: vec![arrived(1, 5 * HOUR)], ..create(&record(2)) };
    put(&*storage, [Transition { pings: first, ..create(&record(1)) }, other]).await;
    let second = next(&record(1), |_, _| ());
    let late = vec![
        PingEntry { signal: Signal::Report, ..arrived(5, 2 * HOUR) },
        PingEntry { signal: Signal::Log, ..arrived(6, HOUR - 1) },
    ];
    put(&*storage, [Transition { pings: late, ..replace(&second) }]).await;
    let stale = Transition { expected: Some(Version(9)), pings: vec![arrived(7, 10)], ..replace(&second) };
    assert!(matches!(outcome(&*storage, stale).await, Outcome::Conflict { .. }));
    let third = next(&second, |_, _| ());
    let many = (7..=256).map(|n| arrived(n, 7 * HOUR + n.cast_signed())).collect();
    put(&*storage, [Transition { pings: many, ..replace(&third) }]).await;
    let zero = [(Signal::Start, None), (Signal::Success, Some(3000)), (Signal::Success, Some(0)), (Signal::Log, None)];
    let expected = [
        counted(at(7 * HOUR), &[(Signal::Success, None); 250]),
        counted(at(2 * HOUR), &[(Signal::Report, None)]),
        counted(at(HOUR), &[(Signal::Fail, Some(70_000))]),
        counted(at(0), &zero),
    ];
    assert_eq!(counts(&*storage, 1, CountsPer::Hour, (None, None), 10).await.items, expected);
    let storage = harness.reopen(storage).await;
    assert_eq!(counts(&*storage, 1, CountsPer::Hour, (None, None), 10).await.items, expected);
    let alone = [counted(at(5 * HOUR), &[(Signal::Success, None)])];
    assert_eq!(counts(&*storage, 2, CountsPer::Hour, (None, None), 10).await.items, alone, "each monitor has its own");
    put(&*storage, [remove(&third)]).await;
    assert_eq!(counts(&*storage, 1, CountsPer::Hour, (None, None), 10).await, Page::empty());
    put(&*storage, [Transition { pings: vec![arrived(1, 5 * HOUR)], ..create(&record(1)) }]).await;
    assert_eq!(counts(&*storage, 1, CountsPer::Hour, (None, None), 10).await.items, alone);
}

/// Hours come newest first, page by page, without those that had no heartbeats, and so do days, each the sum of its hours. At
/// least the newest 100 hours with heartbeats are kept.
pub async fn counts_are_paged_newest_first<H: StorageHarness>(harness: &H) {
    let storage = harness.fresh().await;
    // Every fifth hour from day 0 on, to the middle of day 20, in several steps.
    let hours: Vec<i64> = (0..100).map(|n| n * 5).collect();
    let beats = |of: &[i64]| -> Vec<PingEntry> {
        of.iter().map(|hour| arrived(hour.cast_unsigned() / 5 + 1, hour * HOUR + 59)).collect()
    };
    let mut current = record(1);
    put(&*storage, [Transition { pings: beats(&hours[..30]), ..create(&current) }]).await;
    for some in hours[30..].chunks(9) {
        current = next(&current, |_, _| ());
        put(&*storage, [Transition { pings: beats(some), ..replace(&current) }]).await;
    }
    let page = async |per, range, limit| {
        let page = counts(&*storage, 1, per, range, limit).await;
        let seconds = |at: Timestamp| at.as_secs() - super::super::fixtures::at(0).as_secs();
        let found: Vec<_> = page.items.iter().map(|found| (seconds(found.begins_at) / HOUR, found.total())).collect();
        (found, page.more)
    };
    let one = |hours: &[i64]| hours.iter().map(|hour| (*hour, 1)).collect::<Vec<_>>();
    let (all, more) = page(CountsPer::Hour, (None, None), 100).await;
    assert!(!more, "an exact page has no successor");
    assert_eq!(all, one(&hours.iter().rev().copied().collect::<Vec<_>>()));
    assert_eq!(page(CountsPer::Hour, (None, None), 2).await, (one(&[495, 490]), true));
    assert_eq!(page(CountsPer::Hour, (None, Some(490 * HOUR)), 2).await, (one(&[485, 480]), true));
    assert_eq!(page(CountsPer::Hour, (None, Some(6 * HOUR)), 2).await, (one(&[5, 0]), false));
    assert_eq!(page(CountsPer::Hour, (Some(5 * HOUR), Some(15 * HOUR)), 9).await, (one(&[10, 5]), false));
    assert_eq!(page(CountsPer::Hour, (Some(5 * HOUR + 1), Some(15 * HOUR + 1)), 9).await, (one(&[15, 10]), false));
    assert_eq!(page(CountsPer::Hour, (Some(5 * HOUR), Some(15 * HOUR)), 1).await, (one(&[10]), true));
    assert_eq!(page(CountsPer::Hour, (Some(496 * HOUR), None), 9).await, (vec![], false));
    assert_eq!(page(CountsPer::Hour, (None, Some(0)), 9).await, (vec![], false));
    let day = |n: i64| (24 * n, hours.iter().filter(|hour| **hour / 24 == n).count() as u64);
    let days: Vec<_> = (0..=20).rev().map(day).collect();
    assert_eq!(page(CountsPer::Day, (None, None), 21).await, (days.clone(), false));
    assert_eq!(page(CountsPer::Day, (None, Some(20 * 24 * HOUR)), 3).await, (days[1..4].to_vec(), true));
    let within = (Some(24 * HOUR - 1), Some(2 * 24 * HOUR + 1));
    assert_eq!(page(CountsPer::Day, within, 9).await, (vec![day(2), day(1)], false));
}
