//! A user of Redis with the rights that the README names, and no others, keeps every promise of the suite.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use heartbeat_engine::testing::{StorageHarness, storage_promises};
use heartbeat_storage_redis::{RedisOptions, RedisStorage};

use super::support::{Server, prefix};
use super::{commit, heartbeat, make};

const README: &str = include_str!("../../README.md");

/// The rights in the README, which stand there as they are told to Redis.
fn rights() -> Vec<&'static str> {
    let rights = README.split('`').find(|code| code.starts_with("+@read")).expect("the rights are in the README");
    rights.split(' ').collect()
}

struct Harness {
    server: Server,
    /// By the address of the storage, which another one may have had before.
    opened: Mutex<HashMap<usize, RedisOptions>>,
}

impl Harness {
    fn start() -> Self {
        let server = Server::start();
        let login = ["ACL", "SETUSER", "app", "on", ">secret", "resetkeys", "resetchannels", "-@all"];
        server.tell(&[&login[..], &rights()].concat());
        Self { server, opened: Mutex::default() }
    }

    /// A new prefix, whose keys the user may use.
    fn url(&self) -> String {
        let prefix = prefix();
        self.server.tell(&["ACL", "SETUSER", "app", &format!("~{{{prefix}:*")]);
        format!("redis://app:secret@127.0.0.1:{}?prefix={prefix}", self.server.port)
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
        self.open(RedisOptions::parse(&format!("{}&partitions=4", self.url())).unwrap()).await
    }

    async fn reopen(&self, storage: Arc<RedisStorage>) -> Arc<RedisStorage> {
        let options = self.options(&storage);
        drop(storage);
        self.open(options).await
    }

    async fn another(&self, storage: &Arc<RedisStorage>) -> Option<Arc<RedisStorage>> {
        Some(self.open(self.options(storage)).await)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_in_the_readme_suffice() {
    let harness = Harness::start();
    for (name, promise) in storage_promises::<Harness>() {
        println!("{name}");
        promise(&harness).await;
    }
    let mut options = RedisOptions::parse(&harness.url()).unwrap();
    options.timeout = Duration::from_millis(500);
    let storage = harness.open(options.clone()).await;
    let told = storage.durability().to_string();
    assert!(told.starts_with("everything is lost when Redis stops"), "it may see the settings: {told}");
    let job = make(&*storage, 1).await;
    options.wait_replicas = 1;
    let error = commit(&*harness.open(options).await, &heartbeat(&job).1).await.unwrap_err();
    assert!(error.to_string().contains("0 of 1 replicas"), "it may wait: {error}");
}
