//! The server as a process: started, ready, killed.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::Instant;

use crate::crash::api::{self, Api};
use crate::crash::failure::Failure;

/// The key that the server takes.
const KEY: &str = "an-admin-key-of-the-crash-harness";
/// How long a start or an orderly stop may take; nothing is expected to come near it.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the server is started.
#[derive(Debug, Clone)]
pub struct Program {
    /// The binary.
    pub server: PathBuf,
    /// Variables for it.
    pub environment: Vec<(String, String)>,
    client: reqwest::Client,
}

impl Program {
    /// Starts this binary.
    ///
    /// # Errors
    /// When the HTTP client to talk to it cannot be made.
    pub fn new(server: &Path) -> Result<Self, Failure> {
        let client = api::client()?;
        Ok(Self { server: server.to_owned(), environment: Vec::new(), client })
    }

    /// Starts it on `heartbeat.db` in a folder, on a free port; its log goes to `server.log` beside the folder.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, folder: &Path) -> Result<Starting, Failure> {
        let log = folder.with_extension("log");
        let log = OpenOptions::new().create(true).append(true).open(&log);
        let log = log.map_err(|error| Failure::harness("the server's log", &error))?;
        let mut command = Command::new(&self.server);
        let storage = format!("sqlite:{}", folder.join("heartbeat.db").display());
        command.args(["--listen", "127.0.0.1:0", "--storage", &storage]);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HEARTBEAT_") {
                command.env_remove(name);
            }
        }
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        command.env("HEARTBEAT_LOG", "warn").env("HEARTBEAT_ADMIN_KEY", KEY).envs(self.environment.iter().cloned());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let began = Instant::now();
        let mut child = command.spawn().map_err(|error| Failure::harness("the server does not start", &error))?;
        let out = child.stdout.take().ok_or_else(|| Failure::Harness("the server has no stdout".to_owned()))?;
        Ok(Starting { child, lines: BufReader::new(out).lines(), began, client: self.client.clone() })
    }
}

/// A server that may not be ready yet.
#[derive(Debug)]
pub struct Starting {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    began: Instant,
    client: reqwest::Client,
}

impl Starting {
    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends instead.
    pub async fn ready(mut self) -> Result<Process, Failure> {
        let first = tokio::time::timeout(PATIENCE, self.lines.next_line()).await;
        let first = first.map_err(|_| Failure::broken("S8.3", "the server does not become ready"))?;
        let first = first.map_err(|error| Failure::harness("the server's stdout", &error))?;
        let Some(banner) = first else {
            let ended = self.child.wait().await;
            return Err(Failure::broken("S8.3", format!("the server does not start again: {ended:?}; see its log")));
        };
        let url = banner.split(" on ").nth(1).unwrap_or_default().trim().to_owned();
        let api = Api::new(&url, KEY, self.client);
        Ok(Process { child: self.child, api, took: self.began.elapsed() })
    }

    /// Kills it.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub async fn kill(mut self) -> Result<(), Failure> {
        kill(&mut self.child).await
    }
}

/// A server that is ready.
#[derive(Debug)]
pub struct Process {
    child: Child,
    /// How to talk to it.
    pub api: Api,
    /// How long it took from the start to being ready.
    pub took: Duration,
}

impl Process {
    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub async fn kill(mut self) -> Result<(), Failure> {
        kill(&mut self.child).await
    }

    /// Its process id while it runs.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Stops it in an orderly way.
    ///
    /// # Errors
    /// When it does not end with status 0.
    pub async fn stop(mut self) -> Result<(), Failure> {
        let line = format!("kill -TERM {}", self.id());
        let sent = Command::new("sh").args(["-c", &line]).status().await;
        sent.map_err(|error| Failure::harness("sh", &error))?;
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        let ended = ended.map_err(|_| Failure::Harness("the server does not stop".to_owned()))?;
        match ended {
            Ok(status) if status.success() => Ok(()),
            other => Err(Failure::Harness(format!("the server's orderly stop: {other:?}"))),
        }
    }
}

async fn kill(child: &mut Child) -> Result<(), Failure> {
    let ended: Option<ExitStatus> = child.try_wait().map_err(|error| Failure::harness("the server", &error))?;
    if let Some(status) = ended {
        return Err(Failure::Harness(format!("the server ended by itself: {status}; see its log")));
    }
    child.kill().await.map_err(|error| Failure::harness("kill", &error))
}
