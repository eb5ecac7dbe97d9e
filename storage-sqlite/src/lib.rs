#![doc = include_str!("../README.md")]

mod apply;
mod backup;
mod encode;
mod error;
mod history;
mod lock;
mod migrations;
mod open;
mod options;
#[cfg(test)]
mod plans;
mod read;
mod readers;
mod retention;
mod storage;
mod writer;

pub use backup::{BackupError, BackupReport, backup};
pub use open::OpenError;
pub use options::{SqliteOptions, SqliteStats, Synchronous};
pub use storage::SqliteStorage;
