//! Folding: what the log has is put into the rows of the monitors and their histories, in the order of ids, in the
//! background.
//!
//! A thread of its own reads the log, puts it into the order of ids, and makes of it what is to be written: slices of a
//! bounded number of monitors. A slice then goes the way of every write, into the next transaction of
//! the writer, so that it costs no sync of its own; the next slice comes when that one is written. When the round is over,
//! everything that was in the log at its beginning is in the rows, and those rows of the log are deleted, again a few
//! at a time. The more monitors have more than one entry, the fewer pages are written for each heartbeat: that is why the
//! log is folded only when it has grown.
//!
//! Nothing of this needs to be remembered over a crash. A monitor's row says up to which position it has taken the log, in the
//! same transaction; a round that was cut short is begun anew, and finds less to do.
//!
//! When heartbeats come faster than they are folded, slices grow, up to [`SLICE_MONITORS_MAX`]; when the log has twice the
//! size that it may have, each transaction waits for a slice, a moment at most: the log may grow further while it is read.

mod gather;
mod prepare;
mod write;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rusqlite::Connection;

#[cfg(test)]
pub(crate) use self::gather::ENTRIES;
use self::gather::{Entries, GATHER_BYTES, Gathered};
pub(crate) use self::prepare::Slice;
pub(crate) use self::write::{Trim, write_pings, write_slice, write_trim};
use crate::counts;
use crate::damage::Damage;
use crate::index::Index;
use crate::open;
use crate::options::Kept;
use crate::readers::ReadError;
use crate::threads;
use crate::writer::Write;

/// How many monitors one transaction folds at least, while there are more…
pub(crate) const SLICE_MONITORS_MIN: usize = 64;
/// …and at most.
pub(crate) const SLICE_MONITORS_MAX: usize = 512;
/// How many bytes one transaction folds at most, unless it is one monitor.
const SLICE_BYTES_MAX: usize = 256 << 10;
/// How many rows of the log one transaction deletes at most.
pub(crate) const TRIM_ROWS_MAX: u64 = 256;
/// How long nothing must be written before a smaller log is folded.
const IDLE: Duration = Duration::from_secs(1);
/// What part of its size the log may keep when there is nothing else to do.
const IDLE_PART: u64 = 16;
/// How long a round that failed waits before the next.
const PATIENCE: Duration = Duration::from_secs(1);

/// How large the log is, and how large it may become.
#[derive(Debug)]
pub(crate) struct Gauge {
    /// Bytes that were ever appended, and that were ever deleted.
    appended: AtomicU64,
    deleted: AtomicU64,
    /// The last row.
    last: AtomicU64,
    max: u64,
    /// Folding does not work just now.
    fails: AtomicBool,
    /// Something was refused for want of room, which folding may make.
    no_room: AtomicBool,
    /// The writer is being handed a slice.
    offered: AtomicBool,
    stop: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
    /// Of `offered`, and of what makes waiting for it vain.
    offer: Condvar,
}

impl Gauge {
    pub(crate) fn new(bytes: u64, last: u64, max: u64) -> Self {
        Self {
            appended: AtomicU64::new(bytes),
            deleted: AtomicU64::new(0),
            last: AtomicU64::new(last),
            max: max.max(1),
            fails: AtomicBool::new(false),
            no_room: AtomicBool::new(false),
            offered: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            lock: Mutex::new(()),
            changed: Condvar::new(),
            offer: Condvar::new(),
        }
    }

    /// A transaction that appended to the log is committed; the index has it already.
    pub(crate) fn appended(&self, bytes: u64, last: u64) {
        self.last.store(last, Ordering::Release);
        let before =
            self.appended.fetch_add(bytes, Ordering::AcqRel).saturating_sub(self.deleted.load(Ordering::Acquire));
        if before < self.max && before + bytes >= self.max {
            self.wake();
        }
    }

