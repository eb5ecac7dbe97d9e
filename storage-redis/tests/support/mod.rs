//! Servers of Redis that a test starts for itself, on free ports of this machine.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;

/// How long anything may take before the test gives up; nothing is expected to come near it.
const PATIENCE: Duration = Duration::from_secs(60);

const SENTINEL_SETTINGS: &str = "sentinel.conf";

/// One redis-server. It ends with this, and also when the test's process ends in whatever way.
pub struct Server {
    /// A shell that kills the server when nobody holds its standard input any more.
    guard: Child,
    pub port: u16,
    pub directory: TempDir,
    arguments: Vec<String>,
    /// Its process; asked for while it answers.
    pid: String,
}

impl Server {
    /// With nothing on disk.
    pub fn start() -> Self {
        Self::with(&["--save", "", "--appendonly", "no"])
    }

    /// What was acknowledged is on the disk.
    pub fn durable() -> Self {
        Self::with(&["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
    }

    pub fn with(arguments: &[&str]) -> Self {
        Self::on(free_port(), tempfile::tempdir().unwrap(), arguments)
    }

    fn on(port: u16, directory: TempDir, arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let guard = guard(port, &directory, &arguments);
        let mut server = Self { guard, port, directory, arguments, pid: String::new() };
        server.await_ready();
        server
    }

    /// Kills it, as a crash does.
    pub fn kill(&mut self) {
        drop(self.guard.stdin.take());
        self.guard.wait().unwrap();
    }

    /// Starts it again after [`Server::kill`], on the same port and with what it had on disk.
    pub fn restart(&mut self) {
        self.guard = guard(self.port, &self.directory, &self.arguments);
        self.await_ready();
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

    /// Tells it something that it must take.
    pub fn tell(&self, command: &[&str]) {
        let _: redis::Value = self.ask(command).unwrap();
    }

    pub fn info(&self, name: &str) -> String {
        let info: String = self.ask(&["INFO", "everything"]).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
        line.unwrap_or_default().to_owned()
    }

    /// Freezes its process until [`Server::wake`].
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    pub fn wake(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let line = format!("kill -{signal} {}", self.pid);
        assert!(Command::new("sh").args(["-c", &line]).status().unwrap().success());
    }

    fn await_ready(&mut self) {
        until("redis-server to answer", || self.ask::<String>(&["PING"]).is_ok_and(|answer| answer == "PONG"));
        self.pid = self.info("process_id");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

fn guard(port: u16, directory: &TempDir, arguments: &[String]) -> Child {
    let script = r#"redis-server "$@" >redis.log 2>&1 & cat >/dev/null; kill -KILL $!; wait $! 2>/dev/null"#;
    let mut command = Command::new("sh");
    command.args(["-c", script, "guard"]);
    // A sentinel keeps what it learns in its file of settings, which comes first.
    if directory.path().join(SENTINEL_SETTINGS).exists() {
        command.arg(SENTINEL_SETTINGS);
    }
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0"])
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
    let pause = Duration::from_millis(10);
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        if is_so() {
            return;
        }
        std::thread::sleep(pause);
    }
    panic!("waited too long for {what}");
}

/// A Redis Cluster of three primaries.
pub struct Cluster {
    pub nodes: Vec<Server>,
}

impl Cluster {
    pub fn start() -> Self {
        let nodes: Vec<(Server, String)> = (0..3).map(|_| cluster_node()).collect();
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
        let cluster = Self { nodes };
        cluster.until_known(3);
        cluster
    }

    /// Adds a replica of the first primary, which takes its place when it dies.
    pub fn add_replica(&mut self) {
        let (replica, _) = cluster_node();
        let first = &self.nodes[0];
        let id: String = first.ask(&["CLUSTER", "MYID"]).unwrap();
        let bus: Vec<String> = first.ask(&["CONFIG", "GET", "cluster-port"]).unwrap();
        replica.tell(&["CLUSTER", "MEET", "127.0.0.1", &first.port.to_string(), &bus[1]]);
        self.nodes.push(replica);
        self.until_known(4);
        self.nodes[3].tell(&["CLUSTER", "REPLICATE", &id]);
        until("the replica to follow", || self.nodes[3].info("master_link_status") == "up");
    }

    fn until_known(&self, count: usize) {
        for node in &self.nodes {
            until("the nodes to know each other", || {
                let info: String = node.ask(&["CLUSTER", "INFO"]).unwrap();
                info.contains("cluster_state:ok") && info.contains(&format!("cluster_known_nodes:{count}"))
            });
        }
    }

    pub fn url(&self) -> String {
        let nodes: Vec<_> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+cluster://{}", nodes.join(","))
    }
}

/// A server that is part of no cluster yet, and the port at which others of a cluster reach it.
fn cluster_node() -> (Server, String) {
    let bus = free_port().to_string();
    let mut arguments = vec!["--save", "", "--appendonly", "no", "--cluster-enabled", "yes"];
    arguments.extend(["--cluster-port", &bus, "--cluster-node-timeout", "2000"]);
    (Server::with(&arguments), bus)
}

/// A prefix that nothing else has in this process.
pub fn prefix() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A primary with one replica, and three sentinels that watch them under the name `main`.
pub struct Watched {
    pub primary: Server,
    pub replica: Server,
    sentinels: Vec<Server>,
}

impl Watched {
    pub fn start() -> Self {
        let primary = Server::durable();
        let replica = replica_of(&primary);
        let sentinels: Vec<Server> = (0..3).map(|_| sentinel(primary.port)).collect();
        for sentinel in &sentinels {
            until("the sentinels to know each other and the replica", || {
                let primary: HashMap<String, String> = sentinel.ask(&["SENTINEL", "MASTER", "main"]).unwrap();
                primary["num-other-sentinels"] == "2" && primary["num-slaves"] == "1"
            });
        }
        Self { primary, replica, sentinels }
    }

    pub fn url(&self) -> String {
        let nodes: Vec<_> = self.sentinels.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis+sentinel://{}/main", nodes.join(","))
    }
}

/// A server that follows another one, and has all that it has.
pub fn replica_of(primary: &Server) -> Server {
    let port = primary.port.to_string();
    let replica = Server::with(&["--save", "", "--appendonly", "no", "--replicaof", "127.0.0.1", &port]);
    until_it_follows(&replica, primary);
    replica
}

/// Waits until a replica gets what is written: that begins only a second after it has what there was.
pub fn until_it_follows(replica: &Server, primary: &Server) {
    until("the replica to follow", || replica.info("master_link_status") == "up");
    primary.tell(&["SET", "probe", "here"]);
    until("the replica to be sent what is written", || {
        replica.ask::<Option<String>>(&["GET", "probe"]).is_ok_and(|found| found.is_some())
    });
    primary.tell(&["DEL", "probe"]);
}

fn sentinel(primary: u16) -> Server {
    let directory = tempfile::tempdir().unwrap();
    let settings = format!(
        "sentinel monitor main 127.0.0.1 {primary} 2\n\
         sentinel down-after-milliseconds main 1000\n\
         sentinel failover-timeout main 5000\n"
    );
    std::fs::write(directory.path().join(SENTINEL_SETTINGS), settings).unwrap();
    Server::on(free_port(), directory, &["--sentinel"])
}

/// Waits for something that must come.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let Ok(value) = tokio::time::timeout(PATIENCE, future).await else { panic!("waited too long for {what}") };
    value
}
