#![doc = include_str!("../README.md")]

mod apply;
mod backup;
mod checkpoint;
mod counts;
mod damage;
mod deferred;
mod encode;
mod error;
mod fold;
mod history;
mod import;
mod index;
mod line;
mod lock;
mod log;
mod migrations;
mod open;
mod options;
mod pings;
#[cfg(test)]
mod plans;
mod read;
mod readers;
mod replay;
mod retention;
mod room;
mod staged;
mod storage;
mod threads;
mod wish_text;
mod wishes;
mod writer;

pub use backup::{BackupError, BackupReport, backup};
pub use open::OpenError;
pub use options::{SqliteOptions, SqliteStats, Synchronous};
pub use storage::SqliteStorage;
