//! A disk without room: a small tmpfs that something else fills, and a limit on the size of files.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use heartbeat_examples::crash::Fate;
use tokio::process::Command;
use tokio::time::Instant;

use crate::rig::{Rig, SLOW, kept, program};

/// Tells this program where the small disk is mounted.
const SMALL_DISK: &str = "HEARTBEAT_TEST_SMALL_DISK";
/// A silence of the store that is longer than this is an outage of the watcher (S6.1).
const OUTAGE: Duration = Duration::from_secs(16);

/// Something takes all room and gives it back.
enum Fault {
    /// Another file on the same small disk, which is mounted here.
    Filler(PathBuf),
    FileSize,
}

impl Fault {
    async fn begin(&self, rig: &Rig) {
        match self {
            Self::Filler(disk) => {
                let mut filler = File::create(disk.join("filler")).expect("a file");
                let error = std::iter::repeat_with(|| filler.write_all(&[0; 4096])).find_map(Result::err);
                assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::StorageFull));
            }
            Self::FileSize => limit_files(rig, "1000").await,
        }
    }

    async fn end(&self, rig: &Rig) {
        match self {
            Self::Filler(disk) => std::fs::remove_file(disk.join("filler")).expect("removed"),
            Self::FileSize => limit_files(rig, "unlimited").await,
        }
    }
}

async fn limit_files(rig: &Rig, bytes: &str) {
    let pid = rig.process.as_ref().expect("it runs").id().to_string();
    let status = Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={bytes}:")]).status().await;
    assert!(status.expect("prlimit of util-linux").success());
}

/// 503 while there is no room, reads go on, 200 again without a restart, and no alert for the time between.
async fn no_room(fault: &Fault, mut rig: Rig) {
    let pid = rig.process.as_ref().expect("it runs").id();
    rig.stream(SLOW);
    rig.probe_until(Fate::Acknowledged).await;
    fault.begin(&rig).await;
    rig.expect_unavailable().await;
    let began = Instant::now();
    while began.elapsed() < OUTAGE {
        assert_ne!(rig.probe().await.fate, Fate::Unanswered, "the server answers whatever its disk does");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    rig.expect_unavailable().await;
    fault.end(&rig).await;
    rig.expect_recovery().await;
    assert_eq!(rig.process.as_ref().expect("it runs").id(), pid, "it was not restarted");
    rig.check().await;
    assert!(rig.ledger.unavailable() > 10, "the disk was never full");
    let told = kept(rig.api().list("/api/notifications", |_| false).await);
    assert!(told.iter().any(|told| told["type"] == "watcher.outage"), "the time without a store is an outage (S6.1)");
    let ledger = rig.kill_and_check().await;
    assert!(ledger.acknowledged() > 10);
}

/// In a mount namespace of its own, so that nothing is left of the mount; root may make one, and where users may have
/// namespaces so may they.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk() {
    if let Some(disk) = std::env::var_os(SMALL_DISK).map(PathBuf::from) {
        let rig = Rig::start(program(), &disk.join("db"), 1).await;
        return no_room(&Fault::Filler(disk), rig).await;
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    for flags in ["-m", "-rm"] {
        if small_disk(folder.path(), flags, &["true"]).await {
            let own = std::env::current_exe().expect("this program");
            let again = [own.to_str().expect("a path"), "full::a_full_disk", "--exact", "--nocapture"];
            assert!(small_disk(folder.path(), flags, &again).await, "see above");
            return;
        }
    }
    println!("no tmpfs can be mounted here; files that may not grow take the place of the full disk");
    let rig = Rig::start(program(), folder.path(), 1).await;
    no_room(&Fault::FileSize, rig).await;
}

/// Runs a command where a small tmpfs is mounted on the folder; whether it did and ended well.
async fn small_disk(folder: &Path, flags: &str, command: &[&str]) -> bool {
    let script = r#"mount -t tmpfs -o size=6m none "$0" && mkdir "$0/db" && exec "$@""#;
    let mut unshare = Command::new("unshare");
    unshare.args([flags, "sh", "-c", script]).arg(folder).args(command).env(SMALL_DISK, folder).kill_on_drop(true);
    unshare.status().await.expect("unshare of util-linux").success()
}

/// The kernel answers EFBIG and sends SIGXFSZ, which must not end the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_the_size_of_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rig = Rig::start(program(), folder.path(), 2).await;
    no_room(&Fault::FileSize, rig).await;
}
