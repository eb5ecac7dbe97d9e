//! The two storages: where they are, and whether anybody works on them.

use std::sync::Arc;

use heartbeat_engine::{Clock, HistoryQuery, Import, Lease, Storage, StorageError, SystemClock};
use heartbeat_storage_redis::{RedisLimits, RedisOptions, RedisStorage};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage};

use super::DOCUMENT_KINDS;
use super::read::PAGE;
use crate::server::Failure;
use crate::settings::ConfigFault;
use crate::storage_url::StorageUrl;

/// `--from` or `--to`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    From,
    To,
}

impl Side {
    const fn flag(self) -> &'static str {
        match self {
            Self::From => "--from",
            Self::To => "--to",
        }
    }

    /// Says that what the flag names is wrong.
    pub(super) fn wrong(self, message: impl Into<String>) -> Failure {
        Failure::Config(ConfigFault::Given { given: self.flag(), message: message.into() })
    }

    /// Says what keeps the storage that it names from being used.
    pub(super) fn cannot(self, message: impl std::fmt::Display) -> Failure {
        Failure::Run(format!("{}: {message}", self.flag()))
    }

    /// Reads the URL.
    pub(super) fn parse(self, text: &str) -> Result<StorageUrl, Failure> {
        match StorageUrl::parse(text).map_err(|message| self.wrong(message))? {
            StorageUrl::Memory => Err(self.wrong(
                "memory: is gone with its server, so nothing can be moved from it or to it; it must be sqlite:PATH or the URL of a Redis",
            )),
            url => Ok(url),
        }
    }
}

/// The URL without login, and with what it takes to find the same store again.
pub(super) fn name(url: &StorageUrl) -> String {
    match url {
        StorageUrl::Redis(options) if options.prefix != "heartbeat" => format!("{options}?prefix={}", options.prefix),
        url => url.to_string(),
    }
}

/// Whether both URLs name the same storage.
pub(super) fn are_same(one: &StorageUrl, other: &StorageUrl) -> bool {
    match (one, other) {
        (StorageUrl::Sqlite(one), StorageUrl::Sqlite(other)) => {
            one == other
                || one.canonicalize().ok().is_some_and(|path| other.canonicalize().is_ok_and(|other| path == other))
        }
        (StorageUrl::Redis(one), StorageUrl::Redis(other)) => {
            one.to_string() == other.to_string() && one.prefix == other.prefix
        }
        _ => false,
    }
}

/// Opens a storage. It forgets nothing of what it holds or gets, whatever a server's limits are.
pub(super) async fn open(side: Side, url: &StorageUrl) -> Result<Arc<dyn Import>, Failure> {
    match url {
        StorageUrl::Memory => Err(side.cannot("memory: cannot be opened")),
        StorageUrl::Sqlite(path) => {
            if side == Side::From && !path.exists() {
                return Err(side.cannot(format!("there is no file `{}`", path.display())));
            }
            let path = path.clone();
            let opening = tokio::task::spawn_blocking(move || SqliteStorage::open(path, everything()));
            let opened = opening.await.map_err(|error| side.cannot(error))?;
            Ok(Arc::new(opened.map_err(|error| side.cannot(error))?))
        }
        StorageUrl::Redis(options) => {
            let mut options = RedisOptions::clone(options);
            let RedisLimits {
                pings_per_monitor,
                counts_days,
                changes_per_monitor,
                incidents_per_monitor,
                incidents_closed,
                notifications_settled,
                ..
            } = &mut options.limits;
            for limit in
                [pings_per_monitor, changes_per_monitor, incidents_per_monitor, incidents_closed, notifications_settled]
            {
                *limit = u32::MAX as usize;
            }
            *counts_days = u32::MAX;
            Ok(Arc::new(RedisStorage::open(options).await.map_err(|error| side.cannot(error))?))
        }
    }
}

fn everything() -> SqliteOptions {
    SqliteOptions::new()
        .readers(4)
        .pings_per_monitor(u32::MAX)
        .counts_days(u32::MAX)
        .changes_per_monitor(u32::MAX)
        .incidents_per_monitor(u32::MAX)
        .incidents_closed(u32::MAX)
        .notifications_settled(u32::MAX)
}

/// Refuses a Redis on which somebody works who is not `expected`; a file is locked by whoever works on it.
pub(super) async fn refuse_in_use(
    side: Side,
    url: &StorageUrl,
    storage: &dyn Storage,
    expected: impl Fn(&Lease) -> bool,
) -> Result<(), Failure> {
    if !matches!(url, StorageUrl::Redis(_)) {
        return Ok(());
    }
    let now = SystemClock::new().now();
    let leases = storage.leases().await.map_err(|error| side.cannot(error))?;
    let held = |lease: &&Lease| !lease.node.is_empty() && lease.expires_at > now && !expected(lease);
    match leases.iter().find(held) {
        Some(Lease { node, partition, expires_at, .. }) => Err(side.cannot(format!(
            "{} is in use: `{node}` holds the lease of partition {} until {expires_at}; stop every server that works on it. \
             What one leaves that was killed lapses by itself",
            name(url),
            partition.0
        ))),
        None => Ok(()),
    }
}

/// What a storage holds that is more than nothing; `None` when it is empty.
pub(super) async fn contents(storage: &dyn Storage) -> Result<Option<String>, StorageError> {
    let (mut monitors, mut after) = (0, None);
    loop {
        let page = storage.monitors(after, PAGE).await?;
        monitors += page.items.len();
        after = page.items.last().map(heartbeat_engine::Record::id);
        if !page.more || after.is_none() {
            break;
        }
    }
    let mut documents = 0;
    for kind in DOCUMENT_KINDS {
        documents += storage.documents(kind).await?.len();
    }
    let history = [
        HistoryQuery::Incidents { monitor: None, open: None, before: None },
        HistoryQuery::Notifications { state: None, incident: None, before: None },
    ];
    let mut has_history = false;
    for query in &history {
        has_history |= !storage.history(query, 1).await?.items.is_empty();
    }
    if monitors == 0 && documents == 0 && !has_history {
        return Ok(None);
    }
    let of_removed = if has_history { ", incidents or notifications" } else { "" };
    Ok(Some(format!(
        "{} and {}{of_removed}",
        crate::counted(monitors, "monitor"),
        crate::counted(documents, "document")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_storage_is_known_by_any_of_its_names() {
        let same =
            |one: &str, other: &str| are_same(&StorageUrl::parse(one).unwrap(), &StorageUrl::parse(other).unwrap());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.db");
        std::fs::write(&file, "").unwrap();
        let (plain, around) = (file.display().to_string(), folder.path().join("./a.db").display().to_string());
        assert!(same(&format!("sqlite:{plain}"), &format!("sqlite://{around}")));
        assert!(!same("sqlite:a.db", "sqlite:b.db"));
        assert!(same("redis://h", "redis://u:secret@h:6379?timeout_ms=1"));
        assert!(!same("redis://h", "redis://h?prefix=other"));
        assert!(!same("redis://h/0", "redis://h/1"));
        assert!(!same("redis://h", "sqlite:h"));
    }
}
