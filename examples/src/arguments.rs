//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

/// Tells when something that should have happened did not.
#[derive(Debug, Default, Parser)]
#[command(name = "heartbeat-server", version, about, after_help = ENVIRONMENT)]
pub(crate) struct Arguments {
    /// Reads settings, channels and monitors from this TOML file
    #[arg(long, value_name = "FILE", global = true)]
    pub(crate) config: Option<PathBuf>,
    /// Listens on this address [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS:PORT", global = true)]
    pub(crate) listen: Option<String>,
    /// Keeps everything here: sqlite:PATH, redis://HOST:PORT (docs/redis.md tells of clusters and TLS) or memory: [default: sqlite:heartbeat.db]
    #[arg(long, value_name = "URL", global = true)]
    pub(crate) storage: Option<String>,
    /// Checks the configuration and exits: 0 when it is right, 2 when it is not
    #[arg(long)]
    pub(crate) check: bool,
    /// How log lines on stderr look
    #[arg(long, value_enum, value_name = "FORM", default_value_t)]
    pub(crate) log_format: LogFormat,
    /// Answers /noop at once, beside everything else: what a benchmark compares heartbeats with
    #[arg(long, hide = true)]
    pub(crate) noop_route: bool,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Asks a running server whether it is ready; exits with 0 when it is, else with 1
    Health {
        /// The server [default: where the settings say that it listens]
        #[arg(long)]
        url: Option<String>,
    },
    /// Copies the database to a file, also while the server works on it, and says what the copy holds
    Backup {
        /// Where the copy goes; it is opened as any other database
        file: PathBuf,
        /// Replaces the file when it exists
        #[arg(long)]
        force: bool,
    },
    /// Moves everything to another storage, on which no server runs: from SQLite to Redis, back, or to a Redis with another number of
    /// partitions. Killed at any point, the same command goes on where it stopped; at the end both are read through and compared
    Migrate {
        /// What is moved, and stays as it is: sqlite:PATH or the URL of a Redis; stop its servers first
        #[arg(long, value_name = "URL")]
        from: String,
        /// Where it goes: an empty storage, sqlite:PATH or the URL of a Redis
        #[arg(long, value_name = "URL")]
        to: String,
        /// Writes nothing, and compares what both hold by counts and checksums
        #[arg(long)]
        verify: bool,
    },
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// For machines: one JSON object per line
    Json,
}

const ENVIRONMENT: &str = "\
Environment (a flag wins over it, it wins over the file):
  HEARTBEAT_CONFIG      the TOML file
  HEARTBEAT_LISTEN      as --listen
  HEARTBEAT_STORAGE     as --storage
  HEARTBEAT_ADMIN_KEY   the admin key, 16 characters or more; without it one is made and printed once
  HEARTBEAT_PUBLIC_URL  how others reach the server; used in links and ping URLs
  HEARTBEAT_LOG         what is logged, for example info or warn,heartbeat_engine=debug [default: info]
  HEARTBEAT_NODE        the name of this node [default: heartbeat]
  HEARTBEAT_LEASE_TTL   how long the lease of a node lasts that shares a Redis with others [default: 10s]

Exit status: 0 after an orderly stop, 1 when it could not run (port taken, store unreachable, locked or damaged,
no backup made, not everything moved or something of it differs),
2 when the configuration is wrong.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }
}
