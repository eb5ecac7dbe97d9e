//! A timer that wakes the event loop to the microsecond, which the timeout of `epoll` does not.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

/// Fires again and again while it is set.
#[derive(Debug)]
pub(crate) struct Timer(OwnedFd);

impl Timer {
    /// One that is not set.
    pub(crate) fn new(registry: &Registry, token: Token) -> io::Result<Self> {
        let fd = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)?;
        registry.register(&mut SourceFd(&fd.as_raw_fd()), token, Interest::READABLE)?;
        Ok(Self(fd))
    }

    /// Fires every so many nanoseconds; 0 ends it.
    pub(crate) fn every(&self, nanoseconds: u64) -> io::Result<()> {
        let seconds = (nanoseconds / 1_000_000_000).cast_signed();
        let rest = (nanoseconds % 1_000_000_000).cast_signed();
        let interval = Timespec { tv_sec: seconds, tv_nsec: rest };
        let spec = Itimerspec { it_interval: interval, it_value: interval };
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &spec)?;
        Ok(())
    }

    /// Makes it ready to fire again.
    pub(crate) fn rearm(&self) {
        // How often it fired, or that it has not: both are of no interest.
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}
