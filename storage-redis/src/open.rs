//! Opening a store: connects, looks at what the Redis is set to, and at what was stored before.

use heartbeat_engine::StorageError;

use crate::durability::{Durability, EvictionError};
use crate::error;
use crate::keys::Keys;
use crate::link::Link;
use crate::options::RedisOptions;
use crate::storage::RedisStorage;
use crate::store::Store;

/// The version of what is stored.
const FORMAT: u32 = 2;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The Redis could not be reached, or refused to answer.
    #[error("{url} could not be opened: {source}")]
    Unavailable {
        /// Where it is, without login.
        url: String,
        /// Why.
        source: StorageError,
    },
    /// The Redis is older than 7, the first that refuses a script as a whole when its memory is full.
    #[error("{url} is Redis {version}, and 7.0 or newer is needed")]
    TooOld {
        /// Where it is, without login.
        url: String,
        /// What it says of itself.
        version: String,
    },
    /// The Redis may throw keys away.
    #[error(transparent)]
    Eviction(#[from] EvictionError),
    /// What is stored was written by a version of this program that keeps things differently.
    #[error("under the prefix `{prefix}` is a store of format {found}, and this version knows format {FORMAT} alone")]
    Format {
        /// The prefix of its keys.
        prefix: String,
        /// Its format.
        found: u32,
    },
}

impl RedisStorage {
    /// Connects, and makes the store under the prefix where there is none.
    ///
    /// # Errors
    /// When the Redis cannot be reached, is older than 7, may throw keys away, or holds a store of another format.
    ///
    /// # Example: keep monitors in Redis
    /// ```no_run
    /// use heartbeat_storage_redis::{RedisOptions, RedisStorage};
    ///
    /// # async fn open() -> Result<(), Box<dyn std::error::Error>> {
    /// let storage = RedisStorage::open(RedisOptions::parse("redis://localhost:6379?prefix=jobs")?).await?;
    /// println!("an acknowledged heartbeat: {}", storage.durability());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn open(options: RedisOptions) -> Result<Self, OpenError> {
        let unavailable = |source| OpenError::Unavailable { url: options.to_string(), source };
        let link = || Link::new(&options).map_err(|error| unavailable(error::reading(&error)));
        let (reads, writes) = (link()?, link()?);
        let durability = Durability::read(&reads, options.wait_replicas).await.map_err(unavailable)?;
        if let Some(version) = durability.too_old() {
            return Err(OpenError::TooOld { url: options.to_string(), version });
        }
        durability.check_eviction(options.allow_eviction)?;
        let (found, partitions) = make(&writes, &options).await.map_err(unavailable)?;
        if found != FORMAT {
            return Err(OpenError::Format { prefix: options.prefix, found });
        }
        let writer = writer().map_err(unavailable)?;
        Ok(Self::new(Store::new(options, partitions, reads, writes, &writer), durability))
    }
}

/// Makes a store where there is none; its format and how many partitions it has.
async fn make(link: &Link, options: &RedisOptions) -> Result<(u32, u16), StorageError> {
    let key = Keys::new(&options.prefix).meta();
    let mut read = redis::cmd("HMGET");
    read.arg(&key).arg("format").arg("partitions");
    let found: Result<(Option<u32>, Option<u16>), _> = link.command(&read).await;
    // What exists can also be opened when the memory of Redis is full.
    if let (Some(format), Some(partitions)) = found.map_err(|failure| error::reading(failure.error()))? {
        return Ok((format, partitions));
    }
    let mut pipeline = redis::pipe();
    pipeline.atomic();
    pipeline.cmd("HSETNX").arg(&key).arg("format").arg(FORMAT).ignore();
    pipeline.cmd("HSETNX").arg(&key).arg("partitions").arg(options.partitions).ignore();
    pipeline.cmd("HMGET").arg(&key).arg("format").arg("partitions");
    let answer: Result<((u32, u16),), _> = link.pipeline(&pipeline).await;
    answer.map(|(found,)| found).map_err(|failure| error::reading(failure.error()))
}

/// A name that no other start of this program has.
fn writer() -> Result<String, StorageError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)
        .map_err(|error| StorageError::Unavailable(format!("the system gave no random bytes: {error}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
