//! Heartbeats counted by the hour, which are kept longer than the heartbeats.
//!
//! Folding counts them, in the transaction that moves the position up to which a monitor's row has taken the log: so each is
//! counted once, however often folding meets it. The newest hours stand in the row of the newest heartbeats, which folding
//! rewrites anyway. What has outgrown it becomes a row of the table `counts`, which is never changed: its key begins with a
//! *span* of 30 days, so rows that are made at about the same time lie together, and a whole span is forgotten at once.
//!
//! An hour may stand in several rows, because the clock was set back; its counts are then their sum. Days are sums of hours:
//! they are kept as long, and a year of hours is read in a few milliseconds. `page` reads; the form of hours on disk is that of
//! `heartbeat_engine::compact`.

mod page;

use heartbeat_engine::Timestamp;
pub(crate) use heartbeat_engine::compact::Hours;
use heartbeat_engine::compact::{CompactError, Frames, HourPacker, add_hours, count_heartbeat, hour_of, pack_hours};
use rusqlite::{Connection, OptionalExtension, params};

#[cfg(test)]
pub(crate) use self::page::{BELOW, ROWS};
pub(crate) use self::page::{Wanted, page};

/// How many hours a span has: 30 days.
const SPAN_HOURS: i64 = 720;
/// How many bytes of hours stay with the newest heartbeats; a row is hardly longer either. See `pings::RECENT_BYTES`.
const OPEN_BYTES: usize = 160;
/// How many rows one transaction forgets at most.
const FORGET_ROWS_MAX: i64 = 2000;

/// What folding makes of the hours of a monitor.
#[derive(Default)]
pub(crate) struct Folded {
    /// What stays with the newest heartbeats.
    pub(crate) open: Vec<u8>,
    /// Spans with the hours that outgrew it.
    rows: Vec<(i64, Vec<u8>)>,
}

impl Folded {
    /// About how much is written.
    pub(crate) fn bytes(&self) -> usize {
        self.open.len() + self.rows.iter().map(|(_, hours)| hours.len()).sum::<usize>()
    }
}

/// Counts heartbeats. Of those that cannot be read it tells the first, and counts the others.
pub(crate) fn tally(hours: &mut Hours, frames: &[u8]) -> Result<(), CompactError> {
    let mut result = Ok(());
    for frame in Frames::new(frames) {
        match frame.and_then(|frame| count_heartbeat(hours, &frame)) {
            Ok(()) => (),
            Err(error) if result.is_ok() => result = Err(error),
            Err(_) => (),
        }
    }
    result
}

/// Adds hours to those that stay with the newest heartbeats. What of the latter is damaged is lost, and told.
pub(crate) fn fold(open: &[u8], more: Hours) -> (Folded, Option<CompactError>) {
    let mut hours = more;
    let damaged = add_hours(&mut hours, open).err();
    let mut folded = Folded { open: pack_hours(&hours), rows: Vec::new() };
    if folded.open.len() <= OPEN_BYTES {
        return (folded, damaged);
    }
    // It is still counted in, most likely.
    let newest = hours.pop_last();
    folded.rows = rows(&hours);
    folded.open = pack_hours(&newest.into_iter().collect());
    (folded, damaged)
}

/// Hours that were counted elsewhere: all of them become rows.
pub(crate) fn imported(hours: &Hours) -> Folded {
    Folded { open: Vec::new(), rows: rows(hours) }
}

/// Spans with their hours, in rows that are not too long.
fn rows(hours: &Hours) -> Vec<(i64, Vec<u8>)> {
    let mut rows = Vec::new();
    let mut packer = HourPacker::default();
    let mut span = None;
    for (number, counts) in hours {
        let of = Some(span_of(*number));
        if let Some(full) = span.filter(|_| span != of || packer.bytes.len() >= OPEN_BYTES) {
            rows.push((full, std::mem::take(&mut packer).bytes));
        }
        span = of;
        packer.push(*number, counts);
    }
    rows.extend(span.map(|span| (span, packer.bytes)));
    rows
}

/// Writes the rows of a monitor within the writer's transaction.
pub(crate) fn write(connection: &Connection, id: &[u8; 16], folded: &Folded) -> rusqlite::Result<()> {
    for (span, hours) in &folded.rows {
        let last: Option<i64> =
            connection.prepare_cached(LAST)?.query_row(params![span, id], |row| row.get(0)).optional()?;
        connection.prepare_cached(INSERT)?.execute(params![span, id, last.unwrap_or(0) + 1, hours])?;
    }
    Ok(())
}

