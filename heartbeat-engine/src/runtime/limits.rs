//! Every queue, batch and scan has a limit; here are their names, defaults and effects.

use std::time::Duration;

/// Limits of the runtime.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Calls about the monitors of one partition that may wait to be decided; more are answered `Overloaded`. Default 65,536.
    pub inbox: usize,
    /// Monitors in one batch; the rest waits for the next one. Default 4,096.
    pub batch: usize,
    /// Monitors read from the storage at a time while loading. Default 4,096.
    pub load_page: usize,
    /// Notifications of one channel that are tried at the same time, for different monitors. Default 8.
    pub channel_parallel: usize,
    /// Notifications that wait in memory for one channel; more stay in the store and are read when there is room.
    /// Default 1,024.
    pub channel_queue: usize,
    /// Notifications of one channel beyond those that wait for a digest; of each some hundred bytes are held in memory. Default
    /// 262,144.
    pub channel_held: usize,
    /// How long one attempt to deliver may take. Default 30 s.
    pub attempt_timeout: Duration,
    /// State changes that a slow subscriber may be behind before it misses some. Default 4,096.
    pub subscriber_queue: usize,
    /// Outages of the watcher that are remembered; the oldest are forgotten, after which they excuse no silence
    /// any more. Default 4,096.
    pub outages: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            inbox: 65_536,
            batch: 4_096,
            load_page: 4_096,
            channel_parallel: 8,
            channel_queue: 1_024,
            channel_held: 262_144,
            attempt_timeout: Duration::from_secs(30),
            subscriber_queue: 4_096,
            outages: 4_096,
        }
    }
}

impl Limits {
    /// The same, with 1 for every 0: a limit of nothing would stop the work.
    pub(crate) fn at_least_one(self) -> Self {
        Self {
            inbox: self.inbox.max(1),
            batch: self.batch.max(1),
            load_page: self.load_page.max(1),
            channel_parallel: self.channel_parallel.max(1),
            channel_queue: self.channel_queue.max(1),
            // Without it every digest covers what waits whole.
            channel_held: self.channel_held,
            attempt_timeout: self.attempt_timeout,
            subscriber_queue: self.subscriber_queue.max(1),
            outages: self.outages.max(1),
        }
    }
}
