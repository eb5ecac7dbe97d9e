//! The one thread that writes: it puts everything that waits into one transaction.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use heartbeat_engine::{Applied, Lease, StorageError};
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::apply::{self, Applier, ApplyError};
use crate::checkpoint::{self, WalGauge};
use crate::encode::Encoded;
use crate::error;
use crate::fold::{self, FoldReply, Gauge};
use crate::index::Index;
use crate::open::{self, Opened};
use crate::options::{Counters, SqliteOptions};

/// How many writes may wait; more are answered with [`StorageError::Unavailable`].
pub(crate) const QUEUE_MAX: usize = 4096;
/// How many transitions one transaction takes before it lets no further batch in.
const GROUP_TRANSITIONS_MAX: usize = 4096;
/// How long a transaction waits for a slice while the log is twice as large as it may be.
const FOLD_PATIENCE: Duration = Duration::from_millis(20);

type Reply<T> = oneshot::Sender<Result<T, StorageError>>;

/// Something to write and who waits for it.
pub(crate) enum Write {
    Batch(Box<Encoded>, Reply<Applied>),
    Lease(Box<(Lease, Lease)>, Reply<bool>),
    /// What folding puts into rows.
    Fold(fold::Slice, FoldReply),
    /// What of the log may be deleted.
    Trim(fold::Trim, FoldReply),
}

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
        last_seq: u64,
    ) -> std::io::Result<Self> {
        let (queue, inbox) = sync_channel(QUEUE_MAX);
        let thread = thread::Builder::new().name("sqlite-writer".to_owned()).spawn(move || {
            // It is let go of last, when the connection is closed.
            let _lock = opened.lock;
            let mut worker = Worker {
                path: opened.path,
                connection: Some(opened.connection),
                tainted: None,
                applier: Applier::new(&options, index, last_seq),
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
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer of the database ended by a panic");
        }
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
    counters: Arc<Counters>,
    gauge: Arc<Gauge>,
    wal: Arc<WalGauge>,
}

/// The answer to one write of a group, held back until the transaction is durable.
enum Answer {
    Applied(Applied),
    Swapped(bool),
    Folded,
    Failed(StorageError),
}

impl Worker {
    fn run(&mut self, inbox: &Receiver<Write>) {
        while let Ok(first) = inbox.recv() {
            let mut size = transitions(&first);
            let mut folds = is_fold(&first);
            let mut group = vec![first];
            while size < GROUP_TRANSITIONS_MAX
                && let Some(write) = self.next(inbox, folds)
            {
                size += transitions(&write);
                folds |= is_fold(&write);
                group.push(write);
            }
            self.group(group);
            self.copy_rest();
        }
    }

    /// Copies the rest of the write-ahead log into the file, when there is hardly any.
    fn copy_rest(&mut self) {
        if let Some(connection) = &self.connection
            && self.wal.take_finish()
            && let Err(error) = checkpoint::passive(connection)
        {
            tracing::warn!(%error, "the write-ahead log could not be copied into the database");
        }
    }

    /// What waits already. When the log is far too large, some time is spent waiting for what makes it smaller.
    fn next(&self, inbox: &Receiver<Write>, folds: bool) -> Option<Write> {
        if !folds && self.gauge.is_overdue() {
            return inbox.recv_timeout(FOLD_PATIENCE).ok();
        }
        inbox.try_recv().ok()
    }

    /// Writes a group and answers it. When one write takes the whole transaction down, each is tried alone.
    fn group(&mut self, group: Vec<Write>) {
        match self.transaction(&group) {
            Ok(answers) => {
                Counters::add(&self.counters.transactions, 1);
                self.counters.folded(group.iter().map(folds).sum());
                let asked = group.iter().filter(|write| !is_fold(write)).count();
                Counters::add(&self.counters.writes, asked);
                for (write, answer) in group.into_iter().zip(answers) {
                    reply(write, answer);
                }
            }
            Err(StorageError::Unavailable(_) | StorageError::Corrupt(_)) if group.len() > 1 => {
                for write in group {
                    self.group(vec![write]);
                }
            }
            Err(error) => {
                Counters::add(&self.counters.writes, group.len());
                for write in group {
                    reply(write, Answer::Failed(error.clone()));
                }
            }
        }
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
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(|error| (error, error::rolled_back as fn(&rusqlite::Error) -> StorageError))
            .and_then(|()| self.within(&connection, group).map_err(|error| (error, error::rolled_back as _)))
            .and_then(|answers| match connection.execute_batch("COMMIT") {
                Ok(()) => Ok(answers),
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
        for write in group {
            connection.prepare_cached("SAVEPOINT batch")?.execute([])?;
            self.applier.begin();
            let answer = match write {
                Write::Batch(batch, _) => self.applier.batch(connection, batch).map(Answer::Applied),
                Write::Lease(swap, _) => {
                    apply::swap_lease(connection, &swap.0, &swap.1).map(Answer::Swapped).map_err(ApplyError::Sql)
                }
                Write::Fold(slice, _) => fold::write_slice(connection, slice, &mut self.applier.staged)
                    .map(|()| Answer::Folded)
                    .map_err(ApplyError::Sql),
                Write::Trim(trim, _) => {
                    fold::write_trim(connection, trim).map(|()| Answer::Folded).map_err(ApplyError::Sql)
                }
            };
            answers.push(match answer {
                Ok(answer) => answer,
                Err(error) => {
                    self.applier.roll_back();
                    let error = match error {
                        ApplyError::Refused(error) => error,
                        // Some errors end the whole transaction, and damage is no matter of one batch.
                        ApplyError::Sql(error) if connection.is_autocommit() || error::taints_connection(&error) => {
                            return Err(error);
                        }
                        ApplyError::Sql(error) => error::rolled_back(&error),
                    };
                    connection.prepare_cached("ROLLBACK TO batch")?.execute([])?;
                    Answer::Failed(error)
                }
            });
            connection.prepare_cached("RELEASE batch")?.execute([])?;
        }
        self.applier.sweep(connection)?;
        Ok(answers)
    }

    fn failed(&mut self, error: &rusqlite::Error, meaning: fn(&rusqlite::Error) -> StorageError) -> StorageError {
        self.applier.forget();
        Counters::add(&self.counters.failed_transactions, 1);
        tracing::warn!(%error, "a transaction failed and was rolled back");
        meaning(error)
    }

    /// Folds the log into the file.
    fn close(self) {
        let Some(connection) = self.connection else { return };
        let folded = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        connection.flush_prepared_statement_cache();
        let closed = connection.close().map_err(|(_, error)| error);
        if let Err(error) = folded.and(closed) {
            tracing::warn!(%error, "the database was not closed in order; its log is read at the next start");
        }
    }
}

fn transitions(write: &Write) -> usize {
    match write {
        Write::Batch(batch, _) => batch.transitions.len().max(1),
        Write::Lease(..) => 1,
        // They are bounded by themselves.
        Write::Fold(..) | Write::Trim(..) => 0,
    }
}

const fn is_fold(write: &Write) -> bool {
    matches!(write, Write::Fold(..) | Write::Trim(..))
}

/// How many monitors it folds.
fn folds(write: &Write) -> usize {
    match write {
        Write::Fold(slice, _) => slice.len(),
        _ => 0,
    }
}

/// Nobody may be waiting any more; then nobody is told.
fn reply(write: Write, answer: Answer) {
    match (write, answer) {
        (Write::Batch(_, reply), Answer::Applied(applied)) => drop(reply.send(Ok(applied))),
        (Write::Batch(_, reply), Answer::Failed(error)) => drop(reply.send(Err(error))),
        (Write::Lease(_, reply), Answer::Swapped(swapped)) => drop(reply.send(Ok(swapped))),
        (Write::Lease(_, reply), Answer::Failed(error)) => drop(reply.send(Err(error))),
        (Write::Fold(_, reply) | Write::Trim(_, reply), answer) => {
            reply.send(matches!(answer, Answer::Folded)).ok();
        }
        (Write::Batch(..), Answer::Swapped(_) | Answer::Folded)
        | (Write::Lease(..), Answer::Applied(_) | Answer::Folded) => {
            tracing::error!("a write got the answer of another kind");
        }
    }
}
