//! Servers of Redis that a test starts for itself, on free ports of this machine.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a server may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// One redis-server. It ends with this, and also when the test's process ends in whatever way.
pub struct Server {
    /// A shell that kills the server when nobody holds its standard input any more.
    guard: Child,
    pub port: u16,
    pub directory: TempDir,
}

impl Server {
    /// With nothing on disk.
    pub fn start() -> Self {
        Self::with(&["--save", "", "--appendonly", "no"])
    }

    pub fn with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let guard = guard(port, &directory, arguments);
        let server = Self { guard, port, directory };
        server.await_ready();
        server
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Asks it with a connection of its own.
    pub fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> redis::RedisResult<T> {
        let client = redis::Client::open(self.url())?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(2))?;
        connection.set_read_timeout(Some(Duration::from_secs(10)))?;
        redis::cmd(command[0]).arg(&command[1..]).query(&mut connection)
    }

    pub fn info(&self, name: &str) -> String {
        let info: String = self.ask(&["INFO", "everything"]).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_default().to_owned()
    }

    /// Sends its process a signal: `KILL`, `STOP`, `CONT`.
    pub fn signal(&self, pid: &str, signal: &str) {
        assert!(Command::new("kill").args(["-s", signal, pid]).status().unwrap().success());
    }

    pub fn pid(&self) -> String {
        self.info("process_id")
    }

    fn await_ready(&self) {
        until("redis-server to answer", || self.ask::<String>(&["PING"]).is_ok_and(|answer| answer == "PONG"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

fn guard(port: u16, directory: &TempDir, arguments: &[&str]) -> Child {
    let script = r#"redis-server "$@" >redis.log 2>&1 & cat >/dev/null; kill -KILL $!; wait $! 2>/dev/null"#;
    Command::new("sh")
        .args(["-c", script, "guard", "--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(arguments)
        .current_dir(directory.path())
        .stdin(Stdio::piped())
        .spawn()
        .expect("a shell must start; redis-server is installed by scripts/test")
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A Redis Cluster of three primaries.
pub struct Cluster {
    pub nodes: Vec<Server>,
}

impl Cluster {
    pub fn start() -> Self {
        let start = |_| {
            let bus = free_port().to_string();
            let node = Server::with(&[
                "--save",
                "",
                "--appendonly",
                "no",
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "2000",
            ]);
            (node, bus)
        };
        let nodes: Vec<(Server, String)> = (0..3).map(start).collect();
        for (n, (node, _)) in nodes.iter().enumerate() {
            let (first, last) = (n * 16384 / 3, (n + 1) * 16384 / 3 - 1);
            let _: () = node.ask(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).unwrap();
            let _: () = node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]).unwrap();
        }
        for (node, bus) in &nodes[1..] {
            let port = node.port.to_string();
            let _: () = nodes[0].0.ask(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]).unwrap();
        }
        let nodes: Vec<Server> = nodes.into_iter().map(|(node, _)| node).collect();
        for node in &nodes {
            until("the nodes to know each other", || {
                let info: String = node.ask(&["CLUSTER", "INFO"]).unwrap();
                info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:3")
            });
        }
        Self { nodes }
    }

    pub fn url(&self) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }
}

/// A prefix that nothing else has in this process.
pub fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
