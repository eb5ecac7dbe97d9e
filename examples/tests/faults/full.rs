//! A disk without room: a small tmpfs that something else fills, and a limit on the size of files.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crash_harness::Fate;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::Instant;

use crate::rig::{Rig, SLOW, kept, program};

/// A silence of the store that is longer than this is an outage of the watcher (S6.1).
const OUTAGE: Duration = Duration::from_secs(16);

/// A tmpfs that only a mount namespace of its own sees, so that nothing is left of it, and no rights are needed where users
/// may have namespaces.
struct SmallDisk {
    holder: Child,
    commands: ChildStdin,
    answers: tokio::io::Lines<BufReader<tokio::process::ChildStdout>>,
    wrapper: Vec<String>,
}

impl SmallDisk {
    /// `None` where this machine lets nobody mount one; the reason is printed.
    async fn mount(folder: &Path) -> Option<Self> {
        for (unshare, enter) in [("-m", "-m"), ("-rm", "-Um")] {
            match Self::mount_by(folder, unshare, enter).await {
                Ok(disk) => return Some(disk),
                Err(reason) => println!("unshare {unshare}: {reason}"),
            }
        }
        None
    }

    async fn mount_by(folder: &Path, unshare: &str, enter: &str) -> Result<Self, String> {
        let script = r#"mount -t tmpfs -o size=6m none "$0" && cd "$0" && mkdir db && echo mounted &&
            while read -r line; do eval "$line"; echo done; done"#;
        let mut command = Command::new("unshare");
        command.args([unshare, "sh", "-c", script]).arg(folder).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut holder = command.spawn().map_err(|error| error.to_string())?;
        let mut answers = BufReader::new(holder.stdout.take().expect("its stdout")).lines();
        match answers.next_line().await {
            Ok(Some(line)) if line == "mounted" => {}
            _ => {
                let output = holder.wait_with_output().await.map_err(|error| error.to_string())?;
                return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
            }
        }
        let pid = holder.id().expect("it runs").to_string();
        let mut wrapper: Vec<String> = ["nsenter", "-t", &pid, enter].map(str::to_owned).to_vec();
        if enter.contains('U') {
            wrapper.push("--preserve-credentials".to_owned());
        }
        let commands = holder.stdin.take().expect("its stdin");
        Ok(Self { holder, commands, answers, wrapper })
    }

    async fn run(&mut self, command: &str) {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.expect("the shell listens");
        assert_eq!(self.answers.next_line().await.expect("readable").as_deref(), Some("done"));
    }
}

/// Something takes all room and gives it back.
enum Fault {
    Tmpfs(Box<SmallDisk>),
    FileSize,
}

impl Fault {
    async fn begin(&mut self, rig: &Rig) {
        match self {
            Self::Tmpfs(disk) => disk.run("head -c 100000000 /dev/zero > filler 2>/dev/null").await,
            Self::FileSize => limit_files(rig, "1000").await,
        }
    }

    async fn end(&mut self, rig: &Rig) {
        match self {
            Self::Tmpfs(disk) => disk.run("rm filler").await,
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
async fn no_room(fault: &mut Fault, mut rig: Rig) {
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

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut fault = match SmallDisk::mount(folder.path()).await {
        Some(disk) => Fault::Tmpfs(Box::new(disk)),
        None => {
            println!("no tmpfs can be mounted here; files that may not grow take the place of the full disk");
            std::fs::create_dir(folder.path().join("db")).expect("a folder");
            Fault::FileSize
        }
    };
    let mut program = program();
    if let Fault::Tmpfs(disk) = &fault {
        program.wrapper.clone_from(&disk.wrapper);
    }
    let rig = Rig::start(program, &folder.path().join("db"), 1).await;
    no_room(&mut fault, rig).await;
    if let Fault::Tmpfs(mut disk) = fault {
        disk.holder.kill().await.expect("the mount goes with it");
    }
}

/// The kernel answers EFBIG and sends SIGXFSZ, which must not end the server.
#[tokio::test(flavor = "multi_thread")]
async fn a_limit_on_the_size_of_files() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rig = Rig::start(program(), folder.path(), 2).await;
    no_room(&mut Fault::FileSize, rig).await;
}
