//! The storages of docs/write-your-own-storage.md keep every promise, and the page shows what is compiled here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_imports, unreachable_pub)]

mod own_storage {
    pub mod journal;
    pub mod snapshot;
}

mod journal {
    use std::sync::Arc;

    use heartbeat_engine::testing::StorageHarness;

    use super::own_storage::journal::Journal;

    struct OnDisk {
        folder: tempfile::TempDir,
    }

    impl StorageHarness for OnDisk {
        type Storage = Journal;

        async fn fresh(&self) -> Arc<Journal> {
            Arc::new(Journal::open(&self.folder.path().join("heartbeat.journal")).await.unwrap())
        }

        async fn reopen(&self, storage: Arc<Journal>) -> Arc<Journal> {
            drop(storage);
            self.fresh().await
        }
    }

    heartbeat_engine::storage_suite!(OnDisk { folder: tempfile::tempdir().unwrap() });
}

mod snapshot {
    use std::sync::Arc;

    use heartbeat_engine::testing::StorageHarness;

    use super::own_storage::snapshot::Snapshot;

    struct OnDisk(tempfile::TempDir);

    impl StorageHarness for OnDisk {
        type Storage = Snapshot;

        async fn fresh(&self) -> Arc<Snapshot> {
            Arc::new(Snapshot::open(&self.0.path().join("heartbeat.json")).unwrap())
        }

        async fn reopen(&self, storage: Arc<Snapshot>) -> Arc<Snapshot> {
            drop(storage);
            self.fresh().await
        }
    }

    heartbeat_engine::storage_suite!(OnDisk(tempfile::tempdir().unwrap()));
}
