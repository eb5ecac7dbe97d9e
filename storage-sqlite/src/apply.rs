//! Writes one batch within the writer's transaction.

use std::ops::Range;
use std::sync::Arc;

use heartbeat_engine::compact::Reader;
use heartbeat_engine::{Applied, Lease, Outcome, StorageError, Version};
use rusqlite::{Connection, OptionalExtension, params};

use crate::counts;
use crate::deferred::Deferred;
use crate::encode::{Encoded, EncodedDocument, EncodedRecord, EncodedTransition};
use crate::index::{Entry, Index, Newest};
use crate::line::Line;
use crate::log::{self, LogWriter};
use crate::options::SqliteOptions;
use crate::pings;
use crate::readers::ReadError;
use crate::retention::Retention;
use crate::staged::{Staged, Standing};
use crate::wishes;

/// Why a batch was not written.
pub(crate) enum ApplyError {
    /// It is the batch's own fault.
    Refused(StorageError),
    /// SQLite failed.
    Sql(rusqlite::Error),
}

impl From<StorageError> for ApplyError {
    fn from(error: StorageError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for ApplyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// What the writer remembers between batches.
pub(crate) struct Applier {
    pub(crate) index: Arc<Index>,
    pub(crate) staged: Staged,
    pub(crate) deferred: Deferred,
    log: LogWriter,
    retention: Retention,
    /// From how many lines of history on a batch leaves them to later.
    defer_from: usize,
    /// The batch that is being written does.
    pub(crate) defers: bool,
}

impl Applier {
    /// `last_seq` is the last row of the log.
    pub(crate) fn new(options: &SqliteOptions, index: Arc<Index>, last_seq: u64, deferred: Deferred) -> Self {
        Self {
            index,
            staged: Staged::default(),
            deferred,
            log: LogWriter::new(last_seq),
            retention: Retention::new(options),
            defer_from: options.defer_from(),
            defers: false,
        }
    }

    /// A write begins, which may be rolled back alone.
    pub(crate) fn begin(&mut self) {
        self.staged.mark();
    }

    /// The write that began last is rolled back.
    pub(crate) fn roll_back(&mut self) {
        self.staged.roll_back();
        self.log.discard();
        self.deferred.discard();
    }

    /// The transaction is rolled back.
    pub(crate) fn forget(&mut self) {
        self.staged.clear();
        self.log.discard();
        self.deferred.forget();
    }

    /// The transaction is committed; says how many bytes were appended to the log.
    pub(crate) fn publish(&mut self) -> u64 {
        self.staged.publish(&self.index);
        self.deferred.publish();
        self.log.appended()
    }

    /// The last row of the log.
    pub(crate) const fn last_seq(&self) -> u64 {
        self.log.last()
    }

    /// Forgets old history where enough has come together; once for each transaction.
    pub(crate) fn sweep(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.retention.sweep(connection)
    }

    /// Puts some of what large batches left to later into its tables.
    pub(crate) fn put_deferred(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.deferred.put(connection, &mut self.retention)
    }

    /// Whether a batch with so many lines of history is so large that it leaves them to later.
    pub(crate) const fn is_large(&self, lines: usize) -> bool {
        lines >= self.defer_from
    }

    pub(crate) fn batch(&mut self, connection: &Connection, batch: &Encoded) -> Result<Applied, ApplyError> {
        self.defers = self.is_large(batch.history.lines) || !self.deferred.is_empty();
        check_epoch(connection, batch.partition, batch.epoch)?;
        let mut applied = Applied::default();
        for transition in &batch.transitions {
            applied.transitions.push(self.transition(connection, batch, transition)?);
            self.deferred.end_of_share(connection)?;
        }
        self.log.flush(connection)?;
        for document in &batch.documents {
            applied.documents.push(write_document(connection, document)?);
        }
        for range in &batch.beside {
            self.lines(connection, packed(batch, range))?;
            self.deferred.end_of_share(connection)?;
        }
        self.deferred.flush(connection)?;
        write_watch(connection, batch)?;
        Ok(applied)
    }

    pub(crate) fn standing(&self, id: &[u8; 16]) -> Standing {
        match self.staged.find(id) {
            Some(standing) => standing.clone(),
            None => self.index.read().find(id).map(|(entry, partition)| (entry.clone(), partition)),
        }
    }

    fn transition(
        &mut self,
        connection: &Connection,
        batch: &Encoded,
        transition: &EncodedTransition,
    ) -> Result<Outcome, ApplyError> {
        let monitor = &transition.monitor;
        let found = self.standing(monitor).map(|(entry, _)| entry);
        let version = found.as_ref().map(|entry| entry.version);
        if version != transition.expected {
            return Ok(Outcome::Conflict { found: version.map(Version) });
        }
        match (&transition.put, found) {
            (Some(record), found) => {
                let stored = found.as_ref().map(|entry| &entry.monitor);
                if let Some(field) = wishes::write(connection, monitor, record, stored)? {
                    return Ok(Outcome::NameTaken { field });
                }
                self.put(connection, batch, monitor, record, found)?;
            }
            (None, Some(found)) => self.remove(connection, &found)?,
            (None, None) => (),
        }
        self.lines(connection, packed(batch, &transition.history))?;
        Ok(Outcome::Committed)
    }

    /// Writes packed lines of history, or appends them to what is put into its tables later.
    pub(crate) fn lines(&mut self, connection: &Connection, packed: &[u8]) -> Result<(), ApplyError> {
        if self.defers {
            self.deferred.push(packed);
            return Ok(());
        }
        let mut reader = Reader::new(packed);
        while !reader.is_empty() {
            let line = Line::unpack(&mut reader)
                .map_err(|error| ApplyError::Refused(StorageError::Unavailable(format!("history: {error}"))))?;
            line.write(connection, &mut self.retention)?;
        }
        Ok(())
    }

    /// Writes a line of history, or appends it to what is put into its table later.
    pub(crate) fn line(&mut self, connection: &Connection, line: &Line<'_>) -> rusqlite::Result<()> {
        if self.defers {
            line.pack(self.deferred.row());
            return Ok(());
        }
        line.write(connection, &mut self.retention)
    }

    /// Appends the new state to the log. A new monitor gets its row, and an entry only for its heartbeats.
    fn put(
        &mut self,
        connection: &Connection,
        batch: &Encoded,
        id: &[u8; 16],
        record: &EncodedRecord,
        found: Option<Entry>,
    ) -> Result<(), ApplyError> {
        let is_new = found.is_none();
        let mut newest = match found {
            Some(found) => found.newest,
            None => self.insert(connection, batch, id, record)?,
        };
        if !is_new || record.has_pings {
            let entry = batch.bytes.get(record.entry.clone()).unwrap_or_default();
            newest = Newest::tail(self.log.append(connection, newest.in_tail(), entry)?);
        }
        let (version, wake_at) = (record.version, record.wake_at);
        let entry = Entry { id: *id, version, wake_at, monitor: Arc::downgrade(&record.monitor), newest };
        self.staged.set(*id, Some((entry, batch.partition)));
        Ok(())
    }

    fn insert(
        &self,
        connection: &Connection,
        batch: &Encoded,
        id: &[u8; 16],
        record: &EncodedRecord,
    ) -> rusqlite::Result<Newest> {
        // Whatever the log has of an earlier monitor with this id lies before its end.
        let folded = self.log.end().before();
        let health = batch.bytes.get(record.health.clone()).unwrap_or_default();
        connection
            .prepare_cached(
                "INSERT INTO monitors (id, partition, version, folded, wake_at, health) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                id,
                batch.partition,
                record.version.cast_signed(),
                folded.column(),
                record.wake_at,
                health
            ])?;
        Ok(Newest::folded(folded))
    }

    fn remove(&mut self, connection: &Connection, found: &Entry) -> Result<(), ApplyError> {
        let id = &found.id;
        let stored = match pings::Stored::read(connection, id) {
            Err(ReadError::Sql(error)) => return Err(error.into()),
            // What is damaged can be removed all the same; chunks that nothing leads to may stay.
            stored => stored.unwrap_or_default(),
        };
        for key in stored.keys() {
            connection.prepare_cached("DELETE FROM chunks WHERE key = ?1")?.execute([key])?;
        }
        if let Some(newest) = found.newest.in_tail() {
            self.log.flush(connection)?;
            log::delete_large(connection, id, newest)?;
        }
        for sql in [
            "DELETE FROM monitors WHERE id = ?1",
            "DELETE FROM wishes WHERE id = ?1",
            "DELETE FROM names WHERE monitor = ?1",
            "DELETE FROM recent WHERE monitor = ?1",
            counts::REMOVE,
        ] {
            connection.prepare_cached(sql)?.execute([id])?;
        }
        self.line(connection, &Line::Removed { monitor: *id })?;
        self.staged.set(*id, None);
        Ok(())
    }
}

fn packed<'a>(batch: &'a Encoded, range: &Range<usize>) -> &'a [u8] {
    batch.history.packed.get(range.clone()).unwrap_or_default()
}

