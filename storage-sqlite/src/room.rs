//! Under a limit on the size of the file, batches leave some of it to folding, which needs room before it makes any.

use heartbeat_engine::StorageError;
use rusqlite::Connection;

use crate::options::SqliteOptions;

/// What part of the limit batches leave free. It is twice what the log may have, see [`SqliteOptions::log_bytes_max`].
const LEFT_PART: i64 = 8;

/// Pages that are free within the limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    free: i64,
    limit: i64,
}

impl Room {
    /// As a connection with a limit sees it within its transaction; `None` where there is no limit.
    pub(crate) fn look(connection: &Connection, options: &SqliteOptions) -> rusqlite::Result<Option<Self>> {
        if options.max_file_bytes.is_none() {
            return Ok(None);
        }
        let ask = |sql| connection.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0));
        let limit = ask("PRAGMA max_page_count")?;
        let free = limit - ask("PRAGMA page_count")? + ask("PRAGMA freelist_count")?;
        Ok(Some(Self { free, limit }))
    }

    /// Refuses a batch that took what is left to folding. One that needs no more pages than before may always be written,
    /// such as one that removes monitors.
    pub(crate) fn check(before: Option<Self>, after: Option<Self>) -> Result<(), StorageError> {
        match (before, after) {
            (Some(before), Some(after)) if after.free < before.free && after.free < after.limit / LEFT_PART => {
                let text = "there is no room left for the database (of its limit, the rest is for folding)";
                Err(StorageError::Unavailable(text.to_owned()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_leaves_an_eighth_unless_it_takes_nothing() {
        let check = |before, after| {
            let room = |free| Some(Room { free, limit: 800 });
            Room::check(room(before), room(after)).is_ok()
        };
        assert!(check(500, 400) && check(101, 100) && check(40, 40) && check(40, 50));
        assert!(!check(100, 99) && !check(500, 99));
        assert!(Room::check(None, None).is_ok());
    }
}
