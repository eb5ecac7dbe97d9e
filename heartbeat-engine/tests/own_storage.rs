//! The storage of docs/write-your-own-storage.md keeps every promise, and the page shows what is compiled here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::wildcard_imports, unreachable_pub)]

#[path = "own_storage/journal.rs"]
mod journal;
#[path = "page/mod.rs"]
mod page;

use std::fs;
use std::io::Write;
use std::sync::Arc;

use heartbeat_engine::testing::fixtures::{batch, create, monitor_id, record};
use heartbeat_engine::testing::{StorageHarness, run};
use heartbeat_engine::{Batch, Storage, StorageError};
use journal::Journal;

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

#[test]
fn a_line_that_a_crash_cut_short_is_dropped_and_one_that_was_damaged_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heartbeat.journal");
    run(async {
        let storage = Journal::open(&path).await.unwrap();
        storage.commit(&batch([create(&record(1))])).await.unwrap();
        drop(storage);
        let whole = fs::read(&path).unwrap();
        for cut in 1..40 {
            let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(&whole[..whole.len() * cut / 40]).unwrap();
            drop(file);
            let storage = Journal::open(&path).await.unwrap();
            assert_eq!(storage.load(&[monitor_id(1)]).await.unwrap(), [Some(record(1))], "cut {cut}");
            drop(storage);
            assert_eq!(fs::read(&path).unwrap(), whole, "cut {cut}");
        }
        fs::write(&path, [b"{\"Batch\"\n", &whole[..]].concat()).unwrap();
        let error = Journal::open(&path).await.err().unwrap();
        assert!(matches!(&error, StorageError::Corrupt(text) if text.contains("the line at byte 0")), "{error}");
    });
}

#[test]
fn a_second_opening_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("heartbeat.journal");
    run(async {
        let storage = Journal::open(&path).await.unwrap();
        assert!(matches!(Journal::open(&path).await, Err(StorageError::Unavailable(_))));
        storage.commit(&Batch::default()).await.unwrap();
    });
}

#[test]
fn the_page_shows_this_storage_and_how_it_is_tested() {
    let page = page::Page::read("write-your-own-storage.md");
    page.shows_whole(include_str!("own_storage/journal.rs"));
    page.shows(include_str!("own_storage.rs"));
    let promises = heartbeat_engine::testing::storage_promises::<OnDisk>();
    page.names_only(&promises.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    assert!(include_str!("own_storage/journal.rs").lines().count() <= 150, "the page promises a short one");
}
