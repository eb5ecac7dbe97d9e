//! What is written of history beside the states of monitors: changes of state, incidents, notifications and their outcomes.
//! Each goes into its table at once, or is packed to be put there later, see [`crate::deferred`].

use rusqlite::{Connection, OptionalExtension, params};

use crate::retention::Retention;
use heartbeat_engine::compact::{CompactError, Reader, write_bytes, write_number, write_signed};

type Id = [u8; 16];

/// One thing that is written of history.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Line<'a> {
    Change {
        monitor: Id,
        version: u64,
        change: &'a str,
    },
    Incident {
        id: Id,
        monitor: Id,
        opened_at: i64,
        open: bool,
        incident: &'a str,
    },
    Owed {
        id: Id,
        incident: Option<Id>,
        notification: &'a str,
        ping_body: Option<&'a [u8]>,
        delivery: &'a str,
    },
    Outcome {
        id: Id,
        state: i64,
        delivery: &'a str,
    },
    /// The monitor is removed, and its changes with it.
    Removed {
        monitor: Id,
    },
}

const CHANGE: u8 = 1;
const INCIDENT: u8 = 2;
const OWED: u8 = 3;
const OUTCOME: u8 = 4;
const REMOVED: u8 = 5;

impl<'a> Line<'a> {
    /// Puts it into its table within the writer's transaction.
    pub(crate) fn write(&self, connection: &Connection, retention: &mut Retention) -> rusqlite::Result<()> {
        match self {
            Line::Change { monitor, version, change } => {
                write_change(connection, monitor, (*version).cast_signed(), change, retention)
            }
            Line::Incident { .. } => self.write_incident(connection, retention),
            Line::Owed { id, incident, notification, ping_body, delivery } => connection
                // What is stored under the id already stays as it is.
                .prepare_cached(
                    "INSERT INTO notifications (id, state, incident, notification, ping_body, delivery)
                     SELECT ?1, 0, ?2, ?3, ?4, ?5 WHERE NOT EXISTS (SELECT 1 FROM notifications WHERE id = ?1)",
                )?
                .execute(params![id, incident, notification, ping_body, delivery])
                .map(drop),
            Line::Outcome { id, state, delivery } => {
                connection
                    .prepare_cached("UPDATE notifications SET state = ?2, delivery = ?3 WHERE id = ?1")?
                    .execute(params![id, state, delivery])?;
                retention.settled();
                Ok(())
            }
            Line::Removed { monitor } => {
                connection.prepare_cached("DELETE FROM changes WHERE monitor = ?1")?.execute([monitor]).map(drop)
            }
        }
    }

