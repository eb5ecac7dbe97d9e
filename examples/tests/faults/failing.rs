//! A disk whose writes and syncs fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use heartbeat_examples::crash::{Fate, Pace, Program};
use tempfile::TempDir;

use crate::rig::{Rig, SLOW, program};

/// A folder with the library that makes the disk fail, and the file that commands it.
pub(crate) struct Disk {
    folder: TempDir,
}

impl Disk {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults/disk.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-o"]).arg(folder.path().join("disk.so")).arg(source).arg("-pthread");
        assert!(cc.status().expect("cc, which the bundled SQLite needs, too").success());
        fs::create_dir(folder.path().join("db")).expect("a folder");
        Self { folder }
    }

    pub(crate) fn program(&self) -> Program {
        let path = |name: &str| self.folder.path().join(name).to_str().expect("a path").to_owned();
        let mut program = program();
        program.environment =
            vec![("LD_PRELOAD".to_owned(), path("disk.so")), ("DISK_CONTROL".to_owned(), path("control"))];
        program
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.folder.path().join("db")
    }

    /// See `disk.c`; an empty command lets everything work.
    pub(crate) fn command(&self, mode: &str) {
        // In one step: a half-written command would be another one.
        let (new, control) = (self.folder.path().join("control.new"), self.folder.path().join("control"));
        fs::write(&new, mode).and_then(|()| fs::rename(&new, control)).expect("written");
    }

    /// What a loss of power leaves: what was synced.
    pub(crate) fn lose_power(&self) {
        for name in ["heartbeat.db", "heartbeat.db-wal"] {
            let (file, durable) = (self.db().join(name), self.db().join(format!("{name}.durable")));
            if durable.exists() {
                fs::copy(durable, file).expect("copied");
            } else if file.exists() {
                fs::write(file, "").expect("emptied");
            }
        }
        let shared_memory = self.db().join("heartbeat.db-shm");
        if shared_memory.exists() {
            fs::remove_file(shared_memory).expect("removed");
        }
    }
}

/// 503 while it lasts, then recovery without a restart, again and again; and after a loss of power everything
/// acknowledged is there.
async fn fails(mode: &str, seed: u64) {
    let disk = Disk::new();
    let mut rig = Rig::start(disk.program(), &disk.db(), seed).await;
    let pid = rig.process.as_ref().expect("it runs").id();
    for _ in 0..3 {
        rig.stream(SLOW);
        rig.probe_until(Fate::Acknowledged).await;
        disk.command(mode);
        rig.expect_unavailable().await;
        for _ in 0..5 {
            assert_ne!(rig.probe().await.fate, Fate::Unanswered, "the server answers whatever its disk does");
        }
        disk.command("");
        rig.expect_recovery().await;
        assert_eq!(rig.process.as_ref().expect("it runs").id(), pid, "it was not restarted");
        rig.check().await;
    }
    rig.kill().await;
    disk.lose_power();
    rig.start_again().await;
    let ledger = rig.kill_and_check().await;
    assert!(ledger.acknowledged() > 10 && ledger.unavailable() > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_fail() {
    fails("before", 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_fail_although_they_wrote() {
    fails("after", 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn syncs_that_fail() {
    fails("sync", 5).await;
}

/// The log cannot be folded into the database and grows; heartbeats are taken all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_folded() {
    let disk = Disk::new();
    let mut rig = Rig::start(disk.program(), &disk.db(), 6).await;
    let log = disk.db().join("heartbeat.db-wal");
    let log_bytes = || fs::metadata(&log).map_or(0, |log| log.len());
    disk.command("checkpoint");
    // It is folded after 16 MiB.
    while log_bytes() < 20 << 20 {
        rig.stream(Pace { beats_max: 40, pause_ms_max: 2, body_bytes: 9_000, until_gone: false });
        tokio::time::sleep(Duration::from_millis(500)).await;
        rig.check().await;
    }
    assert_eq!(rig.ledger.unavailable(), 0, "the log takes what the file does not");
    disk.command("");
    rig.probe_until(Fate::Acknowledged).await;
    rig.check().await;
    disk.command("checkpoint");
    rig.kill().await;
    disk.lose_power();
    disk.command("");
    rig.start_again().await;
    assert!(log_bytes() < 1 << 20, "a start folds the log");
    rig.kill_and_check().await;
}
