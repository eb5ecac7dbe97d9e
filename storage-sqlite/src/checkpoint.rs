//! Keeps the write-ahead log of SQLite short, without a commit that waits for it.
//!
//! A thread of its own copies what the write-ahead log has into the file, while the writer appends to it. When hardly
//! anything is left to copy, the writer copies the rest itself, between two transactions, and its next one begins the
//! write-ahead log anew. Only so can it begin anew while writes never pause.
//!
//! SQLite syncs the database only in a pass that reaches the end of the write-ahead log, but remembers what every pass
//! copied. After a sync that failed, systems take for clean what never reached the disk; SQLite would not copy it again,
//! and would begin anew the write-ahead log that alone has it. So after such a sync nothing is copied any more and the
//! write-ahead log grows, up to [`LOG_PAGES_UNCOPIED_MAX`]: the next opening copies all of it, from its first page on.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ffi};

use crate::{open, threads};

/// After how many pages of 4 KiB the write-ahead log is copied into the file.
pub(crate) const LOG_PAGES: u64 = 4 << 10;
/// At how many pages the writer copies what is left, however much it is.
const LOG_PAGES_MAX: u64 = 2 * LOG_PAGES;
/// By how many pages it may grow until the writer waits for its turn to copy: 128 MiB. Where transactions are larger than what is
/// copied meanwhile, as when a million monitors are made, somebody else copies whenever it looks.
const LOG_PAGES_WAITED: u64 = 4 * LOG_PAGES_MAX;
/// How many pages it may have when it cannot be copied any more: 1 GiB.
const LOG_PAGES_UNCOPIED_MAX: u64 = 256 << 10;
/// How many pages may be left for the writer.
const REST_PAGES: i64 = 128;
/// How often it is tried to come that near before it waits for a while.
const TRIES_MAX: u32 = 6;
/// How long to wait when readers kept the write-ahead log from beginning anew.
const PATIENCE: Duration = Duration::from_millis(50);

/// How long the write-ahead log is, and whether it may be copied.
#[derive(Debug, Default)]
pub(crate) struct WalGauge {
    pages: AtomicU64,
    finish: AtomicBool,
    /// How long it was when the writer waited last: readers may keep it from beginning anew, and it shall not wait at each commit.
    waited_at: AtomicU64,
    /// A sync failed while it was copied.
    sync_failed: AtomicBool,
    /// Held while it is copied, so that nobody copies before it is known that a sync failed.
    copying: Mutex<()>,
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
    fn take_finish(&self) -> bool {
        self.finish.load(Ordering::Acquire) && self.finish.swap(false, Ordering::AcqRel)
    }

    /// Copies what can be copied without waiting for anybody; how many pages are left. `None` when somebody else copies
    /// just now, or nobody may.
    fn copy(&self, connection: &Connection) -> rusqlite::Result<Option<i64>> {
        let copying = match self.copying.try_lock() {
            Ok(guard) => guard,
            Err(TryLockError::Poisoned(guard)) => guard.into_inner(),
            Err(TryLockError::WouldBlock) => return Ok(None),
        };
        self.copy_now(connection, &copying)
    }

    fn copy_now(&self, connection: &Connection, _: &MutexGuard<'_, ()>) -> rusqlite::Result<Option<i64>> {
        if self.has_failed_sync() {
            return Ok(None);
        }
        passive(connection).inspect_err(|error| self.note(error))
    }

