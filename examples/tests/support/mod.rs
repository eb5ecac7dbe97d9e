//! Starts the real programs and talks to them over real sockets.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

pub(crate) const KEY: &str = "an-admin-key-for-tests-0123456789";

/// How long anything may take before the test gives up; nothing is expected to come near it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder for one test.
pub(crate) fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// Writes a settings file into a folder.
pub(crate) fn settings(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("heartbeat.toml");
    std::fs::write(&path, text).expect("the settings file is written");
    path
}

/// Waits for something that must come.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

/// The server in a folder, with nothing of this process's environment that concerns it.
pub(crate) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_heartbeat-server"));
    command.current_dir(folder).stdin(Stdio::null()).kill_on_drop(true);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HEARTBEAT_") {
            command.env_remove(name);
        }
    }
    command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC").env("HEARTBEAT_LOG", "warn");
    command
}

/// Runs the server until it ends by itself: its exit status, and what it wrote to stderr.
pub(crate) async fn run_to_end(command: &mut Command) -> (i32, String) {
    let output: Output = within("the server ends", command.output()).await.expect("the server starts");
    let code = output.status.code().expect("an exit status");
    (code, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A running server.
pub(crate) struct Server {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What it printed at start.
    pub(crate) banner: String,
    /// Where it listens.
    pub(crate) url: String,
    client: reqwest::Client,
}

/// An answer of the server.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl Server {
    /// Starts it on a free port with [`KEY`] and waits until it is ready.
    pub(crate) async fn start(folder: &Path, arguments: &[&str]) -> Self {
        Self::start_with(command(folder).env("HEARTBEAT_ADMIN_KEY", KEY).args(arguments)).await
    }

    /// Starts what a command says, on a free port unless it says otherwise, and waits until it is ready.
    pub(crate) async fn start_with(command: &mut Command) -> Self {
        let command = command.args(["--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its stdout")).lines();
        let first = within("the banner", lines.next_line()).await.expect("readable").expect("a banner");
        let url = first.split(" on ").nth(1).unwrap_or_else(|| panic!("no URL in {first}")).to_owned();
        Self { child, lines, banner: first, url, client: client() }
    }

    /// The status of the answer to a GET without a key; `None` where nothing answers.
    pub(crate) async fn status(&self, path: &str) -> Option<u16> {
        let answer = within("an answer or an error", self.request("GET", path).send()).await;
        answer.ok().map(|answer| answer.status().as_u16())
    }

    /// Waits until a GET is answered so.
    pub(crate) async fn until_status(&self, path: &str, wanted: u16) {
        let answered = async {
            while self.status(path).await != Some(wanted) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within(&format!("{wanted} for {path}"), answered).await;
    }

    /// The rest of what it prints at start, until a line that contains `last`.
    pub(crate) async fn read_banner_until(&mut self, last: &str) {
        while !self.banner.contains(last) {
            let line =
                within("the banner", self.lines.next_line()).await.expect("readable").expect("more of the banner");
            self.banner.push('\n');
            self.banner.push_str(&line);
        }
    }

    pub(crate) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Any request; `path` may carry a query.
    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = within("an answer", request.send()).await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Answer { status, headers, text: answer.text().await.expect("a body") }
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.client.request(method, self.path(path))
    }

    /// A GET without a key.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    /// A request to the API with [`KEY`] and a JSON body.
    pub(crate) async fn api(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let request = self.request(method, path).bearer_auth(KEY);
        match body {
            Some(body) => self.send(request.header("Content-Type", "application/json").body(body.to_string())).await,
            None => self.send(request).await,
        }
    }

    /// What the API says about something that exists.
    pub(crate) async fn look(&self, path: &str) -> Value {
        let answer = self.api("GET", path, None).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    }

    pub(crate) async fn token(&self, slug: &str) -> String {
        let monitor = self.look(&format!("/api/monitors/{slug}")).await;
        monitor["token"].as_str().expect("a token").to_owned()
    }

    /// The rest of its stderr, which must be piped, until it ends.
    pub(crate) async fn log(&mut self) -> String {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().expect("stderr is piped");
        within("the end of the log", stderr.read_to_string(&mut text)).await.expect("text");
        text
    }

    /// Sends a signal such as `TERM` or `KILL`.
    pub(crate) async fn signal(&self, name: &str) {
        send_signal(name, self.child.id()).await;
    }

    /// Waits until it has ended; its exit status, `None` when a signal ended it.
    pub(crate) async fn ended(&mut self) -> Option<i32> {
        within("the server ends", self.child.wait()).await.expect("it ends").code()
    }

    /// Stops it in an orderly way.
    pub(crate) async fn stop(mut self) {
        self.signal("TERM").await;
        assert_eq!(self.ended().await, Some(0));
    }
}

/// Sends a signal to a process; the shell has a `kill` of its own even where there is no such program.
pub(crate) async fn send_signal(name: &str, pid: Option<u32>) {
    let line = format!("kill -{name} {}", pid.expect("it runs"));
    assert!(Command::new("sh").args(["-c", &line]).status().await.expect("sh runs").success());
}

/// An HTTP client that follows no redirect.
pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().expect("a client")
}

/// A real receiver of webhooks and mail.
pub(crate) struct Receiver {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    pub(crate) http: String,
    pub(crate) smtp: String,
    /// Everything that was received so far.
    pub(crate) received: Vec<Value>,
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_demo_receiver"));
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the receiver starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its stdout")).lines();
        let first = within("the receiver", lines.next_line()).await.expect("readable").expect("a line");
        let places: Value = serde_json::from_str(&first).expect("JSON");
        let place = |name: &str| places[name].as_str().expect("an address").to_owned();
        Self { _child: child, lines, http: place("http"), smtp: place("smtp"), received: Vec::new() }
    }

    /// Waits until a message was received that passes a test.
    pub(crate) async fn until(&mut self, what: &str, passes: impl Fn(&Value) -> bool) -> Value {
        if let Some(found) = self.received.iter().find(|message| passes(message)) {
            return found.clone();
        }
        loop {
            let line = within(what, self.lines.next_line()).await.expect("readable").expect("a line");
            let message: Value = serde_json::from_str(&line).expect("JSON");
            self.received.push(message.clone());
            if passes(&message) {
                return message;
            }
        }
    }

    /// How many of those received so far pass a test.
    pub(crate) fn count(&self, passes: impl Fn(&Value) -> bool) -> usize {
        self.received.iter().filter(|message| passes(message)).count()
    }

    /// A settings file's channels `hook` and `mail` that lead here.
    pub(crate) fn channels(&self) -> String {
        format!(
            r#"
[[channel]]
name = "hook"
kind = "webhook"
url = "http://{}/hook"
allow_private = true

[[channel]]
name = "mail"
kind = "email"
smtp = "smtp://{}"
from = "Heartbeat <heartbeat@example.org>"
to = ["ops@example.org"]
allow_private = true
"#,
            self.http, self.smtp
        )
    }
}
