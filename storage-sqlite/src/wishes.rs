//! The wishes and the names that lead to them, which are written only when somebody edits a monitor.

use std::borrow::Cow;
use std::sync::{Arc, Weak};

use heartbeat_engine::{Monitor, Token};
use rusqlite::{Connection, OptionalExtension, params};

use crate::apply::ApplyError;
use crate::encode::{self, EncodedRecord};

/// How names are stored.
pub(crate) const SLUG: i64 = 0;
pub(crate) const TOKEN: i64 = 1;

/// Writes a wish with its names, unless it is stored already or a name is taken, which it then tells. `stored` is the wish
/// that this process knows to be stored, `None` for a new monitor: a heartbeat brings the very same one, which costs
/// nothing.
pub(crate) fn write(
    connection: &Connection,
    id: &[u8; 16],
    record: &EncodedRecord,
    stored: Option<&Weak<Monitor>>,
) -> Result<Option<&'static str>, ApplyError> {
    let monitor = &record.monitor;
    if stored.is_some_and(|stored| std::ptr::eq(stored.as_ptr(), Arc::as_ptr(monitor))) {
        return Ok(None);
    }
    let text = match &record.wish {
        Some(text) => Cow::Borrowed(text),
        None => Cow::Owned(encode::wish(monitor)?),
    };
    if stored.is_some() && is_stored(connection, id, &text)? {
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
    // A new monitor has none: they were removed with the one before it.
    if stored.is_some() {
        connection.prepare_cached("DELETE FROM names WHERE monitor = ?1")?.execute([id])?;
    }
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO names (kind, value, monitor) VALUES (?1, ?2, ?3)")?;
    for (_, kind, value) in &names {
        insert.execute(params![kind, value, id])?;
    }
    connection
        .prepare_cached(
            "INSERT INTO wishes (id, version, monitor) VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET version = excluded.version, monitor = excluded.monitor",
        )?
        .execute(params![id, record.version.cast_signed(), text])?;
    Ok(None)
}

/// Whether the wish is stored in these very words.
fn is_stored(connection: &Connection, id: &[u8; 16], text: &str) -> rusqlite::Result<bool> {
    let mut statement = connection.prepare_cached("SELECT monitor FROM wishes WHERE id = ?1")?;
    let mut rows = statement.query([id])?;
    let Some(row) = rows.next()? else { return Ok(false) };
    Ok(row.get_ref(0)?.as_str().is_ok_and(|found| found == text))
}
