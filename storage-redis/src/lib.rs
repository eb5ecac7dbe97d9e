#![doc = include_str!("../README.md")]

#[cfg(feature = "bench")]
mod bench;
mod by_partition;
mod codec;
mod commit;
mod documents;
mod durability;
mod error;
mod feed;
mod fold;
mod history;
mod import;
mod incidents;
mod keys;
mod leases;
mod link;
mod names;
mod news;
mod notifications;
mod open;
mod options;
mod pings;
mod records;
mod rounds;
mod script;
mod share;
mod storage;
mod store;
mod url;
mod watch;

pub use durability::{Durability, EvictionError, NodeDurability};
pub use open::OpenError;
pub use options::{RedisLimits, RedisOptions};
pub use storage::RedisStorage;
pub use url::RedisUrlError;
