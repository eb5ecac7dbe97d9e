//! Every question to the database except the history.

use std::fmt::Display;

use heartbeat_engine::{
    Document, Epoch, Health, Lease, Monitor, MonitorId, Name, Outage, OutboxEntry, Page, PartitionId, Record,
    Timestamp, Version, WatchLog,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;

use crate::apply::{SLUG, TOKEN};
use crate::error;
use crate::readers::{Read, ReadError};

pub(crate) const LOAD: &str =
    "SELECT m.id, m.version, m.health, s.monitor FROM monitors m JOIN specs s ON s.id = m.id WHERE m.id = ?1";
pub(crate) const MONITORS: &str =
    "SELECT m.id, m.version, m.health, s.monitor FROM monitors m JOIN specs s ON s.id = m.id
    WHERE m.id > ?1 ORDER BY m.id LIMIT ?2";
pub(crate) const DUE: &str = "SELECT id, wake_at FROM monitors
    WHERE partition = ?1 AND wake_at < ?2 AND wake_at < 9223372036854775807 ORDER BY wake_at, id LIMIT ?3";
pub(crate) const OUTBOX: &str = "SELECT seq, notification, ping_body, delivery FROM notifications
    WHERE state = 0 AND seq > ?1 ORDER BY seq LIMIT ?2";

pub(crate) fn load(connection: &Connection, ids: &[MonitorId]) -> Read<Vec<Option<Record>>> {
    let mut statement = connection.prepare_cached(LOAD)?;
    let one = |id: &MonitorId| {
        let mut rows = statement.query([id.as_bytes()])?;
        rows.next()?.map(record).transpose()
    };
    ids.iter().map(one).collect()
}

pub(crate) fn monitors(connection: &Connection, after: Option<MonitorId>, limit: usize) -> Read<Page<Record>> {
    let after: &[u8] = after.as_ref().map_or(&[], |id| id.as_bytes());
    page(connection, MONITORS, &[&after, &one_more(limit)], limit, record)
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

pub(crate) fn due(
    connection: &Connection,
    partition: PartitionId,
    before: Timestamp,
    limit: usize,
) -> Read<Vec<(MonitorId, Timestamp)>> {
    let mut statement = connection.prepare_cached(DUE)?;
    let rows = statement.query_map(params![partition.0, before.as_millis(), clamp(limit)], |row| {
        Ok((MonitorId::from_bytes(row.get(0)?), Timestamp::from_millis(row.get(1)?)))
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
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

fn record(row: &Row<'_>) -> Read<Record> {
    let id = MonitorId::from_bytes(row.get(0)?);
    let monitor: Monitor = json(row, 3, &format_args!("monitor {id}"))?;
    let health: Health = json(row, 2, &format_args!("state of monitor {id}"))?;
    Ok(Record { monitor: monitor.into(), health, version: Version(row.get::<_, i64>(1)?.cast_unsigned()) })
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
