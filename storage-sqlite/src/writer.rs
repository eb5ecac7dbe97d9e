//! The one thread that writes: it puts everything that waits into one transaction.

#[cfg(test)]
mod tests;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use heartbeat_engine::StorageError;
use rusqlite::{Connection, ErrorCode};

use crate::apply::{self, Applier, ApplyError};
use crate::checkpoint::WalGauge;
use crate::deferred::Deferred;
use crate::error;
use crate::fold::{self, Gauge};
use crate::index::Index;
use crate::open::{self, Opened};
use crate::options::{Counters, SqliteOptions};
use crate::room::Room;
use crate::threads;

pub(crate) use self::write::Write;
use self::write::{Answer, Reply, folds, is_fold, reply, transitions};

/// How many writes may wait; more are answered with [`StorageError::Unavailable`].
pub(crate) const QUEUE_MAX: usize = 4096;
/// How many transitions one transaction takes before it lets no further batch in.
const GROUP_TRANSITIONS_MAX: usize = 4096;
/// A write of so many transitions has a transaction of its own. Beside others it would need a savepoint, and SQLite goes through
/// all that one holds at the end of each statement: a hundred thousand monitors that go down would take minutes.
const TRANSITIONS_OF_ITS_OWN: usize = 128;
/// How long nothing must come before what large batches left to later is put into its tables.
const QUIET: Duration = Duration::from_millis(20);
/// The same after a large batch: while the next one of an event is being decided, nothing must be in its way.
const LULL: Duration = Duration::from_millis(250);
/// How long to wait when putting failed.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a transaction waits at most, once, for a slice while the log is twice as large as it may be.
const FOLD_PATIENCE: Duration = Duration::from_millis(20);

/// The handle on the thread. Dropping it lets the thread finish what waits and close the database.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Option<SyncSender<Write>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(crate) fn start(
        opened: Opened,
        options: SqliteOptions,
        counters: Arc<Counters>,
        (index, gauge): (Arc<Index>, Arc<Gauge>),
        (last_seq, deferred): (u64, Deferred),
    ) -> std::io::Result<Self> {
        let (queue, inbox) = sync_channel(QUEUE_MAX);
        let thread = thread::Builder::new().name("sqlite-writer".to_owned()).spawn(move || {
            // It is let go of last, when the connection is closed.
            let _lock = opened.lock;
            let mut worker = Worker {
                path: opened.path,
                connection: Some(opened.connection),
                tainted: None,
                applier: Applier::new(&options, index, last_seq, deferred),
                waiting: Vec::new(),
                options,
                counters,
                gauge,
                wal: opened.wal,
            };
            worker.run(&inbox);
            worker.close();
        })?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    /// For what folds, which ends before this is dropped.
    pub(crate) fn queue(&self) -> Option<SyncSender<Write>> {
        self.queue.clone()
    }

    pub(crate) fn send(&self, write: Write) -> Result<(), StorageError> {
        let refused = match self.queue.as_ref().map(|queue| queue.try_send(write)) {
            Some(Ok(())) => return Ok(()),
            Some(Err(TrySendError::Full(_))) => format!("{QUEUE_MAX} writes wait already"),
            Some(Err(TrySendError::Disconnected(_))) | None => "it is closed".to_owned(),
        };
        Err(StorageError::Unavailable(refused))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        threads::join(self.thread.take(), "writer");
    }
}

struct Worker {
    path: PathBuf,
    /// `None` after trouble: a new one is opened for the next write.
    connection: Option<Connection>,
    /// The one before it, until a new one is open. Whoever opens a database that nobody has open reads its log anew, and
    /// would find there, and build on, a commit that failed and may never reach the disk.
    tainted: Option<Connection>,
    options: SqliteOptions,
    applier: Applier,
    /// Who waits until everything up to a row of what was left to later is in the tables.
    waiting: Vec<(u64, Reply<()>)>,
    counters: Arc<Counters>,
    gauge: Arc<Gauge>,
    wal: Arc<WalGauge>,
}

/// What a group was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Group {
    /// There were batches, none of which was large.
    Steady,
    /// There was a large batch.
    Large,
    /// There were no batches.
    Aside,
}

