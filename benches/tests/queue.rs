//! Every queue of the comparison gives what a scan of all deadlines gives, to the millisecond.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use heartbeat_benches::queue::workload::START;
use heartbeat_benches::queue::{Delay, EagerHeap, LazyHeap, NEVER, QuaternaryHeap, Queue, RadixHeap, Wheel};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Deed {
    Set(u32, i64),
    Never(u32),
    Pass(i64),
}

const HOUR: i64 = 3_600_000;

fn span() -> impl Strategy<Value = i64> {
    prop_oneof![0..200_i64, 0..100_000_i64, 0..3 * HOUR, 0..40 * 24 * HOUR]
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        5 => (0..30_u32, prop_oneof![9 => span(), 1 => 0..2 * 366 * 24 * HOUR]).prop_map(|(index, ahead)| Deed::Set(index, ahead)),
        1 => (0..30_u32).prop_map(Deed::Never),
        3 => span().prop_map(Deed::Pass),
    ];
    prop::collection::vec(deed, 1..200)
}

/// `exact` is not asked of a queue that rounds by its own clock: there everything due must come, in any order.
fn as_in_a_scan(queue: &mut impl Queue, deeds: &[Deed], exact: bool, pass: impl Fn(i64)) -> Result<(), TestCaseError> {
    let mut scan = [NEVER; 30];
    let mut now = START;
    for deed in deeds {
        match *deed {
            Deed::Set(index, ahead) => {
                queue.set(index, now + ahead);
                scan[index as usize] = now + ahead;
            }
            Deed::Never(index) => {
                queue.set(index, NEVER);
                scan[index as usize] = NEVER;
            }
            Deed::Pass(time) => {
                now += time;
                pass(time);
                let mut found = Vec::new();
                while queue.look(now, &mut |at, index| found.push((at, index))) {}
                prop_assert!(!exact || found.is_sorted_by_key(|(at, _)| *at), "{found:?}");
                let mut due: Vec<u32> = (0..30).filter(|index| scan[*index as usize] < now).collect();
                due.iter().for_each(|index| scan[*index as usize] = NEVER);
                let mut found: Vec<u32> = found.into_iter().map(|(_, index)| index).collect();
                found.sort_unstable();
                due.sort_unstable();
                prop_assert_eq!(found, due);
            }
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn the_wheel(deeds in deeds()) {
        as_in_a_scan(&mut Wheel::default(), &deeds, true, |_| {})?;
    }

    #[test]
    fn the_radix_heap(deeds in deeds()) {
        as_in_a_scan(&mut RadixHeap::default(), &deeds, true, |_| {})?;
    }

    #[test]
    fn the_quaternary_heap(deeds in deeds()) {
        as_in_a_scan(&mut QuaternaryHeap::default(), &deeds, true, |_| {})?;
    }

    #[test]
    fn the_binary_heaps(deeds in deeds()) {
        as_in_a_scan(&mut LazyHeap::default(), &deeds, true, |_| {})?;
        as_in_a_scan(&mut EagerHeap::default(), &deeds, true, |_| {})?;
    }

    #[test]
    fn the_delay_queue(deeds in deeds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _entered = runtime.enter();
        let pass = |time: i64| {
            let time = std::time::Duration::from_millis(time.cast_unsigned());
            runtime.block_on(tokio::time::advance(time));
        };
        as_in_a_scan(&mut Delay::new(START), &deeds, false, pass)?;
    }
}
