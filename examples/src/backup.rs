//! `heartbeat-server backup`: a copy of the database, also while the server runs.

use std::path::PathBuf;

use heartbeat_storage_sqlite::{BackupError, BackupReport, backup};

use crate::server::Failure;
use crate::settings::{ConfigFault, Settings};
use crate::storage_url::StorageUrl;

/// Makes the backup and says in one line what is in it.
pub(crate) async fn run(settings: &Settings, target: PathBuf, overwrite: bool) -> Result<String, Failure> {
    let StorageUrl::Sqlite(database) = settings.storage.clone() else {
        let message = match settings.storage {
            StorageUrl::Redis(_) => "a Redis is backed up by its own means (BGSAVE, copies of its files), not by this",
            _ => "memory: cannot be backed up, it is gone with its server; name the database as sqlite:PATH",
        };
        return Err(Failure::Config(ConfigFault::Given { given: "the storage", message: message.to_owned() }));
    };
    let (from, to) = (database.clone(), target.clone());
    let done = tokio::task::spawn_blocking(move || backup(from, to, overwrite)).await;
    let report = done.map_err(|error| Failure::Run(error.to_string()))?;
    let report = report.map_err(|error| Failure::Run(in_our_words(&error)))?;
    Ok(format!("`{}` is backed up in `{}`: {}", database.display(), target.display(), contents(&report)))
}

/// The error, with the flag that helps.
fn in_our_words(error: &BackupError) -> String {
    match error {
        BackupError::Exists { target } => {
            format!("`{}` exists; name another file, or let --force replace it", target.display())
        }
        other => other.to_string(),
    }
}

fn contents(report: &BackupReport) -> String {
    let count = |n: u64, one: &str| if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") };
    let as_of = report.mark.map_or_else(String::new, |mark| format!(", last mark of life {mark}"));
    format!(
        "{}, {}, {}, {} owed; {} bytes, version {}{as_of}",
        count(report.monitors, "monitor"),
        count(report.pings, "heartbeat"),
        count(report.incidents, "incident"),
        count(report.notifications_owed, "notification"),
        report.bytes,
        report.version,
    )
}
