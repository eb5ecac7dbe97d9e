//! Counting the work of a calculation, so that tests can hold it to a bound (S2.7).

#[cfg(feature = "testing")]
use std::cell::Cell;

#[cfg(feature = "testing")]
thread_local! {
    static TAKEN: Cell<u64> = const { Cell::new(0) };
}

/// One step: a month that is looked at, a look at a day, or a stretch of time with one offset.
#[inline]
pub(super) fn step() {
    #[cfg(feature = "testing")]
    TAKEN.with(|taken| taken.set(taken.get() + 1));
}

/// What `work` gives, and how many steps its calculations with schedules took on this thread. A step is a month, a
/// day or a stretch of time with one offset that is looked at.
///
/// ```
/// use heartbeat_engine::{Schedule, Timestamp, Zone, testing::schedule_steps};
///
/// let leap_days = Schedule::cron("0 0 29 2 *", Zone::utc())?;
/// let (next, steps) = schedule_steps(|| leap_days.next_after(Timestamp::EPOCH));
/// assert_eq!(next.to_string(), "1972-02-29T00:00:00Z");
/// assert!(steps < 50);
/// # Ok::<(), heartbeat_engine::ScheduleError>(())
/// ```
#[cfg(feature = "testing")]
pub fn schedule_steps<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = TAKEN.get();
    let result = work();
    (result, TAKEN.get() - before)
}
