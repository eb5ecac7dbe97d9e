#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3_600_000;
const YEAR: u64 = 366 * 24 * HOUR;

/// Every deadline, without an order.
#[derive(Debug, Default)]
struct Scan(Vec<Timestamp>);

impl Scan {
    fn set(&mut self, index: u32, deadline: Timestamp) {
        let at = index as usize;
        self.0.resize(self.0.len().max(at + 1), Timestamp::MAX);
        self.0[at] = deadline;
    }

    fn first(&self) -> Option<Timestamp> {
        self.0.iter().copied().filter(|at| *at < Timestamp::MAX).min()
    }

    fn pop_all_before(&mut self, now: Timestamp) -> Vec<(Timestamp, u32)> {
        let mut due: Vec<_> = (0..).zip(&self.0).map(|(index, at)| (*at, index)).filter(|(at, _)| *at < now).collect();
        due.sort_unstable();
        due.iter().for_each(|(_, index)| self.0[*index as usize] = Timestamp::MAX);
        due
    }
}

/// What is due, with `moves` in each look.
fn pop_all_before(queue: &mut Deadlines, now: Timestamp, moves: u32) -> Vec<(Timestamp, u32)> {
    let mut due = Vec::new();
    loop {
        let mut left = moves;
        while let Some(found) = queue.pop_before(now, &mut left) {
            due.push(found);
        }
        if queue.next().is_none_or(|next| next >= now) {
            return due;
        }
        assert_eq!(left, 0, "it stops early when there is too much to move, and for nothing else");
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Set(u32, Duration),
    SetBehind(u32, Duration),
    Never(u32),
    Pass(Duration),
    SetBack(Duration),
    Look(u32),
}

fn span() -> impl Strategy<Value = Duration> {
    prop_oneof![
        3 => 0..200_u64,
        3 => 0..100_000_u64,
        3 => 0..3 * HOUR,
        2 => 0..30 * 24 * HOUR,
        1 => 0..3 * YEAR,
        1 => Just(16_384), // one level on
    ]
    .prop_map(Duration::from_millis)
}

fn deed() -> impl Strategy<Value = Deed> {
    let index = 0..40_u32;
    prop_oneof![
        10 => (index.clone(), span()).prop_map(|(index, ahead)| Deed::Set(index, ahead)),
        1 => (index.clone(), span()).prop_map(|(index, back)| Deed::SetBehind(index, back)),
        1 => index.prop_map(Deed::Never),
        4 => span().prop_map(Deed::Pass),
        1 => span().prop_map(Deed::SetBack),
        4 => (1..50_u32).prop_map(Deed::Look),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn deadlines_pass_as_in_a_scan_of_all(
        start in prop_oneof![Just(1_795_000_000_000_i64), Just(0), Just(-5_000), any::<i64>().prop_map(|at| at / 2)],
        deeds in prop::collection::vec(deed(), 1..300),
    ) {
        let (mut queue, mut scan) = (Deadlines::default(), Scan::default());
        let mut now = Timestamp::from_millis(start);
        for deed in deeds {
            match deed {
                Deed::Set(index, ahead) => {
                    queue.set(index, now + ahead);
                    scan.set(index, now + ahead);
                }
                Deed::SetBehind(index, back) => {
                    queue.set(index, now - back);
                    scan.set(index, now - back);
                }
                Deed::Never(index) => {
                    queue.set(index, Timestamp::MAX);
                    scan.set(index, Timestamp::MAX);
                }
                Deed::Pass(time) => now = now + time,
                Deed::SetBack(time) => now = now - time,
                Deed::Look(moves) => {
                    let found = pop_all_before(&mut queue, now, moves);
                    prop_assert!(found.is_sorted_by_key(|(at, _)| *at), "{found:?}");
                    let mut found = found;
                    found.sort_unstable();
                    prop_assert_eq!(found, scan.pop_all_before(now));
                }
            }
            let (next, first) = (queue.next(), scan.first());
            prop_assert!(first.is_none_or(|first| next.is_some_and(|next| next <= first)), "{next:?} {first:?}");
        }
        for (index, at) in (0..).zip(&scan.0) {
            prop_assert_eq!(queue.get(index), *at);
        }
    }

    /// Who looks only when the queue says so finds each deadline in the millisecond after it, after few looks.
    #[test]
    fn looks_are_wanted_right_after_deadlines(ahead in prop::collection::vec(span(), 1..60)) {
        let mut now = Timestamp::from_secs(1_795_000_000);
        let mut queue = Deadlines::default();
        for (index, ahead) in (0..).zip(&ahead) {
            queue.set(index, now + *ahead);
        }
        let (mut looks, mut passed) = (0, 0);
        while let Some(next) = queue.next() {
            looks += 1;
            now = now.max(next + Duration::from_millis(1));
            while let Some((at, _)) = queue.pop_before(now, &mut MOVES_MAX.clone()) {
                passed += 1;
                prop_assert_eq!(now, at + Duration::from_millis(1));
            }
        }
        prop_assert_eq!(passed, ahead.len());
        prop_assert!(looks <= 6 * ahead.len(), "{looks} looks for {} deadlines", ahead.len());
    }
}

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_795_000_000_000 + millis)
}

