//! The threads that read, so that no read waits for the writer and none blocks the caller's runtime.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use heartbeat_engine::StorageError;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error;
use crate::{open, threads};

/// How many reads may wait; more are answered with [`StorageError::Unavailable`].
pub(crate) const QUEUE_MAX: usize = 4096;

/// Why a read failed.
pub(crate) enum ReadError {
    Sql(rusqlite::Error),
    Undecodable(StorageError),
}

impl ReadError {
    /// What it means to the caller.
    pub(crate) fn meaning(self) -> StorageError {
        match self {
            Self::Sql(error) => error::rolled_back(&error),
            Self::Undecodable(error) => error,
        }
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

pub(crate) type Read<T> = Result<T, ReadError>;

/// A read with its reply; it says whether the connection is still good.
type Job = Box<dyn FnOnce(Result<&Connection, StorageError>) -> bool + Send>;

/// The handle on the threads. Dropping it lets them finish what waits.
#[derive(Debug)]
pub(crate) struct Readers {
    queue: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    pub(crate) fn start(path: &Path, count: usize) -> std::io::Result<Self> {
        let (queue, inbox) = sync_channel(QUEUE_MAX);
        let inbox = Arc::new(Mutex::new(inbox));
        let mut readers = Self { queue: Some(queue), threads: Vec::new() };
        for _ in 0..count {
            let (path, inbox) = (path.to_owned(), Arc::clone(&inbox));
            let thread = thread::Builder::new().name("sqlite-reader".to_owned());
            readers.threads.push(thread.spawn(move || run(&path, &inbox))?);
        }
        Ok(readers)
    }

    /// Runs a read on one of the threads, seeing one state of the database throughout.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Read<T> + Send + 'static,
    ) -> Result<T, StorageError> {
        self.send(read)?.await.unwrap_or_else(|_| Err(closed()))
    }

    fn send<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Read<T> + Send + 'static,
    ) -> Result<oneshot::Receiver<Result<T, StorageError>>, StorageError> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let result = connection.and_then(|connection| snapshot(connection, read));
            let good = !matches!(result, Err(StorageError::Unavailable(_) | StorageError::Corrupt(_)));
            drop(reply.send(result));
            good
        });
        let refused = match self.queue.as_ref().map(|queue| queue.try_send(job)) {
            Some(Ok(())) => return Ok(answer),
            Some(Err(TrySendError::Full(_))) => StorageError::Unavailable(format!("{QUEUE_MAX} reads wait already")),
            Some(Err(TrySendError::Disconnected(_))) | None => closed(),
        };
        Err(refused)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue = None;
        self.threads.drain(..).for_each(|thread| threads::join(Some(thread), "reader"));
    }
}

fn closed() -> StorageError {
    StorageError::Unavailable("it is closed".to_owned())
}

fn snapshot<T>(connection: &Connection, read: impl FnOnce(&Connection) -> Read<T>) -> Result<T, StorageError> {
    let sql = |error: rusqlite::Error| error::rolled_back(&error);
    let transaction = connection.unchecked_transaction().map_err(sql)?;
    let result = read(&transaction).map_err(ReadError::meaning)?;
    transaction.finish().map_err(sql)?;
    Ok(result)
}

fn run(path: &Path, inbox: &Mutex<Receiver<Job>>) {
    let mut connection = None;
    loop {
        let job = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        if connection.is_none() {
            match open::reader(path) {
                Ok(opened) => connection = Some(opened),
                Err(error) => {
                    job(Err(error::rolled_back(&error)));
                    continue;
                }
            }
        }
        if let Some(open) = &connection
            && !job(Ok(open))
        {
            connection = None;
        }
    }
}