    fn write_incident(&self, connection: &Connection, retention: &mut Retention) -> rusqlite::Result<()> {
        let Line::Incident { id, monitor, opened_at, open, incident } = self else { return Ok(()) };
        let changed = connection
            .prepare_cached("UPDATE incidents SET opened_at = ?2, open = ?3, incident = ?4 WHERE id = ?1")?
            .execute(params![id, opened_at, open, incident])?;
        if changed > 0 {
            return Ok(());
        }
        let k: i64 = connection
            .prepare_cached("SELECT coalesce(max(k), 0) + 1 FROM incidents WHERE monitor = ?1")?
            .query_row([monitor], |row| row.get(0))?;
        connection
            .prepare_cached(
                "INSERT INTO incidents (id, monitor, k, opened_at, open, incident) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![id, monitor, k, opened_at, open, incident])?;
        retention.incidents(connection, monitor, k)
    }

    /// Appends it.
    pub(crate) fn pack(&self, out: &mut Vec<u8>) {
        match self {
            Line::Change { monitor, version, change } => {
                out.push(CHANGE);
                out.extend_from_slice(monitor);
                write_number(out, *version);
                write_bytes(out, change.as_bytes());
            }
            Line::Incident { id, monitor, opened_at, open, incident } => {
                out.push(INCIDENT);
                out.extend_from_slice(id);
                out.extend_from_slice(monitor);
                write_signed(out, *opened_at);
                out.push(u8::from(*open));
                write_bytes(out, incident.as_bytes());
            }
            Line::Owed { id, incident, notification, ping_body, delivery } => {
                out.push(OWED);
                out.extend_from_slice(id);
                write_option(out, incident.as_ref().map(<[u8; 16]>::as_slice));
                write_bytes(out, notification.as_bytes());
                write_option(out, *ping_body);
                write_bytes(out, delivery.as_bytes());
            }
            Line::Outcome { id, state, delivery } => {
                out.push(OUTCOME);
                out.extend_from_slice(id);
                write_signed(out, *state);
                write_bytes(out, delivery.as_bytes());
            }
            Line::Removed { monitor } => {
                out.push(REMOVED);
                out.extend_from_slice(monitor);
            }
        }
    }

    /// Reads what was appended.
    pub(crate) fn unpack(reader: &mut Reader<'a>) -> Result<Self, CompactError> {
        Ok(match reader.byte()? {
            CHANGE => Line::Change { monitor: reader.array()?, version: reader.number()?, change: text(reader)? },
            INCIDENT => Line::Incident {
                id: reader.array()?,
                monitor: reader.array()?,
                opened_at: reader.signed()?,
                open: reader.byte()? != 0,
                incident: text(reader)?,
            },
            OWED => Line::Owed {
                id: reader.array()?,
                incident: read_option(reader)?.map(|bytes| Reader::new(bytes).array()).transpose()?,
                notification: text(reader)?,
                ping_body: read_option(reader)?,
                delivery: text(reader)?,
            },
            OUTCOME => Line::Outcome { id: reader.array()?, state: reader.signed()?, delivery: text(reader)? },
            REMOVED => Line::Removed { monitor: reader.array()? },
            other => return Err(CompactError::new(&format!("there is no line of the kind {other}"))),
        })
    }
}

fn write_change(
    connection: &Connection,
    monitor: &Id,
    version: i64,
    change: &str,
    retention: &Retention,
) -> rusqlite::Result<()> {
    let k = 1 + connection
        .prepare_cached("SELECT k FROM changes WHERE monitor = ?1 ORDER BY version DESC, k DESC LIMIT 1")?
        .query_row([monitor], |row| row.get::<_, i64>(0))
        .optional()?
        .unwrap_or(0);
    connection
        .prepare_cached("INSERT INTO changes (monitor, version, k, change) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![monitor, version, k, change])?;
    retention.changes(connection, monitor, k)
}

fn write_option(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.push(u8::from(bytes.is_some()));
    if let Some(bytes) = bytes {
        write_bytes(out, bytes);
    }
}

fn read_option<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, CompactError> {
    if reader.byte()? == 0 { Ok(None) } else { reader.bytes().map(Some) }
}

fn text<'a>(reader: &mut Reader<'a>) -> Result<&'a str, CompactError> {
    std::str::from_utf8(reader.bytes()?).map_err(|error| CompactError::new(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_they_were_packed() {
        let (id, monitor) = ([1; 16], [2; 16]);
        let lines = [
            Line::Change { monitor, version: 1 << 40, change: "{}" },
            Line::Incident { id, monitor, opened_at: -7, open: true, incident: "ä" },
            Line::Owed { id, incident: Some([3; 16]), notification: "n", ping_body: Some(&[]), delivery: "d" },
            Line::Owed { id, incident: None, notification: "", ping_body: None, delivery: "" },
            Line::Outcome { id, state: 3, delivery: "told" },
            Line::Removed { monitor },
        ];
        let mut packed = Vec::new();
        lines.iter().for_each(|line| line.pack(&mut packed));
        let mut reader = Reader::new(&packed);
        for line in lines {
            assert_eq!(Line::unpack(&mut reader), Ok(line));
        }
        assert!(reader.is_empty());
        assert!(Line::unpack(&mut Reader::new(&[9])).is_err());
        assert!(Line::unpack(&mut Reader::new(&packed[..20])).is_err());
    }
}