/// Refuses what was made under another lease than the stored one.
pub(crate) fn check_epoch(connection: &Connection, partition: u16, epoch: u64) -> Result<(), ApplyError> {
    let stored = connection
        .prepare_cached("SELECT epoch FROM leases WHERE partition = ?1")?
        .query_row([partition], |row| row.get::<_, i64>(0))
        .optional()?
        .unwrap_or(0);
    if stored == epoch.cast_signed() { Ok(()) } else { Err(ApplyError::Refused(StorageError::Fenced)) }
}

pub(crate) fn swap_lease(connection: &Connection, expected: &Lease, next: &Lease) -> rusqlite::Result<bool> {
    let found = connection
        .prepare_cached("SELECT epoch, node FROM leases WHERE partition = ?1")?
        .query_row([expected.partition.0], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
        .optional()?
        .unwrap_or_default();
    if (found.0.cast_unsigned(), found.1.as_str()) != (expected.epoch.0, expected.node.as_str()) {
        return Ok(false);
    }
    connection
        .prepare_cached("INSERT OR REPLACE INTO leases (partition, epoch, node, expires_at) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![expected.partition.0, next.epoch.0.cast_signed(), next.node, next.expires_at.as_millis()])?;
    Ok(true)
}

fn write_document(connection: &Connection, document: &EncodedDocument) -> rusqlite::Result<Outcome> {
    let found = connection
        .prepare_cached("SELECT version FROM documents WHERE kind = ?1 AND id = ?2")?
        .query_row(params![document.kind, document.id], |row| row.get::<_, i64>(0))
        .optional()?
        .map(i64::cast_unsigned);
    if found != document.expected {
        return Ok(Outcome::Conflict { found: found.map(Version) });
    }
    if let Some(bytes) = document.excess() {
        return Ok(Outcome::TooLarge { bytes });
    }
    match &document.body {
        Some(body) => {
            let version = found.map_or(Version::FIRST, |found| Version(found).next());
            connection
                .prepare_cached("INSERT OR REPLACE INTO documents (kind, id, version, body) VALUES (?1, ?2, ?3, ?4)")?
                .execute(params![document.kind, document.id, version.0.cast_signed(), body])?
        }
        None => connection
            .prepare_cached("DELETE FROM documents WHERE kind = ?1 AND id = ?2")?
            .execute(params![document.kind, document.id])?,
    };
    Ok(Outcome::Committed)
}

fn write_watch(connection: &Connection, batch: &Encoded) -> rusqlite::Result<()> {
    if let Some(mark) = batch.mark {
        connection.prepare_cached("INSERT OR REPLACE INTO marks (id, mark) VALUES (1, ?1)")?.execute([mark])?;
    }
    if let Some(before) = batch.forget_outages_before {
        connection.prepare_cached("DELETE FROM outages WHERE ended_at < ?1")?.execute([before])?;
    }
    if let Some(after) = batch.forget_outages_after {
        connection.prepare_cached("DELETE FROM outages WHERE ended_at > ?1")?.execute([after])?;
    }
    if let Some((from, to)) = batch.outage {
        connection
            .prepare_cached("INSERT OR IGNORE INTO outages (ended_at, began_at) VALUES (?1, ?2)")?
            .execute([to, from])?;
    }
    Ok(())
}
