//! Every question to the database except the history.

use std::fmt::Display;

use heartbeat_engine::{
    Document, Epoch, Lease, Monitor, MonitorId, Name, Outage, OutboxEntry, Page, PartitionId, Record, Timestamp,
    Version, WatchLog,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;

use crate::codec;
use crate::error;
use crate::index::Index;
use crate::log::{self, Position};
use crate::readers::{Read, ReadError};
use crate::wishes::{SLUG, TOKEN};

pub(crate) const LOAD: &str = "SELECT m.id, m.version, m.folded, m.health, w.monitor FROM monitors m
    JOIN wishes w ON w.id = m.id WHERE m.id = ?1";
pub(crate) const MONITORS: &str = "SELECT m.id, m.version, m.folded, m.health, w.monitor FROM monitors m
    JOIN wishes w ON w.id = m.id WHERE m.id > ?1 ORDER BY m.id LIMIT ?2";
pub(crate) const OUTBOX: &str = "SELECT seq, notification, ping_body, delivery FROM notifications
    WHERE state = 0 AND seq > ?1 ORDER BY seq LIMIT ?2";

/// The index is asked before the connection sees anything: what it names is then there, or in the row of the monitor.
pub(crate) fn load(connection: &Connection, index: &Index, ids: &[MonitorId]) -> Read<Vec<Option<Record>>> {
    let tails = index.tails(ids);
    let mut statement = connection.prepare_cached(LOAD)?;
    let one = |(id, tail): (&MonitorId, &Option<Position>)| {
        let mut rows = statement.query([id.as_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        match raw(connection, row, *tail)? {
            Some(raw) => raw.decode().map(Some),
            None => Err(ReadError::Undecodable(error::undecodable(&format_args!("log of monitor {id}"), &"it ends"))),
        }
    };
    let found = ids.iter().zip(&tails).map(one).collect::<Read<Vec<_>>>()?;
    learn(index, found.iter().flatten());
    Ok(found)
}

/// A page of records; `None` for those whose newest state was committed after the connection began to look, which have to
/// be loaded by their ids.
pub(crate) type Loaded = (MonitorId, Option<Record>);

pub(crate) fn monitors(
    connection: &Connection,
    index: &Index,
    after: Option<MonitorId>,
    limit: usize,
) -> Read<Page<Loaded>> {
    let after: &[u8] = after.as_ref().map_or(&[], |id| id.as_bytes());
    let loaded = |row: &Row<'_>| {
        let id = row.get(0)?;
        let tail = index.read().tail(&id);
        let record = raw(connection, row, tail)?.map(Raw::decode).transpose()?;
        Ok((MonitorId::from_bytes(id), record))
    };
    let page = page(connection, MONITORS, &[&after, &one_more(limit)], limit, loaded)?;
    learn(index, page.items.iter().filter_map(|(_, record)| record.as_ref()));
    Ok(page)
}

fn learn<'a>(index: &Index, records: impl Iterator<Item = &'a Record>) {
    index.learn(records.map(|record| (record.id(), record.version.0, &record.monitor)));
}

pub(crate) fn find(connection: &Connection, name: &Name) -> Read<Option<MonitorId>> {
    let (kind, value) = match name {
        Name::Slug(slug) => (SLUG, slug.as_bytes()),
        Name::Token(hash) => (TOKEN, &hash.as_bytes()[..]),
    };
    let found = connection
        .prepare_cached("SELECT monitor FROM names WHERE kind = ?1 AND value = ?2")?
        .query_row(params![kind, value], |row| row.get(0))
        .optional()?;
    Ok(found.map(MonitorId::from_bytes))
}

pub(crate) fn outbox(connection: &Connection, after: u64, limit: usize) -> Read<Page<OutboxEntry>> {
    page(connection, OUTBOX, &[&cursor(after), &one_more(limit)], limit, outbox_entry)
}

pub(crate) fn leases(connection: &Connection) -> Read<Vec<Lease>> {
    let mut statement =
        connection.prepare_cached("SELECT partition, epoch, node, expires_at FROM leases ORDER BY partition")?;
    let rows = statement.query_map([], |row| {
        Ok(Lease {
            partition: PartitionId(row.get(0)?),
            epoch: Epoch(row.get::<_, i64>(1)?.cast_unsigned()),
            node: row.get(2)?,
            expires_at: Timestamp::from_millis(row.get(3)?),
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

pub(crate) fn documents(connection: &Connection, kind: &str) -> Read<Vec<Document>> {
    let mut statement =
        connection.prepare_cached("SELECT id, version, body FROM documents WHERE kind = ?1 ORDER BY id")?;
    let mut rows = statement.query([kind])?;
    let mut documents = Vec::new();
    while let Some(row) = rows.next()? {
        documents.push(Document {
            kind: kind.to_owned(),
            id: row.get(0)?,
            version: Version(row.get::<_, i64>(1)?.cast_unsigned()),
            body: json(row, 2, &"document")?,
        });
    }
    Ok(documents)
}

pub(crate) fn watch_log(connection: &Connection) -> Read<WatchLog> {
    let mark = connection
        .prepare_cached("SELECT mark FROM marks WHERE id = 1")?
        .query_row([], |row| row.get(0))
        .optional()?
        .map(Timestamp::from_millis);
    let mut statement =
        connection.prepare_cached("SELECT began_at, ended_at FROM outages ORDER BY ended_at, began_at")?;
    let outages = statement.query_map([], |row| {
        Ok(Outage { from: Timestamp::from_millis(row.get(0)?), to: Timestamp::from_millis(row.get(1)?) })
    })?;
    Ok(WatchLog { mark, outages: outages.collect::<Result<_, _>>()? })
}

/// Reads a page with a query that asks for one row more than the page holds.
pub(crate) fn page<T>(
    connection: &Connection,
    sql: &str,
    parameters: &[&dyn rusqlite::ToSql],
    limit: usize,
    decode: impl Fn(&Row<'_>) -> Read<T>,
) -> Read<Page<T>> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        if items.len() == limit {
            return Ok(Page { items, more: true });
        }
        items.push(decode(row)?);
    }
    Ok(Page { items, more: false })
}

/// A cursor that lies beyond what can be stored is beyond everything.
pub(crate) fn cursor(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(crate) fn one_more(limit: usize) -> i64 {
    clamp(limit).saturating_add(1)
}

fn clamp(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A column that holds JSON.
pub(crate) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize, what: &dyn Display) -> Read<T> {
    let text =
        row.get_ref(column)?.as_str().map_err(|error| ReadError::Undecodable(error::undecodable(what, &error)))?;
    serde_json::from_str(text).map_err(|error| ReadError::Undecodable(error::undecodable(what, &error)))
}

/// A record that is not decoded yet.
struct Raw {
    id: MonitorId,
    version: u64,
    health: Vec<u8>,
    monitor: String,
}

impl Raw {
    fn decode(self) -> Read<Record> {
        let id = self.id;
        let undecodable = |what: &dyn Display, error: &dyn Display| ReadError::Undecodable(error::undecodable(what, error));
        let monitor: Monitor = serde_json::from_str(&self.monitor)
            .map_err(|error| undecodable(&format_args!("monitor {id}"), &error))?;
        let health = codec::read_health(&self.health)
            .map_err(|error| undecodable(&format_args!("state of monitor {id}"), &error))?;
        Ok(Record { monitor: monitor.into(), health, version: Version(self.version) })
    }
}

/// The newest of what the row and the log have; `None` when the entry is not there yet in what the connection sees.
fn raw(connection: &Connection, row: &Row<'_>, tail: Option<Position>) -> Read<Option<Raw>> {
    let id = MonitorId::from_bytes(row.get(0)?);
    let folded = Position::from_column(row.get(2)?);
    let (version, health) = match tail.filter(|tail| *tail > folded) {
        Some(tail) => {
            let found = log::at(connection, tail, |entry| Ok((entry.version, entry.health.to_vec())))?;
            let Some(found) = found else { return Ok(None) };
            found
        }
        None => (row.get::<_, i64>(1)?.cast_unsigned(), bytes(row, 3)?),
    };
    Ok(Some(Raw { id, version, health, monitor: row.get(4)? }))
}

/// A column that holds bytes or text.
fn bytes(row: &Row<'_>, column: usize) -> Read<Vec<u8>> {
    let bytes = row.get_ref(column)?.as_bytes();
    bytes.map(<[u8]>::to_vec).map_err(|error| ReadError::Undecodable(error::undecodable(&"state", &error)))
}

pub(crate) fn outbox_entry(row: &Row<'_>) -> Read<OutboxEntry> {
    let mut notification: heartbeat_engine::Notification = json(row, 1, &"notification")?;
    if let Some(ping) = &mut notification.ping {
        ping.body = row.get(2)?;
    }
    Ok(OutboxEntry {
        seq: row.get::<_, i64>(0)?.cast_unsigned(),
        notification,
        delivery: json(row, 3, &"delivery of a notification")?,
    })
}
