//! A Redis, a receiver of webhooks, and what servers are told.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::support::{KEY, Receiver, Server, command, folder, settings, within};
use crate::traffic::BUSY;

pub(crate) struct Site {
    pub(crate) receiver: Receiver,
    pub(crate) folder: TempDir,
    storage: String,
    file: PathBuf,
}

impl Site {
    /// Servers that keep everything at this URL. Monitors called `busy-…` fall silent when nobody is heard for 4 s, the one
    /// called `silent` after 2 s; nothing is expected of them before they were heard first.
    pub(crate) async fn at(url: &str) -> Self {
        let (receiver, folder) = (Receiver::start().await, folder());
        let monitor = |slug: &str, seconds: u32| {
            format!(
                "[[monitor]]\nslug = \"{slug}\"\nschedule = {{ every = \"{seconds}s\" }}\ngrace = \"{seconds}s\"\n\
                 arm = \"first_ping\"\nchannels = [\"hook\"]\n"
            )
        };
        let busy: String = (0..BUSY).map(|number| monitor(&format!("busy-{number}"), 2)).collect();
        let monitors = format!("{}{busy}{}", receiver.channels(), monitor("silent", 1));
        let file = settings(folder.path(), &monitors);
        Self { receiver, folder, storage: url.to_owned(), file }
    }

    /// What starts a server.
    pub(crate) fn command(&self, name: &str) -> Command {
        self.command_at(name, &self.storage)
    }

    /// The same for a server that reaches the store in another way.
    pub(crate) fn command_at(&self, name: &str, url: &str) -> Command {
        let storage = format!("{url}?prefix=site&timeout_ms=1000&partitions=8");
        let mut command = command(self.folder.path());
        command.env("HEARTBEAT_ADMIN_KEY", KEY).env("HEARTBEAT_LEASE_TTL", "2s").env("HEARTBEAT_LOG", "error");
        command.env("HEARTBEAT_NODE", name);
        command.args(["--storage", &storage, "--config", self.file.to_str().expect("a path")]);
        command
    }

    /// A server that is ready.
    pub(crate) async fn node(&self, name: &str) -> Server {
        Self::ready(self.command(name)).await
    }

    pub(crate) async fn ready(mut command: Command) -> Server {
        let server = Server::start_with(&mut command).await;
        server.until_status("/readyz", 200).await;
        server
    }

    /// Waits until so many servers share the work evenly, by what one of them says.
    pub(crate) async fn until_shared(server: &Server, count: usize) {
        let shared = async {
            loop {
                let cluster = server.look("/api/cluster").await;
                let nodes = cluster["nodes"].as_array().expect("a list").iter();
                let shares: Vec<u64> = nodes
                    .filter(|node| node["alive"] == true)
                    .map(|node| node["partitions"].as_u64().expect("a number"))
                    .collect();
                let even = shares.len() == count
                    && shares.iter().sum::<u64>() == 8
                    && shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1;
                if even {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(&format!("{count} servers that share the work"), shared).await;
    }

    /// Waits until a change of a monitor was told.
    pub(crate) async fn until_told(&mut self, kind: &str, slug: &str) -> Value {
        self.receiver.until(&format!("{kind} of {slug}"), |message| is_about(message, kind, slug)).await
    }

    /// Fails where anything was told of a busy monitor, or anything twice of the silent one.
    pub(crate) fn assert_told_once(&self, kinds: &[&str]) {
        let down = self.receiver.count(|message| {
            let slug = &message["body"]["data"]["monitor"]["slug"];
            message["body"]["type"] == "monitor.down" && slug.as_str().is_some_and(|slug| slug != "silent")
        });
        assert_eq!(down, 0, "a false alert: {:?}", self.receiver.received);
        for kind in kinds {
            assert_eq!(self.receiver.count(|message| is_about(message, kind, "silent")), 1, "{kind}");
        }
    }
}

fn is_about(message: &Value, kind: &str, slug: &str) -> bool {
    message["body"]["type"] == kind && message["body"]["data"]["monitor"]["slug"] == slug
}

/// The incidents of a monitor, by what a server says.
pub(crate) async fn incidents(server: &Server, slug: &str) -> usize {
    server.look(&format!("/api/incidents?monitor={slug}")).await["items"].as_array().expect("a list").len()
}

/// Pauses a monitor so that nothing is expected of it.
pub(crate) async fn pause(server: &Server, slug: &str) {
    let pause = Some(json!({"manual_resume": true}));
    assert_eq!(server.api("POST", &format!("/api/monitors/{slug}/pause"), pause).await.status, 200);
}