    /// What the writer does between two transactions: it copies the rest, when it is to.
    pub(crate) fn copy_rest(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.must_wait() {
            let copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
            return self.copy_now(connection, &copying).map(drop);
        }
        if self.take_finish() && self.copy(connection)?.is_none() && !self.has_failed_sync() {
            // Somebody else copies; then after the next transaction.
            self.finish.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// Whether the writer waits for its turn to copy.
    fn must_wait(&self) -> bool {
        let (pages, last) = (self.pages(), self.waited_at.load(Ordering::Acquire));
        let last = if pages < last { 0 } else { last };
        let must_wait = pages >= last + LOG_PAGES_WAITED;
        self.waited_at.store(if must_wait { pages } else { last }, Ordering::Release);
        must_wait
    }

    /// What the writer does at the end. The connection can be closed then.
    pub(crate) fn copy_all(&self, connection: &Connection) -> rusqlite::Result<()> {
        if self.has_failed_sync() {
            return keep_log(connection);
        }
        all(connection).map(drop).inspect_err(|error| self.note(error))
    }

    /// Something failed while it was copied.
    pub(crate) fn note(&self, error: &rusqlite::Error) {
        if is_failed_sync(error) && !self.sync_failed.swap(true, Ordering::AcqRel) {
            tracing::error!(
                %error,
                "the disk could not sync the database: restart the program once the disk works; until then all that is \
                 written stays in the write-ahead log, which grows up to 1 GiB"
            );
        }
    }

    /// Whether a sync failed while it was copied, so that it must not be copied any more.
    pub(crate) fn has_failed_sync(&self) -> bool {
        self.sync_failed.load(Ordering::Acquire)
    }

    /// Whether it is too long to be written on.
    pub(crate) fn is_full(&self) -> bool {
        self.has_failed_sync() && self.pages() >= LOG_PAGES_UNCOPIED_MAX
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
        while !self.is_stopping() && (self.pages() < LOG_PAGES || self.has_failed_sync()) {
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
        threads::join(self.thread.take(), "checkpointer");
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
            match self.gauge.copy(&connection)? {
                None => break,
                // The next commit tells how long it is.
                Some(0) => {
                    self.gauge.pages.store(0, Ordering::Release);
                    break;
                }
                Some(1..=REST_PAGES) => {
                    self.gauge.finish.store(true, Ordering::Release);
                    break;
                }
                Some(_) => (),
            }
        }
        // Large commits leave more than that after every pass.
        if self.gauge.pages() >= LOG_PAGES_MAX {
            self.gauge.finish.store(true, Ordering::Release);
        }
        self.connection = Some(connection);
        Ok(())
    }
}

/// Copies what can be copied without waiting for anybody; how many pages are left. `None` when another program copies.
pub(crate) fn passive(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    pragma(connection, "PRAGMA wal_checkpoint(PASSIVE)")
}

/// Copies everything and empties the write-ahead log; `false` when another program reads it.
pub(crate) fn all(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(pragma(connection, "PRAGMA wal_checkpoint(TRUNCATE)")?.is_some())
}

/// After a sync that failed, the connection copies nothing when it is closed, either.
fn pragma(connection: &Connection, sql: &str) -> rusqlite::Result<Option<i64>> {
    let copied = connection.prepare_cached(sql).and_then(|mut statement| {
        statement.query_row([], |row| {
            let (busy, pages, copied): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            Ok((!busy).then_some(pages - copied))
        })
    });
    if copied.as_ref().is_err_and(is_failed_sync) {
        keep_log(connection)?;
    }
    copied
}

/// The connection leaves the write-ahead log as it is when it is closed.
fn keep_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map(drop)
}

fn is_failed_sync(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| error.extended_code == ffi::SQLITE_IOERR_FSYNC)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A database with a table, and a connection to it that copies nothing by itself.
    fn database(directory: &tempfile::TempDir) -> (PathBuf, Connection) {
        let path = directory.path().join("heartbeat.db");
        let connection = Connection::open(&path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE large (bytes BLOB NOT NULL)",
            )
            .unwrap();
        (path, connection)
    }

    /// Writes some hundred pages.
    fn write(connection: &Connection) {
        connection.execute("INSERT INTO large VALUES (zeroblob(1 << 20))", []).unwrap();
    }

