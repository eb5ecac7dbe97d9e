//! The note in the target that a migration is under way: a document that keeps servers from starting, and tells where to go on.

use futures_util::TryStreamExt;
use heartbeat_engine::{Document, HistoryQuery, Import, Imported, Storage, StorageError, Timestamp, Version};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::DOCUMENT_KINDS;
use super::hold::Hold;
use super::read::{self, Store};

/// The kind of the document; there is one at most.
const KIND: &str = "migration";
const ID: &str = "here";

/// How far a migration is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    Monitors,
    Changes,
    Incidents,
    Notifications,
    Rest,
    Comparison,
    Finished,
}

/// What the note says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Note {
    /// Where everything comes from, without login.
    pub(super) from: String,
    /// Where it goes, without login.
    pub(super) to: String,
    /// What the source is known by: it changes when a server works on it.
    pub(super) source: String,
    /// When the migration began, or ended.
    pub(super) at: Timestamp,
    pub(super) stage: Stage,
    /// Changes of state up to this place of the feed are over.
    #[serde(default)]
    pub(super) events: u64,
}

impl Note {
    pub(super) async fn read(storage: &dyn Storage) -> Result<Option<Self>, StorageError> {
        let Some(document) = storage.documents(KIND).await?.pop() else { return Ok(None) };
        let note = serde_json::from_value(document.body);
        note.map(Some)
            .map_err(|error| StorageError::Corrupt(format!("the note of a migration cannot be read: {error}")))
    }

    pub(super) async fn write(&self, target: &dyn Import, hold: &Hold) -> Result<(), StorageError> {
        // A structure of plain fields has a form in JSON.
        let body = serde_json::to_value(self).unwrap_or_default();
        let document = Document { kind: KIND.to_owned(), id: ID.to_owned(), version: Version::FIRST, body };
        let first = hold.first();
        let imported =
            Imported { partition: first.0, epoch: first.1, documents: vec![document], ..Imported::default() };
        target.import(&imported).await
    }

    pub(super) const fn is_finished(&self) -> bool {
        matches!(self.stage, Stage::Finished)
    }

    /// How the command goes that made it.
    fn command(&self) -> String {
        format!("heartbeat-server migrate --from {} --to {}", self.from, self.to)
    }
}

/// Why a server must not start on this storage: everything is not there yet. `None` when it may.
///
/// # Errors
/// When the storage cannot be read.
pub(crate) async fn unfinished(storage: &dyn Storage) -> Result<Option<String>, StorageError> {
    let note = Note::read(storage).await?.filter(|note| !note.is_finished());
    Ok(note.map(|note| {
        format!(
            "a migration from {} to here is under way or was not finished (begun {}): run `{}` again (with the logins that these URLs \
             leave out); it goes on where it stopped",
            note.from,
            note.at,
            note.command()
        )
    }))
}

/// What a storage is known by: the same as long as nobody works on it.
pub(super) struct Print {
    pub(super) print: String,
    pub(super) monitors: u64,
}

/// Reads what a storage is known by.
pub(super) async fn print(store: &Store) -> Result<Print, StorageError> {
    let mut hash = Sha256::new();
    let mut add = |thing: String| hash.update(thing.as_bytes());
    let log = store.watch_log().await?;
    add(format!("{:?} {:?}", log.mark, log.outages));
    for query in [
        HistoryQuery::LatestEvent,
        HistoryQuery::Incidents { monitor: None, open: None, before: None },
        HistoryQuery::Notifications { state: None, incident: None, before: None },
    ] {
        add(format!("{:?}", store.history(&query, 1).await?.items));
    }
    for kind in DOCUMENT_KINDS {
        for document in store.documents(kind).await? {
            add(format!("{kind} {} {}", document.id, document.version));
        }
    }
    let mut monitors = 0;
    let mut pages = Box::pin(read::records(store));
    while let Some(records) = pages.try_next().await? {
        monitors += records.len() as u64;
        records.iter().for_each(|record| add(format!("{} {}", record.id(), record.version)));
    }
    let print = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Print { print, monitors })
}
