//! Parts for tests: the conformance suites for [`crate::Storage`] and [`crate::Notifier`], a clock that is set by hand, and
//! records, heartbeats and notifications to fill them with.
//!
//! A promise that is broken panics, so everything here may.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod clock;
pub mod fixtures;
mod import;
pub mod notifier;
pub mod sim;
pub mod storage;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use self::clock::{ManualClock, TokioClock};
pub use self::import::import_promises;
pub use self::notifier::{Behaviour, FarEnd, NotifierHarness, notifier_promises};
pub use self::storage::{StorageHarness, storage_promises};
pub use crate::schedule::schedule_steps;
pub use crate::{notifier_suite, storage_suite};

/// The check of one promise on a harness; it panics when the promise is broken.
pub type Check<H> = for<'a> fn(&'a H) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// How long one promise may take, in seconds.
const PROMISE_SECONDS_MAX: u64 = 120;

/// Runs the check of a promise to its end on a runtime of its own, with real parallelism.
///
/// # Panics
/// When the promise is broken, or when the check has not ended after two minutes.
pub fn run(check: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let ended = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(PROMISE_SECONDS_MAX), check).await });
    assert!(ended.is_ok(), "the check did not end within {PROMISE_SECONDS_MAX} s: something hangs");
}
