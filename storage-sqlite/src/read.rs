//! Every question to the database except the history.

use std::cmp::Ordering;
use std::fmt::Display;

use heartbeat_engine::{
    Document, Epoch, Health, Lease, MonitorId, Name, Outage, OutboxEntry, Page, PartitionId, Record, Timestamp,
    Version, WatchLog,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::de::DeserializeOwned;

use crate::error;
use crate::index::{Index, Newest};
use crate::log::{self, LogEntry, Position};
use crate::readers::{Read, ReadError};
use crate::wishes::{SLUG, TOKEN};
use heartbeat_engine::compact;

pub(crate) const LOAD: &str = "SELECT m.id, m.version, m.folded, m.health, w.monitor, w.version FROM monitors m
    JOIN wishes w ON w.id = m.id WHERE m.id = ?1";
pub(crate) const MONITORS: &str = "SELECT id, version, folded, health FROM monitors WHERE id > ?1 ORDER BY id";
pub(crate) const WISHES: &str = "SELECT id, monitor, version FROM wishes WHERE id > ?1 ORDER BY id";
pub(crate) const OUTBOX: &str = "SELECT seq, notification, ping_body, delivery FROM notifications
    WHERE state = 0 AND seq > ?1 ORDER BY seq LIMIT ?2";

/// The index is asked before the connection sees anything: what it names is then there, or in the row of the monitor.
pub(crate) fn load(connection: &Connection, index: &Index, ids: &[MonitorId]) -> Read<Vec<Option<Record>>> {
    let tails = index.tails(ids);
    let mut statement = connection.prepare_cached(LOAD)?;
    let one = |(id, tail): (&MonitorId, &Option<Position>)| {
        let mut rows = statement.query([id.as_bytes()])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        match record(connection, index, row, (row, 4), *tail)? {
            Some(record) => Ok(Some(record)),
            None => Err(ReadError::Undecodable(error::undecodable(&format_args!("log of monitor {id}"), &"it ends"))),
        }
    };
    let found = ids.iter().zip(&tails).map(one).collect::<Read<Vec<_>>>()?;
    learn(index, ids.iter().zip(&found));
    Ok(found)
}

/// A page has room for so many before it grows.
const PAGE_ROOM: usize = 4096;

/// An id with its record; `None` for one whose newest state was committed after the connection began to look, which has
/// to be loaded by its id.
pub(crate) type Loaded = (MonitorId, Option<Record>);

/// Monitors behind `after`.
pub(crate) fn monitors(
    connection: &Connection,
    index: &Index,
    after: Option<MonitorId>,
    limit: usize,
) -> Read<Page<Loaded>> {
    let after: &[u8] = after.as_ref().map_or(&[], |id| id.as_bytes());
    // Both queries must see the same. Side by side they read each page once, where a join would search for every wish.
    let _snapshot = connection.is_autocommit().then(|| connection.unchecked_transaction()).transpose()?;
    let (mut states, mut wishes) = (connection.prepare_cached(MONITORS)?, connection.prepare_cached(WISHES)?);
    let (mut states, mut wishes) = (states.query([after])?, wishes.query([after])?);
    let (mut items, mut more) = (Vec::with_capacity(limit.min(PAGE_ROOM)), false);
    let (mut state, mut wish) = (states.next()?, wishes.next()?);
    let mut guess = 0;
    while let (Some(row), Some(wished)) = (state, wish) {
        let (id, of): ([u8; 16], [u8; 16]) = (row.get(0)?, wished.get(0)?);
        match id.cmp(&of) {
            Ordering::Less => state = states.next()?,
            Ordering::Greater => wish = wishes.next()?,
            Ordering::Equal if items.len() == limit => {
                more = true;
                break;
            }
            Ordering::Equal => {
                let folded = Position::from_column(row.get(2)?);
                let newest = newest(index, &id, &mut guess);
                // What was folded after the connection began to look is neither in this row nor in the tail.
                let record = match newest.filter(|newest| newest.in_tail().is_some() || newest.position() <= folded) {
                    Some(newest) => record(connection, index, row, (wished, 1), newest.in_tail())?,
                    None => None,
                };
                items.push((MonitorId::from_bytes(id), record));
                (state, wish) = (states.next()?, wishes.next()?);
            }
        }
    }
    learn(index, items.iter().map(|(id, record)| (id, record)));
    Ok(Page { items, more })
}

fn newest(index: &Index, id: &[u8; 16], guess: &mut u32) -> Option<Newest> {
    let table = index.read();
    let number = table.number(id, *guess)?;
    *guess = number + 1;
    Some(table.entry(number).newest)
}

fn learn<'a>(index: &Index, records: impl Iterator<Item = (&'a MonitorId, &'a Option<Record>)>) {
    let seen = |(id, record): (&MonitorId, &'a Option<Record>)| {
        record.as_ref().map(|record| (*id, record.version.0, &record.monitor))
    };
    index.learn(records.filter_map(seen));
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
    i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1)
}

/// A column that holds JSON.
pub(crate) fn json<T: DeserializeOwned>(row: &Row<'_>, column: usize, what: &dyn Display) -> Read<T> {
    let text =
        row.get_ref(column)?.as_str().map_err(|error| ReadError::Undecodable(error::undecodable(what, &error)))?;
    serde_json::from_str(text).map_err(|error| ReadError::Undecodable(error::undecodable(what, &error)))
}

