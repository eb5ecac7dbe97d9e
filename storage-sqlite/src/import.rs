//! Takes in what another storage kept.

use heartbeat_engine::compact::{Hours, hour_of};
use heartbeat_engine::{Imported, StateChange, StorageError};
use rusqlite::{Connection, OptionalExtension, params};

use crate::apply::{Applier, ApplyError, check_epoch};
use crate::counts::{self, Folded};
use crate::encode::{History, json};

/// What is taken in, as the writer wants it.
pub(crate) struct EncodedImport {
    partition: u16,
    epoch: u64,
    counts: Vec<([u8; 16], Folded)>,
    events: Vec<EncodedEvent>,
    incidents: History,
    documents: Vec<EncodedDocument>,
}

struct EncodedEvent {
    seq: i64,
    monitor: [u8; 16],
    version: i64,
    change: String,
}

struct EncodedDocument {
    kind: String,
    id: String,
    version: i64,
    body: String,
}

impl EncodedImport {
    pub(crate) fn new(imported: &Imported) -> Result<Self, StorageError> {
        let Imported { partition, epoch, counts, events, incidents, documents } = imported;
        let counts = counts.iter().map(|(id, counts)| {
            let hours: Hours = counts.iter().map(|counts| (hour_of(counts.begins_at), *counts)).collect();
            (*id.as_bytes(), counts::imported(&hours))
        });
        let document = |document: &heartbeat_engine::Document| {
            let (kind, id, version) = (document.kind.clone(), document.id.clone(), document.version.0.cast_signed());
            Ok(EncodedDocument { kind, id, version, body: json(&document.body)? })
        };
        let mut history = History::default();
        incidents.iter().try_for_each(|incident| history.incident(incident))?;
        Ok(Self {
            partition: partition.0,
            epoch: epoch.0,
            counts: counts.collect(),
            events: events.iter().map(|(seq, change)| event(*seq, change)).collect::<Result<_, _>>()?,
            incidents: history,
            documents: documents.iter().map(document).collect::<Result<_, StorageError>>()?,
        })
    }

    /// How many things it writes.
    pub(crate) fn len(&self) -> usize {
        self.counts.len() + self.events.len() + self.incidents.lines + self.documents.len()
    }
}

fn event(seq: u64, change: &StateChange) -> Result<EncodedEvent, StorageError> {
    let (monitor, version) = (*change.monitor.as_bytes(), change.version.0.cast_signed());
    Ok(EncodedEvent { seq: seq.cast_signed(), monitor, version, change: json(change)? })
}

impl Applier {
    /// Takes it in within the writer's transaction.
    pub(crate) fn import(&mut self, connection: &Connection, import: &EncodedImport) -> Result<(), ApplyError> {
        check_epoch(connection, import.partition, import.epoch)?;
        self.defers = !self.deferred.is_empty();
        for (monitor, hours) in &import.counts {
            if self.standing(monitor).is_none() {
                connection.prepare_cached(counts::REMOVE)?.execute([monitor])?;
                counts::write(connection, monitor, hours)?;
            }
        }
        for event in &import.events {
            if self.standing(&event.monitor).is_some() {
                write_event(connection, event)?;
            }
        }
        self.lines(connection, &import.incidents.packed)?;
        self.deferred.flush(connection)?;
        for document in &import.documents {
            let EncodedDocument { kind, id, version, body } = document;
            connection
                .prepare_cached("INSERT OR REPLACE INTO documents (kind, id, version, body) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![kind, id, version, body])?;
        }
        Ok(())
    }
}

fn write_event(connection: &Connection, event: &EncodedEvent) -> rusqlite::Result<()> {
    let EncodedEvent { seq, monitor, version, change } = event;
    let taken = connection.prepare_cached("SELECT 1 FROM changes WHERE seq = ?1")?.exists([seq])?;
    if taken {
        return Ok(());
    }
    let last: Option<i64> = connection
        .prepare_cached("SELECT k FROM changes WHERE monitor = ?1 ORDER BY version DESC, k DESC LIMIT 1")?
        .query_row([monitor], |row| row.get(0))
        .optional()?;
    connection
        .prepare_cached("INSERT INTO changes (seq, monitor, version, k, change) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .execute(params![seq, monitor, version, last.unwrap_or(0) + 1, change])?;
    Ok(())
}
