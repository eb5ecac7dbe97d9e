//! Writes one batch within the writer's transaction.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use heartbeat_engine::{Applied, Lease, Monitor, Outcome, StorageError, Token, Version};
use rusqlite::{Connection, OptionalExtension, params};

use crate::encode::{
    self, Encoded, EncodedChange, EncodedDocument, EncodedIncident, EncodedNotification, EncodedPing, EncodedRecord,
    EncodedSettlement, EncodedTransition,
};
use crate::options::SqliteOptions;
use crate::retention::Retention;

/// Why a batch was not written.
pub(crate) enum ApplyError {
    /// It is the batch's own fault.
    Refused(StorageError),
    /// SQLite failed.
    Sql(rusqlite::Error),
}

impl From<rusqlite::Error> for ApplyError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

/// How many monitors' wishes are remembered as being stored already; beyond that, all are forgotten.
const SPECS_REMEMBERED: usize = 1 << 20;

/// What the writer remembers between batches.
pub(crate) struct Applier {
    /// The wish of each monitor that is stored. A heartbeat brings the same one again, which need not be written.
    specs: HashMap<[u8; 16], Weak<Monitor>>,
    retention: Retention,
}

impl Applier {
    pub(crate) fn new(options: &SqliteOptions) -> Self {
        Self { specs: HashMap::new(), retention: Retention::new(options) }
    }

    /// Something was rolled back, so nothing is known of what is stored.
    pub(crate) fn forget(&mut self) {
        self.specs.clear();
    }

    /// Forgets old history where enough has come together; once for each transaction.
    pub(crate) fn sweep(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.retention.sweep(connection)
    }

    pub(crate) fn batch(&mut self, connection: &Connection, batch: &Encoded) -> Result<Applied, ApplyError> {
        let epoch = connection
            .prepare_cached("SELECT epoch FROM leases WHERE partition = ?1")?
            .query_row([batch.partition], |row| row.get::<_, i64>(0))
            .optional()?
            .unwrap_or(0);
        if epoch != batch.epoch.cast_signed() {
            return Err(ApplyError::Refused(StorageError::Fenced));
        }
        let mut applied = Applied::default();
        for transition in &batch.transitions {
            applied.transitions.push(self.transition(connection, batch.partition, transition)?);
        }
        for document in &batch.documents {
            applied.documents.push(write_document(connection, document)?);
        }
        for notification in &batch.notifications {
            owe(connection, notification)?;
        }
        for settlement in &batch.settlements {
            self.settle(connection, settlement)?;
        }
        write_watch(connection, batch)?;
        Ok(applied)
    }

    fn transition(
        &mut self,
        connection: &Connection,
        partition: u16,
        transition: &EncodedTransition,
    ) -> Result<Outcome, ApplyError> {
        let monitor = &transition.monitor;
        let found = connection
            .prepare_cached("SELECT version FROM monitors WHERE id = ?1")?
            .query_row([monitor], |row| row.get::<_, i64>(0))
            .optional()?
            .map(i64::cast_unsigned);
        if found != transition.expected {
            return Ok(Outcome::Conflict { found: found.map(Version) });
        }
        match &transition.put {
            Some(record) => {
                if let Some(field) = self.write_spec(connection, monitor, &record.monitor)? {
                    return Ok(Outcome::NameTaken { field });
                }
                write_record(connection, partition, monitor, record)?;
                for ping in &transition.pings {
                    write_ping(connection, monitor, ping)?;
                }
                for change in &transition.changes {
                    self.write_change(connection, monitor, change)?;
                }
                self.retention.pings(connection, monitor, &transition.pings)?;
            }
            None => self.remove(connection, monitor)?,
        }
        for incident in &transition.incidents {
            self.write_incident(connection, incident)?;
        }
        for notification in &transition.notifications {
            owe(connection, notification)?;
        }
        Ok(Outcome::Committed)
    }

