//! Pages of history.

use heartbeat_engine::{HistoryItem, HistoryQuery, IncidentId, MonitorId, Page, StateChange, StorageError, Timestamp};
use rusqlite::{Connection, Row, ToSql, params};

use crate::counts::{self, Wanted};
use crate::encode::state_number;
use crate::index::Index;
use crate::options::Kept;
use crate::pings;
use crate::read::{cursor, json, one_more, outbox_entry, page};
use crate::readers::{Read, ReadError};

pub(crate) const CHANGES: &str =
    "SELECT change FROM changes WHERE monitor = ?1 AND version < ?2 ORDER BY version DESC, k DESC";

pub(crate) const FEED: &str = "SELECT seq, change FROM changes WHERE seq > ?1 ORDER BY seq LIMIT ?2";
pub(crate) const LATEST_EVENT: &str = "SELECT seq, change FROM changes ORDER BY seq DESC LIMIT 1";

/// Heartbeats that are older than those that are kept may be there still.
pub(crate) fn history(
    connection: &Connection,
    index: &Index,
    kept: Kept,
    query: &HistoryQuery,
    limit: usize,
) -> Read<Page<HistoryItem>> {
    match query {
        HistoryQuery::Pings { monitor, before } => {
            let newest = index.read().tail(monitor.as_bytes());
            pings::page(connection, monitor.as_bytes(), *before, limit, newest, kept.pings)
        }
        HistoryQuery::Counts { monitor, per, since, before } if kept.counts() => {
            let newest = index.read().tail(monitor.as_bytes());
            let wanted = Wanted { per: *per, since: *since, before: *before, limit };
            counts::page(connection, monitor.as_bytes(), newest, &wanted)
        }
        HistoryQuery::Counts { .. } => Ok(Page::empty()),
        HistoryQuery::Changes { monitor, before } => changes(connection, *monitor, *before, limit),
        HistoryQuery::Incidents { monitor, open, before } => incidents(connection, *monitor, *open, *before, limit),
        HistoryQuery::Incident(id) => {
            page(connection, "SELECT incident FROM incidents WHERE id = ?1", &[id.as_bytes()], limit, incident)
        }
        HistoryQuery::Notifications { state, incident, before } => {
            let before = before.map_or(i64::MAX, cursor);
            let sql = notifications_sql(state.map(state_number), incident.is_some());
            let incident: &[u8] = incident.as_ref().map_or(&[], |id| id.as_bytes());
            page(connection, &sql, &[&before, &one_more(limit), &incident], limit, notification)
        }
        HistoryQuery::Notification(id) => {
            let sql = "SELECT seq, notification, ping_body, delivery FROM notifications WHERE id = ?1";
            page(connection, sql, &[id.as_bytes()], limit, notification)
        }
        HistoryQuery::Feed { after } => page(connection, FEED, &[&cursor(*after), &one_more(limit)], limit, event),
        HistoryQuery::LatestEvent => page(connection, LATEST_EVENT, &[], limit, event),
        other => Err(ReadError::Undecodable(StorageError::Unavailable(format!("it cannot answer {other:?}")))),
    }
}

/// Pages of incidents; parameters: limit, `opened_at` and id of the cursor, monitor.
pub(crate) fn incidents_sql(of_monitor: bool, open: Option<bool>) -> String {
    let monitor = if of_monitor { "AND monitor = ?4" } else { "AND ?4 IS NOT NULL" };
    let open = match open {
        Some(true) => "AND open = 1",
        Some(false) => "AND open = 0",
        None => "",
    };
    format!(
        "SELECT incident FROM incidents WHERE (opened_at, id) < (?2, ?3) {monitor} {open}
         ORDER BY opened_at DESC, id DESC LIMIT ?1"
    )
}

/// Pages of notifications; parameters: cursor, limit, incident.
pub(crate) fn notifications_sql(state: Option<i64>, of_incident: bool) -> String {
    let incident = if of_incident { "AND incident = ?3" } else { "AND ?3 IS NOT NULL" };
    // The number itself, because a partial index is not used for a parameter.
    let state = state.map_or_else(String::new, |state| format!("AND state = {state}"));
    format!(
        "SELECT seq, notification, ping_body, delivery FROM notifications WHERE seq < ?1 {state} {incident}
         ORDER BY seq DESC LIMIT ?2"
    )
}

fn incidents(
    connection: &Connection,
    monitor: Option<MonitorId>,
    open: Option<bool>,
    before: Option<(Timestamp, IncidentId)>,
    limit: usize,
) -> Read<Page<HistoryItem>> {
    // A blob of 17 bytes is behind every id.
    let (opened_at, id) =
        before.map_or((i64::MAX, vec![0xff; 17]), |(at, id)| (at.as_millis(), id.as_bytes().to_vec()));
    let monitor: &[u8] = monitor.as_ref().map_or(&[], |id| id.as_bytes());
    let parameters: [&dyn ToSql; 4] = [&one_more(limit), &opened_at, &id, &monitor];
    page(connection, &incidents_sql(!monitor.is_empty(), open), &parameters, limit, incident)
}

/// A page does not end between two changes of one version: the cursor could not tell them apart.
fn changes(connection: &Connection, monitor: MonitorId, before: Option<u64>, limit: usize) -> Read<Page<HistoryItem>> {
    let mut statement = connection.prepare_cached(CHANGES)?;
    let mut rows = statement.query(params![monitor.as_bytes(), before.map_or(i64::MAX, cursor)])?;
    let mut items = Vec::new();
    let mut last = None;
    while let Some(row) = rows.next()? {
        let change: StateChange = json(row, 0, &"change of state")?;
        if items.len() >= limit && last != Some(change.version) {
            return Ok(Page { items, more: true });
        }
        last = Some(change.version);
        items.push(HistoryItem::Change(change));
    }
    Ok(Page { items, more: false })
}

fn event(row: &Row<'_>) -> Read<HistoryItem> {
    let change = json(row, 1, &"change of state")?;
    Ok(HistoryItem::Event { seq: row.get::<_, i64>(0)?.cast_unsigned(), change })
}

fn incident(row: &Row<'_>) -> Read<HistoryItem> {
    json(row, 0, &"incident").map(HistoryItem::Incident)
}

fn notification(row: &Row<'_>) -> Read<HistoryItem> {
    outbox_entry(row).map(|entry| HistoryItem::Notification(Box::new(entry)))
}