    fn failed_sync() -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_FSYNC), None)
    }

    #[test]
    fn after_a_sync_that_failed_nothing_is_copied_any_more() {
        let directory = tempfile::tempdir().unwrap();
        let (path, connection) = database(&directory);
        let gauge = WalGauge::default();
        write(&connection);
        assert_eq!(gauge.copy(&connection).unwrap(), Some(0));
        gauge.note(&rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_WRITE), None));
        assert!(!gauge.has_failed_sync(), "what was not written is copied again");
        gauge.note(&failed_sync());
        assert!(gauge.has_failed_sync());
        write(&connection);
        gauge.finish.store(true, Ordering::Relaxed);
        gauge.copy_rest(&connection).unwrap();
        assert_eq!(gauge.copy(&connection).unwrap(), None);
        let (file, log) = (fs::read(&path).unwrap(), path.with_extension("db-wal"));
        let logged = fs::metadata(&log).unwrap().len();
        gauge.copy_all(&connection).unwrap();
        connection.close().unwrap();
        assert!(fs::read(&path).unwrap() == file, "nothing was copied");
        assert_eq!(fs::metadata(&log).unwrap().len(), logged, "the next opening finds all of it");
    }

    #[test]
    fn it_is_full_only_when_it_cannot_be_copied() {
        let gauge = WalGauge::default();
        gauge.set(LOG_PAGES_UNCOPIED_MAX);
        assert!(!gauge.is_full());
        gauge.note(&failed_sync());
        assert!(gauge.is_full());
        gauge.set(LOG_PAGES_UNCOPIED_MAX - 1);
        assert!(!gauge.is_full());
    }

    #[test]
    fn while_another_program_copies_it_is_not_taken_for_copied() {
        static WAITS: AtomicBool = AtomicBool::new(false);
        static ENOUGH: AtomicBool = AtomicBool::new(false);
        let directory = tempfile::tempdir().unwrap();
        let (path, connection) = database(&directory);
        write(&connection);
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        let mut other = Connection::open(&path).unwrap();
        // It has the right to copy, and waits for the one that writes.
        let copies = thread::spawn(move || {
            let wait = |_| {
                WAITS.store(true, Ordering::Release);
                thread::yield_now();
                !ENOUGH.load(Ordering::Acquire)
            };
            other.busy_handler(Some(wait)).unwrap();
            all(&other).unwrap()
        });
        while !WAITS.load(Ordering::Acquire) {
            thread::yield_now();
        }
        let own = Connection::open(&path).unwrap();
        assert_eq!(passive(&own).unwrap(), None);
        let gauge = WalGauge::default();
        gauge.finish.store(true, Ordering::Relaxed);
        gauge.copy_rest(&own).unwrap();
        assert!(gauge.finish.load(Ordering::Relaxed), "it is tried again after the next transaction");
        ENOUGH.store(true, Ordering::Release);
        assert!(!copies.join().unwrap());
    }

    /// Where each transaction is larger than what is copied meanwhile, the log would grow for ever.
    #[test]
    fn the_writer_waits_for_its_turn_when_the_log_is_far_too_long() {
        let directory = tempfile::tempdir().unwrap();
        let (path, connection) = database(&directory);
        write(&connection);
        let length = || fs::metadata(&path).unwrap().len();
        let (gauge, before) = (WalGauge::default(), length());
        gauge.set(LOG_PAGES_WAITED - 1);
        gauge.copy_rest(&connection).unwrap();
        assert_eq!(length(), before, "not yet");
        gauge.set(LOG_PAGES_WAITED);
        let copies = gauge.copying.lock().unwrap();
        thread::scope(|scope| {
            let gauge = &gauge;
            let written = scope.spawn(move || gauge.copy_rest(&connection));
            drop(copies);
            written.join().unwrap().unwrap();
        });
        assert!(length() > before + (1 << 20), "{} bytes", length());
    }

    #[test]
    fn the_writer_waits_once_for_each_further_length() {
        let gauge = WalGauge::default();
        let waits = |pages| {
            gauge.set(pages);
            gauge.must_wait()
        };
        let lengths = [1, 2, 3, 4, 9, 1, 2, 3, 4].map(|part| waits(part * LOG_PAGES_WAITED / 2));
        assert_eq!(lengths, [false, true, false, true, true, false, true, false, true]);
    }

    #[test]
    fn the_writer_copies_the_rest_when_too_much_is_left_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let (path, connection) = database(&directory);
        // What was written after a reader began cannot be copied while it reads.
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM large").unwrap();
        write(&connection);
        let gauge = Arc::new(WalGauge::default());
        let mut worker = Worker { path, gauge: Arc::clone(&gauge), connection: None };
        for (pages, expected) in [(LOG_PAGES, false), (LOG_PAGES_MAX - 1, false), (LOG_PAGES_MAX, true)] {
            gauge.set(pages);
            worker.copy().unwrap();
            assert_eq!(gauge.take_finish(), expected, "{pages} pages");
        }
        reader.execute_batch("COMMIT").unwrap();
        worker.copy().unwrap();
        assert_eq!(gauge.pages(), 0);
    }
}
