//! What all parts of the storage share: the links, the names of keys, and what the store was made with.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use heartbeat_engine::{MonitorId, PartitionId, StorageError};
use redis::{Cmd, FromRedisValue, Pipeline};

use crate::error;
use crate::keys::Keys;
use crate::link::Link;
use crate::options::RedisOptions;
use crate::rounds::{Rounds, written};
use crate::script::Script;
use crate::url::Kind;

pub(crate) struct Store {
    pub(crate) keys: Keys,
    /// How many partitions there are.
    pub(crate) partitions: u16,
    pub(crate) options: RedisOptions,
    pub(crate) lanes: Arc<Lanes>,
    pub(crate) rounds: Rounds,
    /// Long answers do not hold up commits.
    reads: Link,
    writes: Arc<Link>,
}

impl Store {
    pub(crate) fn new(options: RedisOptions, partitions: u16, reads: Link, writes: Link, writer: &str) -> Self {
        let keys = Keys::new(&options.prefix);
        let (lanes, writes) = (Arc::new(Lanes::new(writer)), Arc::new(writes));
        let together = options.url.kind != Kind::Cluster;
        let rounds = Rounds::new(writes.clone(), lanes.clone(), options.limits, together);
        Self { keys, partitions, options, lanes, rounds, reads, writes }
    }

    pub(crate) fn partition_of(&self, monitor: MonitorId) -> PartitionId {
        PartitionId::of(monitor, self.partitions)
    }

    pub(crate) fn all_partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.partitions).map(PartitionId)
    }

    pub(crate) async fn read<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StorageError> {
        self.reads.command(command).await.map_err(|failure| error::reading(failure.error()))
    }

    /// Several reads within one slot, in their order; what is written meanwhile may come between.
    pub(crate) async fn read_all<T: FromRedisValue>(&self, pipeline: &Pipeline) -> Result<T, StorageError> {
        self.reads.pipeline(pipeline).await.map_err(|failure| error::reading(failure.error()))
    }

    /// A script that changes nothing that anybody else relies on.
    pub(crate) async fn read_script<T: FromRedisValue>(&self, script: &Script, call: &Cmd) -> Result<T, StorageError> {
        self.reads.script(script, call).await.map_err(|failure| error::reading(failure.error()))
    }

    /// A script that may be carried out twice.
    pub(crate) async fn write<T: FromRedisValue>(&self, script: &Script, call: &Cmd) -> Result<T, StorageError> {
        self.writes.script(script, call).await.map_err(|failure| written(&failure))
    }

    /// Where [`Store::wait_for_replicas`] begins: taken before something is written. `None` where no replica is waited for.
    pub(crate) async fn before_writing(&self) -> Result<Option<u64>, StorageError> {
        if self.options.wait_replicas == 0 {
            return Ok(None);
        }
        let number = self.writes.number().await;
        number.map(Some).map_err(|failure| error::reading(failure.error()))
    }

    /// Waits until replicas have what was written since. Redis tells it of what one connection wrote: if that one broke, and
    /// perhaps another server took over, nobody can tell.
    pub(crate) async fn wait_for_replicas(&self, since: Option<u64>) -> Result<(), StorageError> {
        let Some(connection) = since else { return Ok(()) };
        let wanted = self.options.wait_replicas;
        let mut wait = redis::cmd("WAIT");
        wait.arg(wanted).arg((self.options.timeout.as_millis() as u64 / 2).max(1));
        let reached = self.writes.command_on::<u32>(connection, &wait).await;
        match reached.map_err(|failure| StorageError::Unknown(failure.error().to_string()))? {
            Some(reached) if reached >= wanted => Ok(()),
            Some(reached) => Err(StorageError::Unknown(format!(
                "{reached} of {wanted} replicas have it, and it is waited for that many (wait_replicas)"
            ))),
            None => Err(StorageError::Unknown(format!(
                "the connection broke before {wanted} replicas were known to have it (wait_replicas)"
            ))),
        }
    }
}

/// Calls that are under way have a lane each. A script keeps its answer to the latest call of a lane, so that the call can be
/// sent again when the answer did not come.
pub(crate) struct Lanes {
    writer: String,
    next_batch: AtomicU64,
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    lanes: Vec<u32>,
    /// How many there are.
    made: u32,
}

impl Lanes {
    /// Who writes: a name that no other handle has.
    pub(crate) fn writer(&self) -> &str {
        &self.writer
    }

    fn new(writer: &str) -> Self {
        Self { writer: writer.to_owned(), next_batch: AtomicU64::new(0), free: Mutex::default() }
    }

    /// A lane that nobody else uses until it is dropped.
    pub(crate) fn take(&self) -> Lane<'_> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let number = free.lanes.pop().unwrap_or_else(|| {
            free.made += 1;
            free.made
        });
        Lane { lanes: self, number }
    }
}

pub(crate) struct Lane<'a> {
    lanes: &'a Lanes,
    number: u32,
}

impl Lane<'_> {
    pub(crate) fn name(&self) -> String {
        format!("{}-{}", self.lanes.writer, self.number)
    }

    /// A number that no other batch of this writer has.
    pub(crate) fn next_batch(&self) -> u64 {
        self.lanes.next_batch.fetch_add(1, Ordering::Relaxed)
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.lanes.free.lock().unwrap_or_else(PoisonError::into_inner).lanes.push(self.number);
    }
}
