//! Keeps the write-ahead log of SQLite short, without a commit that waits for it.
//!
//! A thread of its own copies what the write-ahead log has into the file, while the writer appends to it. When hardly
//! anything is left to copy, the writer copies the rest itself, between two transactions, and its next one begins the
//! write-ahead log anew. Only so can it begin anew while writes never pause.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

use crate::open;

/// After how many pages of 4 KiB the write-ahead log is copied into the file.
pub(crate) const LOG_PAGES: u64 = 4 << 10;
/// How many pages may be left for the writer.
const REST_PAGES: i64 = 128;
/// How often it is tried to come that near before it waits for a while.
const TRIES_MAX: u32 = 6;
/// How long to wait when readers kept the write-ahead log from beginning anew.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long the write-ahead log is.
#[derive(Debug, Default)]
pub(crate) struct WalGauge {
    pages: AtomicU64,
    finish: AtomicBool,
    stop: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl WalGauge {
    /// After a commit.
    pub(crate) fn set(&self, pages: u64) {
        self.pages.store(pages, Ordering::Release);
        if pages >= LOG_PAGES {
            self.wake();
        }
    }

    /// How many pages it has.
    pub(crate) fn pages(&self) -> u64 {
        self.pages.load(Ordering::Acquire)
    }

    /// Whether the writer is to copy the rest now; asked once.
    pub(crate) fn take_finish(&self) -> bool {
        self.finish.load(Ordering::Acquire) && self.finish.swap(false, Ordering::AcqRel)
    }

    fn wake(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn wait(&self) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.is_stopping() && self.pages() < LOG_PAGES {
            guard = self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn pause(&self) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_stopping() {
            drop(self.changed.wait_timeout(guard, PATIENCE));
        }
    }
}

/// The handle on the thread. Dropping it ends the thread.
#[derive(Debug)]
pub(crate) struct Checkpointer {
    gauge: Arc<WalGauge>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub(crate) fn start(path: &Path, gauge: Arc<WalGauge>) -> std::io::Result<Self> {
        let worker = Worker { path: path.to_owned(), gauge: Arc::clone(&gauge), connection: None };
        let name = "sqlite-checkpt".to_owned();
        let thread = thread::Builder::new().name(name).spawn(move || worker.run())?;
        Ok(Self { gauge, thread: Some(thread) })
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.gauge.stop.store(true, Ordering::Release);
        self.gauge.wake();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the checkpointer of the database ended by a panic");
        }
    }
}

struct Worker {
    path: PathBuf,
    gauge: Arc<WalGauge>,
    connection: Option<Connection>,
}

impl Worker {
    fn run(mut self) {
        loop {
            self.gauge.wait();
            if self.gauge.is_stopping() {
                return;
            }
            if let Err(error) = self.copy() {
                tracing::warn!(%error, "the write-ahead log could not be copied into the database");
                self.connection = None;
            }
            // The writer may have to begin it anew first.
            self.gauge.pause();
        }
    }

    fn copy(&mut self) -> rusqlite::Result<()> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => open::checkpointer(&self.path)?,
        };
        for _ in 0..TRIES_MAX {
            if self.gauge.is_stopping() {
                break;
            }
            match passive(&connection)? {
                // The next commit tells how long it is.
                0 => {
                    self.gauge.pages.store(0, Ordering::Release);
                    break;
                }
                1..=REST_PAGES => {
                    self.gauge.finish.store(true, Ordering::Release);
                    break;
                }
                _ => (),
            }
        }
        self.connection = Some(connection);
        Ok(())
    }
}

/// Copies what can be copied without waiting for anybody; says how many pages are left.
pub(crate) fn passive(connection: &Connection) -> rusqlite::Result<i64> {
    let mut statement = connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
    let (pages, copied): (i64, i64) = statement.query_row([], |row| Ok((row.get(1)?, row.get(2)?)))?;
    Ok(pages - copied)
}
