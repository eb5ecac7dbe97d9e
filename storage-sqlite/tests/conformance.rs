//! The storage keeps every promise, with a crash between writing and reading again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use heartbeat_engine::testing::{StorageHarness, import_promises, run};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};
use tempfile::TempDir;

struct Sqlite {
    options: SqliteOptions,
    directory: TempDir,
    opened: AtomicUsize,
}

impl Sqlite {
    fn new() -> Self {
        Self::with(SqliteOptions::new())
    }

    fn with(options: SqliteOptions) -> Self {
        Self { options, directory: tempfile::tempdir().unwrap(), opened: AtomicUsize::new(0) }
    }

    fn next_file(&self) -> std::path::PathBuf {
        self.directory.path().join(format!("{}.db", self.opened.fetch_add(1, Ordering::Relaxed)))
    }
}

impl StorageHarness for Sqlite {
    type Storage = SqliteStorage;

    async fn fresh(&self) -> Arc<SqliteStorage> {
        Arc::new(SqliteStorage::open(self.next_file(), self.options.clone()).unwrap())
    }

    /// What a killed process leaves: the file and its log as they are, without an orderly end.
    async fn reopen(&self, storage: Arc<SqliteStorage>) -> Arc<SqliteStorage> {
        let copy = self.next_file();
        for suffix in ["", "-wal"] {
            let name = |path: &std::path::Path| format!("{}{suffix}", path.display());
            fs::copy(name(storage.path()), name(&copy)).unwrap();
        }
        drop(storage);
        Arc::new(SqliteStorage::open(copy, self.options.clone()).unwrap())
    }
}

heartbeat_engine::storage_suite!(Sqlite::new());

/// Every batch leaves its history to later.
mod deferring {
    use super::*;

    heartbeat_engine::storage_suite!(Sqlite::with(SqliteOptions::new().large_batch(1)));
}

#[test]
fn it_takes_in_what_another_storage_kept() {
    for options in [SqliteOptions::new(), SqliteOptions::new().large_batch(1), SqliteOptions::new().log_bytes(1)] {
        run(import_promises(&Sqlite::with(options)));
    }
}
