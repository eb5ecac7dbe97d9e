//! Opens the storage that the settings name.

use std::sync::Arc;
use std::time::Duration;

use heartbeat_engine::{MemoryStorage, Storage, Tenure};
use heartbeat_http::HostGauge;
use heartbeat_storage_redis::{RedisOptions, RedisStorage};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};

use crate::storage_url::StorageUrl;

/// Of the write-ahead log.
const PAGE_BYTES: u64 = 4096;

/// Whether several nodes may share a storage of this kind.
const fn is_shared(url: &StorageUrl) -> bool {
    match url {
        StorageUrl::Redis(_) => true,
        StorageUrl::Memory | StorageUrl::Sqlite(_) => false,
    }
}

/// How its work is held.
pub(crate) const fn tenure(url: &StorageUrl, ttl: Duration) -> Tenure {
    if is_shared(url) { Tenure::Shared { ttl } } else { Tenure::Exclusive }
}

/// A storage, and what the server tells of it.
pub(crate) struct Opened {
    pub(crate) storage: Arc<dyn Storage>,
    /// At `/metrics`.
    pub(crate) gauges: Vec<HostGauge>,
    /// What an acknowledgement means, where that is not as ever.
    pub(crate) durability: Option<String>,
}

/// Opens a storage, or says why it cannot be.
pub(crate) async fn open(url: &StorageUrl) -> Result<Opened, String> {
    match url {
        StorageUrl::Memory => {
            tracing::warn!("storage is memory: nothing outlives this process");
            let durability = Some("everything is lost when the server stops (storage is memory)".to_owned());
            Ok(Opened { storage: Arc::new(MemoryStorage::new()), gauges: Vec::new(), durability })
        }
        StorageUrl::Sqlite(path) => {
            let file = path.clone();
            let opening = tokio::task::spawn_blocking(move || SqliteStorage::open(&file, SqliteOptions::default()));
            let opened = opening.await.map_err(|error| error.to_string())?;
            let storage = Arc::new(opened.map_err(|error| error.to_string())?);
            let gauges = sqlite_gauges(&storage);
            Ok(Opened { storage, gauges, durability: None })
        }
        StorageUrl::Redis(options) => open_redis(options).await,
    }
}

async fn open_redis(options: &RedisOptions) -> Result<Opened, String> {
    let storage = RedisStorage::open(options.clone()).await.map_err(|error| error.to_string())?;
    let durability = storage.durability().to_string();
    tracing::info!("what an acknowledgement means in {options}: {durability}");
    Ok(Opened { storage: Arc::new(storage), gauges: Vec::new(), durability: Some(durability) })
}

fn sqlite_gauges(storage: &Arc<SqliteStorage>) -> Vec<HostGauge> {
    let gauge = |name, help, read: fn(&SqliteStorage) -> u64| {
        let storage = storage.clone();
        HostGauge::new(name, help, move || read(&storage) as f64)
    };
    vec![
        gauge("store_file_bytes", "Size of the database file", |storage| {
            std::fs::metadata(storage.path()).map_or(0, |file| file.len())
        }),
        gauge("store_log_bytes", "What lies in the log within it and is not in rows yet", |storage| {
            storage.stats().log_bytes
        }),
        gauge("store_wal_bytes", "Size of the write-ahead log beside it", |storage| {
            storage.stats().wal_pages * PAGE_BYTES
        }),
    ]
}
