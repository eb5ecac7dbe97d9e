//! Pages of counts: what stands in rows, what stays with the newest heartbeats, and what is in the log alone.

use heartbeat_engine::compact::{add_hours, hour_of};
use heartbeat_engine::{CountsPer, HistoryItem, MonitorId, Page, Timestamp};
use rusqlite::{Connection, OptionalExtension};

use super::{Hours, span_of, tally};
use crate::error;
use crate::log::{self, Position};
use crate::pings::{FOLDED, Stored};
use crate::readers::{Read, ReadError};

/// The newest span before another one that anybody has.
pub(crate) const BELOW: &str = "SELECT max(span) FROM counts WHERE span < ?1";
pub(crate) const ROWS: &str = "SELECT hours FROM counts WHERE span = ?1 AND monitor = ?2";

/// Which hours or days are wanted.
pub(crate) struct Wanted {
    pub(crate) per: CountsPer,
    pub(crate) since: Option<Timestamp>,
    pub(crate) before: Option<Timestamp>,
    pub(crate) limit: usize,
}

/// A page of a monitor's counts; `newest` was read from the index before the connection saw anything.
///
/// It looks at a span after the other, newest first, until the page is full. No day lies in two spans.
pub(crate) fn page(
    connection: &Connection,
    id: &[u8; 16],
    newest: Option<Position>,
    wanted: &Wanted,
) -> Read<Page<HistoryItem>> {
    let folded = connection.prepare_cached(FOLDED)?.query_row([id], |row| row.get(0)).optional()?;
    let Some(folded) = folded.map(Position::from_column) else { return Ok(Page::empty()) };
    let mut open = open(connection, id, newest, folded)?;
    let since = wanted.since.map_or(i64::MIN, |since| span_of(hour_of(since)));
    let mut above = wanted.before.map_or(i64::MAX, |before| span_of(hour_of(before)).saturating_add(1));
    let mut items = Vec::new();
    while items.len() <= wanted.limit {
        let stored: Option<i64> = connection.prepare_cached(BELOW)?.query_row([above], |row| row.get(0))?;
        open.retain(|number, _| span_of(*number) < above);
        let Some(span) = stored.max(open.keys().next_back().map(|number| span_of(*number))) else { break };
        if span < since {
            break;
        }
        let mut hours = open.clone();
        hours.retain(|number, _| span_of(*number) == span);
        let mut statement = connection.prepare_cached(ROWS)?;
        let mut rows = statement.query(rusqlite::params![span, id])?;
        while let Some(row) = rows.next()? {
            add_hours(&mut hours, row.get_ref(0)?.as_bytes().unwrap_or_default())
                .map_err(|error| damaged(id, &error))?;
        }
        let counts = wanted.per.gather(hours.into_values().rev()).filter(|counts| {
            wanted.since.is_none_or(|since| counts.begins_at >= since)
                && wanted.before.is_none_or(|before| counts.begins_at < before)
        });
        items.extend(counts.map(HistoryItem::Counts));
        above = span;
    }
    Ok(Page::cut(items, wanted.limit))
}

/// The hours that stand in no row of their own.
fn open(connection: &Connection, id: &[u8; 16], newest: Option<Position>, folded: Position) -> Read<Hours> {
    let mut hours = Hours::new();
    if let Some(newest) = newest {
        log::walk(connection, id, newest, folded, |entry| {
            tally(&mut hours, entry.pings).map_err(|error| damaged(id, &error))?;
            Ok(true)
        })?;
    }
    add_hours(&mut hours, &Stored::hours(connection, id)?).map_err(|error| damaged(id, &error))?;
    Ok(hours)
}

fn damaged(id: &[u8; 16], error: &dyn std::fmt::Display) -> ReadError {
    let id = MonitorId::from_bytes(*id);
    ReadError::Undecodable(error::undecodable(&format_args!("counts of monitor {id}"), error))
}
