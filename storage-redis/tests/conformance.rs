//! The storage keeps every promise, on one Redis and on a Redis Cluster, with several partitions.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use heartbeat_engine::testing::{StorageHarness, import_promises, run};
use heartbeat_storage_redis::{RedisOptions, RedisStorage};

use self::support::{Cluster, Server, prefix};

/// A Redis, and how many partitions a store has.
struct Harness {
    url: String,
    partitions: u16,
    /// By the address of the storage, which another one may have had before.
    opened: Mutex<HashMap<usize, RedisOptions>>,
}

impl Harness {
    fn new(url: String, partitions: u16) -> Self {
        Self { url, partitions, opened: Mutex::default() }
    }

    async fn open(&self, options: RedisOptions) -> Arc<RedisStorage> {
        let storage = Arc::new(RedisStorage::open(options.clone()).await.unwrap());
        self.opened.lock().unwrap().insert(Arc::as_ptr(&storage) as usize, options);
        storage
    }

    fn options(&self, storage: &Arc<RedisStorage>) -> RedisOptions {
        self.opened.lock().unwrap()[&(Arc::as_ptr(storage) as usize)].clone()
    }
}

impl StorageHarness for Harness {
    type Storage = RedisStorage;

    async fn fresh(&self) -> Arc<RedisStorage> {
        let url = format!("{}?prefix={}&partitions={}", self.url, prefix(), self.partitions);
        self.open(RedisOptions::parse(&url).unwrap()).await
    }

    /// What a killed process leaves in a Redis that runs on.
    async fn reopen(&self, storage: Arc<RedisStorage>) -> Arc<RedisStorage> {
        let options = self.options(&storage);
        drop(storage);
        self.open(options).await
    }

    async fn another(&self, storage: &Arc<RedisStorage>) -> Option<Arc<RedisStorage>> {
        Some(self.open(self.options(storage)).await)
    }
}

/// They end with the process.
static SINGLE: LazyLock<Server> = LazyLock::new(Server::start);
static CLUSTER: LazyLock<Cluster> = LazyLock::new(Cluster::start);

mod single {
    use super::{Harness, SINGLE};

    heartbeat_engine::storage_suite!(Harness::new(SINGLE.url(), 4));
}

mod cluster {
    use super::{CLUSTER, Harness};

    heartbeat_engine::storage_suite!(Harness::new(CLUSTER.url(), 8));
}

#[test]
fn it_takes_in_what_another_storage_kept() {
    run(import_promises(&Harness::new(SINGLE.url(), 4)));
    run(import_promises(&Harness::new(CLUSTER.url(), 8)));
}