    /// How many bytes the log has.
    pub(crate) fn bytes(&self) -> u64 {
        let deleted = self.deleted.load(Ordering::Acquire);
        self.appended.load(Ordering::Acquire).saturating_sub(deleted)
    }

    /// Whether commits have to wait for folding.
    pub(crate) fn is_overdue(&self) -> bool {
        let waits_in_vain = self.fails.load(Ordering::Acquire) || self.is_stopping();
        self.bytes() >= self.max.saturating_mul(2) && !waits_in_vain
    }

    /// How many monitors the next slice has.
    fn slice(&self) -> usize {
        let over = self.bytes().saturating_sub(self.max).min(self.max);
        let more = (SLICE_MONITORS_MAX - SLICE_MONITORS_MIN) as u64;
        SLICE_MONITORS_MIN + usize::try_from(u128::from(more) * u128::from(over) / u128::from(self.max)).unwrap_or(0)
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    fn wake(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        self.offer.notify_all();
    }

    /// Something was refused for want of room: the log is folded now, however small it is.
    pub(crate) fn has_no_room(&self) {
        self.no_room.store(true, Ordering::Release);
        self.wake();
    }

    /// Waits for something to do: a log that is too large, one that may make room, or one that is worth it while nothing
    /// else is written.
    fn wait(&self) {
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = self.appended.load(Ordering::Acquire);
        loop {
            let no_room = self.no_room.swap(false, Ordering::AcqRel) && self.bytes() > 0;
            if no_room || self.is_stopping() || self.bytes() >= self.max {
                return;
            }
            guard = self.changed.wait_timeout(guard, IDLE).unwrap_or_else(PoisonError::into_inner).0;
            let now = self.appended.load(Ordering::Acquire);
            if now == seen && self.bytes() > self.max / IDLE_PART {
                return;
            }
            seen = now;
        }
    }

    /// Only the end makes it shorter: folding that fails is not tried again for each commit that fails, too.
    fn pause(&self, time: Duration) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_timeout_while(guard, time, |()| !self.is_stopping()));
    }

    fn set_fails(&self, fails: bool) {
        self.fails.store(fails, Ordering::Release);
        self.offer.notify_all();
    }

    /// The writer is handed something just now.
    fn offers(&self) {
        self.offered.store(true, Ordering::Release);
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
        self.offer.notify_all();
    }

    /// The writer has it.
    pub(crate) fn took(&self) {
        self.offered.store(false, Ordering::Release);
    }

    /// Waits until the writer is handed a slice, so long at most, if commits have to wait for folding at all.
    pub(crate) fn wait_for_slice(&self, time: Duration) {
        let guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |(): &mut ()| self.is_overdue() && !self.offered.load(Ordering::Acquire);
        drop(self.offer.wait_timeout_while(guard, time, waits));
    }
}

/// What the writer did with a slice; an answer that never comes is one that failed.
pub(crate) type FoldReply = Sender<bool>;

/// The handle on the thread. Dropping it ends the thread, whatever is left in the log.
#[derive(Debug)]
pub(crate) struct Folder {
    gauge: Arc<Gauge>,
    thread: Option<JoinHandle<()>>,
}

impl Folder {
    pub(crate) fn start(
        path: &Path,
        index: Arc<Index>,
        gauge: Arc<Gauge>,
        writer: Option<SyncSender<Write>>,
        kept: Kept,
        last_chunk: i64,
    ) -> std::io::Result<Self> {
        let Some(writer) = writer else { return Ok(Self { gauge, thread: None }) };
        let mut worker = Worker {
            path: path.to_owned(),
            index,
            gauge: Arc::clone(&gauge),
            writer,
            kept,
            last_chunk,
            damage: Damage::default(),
        };
        let thread = thread::Builder::new().name("sqlite-folder".to_owned()).spawn(move || worker.run())?;
        Ok(Self { gauge, thread: Some(thread) })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.gauge.stop.store(true, Ordering::Release);
        self.gauge.wake();
        threads::join(self.thread.take(), "folder");
    }
}

