//! Time on the processor: what is measured does not grow with what else the machine does.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// The time that this thread has run so far.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

/// The time that all threads of this process have run so far.
#[must_use]
pub fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.try_into().unwrap_or_default(), time.tv_nsec.try_into().unwrap_or_default())
}

/// What `work` gives, and how long this thread ran for it.
pub fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let begin = cpu_time();
    let result = work();
    (result, cpu_time().saturating_sub(begin))
}
