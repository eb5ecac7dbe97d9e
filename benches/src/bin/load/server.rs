//! The server as a process of its own.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::api::Api;
use crate::clock::Clock;
use crate::failure::{Failure, Outcome};
use crate::store::Store;

/// The admin key of every server that is started here.
pub(crate) const KEY: &str = "hb_the_key_of_the_load_generator";
const LOOK: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(600);
/// The limit for one monitor stays in the way of a heartbeat, so that its cost counts, and is out of reach.
const SETTINGS: &str = "pings_per_minute = 60_000_000\n";

/// How to start one.
#[derive(Debug)]
pub(crate) struct Launch<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// Where it keeps everything.
    pub(crate) store: &'a Store,
    /// Where its settings and its log go.
    pub(crate) folder: &'a Path,
    /// What it logs.
    pub(crate) log: &'a str,
    /// Ends the waiting.
    pub(crate) interrupted: &'a AtomicBool,
}

/// A running server; it is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    log: PathBuf,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// From its start until `/readyz` answered 200.
    pub(crate) ready: Duration,
    /// The first lines that it prints; held open, because a server writes to it.
    _lines: Receiver<String>,
}

impl Launch<'_> {
    /// Starts it and waits until it is ready.
    pub(crate) fn start(&self) -> Outcome<Server> {
        let settings = self.folder.join("load.toml");
        std::fs::write(&settings, SETTINGS).map_err(Failure::of("the settings file"))?;
        let log = self.folder.join("server.log");
        let log_file = File::options().create(true).append(true).open(&log).map_err(Failure::of("the server's log"))?;
        let mut command = Command::new(self.program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("HEARTBEAT_") {
                command.env_remove(name);
            }
        }
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        command.args(["--listen", "127.0.0.1:0", "--noop-route"]);
        command.arg("--storage").arg(self.store.url()).arg("--config").arg(settings);
        command.env("HEARTBEAT_ADMIN_KEY", KEY).env("HEARTBEAT_LOG", self.log);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file);
        let clock = Clock::start();
        let mut child = command.spawn().map_err(Failure::of("the server does not start"))?;
        let lines = lines_of(&mut child);
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut server = Server { child, log, address, ready: Duration::ZERO, _lines: lines };
        server.address = server.banner(self.interrupted)?;
        let mut api = Api::new(server.address, KEY);
        while api.send("GET", "/readyz", None)?.status != 200 {
            server.must_run(self.interrupted, clock)?;
            std::thread::sleep(LOOK);
        }
        server.ready = clock.elapsed();
        Ok(server)
    }
}

/// Reads what the server prints, to the end of its life.
fn lines_of(child: &mut Child) -> Receiver<String> {
    let (sender, lines) = channel();
    if let Some(out) = child.stdout.take() {
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                // What comes after the first line is of no interest.
                let _ = sender.send(line);
            }
        });
    }
    lines
}

impl Server {
    /// Where it listens, which it prints when everything is loaded.
    fn banner(&mut self, interrupted: &AtomicBool) -> Outcome<SocketAddr> {
        let clock = Clock::start();
        loop {
            match self._lines.recv_timeout(LOOK) {
                Ok(line) => {
                    let url = line.split(" on http://").nth(1).map(str::trim);
                    let address = url.and_then(|address| address.parse().ok());
                    return address.ok_or_else(|| Failure::new(format!("the server prints `{line}`")));
                }
                Err(RecvTimeoutError::Timeout) => self.must_run(interrupted, clock)?,
                Err(RecvTimeoutError::Disconnected) => {
                    let ended = self.child.wait().map_err(Failure::of("the server"))?;
                    return Err(self.ended(ended));
                }
            }
        }
    }

    fn must_run(&mut self, interrupted: &AtomicBool, since: Clock) -> Outcome<()> {
        if interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new("interrupted"));
        }
        if since.elapsed() > PATIENCE {
            return Err(Failure::new("the server does not become ready"));
        }
        match self.child.try_wait().map_err(Failure::of("the server"))? {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    fn ended(&self, status: ExitStatus) -> Failure {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        let last = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
        Failure::new(format!("the server ended by itself ({status}):\n{last}"))
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails where it has ended by itself, with the end of its log.
    pub(crate) fn check(&mut self) -> Outcome<()> {
        match self.child.try_wait().map_err(Failure::of("the server"))? {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) -> Outcome<()> {
        self.check()?;
        self.child.kill().map_err(Failure::of("kill"))?;
        self.child.wait().map_err(Failure::of("the server")).map(drop)
    }

    /// Stops it in an orderly way.
    pub(crate) fn stop(&mut self) -> Outcome<()> {
        self.check()?;
        let id = i32::try_from(self.id()).ok().and_then(Pid::from_raw);
        let id = id.ok_or_else(|| Failure::new("the server has no process id"))?;
        kill_process(id, Signal::TERM).map_err(Failure::of("SIGTERM"))?;
        let clock = Clock::start();
        loop {
            match self.child.try_wait().map_err(Failure::of("the server"))? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.ended(status)),
                None if clock.elapsed() > PATIENCE => return Err(Failure::new("the server does not stop")),
                None => std::thread::sleep(LOOK),
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already where it was stopped or killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The server program: the one that was named, else the one beside this program, made anew from the sources.
pub(crate) fn program(named: Option<&Path>) -> Outcome<PathBuf> {
    if let Some(path) = named {
        return Ok(path.to_owned());
    }
    let own = std::env::current_exe().map_err(Failure::of("the place of this program"))?;
    let folder = own.parent().unwrap_or(Path::new("."));
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "-p", "heartbeat-examples", "--bin", "heartbeat-server"]);
    if folder.ends_with("release") {
        cargo.arg("--release");
    }
    cargo.arg("--manifest-path").arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"));
    // The report alone goes to standard output.
    let built = cargo.stdin(Stdio::null()).stdout(Stdio::null()).status().map_err(Failure::of("cargo"))?;
    if !built.success() {
        return Err(Failure::new("the server was not built; name one with --server"));
    }
    Ok(folder.join("heartbeat-server"))
}
