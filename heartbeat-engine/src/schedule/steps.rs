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

/// How many steps the calculations with schedules on this thread have taken so far. A step is a month, a day or a
/// stretch of time with one offset that was looked at.
///
/// ```
/// use heartbeat_engine::{Schedule, Timestamp, Zone, testing::schedule_steps};
///
/// let leap_days = Schedule::cron("0 0 29 2 *", Zone::utc())?;
/// let before = schedule_steps();
/// assert_eq!(leap_days.next_after(Timestamp::EPOCH).to_string(), "1972-02-29T00:00:00Z");
/// assert!(schedule_steps() - before < 50);
/// # Ok::<(), heartbeat_engine::ScheduleError>(())
/// ```
#[cfg(feature = "testing")]
#[must_use]
pub fn schedule_steps() -> u64 {
    TAKEN.get()
}