#[test]
fn never_is_not_queued_and_a_deadline_has_not_passed_in_its_own_instant() {
    let mut queue = Deadlines::default();
    queue.set(7, Timestamp::MAX);
    assert_eq!((queue.next(), queue.get(7)), (None, Timestamp::MAX));
    queue.set(7, at(5));
    assert_eq!((queue.next(), queue.get(7)), (Some(at(5)), at(5)));
    assert_eq!(queue.pop_before(at(5), &mut 10), None);
    assert_eq!(queue.pop_before(at(6), &mut 10), Some((at(5), 7)));
    assert_eq!((queue.next(), queue.get(7)), (None, Timestamp::MAX));
    assert_eq!(queue.get(1_000), Timestamp::MAX);
}

#[test]
fn a_heartbeat_moves_no_entry_until_the_old_deadline_has_passed() {
    let mut queue = Deadlines::default();
    queue.set(1, at(60_000));
    for second in 1..50 {
        queue.set(1, at(60_000 + second * 1_000));
        assert_eq!(queue.pop_before(at(second * 1_000), &mut 0), None);
    }
    assert_eq!(queue.pop_before(at(60_001), &mut 100), None);
    assert_eq!(queue.next(), Some(at(109_000)));
    assert_eq!(queue.pop_before(at(109_001), &mut 100), Some((at(109_000), 1)));
}

#[test]
fn the_earliest_and_the_latest_instants_are_deadlines_too() {
    let mut queue = Deadlines::default();
    let all = [Timestamp::MIN, Timestamp::MIN + Duration::from_millis(1), Timestamp::EPOCH, at(0)];
    let last = Timestamp::MAX - Duration::from_millis(1);
    for (index, at) in (0..).zip(all.into_iter().chain([last]).rev()) {
        queue.set(index, at);
    }
    assert_eq!(queue.next(), Some(Timestamp::MIN));
    assert_eq!(pop_all_before(&mut queue, at(1), 100).into_iter().map(|(at, _)| at).collect::<Vec<_>>(), all);
    assert_eq!(queue.next(), Some(last));
    assert_eq!(queue.pop_before(last, &mut 100), None);
    assert_eq!(queue.pop_before(Timestamp::MAX, &mut 100), Some((last, 0)));
}

/// Short runs of a job that reports once a year: the entry at the far deadline is used again.
#[test]
fn deadlines_that_come_and_go_leave_nothing_behind() {
    let mut queue = Deadlines::default();
    let mut now = at(0);
    let far = now + Duration::from_millis(YEAR);
    queue.set(0, far);
    for _ in 0..10_000 {
        queue.set(0, now + Duration::from_secs(10));
        queue.set(0, far);
        now = now + Duration::from_secs(60);
        assert_eq!(queue.pop_before(now, &mut 100), None);
    }
    assert!(queue.chunks.pool_len() <= 20, "{} blocks", queue.chunks.pool_len());
    assert_eq!(pop_all_before(&mut queue, far + Duration::from_millis(1), 100), [(far, 0)]);
}

#[test]
fn many_at_one_instant_come_in_several_looks() {
    let mut queue = Deadlines::default();
    (0..100_000).for_each(|index| queue.set(index, at(i64::from(index % 2))));
    let mut looks = 0;
    let mut found = Vec::new();
    while found.len() < 100_000 {
        let mut moves = MOVES_MAX;
        while let Some(due) = queue.pop_before(at(1_000), &mut moves) {
            found.push(due.0);
        }
        looks += 1;
        assert!(found.len() == 100_000 || queue.next().unwrap() < at(1_000));
    }
    // From a wheel that stands at the earliest instant each goes down all levels, at most.
    let moves_most = 100_000 * u32::try_from(LEVELS + 1).unwrap();
    assert!((100_000 / MOVES_MAX..=moves_most.div_ceil(MOVES_MAX)).contains(&looks), "{looks} looks");
    assert!(found.is_sorted());
}