struct Worker {
    path: PathBuf,
    index: Arc<Index>,
    gauge: Arc<Gauge>,
    writer: SyncSender<Write>,
    kept: Kept,
    /// The largest key that a chunk of history has.
    last_chunk: i64,
    damage: Damage,
}

/// Why a round ended early.
enum Cut {
    /// It is told to stop, or the writer did not write; the writer has logged why.
    Quiet,
    Failed(ReadError),
}

impl From<ReadError> for Cut {
    fn from(error: ReadError) -> Self {
        Self::Failed(error)
    }
}

impl From<rusqlite::Error> for Cut {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(ReadError::Sql(error))
    }
}

impl Worker {
    fn run(&mut self) {
        loop {
            self.gauge.wait();
            if self.gauge.is_stopping() {
                return;
            }
            let result = guarded(|| self.round());
            self.gauge.set_fails(result.is_err());
            match result {
                Ok(()) => (),
                Err(Cut::Quiet) => self.gauge.pause(PATIENCE),
                Err(Cut::Failed(error)) => {
                    tracing::warn!(error = %error.meaning(), bytes = self.gauge.bytes(), "the log of heartbeats is not folded, and grows");
                    self.gauge.pause(PATIENCE);
                }
            }
        }
    }

    /// Folds and deletes what is in the log now.
    fn round(&mut self) -> Result<(), Cut> {
        let connection = open::reader(&self.path)?;
        // What was appended before the last row was noted is in the index; more may be.
        let bytes = self.gauge.appended.load(Ordering::Acquire);
        let last = self.gauge.last.load(Ordering::Acquire);
        let first: Option<i64> = connection.query_row("SELECT min(seq) FROM log", [], |row| row.get(0))?;
        let first = first.map_or(u64::MAX, i64::cast_unsigned);
        let ids = self.index.tailing();
        let parts = usize::try_from(self.gauge.bytes().div_ceil(GATHER_BYTES)).unwrap_or(1).max(1);
        for ids in ids.chunks(ids.len().div_ceil(parts).max(1)) {
            self.part(&connection, ids, first, last)?;
        }
        let mut next = first;
        while next <= last {
            let up_to = next.saturating_add(TRIM_ROWS_MAX - 1).min(last);
            let trim = Trim { up_to, damaged: self.damage.up_to(up_to), ..Trim::default() };
            self.hand_over(|reply| Write::Trim(trim, reply))?;
            self.damage.forget(up_to);
            next = up_to + 1;
        }
        self.gauge.deleted.store(bytes, Ordering::Release);
        self.forget(&connection)
    }

    /// Forgets counts that are old, a little at a time, as long as there is nothing more urgent.
    fn forget(&self, connection: &Connection) -> Result<(), Cut> {
        let counts_below = counts::expired(connection, self.kept.counts_days)?;
        let Some(below) = counts_below else { return Ok(()) };
        while self.gauge.bytes() < self.gauge.max && counts::has_expired(connection, below)? {
            self.hand_over(|reply| Write::Trim(Trim { counts_below, ..Trim::default() }, reply))?;
        }
        Ok(())
    }

    /// Folds what the rows from `first` to `last` have of some monitors, who are in the order of their ids.
    fn part(&mut self, connection: &Connection, ids: &[[u8; 16]], first: u64, last: u64) -> Result<(), Cut> {
        let (Some(least), Some(greatest)) = (ids.first(), ids.last()) else { return Ok(()) };
        let mut gathered = Gathered::default();
        let mut next = first;
        while next <= last {
            if self.gauge.is_stopping() {
                return Err(Cut::Quiet);
            }
            next = gathered.read(connection, (least, greatest), (next, last), &mut self.damage)?;
        }
        gathered.sort();
        let mut monitors = gathered.monitors();
        while let Some(slice) = self.prepare(connection, &mut monitors)? {
            if !slice.is_empty() {
                self.hand_over(|reply| Write::Fold(slice, reply))?;
            }
        }
        Ok(())
    }