    /// Writes the wish with its names, unless it is stored already or a name is taken, which it then tells.
    fn write_spec(
        &mut self,
        connection: &Connection,
        id: &[u8; 16],
        monitor: &Arc<Monitor>,
    ) -> Result<Option<&'static str>, ApplyError> {
        if self.specs.get(id).is_some_and(|stored| std::ptr::eq(stored.as_ptr(), Arc::as_ptr(monitor))) {
            return Ok(None);
        }
        let tokens: Vec<_> = monitor.token.all().map(Token::hash).collect();
        let slug = std::iter::once(("slug", SLUG, monitor.spec.slug.as_bytes()));
        let names: Vec<_> = slug.chain(tokens.iter().map(|hash| ("token", TOKEN, &hash.as_bytes()[..]))).collect();
        let mut owner = connection.prepare_cached("SELECT monitor FROM names WHERE kind = ?1 AND value = ?2")?;
        for (field, kind, value) in &names {
            let owner = owner.query_row(params![kind, value], |row| row.get::<_, [u8; 16]>(0)).optional()?;
            if owner.is_some_and(|owner| owner != *id) {
                return Ok(Some(field));
            }
        }
        connection.prepare_cached("DELETE FROM names WHERE monitor = ?1")?.execute([id])?;
        let mut insert =
            connection.prepare_cached("INSERT OR REPLACE INTO names (kind, value, monitor) VALUES (?1, ?2, ?3)")?;
        for (_, kind, value) in &names {
            insert.execute(params![kind, value, id])?;
        }
        let text = encode::json(&**monitor).map_err(ApplyError::Refused)?;
        connection
            .prepare_cached(
                "INSERT INTO specs (id, monitor) VALUES (?1, ?2) ON CONFLICT (id) DO UPDATE SET monitor = excluded.monitor",
            )?
            .execute(params![id, text])?;
        if self.specs.len() >= SPECS_REMEMBERED {
            self.specs.clear();
        }
        self.specs.insert(*id, Arc::downgrade(monitor));
        Ok(None)
    }

    fn remove(&mut self, connection: &Connection, id: &[u8; 16]) -> rusqlite::Result<()> {
        self.specs.remove(id);
        for sql in [
            "DELETE FROM monitors WHERE id = ?1",
            "DELETE FROM specs WHERE id = ?1",
            "DELETE FROM names WHERE monitor = ?1",
            "DELETE FROM pings WHERE monitor = ?1",
            "DELETE FROM changes WHERE monitor = ?1",
        ] {
            connection.prepare_cached(sql)?.execute([id])?;
        }
        Ok(())
    }

    fn write_change(&mut self, connection: &Connection, id: &[u8; 16], change: &EncodedChange) -> rusqlite::Result<()> {
        let k = 1 + connection
            .prepare_cached("SELECT k FROM changes WHERE monitor = ?1 ORDER BY version DESC, k DESC LIMIT 1")?
            .query_row([id], |row| row.get::<_, i64>(0))
            .optional()?
            .unwrap_or(0);
        connection
            .prepare_cached("INSERT INTO changes (monitor, version, k, change) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![id, change.version.cast_signed(), k, change.change])?;
        self.retention.changes(connection, id, k)
    }

    fn write_incident(&mut self, connection: &Connection, incident: &EncodedIncident) -> rusqlite::Result<()> {
        let changed = connection
            .prepare_cached("UPDATE incidents SET opened_at = ?2, open = ?3, incident = ?4 WHERE id = ?1")?
            .execute(params![incident.id, incident.opened_at, incident.open, incident.incident])?;
        if changed > 0 {
            return Ok(());
        }
        let k: i64 = connection
            .prepare_cached("SELECT coalesce(max(k), 0) + 1 FROM incidents WHERE monitor = ?1")?
            .query_row([incident.monitor], |row| row.get(0))?;
        connection
            .prepare_cached(
                "INSERT INTO incidents (id, monitor, k, opened_at, open, incident) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![incident.id, incident.monitor, k, incident.opened_at, incident.open, incident.incident])?;
        self.retention.incidents(connection, &incident.monitor, k)
    }

    fn settle(&mut self, connection: &Connection, settlement: &EncodedSettlement) -> rusqlite::Result<()> {
        connection
            .prepare_cached("UPDATE notifications SET state = ?2, delivery = ?3 WHERE id = ?1")?
            .execute(params![settlement.id, settlement.state, settlement.delivery])?;
        self.retention.settled();
        Ok(())
    }
}

/// How names are stored.
pub(crate) const SLUG: i64 = 0;
pub(crate) const TOKEN: i64 = 1;

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

fn write_record(
    connection: &Connection,
    partition: u16,
    id: &[u8; 16],
    record: &EncodedRecord,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO monitors (id, partition, version, wake_at, health) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (id) DO UPDATE SET partition = excluded.partition, version = excluded.version,
             wake_at = excluded.wake_at, health = excluded.health",
        )?
        .execute(params![id, partition, record.version.cast_signed(), record.wake_at, record.health])?;
    Ok(())
}

fn write_ping(connection: &Connection, id: &[u8; 16], ping: &EncodedPing) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO pings (monitor, n, entry, body) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![id, ping.n.cast_signed(), ping.entry, ping.body])?;
    Ok(())
}

/// What is stored under the id already stays as it is.
fn owe(connection: &Connection, notification: &EncodedNotification) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO notifications (id, state, incident, notification, ping_body, delivery)
             SELECT ?1, 0, ?2, ?3, ?4, ?5 WHERE NOT EXISTS (SELECT 1 FROM notifications WHERE id = ?1)",
        )?
        .execute(params![
            notification.id,
            notification.incident,
            notification.notification,
            notification.ping_body,
            notification.delivery
        ])?;
    Ok(())
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
