//! `heartbeat-server migrate`, with real servers, files and Redis.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test fails by panicking")]

mod filled;
mod killed;
mod moved;
#[path = "../../../storage-redis/tests/support/mod.rs"]
mod redis_server;
mod refused;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::support::{command, within};

/// The subcommand, to be started.
fn migrate_command(folder: &Path, arguments: &[&str]) -> Command {
    let mut process = command(folder);
    process.arg("migrate").args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    process
}

/// Runs the subcommand: its exit status, and what it says on stdout and on stderr.
async fn migrate(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = within("the migration", migrate_command(folder, arguments).output()).await.expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (output.status.code().expect("a status"), text(output.stdout), text(output.stderr))
}