/// The newest of what the row and the log have; `None` when the entry is not there yet in what the connection sees. The wish
/// and its version are in `wish`, from that column on.
fn record(
    connection: &Connection,
    index: &Index,
    row: &Row<'_>,
    (wish, column): (&Row<'_>, usize),
    tail: Option<Position>,
) -> Read<Option<Record>> {
    let id = MonitorId::from_bytes(row.get(0)?);
    let folded = Position::from_column(row.get(2)?);
    let from_log = |entry: &LogEntry<'_>| Ok((entry.version, health(id, entry.health)?));
    let tail = tail.filter(|tail| *tail > folded);
    let found = match tail {
        Some(tail) => log::at(connection, tail, from_log)?,
        None => {
            let bytes = row.get_ref(3)?.as_bytes().map_err(|error| undecodable(&"state", &error))?;
            Some((row.get::<_, i64>(1)?.cast_unsigned(), health(id, bytes)?))
        }
    };
    let Some(mut found) = found else { return Ok(None) };
    // The wish is of a newer state, which the index did not have yet when it was asked. It may be found nowhere, when
    // the log was damaged.
    if wish.get::<_, i64>(column + 1)?.cast_unsigned() > found.0
        && let Some((position, newer)) =
            log::newest_behind(connection, id.as_bytes(), tail.unwrap_or(folded), from_log)?
    {
        index.wait_for(id.as_bytes(), position);
        found = newer;
    }
    let text = wish.get_ref(column)?.as_str().map_err(|error| undecodable(&format_args!("monitor {id}"), &error))?;
    let monitor = index.texts.read(id, text).map_err(|error| undecodable(&format_args!("monitor {id}"), &error))?;
    Ok(Some(Record { monitor: monitor.into(), health: found.1, version: Version(found.0) }))
}

fn health(id: MonitorId, bytes: &[u8]) -> Read<Health> {
    compact::read_health(bytes).map_err(|error| undecodable(&format_args!("state of monitor {id}"), &error))
}

fn undecodable(what: &dyn Display, error: &dyn Display) -> ReadError {
    ReadError::Undecodable(error::undecodable(what, error))
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use heartbeat_engine::Batch;
    use heartbeat_engine::testing::fixtures::{batch, create, next, record, replace};

    use super::*;
    use crate::apply::Applier;
    use crate::options::SqliteOptions;
    use crate::{encode, open};

    /// A writer that tells the index nothing until it is told to.
    struct Quiet {
        connection: Connection,
        applier: Applier,
    }

    impl Quiet {
        fn open(path: &Path, index: &Arc<Index>) -> Self {
            let options = SqliteOptions::new();
            let connection = open::open(path, &options).unwrap().connection;
            let deferred = crate::deferred::Deferred::open(&connection).unwrap();
            Self { connection, applier: Applier::new(&options, Arc::clone(index), 0, deferred) }
        }

        fn commit(&mut self, batch: &Batch) {
            self.connection.execute_batch("BEGIN").unwrap();
            self.applier.begin();
            assert!(self.applier.batch(&self.connection, &encode::encode(batch).unwrap()).is_ok());
            self.connection.execute_batch("COMMIT").unwrap();
        }
    }

    /// What is committed can be seen in the database a little before the index has it.
    #[test]
    fn a_wish_never_comes_with_a_state_from_before_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("heartbeat.db");
        let index = Arc::new(Index::default());
        let mut writer = Quiet::open(&path, &index);
        let reader = open::reader(&path).unwrap();
        let found = || {
            let loaded = load(&reader, &index, &[record(1).id()]).map_err(ReadError::meaning).unwrap();
            let page = monitors(&reader, &index, None, 1).map_err(ReadError::meaning).unwrap().items;
            assert_eq!(page.into_iter().map(|(_, record)| record).collect::<Vec<_>>(), loaded);
            loaded.into_iter().next().flatten()
        };
        let edited = |now: &Record| {
            next(now, |monitor, health| {
                monitor.spec.slug = format!("edited-{}", now.version.0).into();
                health.ping_count += 1;
            })
        };
        writer.commit(&batch([create(&record(1)), create(&record(2))]));
        writer.applier.publish();
        let mut now = record(1);
        // From the row first, then from an entry of the log.
        for _ in 0..2 {
            let before = now.clone();
            let after = edited(&before);
            let beaten = next(&after, |_, health| health.ping_count += 1);
            writer.commit(&batch([replace(&after)]));
            assert_eq!(found(), Some(after));
            writer.commit(&batch([replace(&beaten)]));
            assert_eq!(found(), Some(beaten.clone()));
            writer.applier.publish();
            assert_eq!(found(), Some(beaten.clone()));
            now = beaten;
        }
        // The entries are lost. What is left is the wish, and the state in the row.
        writer.connection.execute("DELETE FROM log", []).unwrap();
        let fresh = Index::new(crate::replay::replay(&writer.connection).unwrap().table);
        let lost = load(&reader, &fresh, &[now.id()]).map_err(ReadError::meaning).unwrap().remove(0).unwrap();
        assert_eq!((lost.monitor, lost.health, lost.version), (now.monitor, record(1).health, record(1).version));
    }
}