/// The span before which everything may be forgotten: it ended more than so many days before the last mark of life. `None`
/// while there is no mark; with 0 days it is beyond all.
pub(crate) fn expired(connection: &Connection, days: u32) -> rusqlite::Result<Option<i64>> {
    if days == 0 {
        return Ok(Some(i64::MAX));
    }
    let mark = connection.prepare_cached("SELECT mark FROM marks")?.query_row([], |row| row.get(0)).optional()?;
    Ok(mark.map(|mark| span_of(hour_of(Timestamp::from_millis(mark)).saturating_sub(i64::from(days) * 24))))
}

/// Whether anything is there that may be forgotten.
pub(crate) fn has_expired(connection: &Connection, below: i64) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT EXISTS (SELECT 1 FROM counts WHERE span < ?1)")?
        .query_row([below], |row| row.get(0))
}

/// Forgets some rows of spans before this one.
pub(crate) fn forget(connection: &Connection, below: i64) -> rusqlite::Result<()> {
    connection.prepare_cached(FORGET)?.execute([below, FORGET_ROWS_MAX])?;
    Ok(())
}

pub(crate) const LAST: &str = "SELECT k FROM counts WHERE span = ?1 AND monitor = ?2 ORDER BY k DESC LIMIT 1";
const INSERT: &str = "INSERT INTO counts (span, monitor, k, hours) VALUES (?1, ?2, ?3, ?4)";
pub(crate) const FORGET: &str = "DELETE FROM counts WHERE (span, monitor, k) IN
    (SELECT span, monitor, k FROM counts WHERE span < ?1 ORDER BY span, monitor, k LIMIT ?2)";
/// Looks into each span that there is, because they come first in the key.
pub(crate) const REMOVE: &str = "WITH RECURSIVE spans (span) AS (
        SELECT min(span) FROM counts UNION ALL
        SELECT (SELECT min(span) FROM counts WHERE span > spans.span) FROM spans WHERE spans.span IS NOT NULL)
    DELETE FROM counts WHERE monitor = ?1 AND span IN (SELECT span FROM spans WHERE span IS NOT NULL)";

const fn span_of(number: i64) -> i64 {
    number.div_euclid(SPAN_HOURS)
}

#[cfg(test)]
mod tests {
    use heartbeat_engine::compact::{hour_begin, read_hours};
    use heartbeat_engine::{Counts, Signal};

    use super::*;

    fn counts_of(hours: &mut Hours, number: i64) -> &mut Counts {
        hours.entry(number).or_insert_with(|| Counts::new(hour_begin(number)))
    }

    fn hours(numbers: impl IntoIterator<Item = i64>) -> Hours {
        let mut hours = Hours::new();
        for number in numbers {
            counts_of(&mut hours, number).add(Signal::Success, None);
        }
        hours
    }

    /// Folds one hour after the other, as it comes; the rows that were made, and what stays.
    fn fold_all(numbers: impl Iterator<Item = i64>) -> (Vec<(i64, Vec<u8>)>, Vec<u8>) {
        let (mut rows, mut open) = (Vec::new(), Vec::new());
        for number in numbers {
            let (folded, damaged) = fold(&open, hours([number]));
            assert!(damaged.is_none());
            assert!(folded.open.len() <= OPEN_BYTES, "{} bytes stay", folded.open.len());
            rows.extend(folded.rows);
            open = folded.open;
        }
        (rows, open)
    }

    #[test]
    fn every_hour_is_in_one_row_of_its_span_or_stays() {
        let (rows, open) = fold_all((700_000..705_000).flat_map(|number| [number, number - 1]));
        let mut found = Hours::new();
        for (span, row) in &rows {
            let row = read_hours(row).unwrap();
            assert!(row.iter().all(|(number, _)| span_of(*number) == *span));
            row.into_iter().for_each(|(number, counts)| counts_of(&mut found, number).merge(&counts));
        }
        add_hours(&mut found, &open).unwrap();
        assert_eq!(found.len(), 5001);
        let twice = |number: i64| if (700_000..704_999).contains(&number) { 2 } else { 1 };
        assert!(found.iter().all(|(number, counts)| counts.total() == twice(*number)));
    }

    #[test]
    fn many_hours_at_once_make_several_small_rows() {
        let (folded, _) = fold(&[], hours((0..10_000).map(|n| n * 3)));
        assert!(folded.rows.len() >= 42, "{}", folded.rows.len());
        assert!(folded.rows.iter().all(|(_, row)| row.len() <= OPEN_BYTES + 40));
        assert_eq!(read_hours(&folded.open).unwrap().len(), 1);
        let kept: usize = folded.rows.iter().map(|(_, row)| read_hours(row).unwrap().len()).sum();
        assert_eq!(kept, 9999);
    }

    #[test]
    fn what_is_damaged_is_told_and_counting_goes_on() {
        let (folded, damaged) = fold(&[0xff], hours([5]));
        assert!(damaged.is_some());
        assert_eq!(read_hours(&folded.open).unwrap().len(), 1);
    }
}
