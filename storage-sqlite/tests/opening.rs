//! What is wrong with a file is said in words, and the file is left as it is.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::fs;
use std::path::Path;

use heartbeat_engine::testing::run;
use heartbeat_engine::{Batch, Storage, Timestamp};
use heartbeat_storage_sqlite::{OpenError, SqliteOptions, SqliteStorage};
use rusqlite::Connection;

fn open(path: &Path) -> Result<SqliteStorage, OpenError> {
    SqliteStorage::open(path, SqliteOptions::new())
}

fn refused(path: &Path) -> (OpenError, String) {
    let error = open(path).expect_err("it must be refused");
    let text = error.to_string();
    (error, text)
}

/// A database with a mark, closed in order.
fn make(path: &Path) {
    let storage = open(path).unwrap();
    let batch = Batch { mark: Some(Timestamp::from_secs(1)), ..Batch::default() };
    run(async { drop(storage.commit(&batch).await.unwrap()) });
}

#[test]
fn a_file_of_something_else_is_refused_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    for content in ["x", "these are my notes, and they are longer than any header of a database needs to be, I think…"]
    {
        fs::write(&path, content).unwrap();
        let (error, text) = refused(&path);
        assert!(matches!(error, OpenError::NotADatabase { .. }), "{text}");
        assert!(text.contains("notes.txt") && text.contains("is not a database"), "{text}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
}

#[test]
fn the_database_of_another_program_is_refused_and_not_touched() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bookmarks.db");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
    let before = fs::read(&path).unwrap();
    let (error, text) = refused(&path);
    assert!(matches!(error, OpenError::OtherProgram { .. }), "{text}");
    assert!(text.contains("another program"), "{text}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_newer_database_is_refused_with_both_versions() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    make(&path);
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let (error, text) = refused(&path);
    assert!(matches!(error, OpenError::Newer { found: 99, known: 6, .. }), "{text}");
    assert!(text.contains("version 99") && text.contains("up to 6"), "{text}");
}

#[test]
fn a_damaged_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    make(&path);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    let (error, text) = refused(&path);
    assert!(matches!(error, OpenError::Damaged { .. }), "{text}");
    assert!(text.contains("damaged") && text.contains("restore a backup"), "{text}");

    let mut scribbled = whole;
    scribbled[100..2000].fill(0xaa);
    fs::write(&path, &scribbled).unwrap();
    let (error, text) = refused(&path);
    assert!(matches!(error, OpenError::Damaged { .. }), "{text}");
}

#[test]
fn a_second_opening_is_refused_and_says_who_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    let first = open(&path).unwrap();
    let (error, text) = refused(&path);
    assert!(matches!(error, OpenError::Locked { .. }), "{text}");
    assert!(text.contains("in use by this process already"), "{text}");
    // Another name of the same file leads to the same lock.
    let (error, text) = refused(&directory.path().join(".").join("heartbeat.db"));
    assert!(matches!(error, OpenError::Locked { .. }), "{text}");
    drop(first);
    drop(open(&path).expect("it is free again"));
    fs::write(directory.path().join("heartbeat.db.lock"), "4242\n").unwrap();
    drop(open(&path).expect("a lock file that nobody holds is no obstacle"));
}

#[test]
fn a_missing_directory_and_a_directory_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (error, text) = refused(&directory.path().join("no/heartbeat.db"));
    assert!(matches!(error, OpenError::NoDirectory { .. }), "{text}");
    assert!(text.contains("/no` does not exist"), "{text}");
    let (error, text) = refused(directory.path());
    assert!(matches!(error, OpenError::NotAFile { .. }), "{text}");
}

#[cfg(unix)]
#[test]
fn an_unwritable_directory_is_refused() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let mut closed = directory.path().to_owned();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(closed.join("probe"), "").is_ok() {
        // The superuser may write everywhere but where the kernel itself says no.
        closed = "/sys".into();
    }
    let (error, text) = refused(&closed.join("heartbeat.db"));
    assert!(matches!(error, OpenError::NotWritable { .. }), "{text}");
    assert!(text.contains("cannot be written"), "{text}");
}

#[cfg(unix)]
#[test]
fn nobody_else_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    let _storage = open(&path).unwrap();
    for suffix in ["", "-wal", "-shm"] {
        let mode = fs::metadata(format!("{}{suffix}", path.display())).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "`heartbeat.db{suffix}` has mode {mode:o}");
    }
}

#[test]
fn an_empty_file_becomes_a_database() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    fs::write(&path, "").unwrap();
    make(&path);
    let storage = open(&path).unwrap();
    run(async { assert_eq!(storage.watch_log().await.unwrap().mark, Some(Timestamp::from_secs(1))) });
}

/// What a process that was killed left in its log may have reached the disk or not; nothing is appended to it.
#[test]
fn the_log_of_an_earlier_process_is_folded_into_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let (lived, left) = (directory.path().join("lived.db"), directory.path().join("left.db"));
    let storage = open(&lived).unwrap();
    let batch = Batch { mark: Some(Timestamp::from_secs(1)), ..Batch::default() };
    run(async { drop(storage.commit(&batch).await.unwrap()) });
    let log = |path: &Path| format!("{}-wal", path.display());
    // As after a kill: nothing was closed.
    fs::copy(&lived, &left).unwrap();
    fs::copy(log(&lived), log(&left)).unwrap();
    assert!(fs::metadata(log(&left)).unwrap().len() > 0, "the mark is in the log");

    let storage = open(&left).unwrap();
    assert_eq!(fs::metadata(log(&left)).unwrap().len(), 0);
    run(async { assert_eq!(storage.watch_log().await.unwrap().mark, Some(Timestamp::from_secs(1))) });
}
