//! The storage's own threads at their end.

use std::thread::JoinHandle;

/// Waits for a thread to end; `who` is what the log calls it.
pub(crate) fn join(thread: Option<JoinHandle<()>>, who: &str) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("the {who} of the database ended by a panic");
    }
}