    /// Waits until it is written.
    fn hand_over(&self, write: impl FnOnce(FoldReply) -> Write) -> Result<(), Cut> {
        if self.gauge.is_stopping() {
            return Err(Cut::Quiet);
        }
        let (reply, answer) = channel();
        // Before it is there: the writer makes room for it when its queue is full.
        self.gauge.offers();
        self.writer.send(write(reply)).map_err(|_| Cut::Quiet)?;
        if answer.recv() == Ok(true) { Ok(()) } else { Err(Cut::Quiet) }
    }

    /// The next slice, in one look at the database; `None` when all is done.
    fn prepare<'a>(
        &mut self,
        connection: &Connection,
        monitors: &mut impl Iterator<Item = Entries<'a>>,
    ) -> Result<Option<Slice>, Cut> {
        let snapshot = connection.unchecked_transaction()?;
        let (mut slice, mut bytes, most) = (Vec::new(), 0, self.gauge.slice());
        let mut taken = 0;
        while taken < most && bytes < SLICE_BYTES_MAX {
            let Some(entries) = monitors.next() else { break };
            taken += 1;
            let (keys, damage) = (&mut self.last_chunk, &mut self.damage);
            if let Some(item) = prepare::item(&snapshot, entries, self.kept, keys, damage)? {
                bytes += item.bytes();
                slice.push(item);
            }
        }
        snapshot.finish()?;
        Ok((taken > 0).then_some(slice))
    }
}

/// A round that panics is one that failed: no commit waits for it, and the next may work.
fn guarded(round: impl FnOnce() -> Result<(), Cut>) -> Result<(), Cut> {
    catch_unwind(AssertUnwindSafe(round)).unwrap_or_else(|_| {
        tracing::error!("folding the log of the database ended by a panic");
        Err(Cut::Quiet)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_grow_with_what_is_too_much() {
        let gauge = |bytes| Gauge::new(bytes, 0, 1000);
        assert_eq!(gauge(10).slice(), SLICE_MONITORS_MIN);
        assert_eq!(gauge(1500).slice(), (SLICE_MONITORS_MIN + SLICE_MONITORS_MAX) / 2);
        assert_eq!(gauge(1_000_000).slice(), SLICE_MONITORS_MAX);
        assert!(!gauge(1999).is_overdue() && gauge(2000).is_overdue());
        assert_eq!(Gauge::new(5, 0, 0).slice(), SLICE_MONITORS_MAX, "a limit of nothing folds at once");
    }

    #[test]
    fn a_panic_is_a_round_that_failed() {
        assert!(guarded(|| Ok(())).is_ok());
        assert!(guarded(|| panic!("on purpose")).is_err());
    }

    #[test]
    fn a_small_log_is_folded_when_there_is_no_room() {
        let gauge = Gauge::new(10, 0, 1 << 20);
        gauge.has_no_room();
        // It hangs otherwise: nobody appends anything, and the log is too small to be folded while nothing is written.
        gauge.wait();
        assert!(!gauge.no_room.load(Ordering::Relaxed), "it is asked for once");
    }

    #[test]
    fn nobody_waits_for_a_slice_that_is_there_or_never_comes() {
        // The test hangs when it waits.
        const LONG: Duration = Duration::from_secs(3600);
        let gauge = Gauge::new(2000, 0, 1000);
        gauge.offers();
        gauge.wait_for_slice(LONG);
        gauge.took();
        gauge.wait_for_slice(Duration::from_millis(1));
        gauge.set_fails(true);
        gauge.wait_for_slice(LONG);
        Gauge::new(1999, 0, 1000).wait_for_slice(LONG);
    }
}