impl Worker {
    fn run(&mut self, inbox: &Receiver<Write>) {
        let mut patience = QUIET;
        loop {
            let group = match self.next(inbox, patience) {
                Ok(first) => Some(self.take(first, inbox)),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // While large batches come one after the other, what they leave waits, unless it is too much.
            let must = self.applier.deferred.is_full() || !self.waiting.is_empty();
            patience = match group {
                Some(Group::Large) if !must => LULL,
                Some(Group::Aside) if !must => QUIET,
                _ => self.put_deferred(),
            };
            self.copy_rest();
        }
    }

    /// The next write; none for some time while there is something to be put into its tables.
    fn next(&self, inbox: &Receiver<Write>, patience: Duration) -> Result<Write, RecvTimeoutError> {
        if self.applier.deferred.is_empty() {
            return inbox.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        if self.waiting.is_empty() || patience >= PATIENCE {
            return inbox.recv_timeout(patience);
        }
        inbox.try_recv().map_err(|error| match error {
            TryRecvError::Empty => RecvTimeoutError::Timeout,
            TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
        })
    }

    /// Writes what waits.
    fn take(&mut self, first: Write, inbox: &Receiver<Write>) -> Group {
        let mut group = collect(first, inbox, &self.gauge);
        let asked: Vec<Write> = group.extract_if(.., |write| matches!(write, Write::PutDeferred(_))).collect();
        let is_large = |write: &Write| matches!(write, Write::Batch(batch, _) if self.applier.is_large(batch.lines()));
        let kind = match group.iter().any(is_large) {
            true => Group::Large,
            false if group.iter().any(|write| matches!(write, Write::Batch(..))) => Group::Steady,
            false => Group::Aside,
        };
        let (large, small): (Vec<Write>, Vec<Write>) =
            group.into_iter().partition(|write| transitions(write) >= TRANSITIONS_OF_ITS_OWN);
        large.into_iter().for_each(|write| self.group(vec![write]));
        if !small.is_empty() {
            self.group(small);
        }
        let last = self.applier.deferred.last();
        for write in asked {
            if let Write::PutDeferred(reply) = write {
                self.waiting.push((last, reply));
            }
        }
        kind
    }

    /// Puts a piece of what was left to later into its tables, and answers those who waited for that; says how long to wait
    /// for the next piece.
    fn put_deferred(&mut self) -> Duration {
        let result = if self.applier.deferred.is_empty() { Ok(()) } else { self.put_some() };
        let deferred = &self.applier.deferred;
        for (row, reply) in std::mem::take(&mut self.waiting) {
            match &result {
                Ok(()) if !deferred.has_put(row) => self.waiting.push((row, reply)),
                // Nobody may be waiting any more.
                result => drop(reply.send(result.clone())),
            }
        }
        if result.is_ok() { QUIET } else { PATIENCE }
    }

    /// Copies the rest of the write-ahead log into the file, when it is time to.
    fn copy_rest(&mut self) {
        if let Some(connection) = &self.connection
            && let Err(error) = self.wal.copy_rest(connection)
        {
            tracing::warn!(%error, "the write-ahead log could not be copied into the database");
        }
    }

    fn put_some(&mut self) -> Result<(), StorageError> {
        self.may_write()?;
        let failed = self.transaction(&[Write::Deferred])?.into_iter().find_map(|answer| match answer {
            Answer::Failed(error) => Some(error),
            _ => None,
        });
        failed.map_or(Ok(()), Err)
    }

    fn may_write(&self) -> Result<(), StorageError> {
        if self.wal.is_full() {
            let text = "the disk could not sync the database, and its write-ahead log is full; restart the program";
            return Err(StorageError::Unavailable(text.to_owned()));
        }
        Ok(())
    }

    /// Writes a group and answers it. When one write takes the whole transaction down, each is tried alone.
    fn group(&mut self, group: Vec<Write>) {
        if let Err(error) = self.may_write() {
            return self.refuse(group, &error);
        }
        match self.transaction(&group) {
            Ok(answers) => {
                Counters::add(&self.counters.transactions, 1);
                self.counters.folded(group.iter().map(folds).sum());
                self.count(&group);
                for (write, answer) in group.into_iter().zip(answers) {
                    reply(write, answer);
                }
            }
            Err(StorageError::Unavailable(_) | StorageError::Corrupt(_)) if group.len() > 1 => {
                for write in group {
                    self.group(vec![write]);
                }
            }
            Err(error) => self.refuse(group, &error),
        }
    }

    fn refuse(&self, group: Vec<Write>, error: &StorageError) {
        self.count(&group);
        for write in group {
            reply(write, Answer::Failed(error.clone()));
        }
    }

    fn count(&self, group: &[Write]) {
        Counters::add(&self.counters.writes, group.iter().filter(|write| !is_fold(write)).count());
    }

    /// The answers, once everything is committed.
    fn transaction(&mut self, group: &[Write]) -> Result<Vec<Answer>, StorageError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => open::writer(&self.path, &self.options, &self.wal)
                .map_err(|error| self.failed(&error, error::rolled_back))?,
        };
        self.tainted = None;
        let result = connection
            .prepare_cached("BEGIN IMMEDIATE")
            .and_then(|mut begin| begin.execute([]))
            .map_err(|error| (error, error::rolled_back as fn(&rusqlite::Error) -> StorageError))
            .and_then(|_| self.within(&connection, group).map_err(|error| (error, error::rolled_back as _)))
            .and_then(|answers| match connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])) {
                Ok(_) => Ok(answers),
                Err(error) => Err((error, error::of_commit as _)),
            });
        match result {
            Ok(answers) => {
                self.connection = Some(connection);
                let appended = self.applier.publish();
                self.gauge.appended(appended, self.applier.last_seq());
                Ok(answers)
            }
            Err((error, meaning)) => {
                let clean = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
                if clean && !error::taints_connection(&error) {
                    self.connection = Some(connection);
                } else {
                    self.tainted = Some(connection);
                }
                Err(self.failed(&error, meaning))
            }
        }
    }

    fn within(&mut self, connection: &Connection, group: &[Write]) -> rusqlite::Result<Vec<Answer>> {
        let mut answers = Vec::with_capacity(group.len());
        // What is alone is rolled back with the transaction.
        let alone = group.len() == 1;
        for write in group {
            if !alone {
                connection.prepare_cached("SAVEPOINT batch")?.execute([])?;
            }
            self.applier.begin();
            let answer = match self.write(connection, write) {
                Ok(answer) => answer,
                Err(error) => {
                    self.applier.roll_back();
                    let error = self.refused(connection, write, error)?;
                    connection.execute_batch(if alone { "ROLLBACK; BEGIN IMMEDIATE" } else { "ROLLBACK TO batch" })?;
                    Answer::Failed(error)
                }
            };
            answers.push(answer);
            if !alone {
                connection.prepare_cached("RELEASE batch")?.execute([])?;
            }
        }
        self.applier.sweep(connection)?;
        Ok(answers)
    }

    fn write(&mut self, connection: &Connection, write: &Write) -> Result<Answer, ApplyError> {
        match write {
            Write::Batch(batch, _) => {
                let before = Room::look(connection, &self.options)?;
                let applied = batch.look(|batch| self.applier.batch(connection, batch))?;
                let after = Room::look(connection, &self.options)?;
                Room::check(before, after).map_err(|error| {
                    self.gauge.has_no_room();
                    ApplyError::Refused(error)
                })?;
                return Ok(Answer::Applied(applied));
            }
            Write::Import(import, _) => self.applier.import(connection, import)?,
            Write::Lease(swap, _) => return Ok(Answer::Swapped(apply::swap_lease(connection, &swap.0, &swap.1)?)),
            Write::Fold(slice, _) => fold::write_slice(connection, slice, &mut self.applier.staged)?,
            Write::Trim(trim, _) => fold::write_trim(connection, trim)?,
            Write::Deferred => self.applier.put_deferred(connection)?,
            // It writes nothing itself.
            Write::PutDeferred(_) => (),
        }
        Ok(Answer::Folded)
    }

    /// What is answered to a write that is rolled back alone; an error when the whole transaction has to be.
    fn refused(
        &self,
        connection: &Connection,
        write: &Write,
        error: ApplyError,
    ) -> Result<StorageError, rusqlite::Error> {
        match error {
            ApplyError::Refused(error) => Ok(error),
            // Some errors end the whole transaction, and damage is no matter of one batch.
            ApplyError::Sql(error) if connection.is_autocommit() || error::taints_connection(&error) => Err(error),
            ApplyError::Sql(error) => {
                self.note_full(&error);
                if is_fold(write) {
                    tracing::warn!(%error, "what the log has of some monitors could not be put into their rows");
                }
                Ok(error::rolled_back(&error))
            }
        }
    }

    /// Folding makes no room on a disk that is full, but it does in a file that must not grow.
    fn note_full(&self, error: &rusqlite::Error) {
        if error.sqlite_error_code() == Some(ErrorCode::DiskFull) && self.options.max_file_bytes.is_some() {
            self.gauge.has_no_room();
        }
    }

    fn failed(&mut self, error: &rusqlite::Error, meaning: fn(&rusqlite::Error) -> StorageError) -> StorageError {
        self.applier.forget();
        self.note_full(error);
        Counters::add(&self.counters.failed_transactions, 1);
        tracing::warn!(%error, "a transaction failed and was rolled back");
        meaning(error)
    }

    /// Copies the write-ahead log into the file.
    fn close(self) {
        let Some(connection) = self.connection.or(self.tainted) else { return };
        let copied = self.wal.copy_all(&connection);
        connection.flush_prepared_statement_cache();
        let closed = connection.close().map_err(|(_, error)| error);
        if let Err(error) = copied.and(closed) {
            tracing::warn!(%error, "the database was not closed in order; its log is read at the next start");
        }
    }
}

/// What waits already, for one transaction. When the log is far too large, it waits a moment for what makes it smaller.
fn collect(first: Write, inbox: &Receiver<Write>, gauge: &Gauge) -> Vec<Write> {
    let (mut size, mut folds) = (transitions(&first), is_fold(&first));
    let mut group = vec![first];
    let mut waited = false;
    while size < GROUP_TRANSITIONS_MAX {
        match inbox.try_recv() {
            Ok(write) => {
                size += transitions(&write);
                folds |= is_fold(&write);
                group.push(write);
            }
            Err(_) if folds || waited => break,
            Err(_) => {
                waited = true;
                gauge.wait_for_slice(FOLD_PATIENCE);
            }
        }
    }
    if folds {
        gauge.took();
    }
    group
}
