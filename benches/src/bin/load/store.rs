//! Where the server keeps everything: a file, or a Redis.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use heartbeat_engine::Storage;
use heartbeat_storage_redis::{RedisOptions, RedisStorage};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage, Synchronous};

use crate::arguments::Arguments;
use crate::clock::Clock;
use crate::failure::{Failure, Outcome};
use crate::usage::file_length;

const LOOK: Duration = Duration::from_millis(5);
const PATIENCE: Duration = Duration::from_secs(20);

/// The store of one run.
#[derive(Debug)]
pub(crate) enum Store {
    File(PathBuf),
    Redis(Redis),
}

/// How large it is, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    /// All of it; for a Redis its memory.
    pub(crate) all: u64,
    /// The write-ahead log alone.
    pub(crate) log: u64,
}

impl Store {
    /// As the arguments wish it; what is made for the run alone lies in `folder`.
    pub(crate) fn new(arguments: &Arguments, folder: &Path) -> Outcome<Self> {
        match &arguments.redis {
            Some(url) if url.is_empty() => Redis::start(folder).map(Self::Redis),
            Some(url) => Ok(Self::Redis(Redis { url: url.clone(), server: None })),
            None => {
                let file = arguments.file.clone().unwrap_or_else(|| folder.join("heartbeat.db"));
                if file.exists() {
                    let message = format!("{} exists already; name a new file with --file", file.display());
                    return Err(Failure::new(message));
                }
                Ok(Self::File(file))
            }
        }
    }

    /// As `--storage` takes it.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::File(file) => format!("sqlite:{}", file.display()),
            Self::Redis(redis) => redis.url.clone(),
        }
    }

    /// The URL of the Redis; `None` for a file.
    pub(crate) fn redis_url(&self) -> Option<&str> {
        match self {
            Self::File(_) => None,
            Self::Redis(redis) => Some(&redis.url),
        }
    }

    /// Opens it; `hurried` promises nothing of what is written before it is closed.
    pub(crate) async fn open(&self, hurried: bool) -> Outcome<Arc<dyn Storage>> {
        match self {
            Self::File(file) => {
                let synchronous = if hurried { Synchronous::Normal } else { Synchronous::Full };
                let options = SqliteOptions::new().synchronous(synchronous);
                Ok(Arc::new(SqliteStorage::open(file, options).map_err(Failure::of("the database"))?))
            }
            Self::Redis(redis) => {
                let mut options = RedisOptions::parse(&redis.url).map_err(Failure::of("the URL of the Redis"))?;
                // Thousands of monitors are written in one call.
                options.timeout = Duration::from_secs(60);
                Ok(Arc::new(RedisStorage::open(options).await.map_err(Failure::of("the Redis"))?))
            }
        }
    }

    pub(crate) fn size(&self) -> Outcome<Size> {
        match self {
            Self::File(file) => {
                let log = file_length(&log_of(file));
                Ok(Size { all: file_length(file) + log, log })
            }
            Self::Redis(redis) => Ok(Size { all: redis.usage()?.memory_bytes, log: 0 }),
        }
    }

    /// What the Redis has done so far; `None` for a file.
    pub(crate) fn redis_usage(&self) -> Outcome<Option<RedisUsage>> {
        match self {
            Self::File(_) => Ok(None),
            Self::Redis(redis) => redis.usage().map(Some),
        }
    }
}

/// The write-ahead log of a database.
fn log_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// A Redis, and its process where it was started for the run.
#[derive(Debug)]
pub(crate) struct Redis {
    url: String,
    server: Option<Child>,
}

/// What a Redis tells of itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RedisUsage {
    /// Processor time, user and system.
    pub(crate) cpu: Duration,
    /// Commands, those within scripts included.
    pub(crate) commands: u64,
    /// Calls of scripts.
    pub(crate) calls: u64,
    /// Memory that holds data.
    pub(crate) memory_bytes: u64,
}

impl Redis {
    /// Starts one that appends to a file and syncs it every second, as most are set.
    fn start(folder: &Path) -> Outcome<Self> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(Failure::of("a free port"))?.port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "yes"]);
        command.arg("--dir").arg(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().map_err(Failure::of("redis-server"))?;
        let redis = Self { url: format!("redis://127.0.0.1:{port}"), server: Some(server) };
        let clock = Clock::start();
        while let Err(failure) = redis.usage() {
            if clock.elapsed() > PATIENCE {
                return Err(failure);
            }
            std::thread::sleep(LOOK);
        }
        Ok(redis)
    }

    fn usage(&self) -> Outcome<RedisUsage> {
        let info = redis::Client::open(self.url.split('?').next().unwrap_or_default())
            .and_then(|client| client.get_connection())
            .and_then(|mut connection| redis::cmd("INFO").arg("everything").query::<String>(&mut connection));
        Ok(RedisUsage::read(&info.map_err(Failure::of("the Redis"))?))
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It may have ended by itself.
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

impl RedisUsage {
    fn read(info: &str) -> Self {
        let text = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let number = |name: &str| text(name).and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or(0.0);
        let calls =
            text("cmdstat_evalsha").and_then(|stat| stat.strip_prefix("calls=")?.split(',').next()?.parse().ok());
        Self {
            cpu: Duration::from_secs_f64(number("used_cpu_user") + number("used_cpu_sys")),
            commands: number("total_commands_processed") as u64,
            calls: calls.unwrap_or(0),
            memory_bytes: number("used_memory") as u64,
        }
    }

    /// What was done since an earlier look.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            commands: self.commands.saturating_sub(before.commands),
            calls: self.calls.saturating_sub(before.calls),
            memory_bytes: self.memory_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_redis_tells_of_itself() {
        let info = "# CPU\r\nused_cpu_sys:1.5\r\nused_cpu_user:2.25\r\nused_memory:1024\r\n\
                    total_commands_processed:300\r\ncmdstat_evalsha:calls=7,usec=100,usec_per_call=14.28\r\n";
        let usage = RedisUsage::read(info);
        assert_eq!((usage.cpu, usage.commands, usage.calls), (Duration::from_millis(3750), 300, 7));
        let before = RedisUsage { commands: 100, ..RedisUsage::default() };
        assert_eq!((usage.since(before).commands, usage.since(before).memory_bytes), (200, 1024));
        assert_eq!(RedisUsage::read("").calls, 0);
    }
}
