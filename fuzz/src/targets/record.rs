//! What SQLite stores. The first line of an input says which column is damaged; the rest is what stands there.
//!
//! ```text
//! health
//! {"state":"up","manual_resume":false,…}
//! ```
//!
//! `health` may be binary, too, and `ping` is the binary content of a heartbeat. The columns are `monitor`, `health`, `ping`, `change`, `incident`, `notification`, `delivery` and `document`. What is
//! read must be an error that says that the store is damaged, or a value that is the same when it is stored and read again.

use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;

use heartbeat_engine::testing::fixtures::{
    batch, change, create, full_notification, full_ping, incident, notification_id, record, transition, write_document,
};
use heartbeat_engine::{
    Batch, Change, Delivery, HistoryItem, HistoryQuery, Notification, Outcome, PingEntry, Record, Settlement, Storage,
    StorageError, Transition, Version,
};
use heartbeat_storage_sqlite::{SqliteOptions, SqliteStorage, Synchronous};
use rusqlite::Connection;
use rusqlite::types::Value as Sql;
use tempfile::TempDir;

use super::assert_message;
use super::world::block_on;

/// What outlives the monitor.
const TABLES: [&str; 3] = ["incidents", "notifications", "documents"];

thread_local! {
    static STORE: Store = match Store::open() {
        Ok(store) => store,
        Err(error) => panic!("without a database in a temporary folder there is nothing to fuzz: {error}"),
    };
}

/// A database with one of everything, and a connection that damages it.
struct Store {
    storage: SqliteStorage,
    raw: Connection,
    filled: Batch,
    // Removed after both are closed.
    _folder: TempDir,
}

fn one_of_everything() -> Batch {
    let record = record(1);
    let opened = incident(1, record.id());
    let mut told = full_notification(1, &opened);
    // A large body makes every run slow.
    told.ping = Some(PingEntry { body: Some(b"\xffbody".to_vec()), ..full_ping(1) });
    let filled = Transition {
        changes: vec![change(record.id(), 1)],
        incidents: vec![opened],
        notifications: vec![told],
        ..create(&record)
    };
    let documents = vec![write_document("fuzz", "one", None, Some(serde_json::json!({"n": 1})))];
    Batch { documents, ..batch([filled]) }
}

pub(super) fn run(input: &[u8]) {
    let end = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (column, rest) = (&input[..end], input.get(end + 1..).unwrap_or_default());
    let Ok(column) = std::str::from_utf8(column) else { return };
    STORE.with(|store| {
        let check = match column {
            "monitor" | "health" => Store::record,
            "ping" => Store::ping,
            "change" => Store::change,
            "incident" => Store::incident,
            "notification" | "delivery" => Store::notification,
            "document" => Store::document,
            _ => return,
        };
        store.fill();
        // SQLite gives back what is no UTF-8 as it is.
        store.damage(column, rest);
        check(store);
    });
}

impl Store {
    fn open() -> Result<Self, Box<dyn Error>> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("heartbeat.db");
        let options = SqliteOptions::new().synchronous(Synchronous::Normal).readers(1);
        let storage = SqliteStorage::open(&path, options)?;
        let raw = Connection::open(&path)?;
        raw.pragma_update(None, "synchronous", "OFF")?;
        Ok(Self { storage, raw, filled: one_of_everything(), _folder: folder })
    }

    /// Nothing but one of everything, as the storage writes it. The monitor is removed by the storage, which knows of each.
    fn fill(&self) {
        let mut version = Some(Version(1));
        while let Some(expected) = version {
            let gone = transition(record(1).id(), Some(expected), Change::Remove);
            let applied = block_on(self.storage.commit(&batch([gone]))).expect("what is damaged can be removed");
            version = match applied.transitions[..] {
                [Outcome::Conflict { found }] => found,
                _ => None,
            };
        }
        let clear: String = TABLES.map(|table| format!("DELETE FROM {table};")).concat();
        let cleared = self.raw.execute_batch(&format!("BEGIN; {clear} COMMIT;"));
        cleared.expect("the tables are there, and no other write is under way");
        self.commit(&self.filled);
    }

    fn commit(&self, batch: &Batch) {
        block_on(self.storage.commit(batch)).expect("what was read can be stored");
    }

    fn damage(&self, column: &str, text: &[u8]) {
        if column == "ping" {
            // The frame of the first heartbeat, at the beginning of 1970.
            let mut frame = vec![1, 0];
            let mut length = text.len();
            while length >= 0x80 {
                frame.push(length as u8 | 0x80);
                length >>= 7;
            }
            frame.push(length as u8);
            frame.extend_from_slice(text);
            let sql = "INSERT INTO recent (monitor, kept, chunks, pings) VALUES (?1, 1, x'', ?2)";
            let inserted = self.raw.execute(sql, rusqlite::params![record(1).id().as_bytes(), frame]);
            inserted.expect("the monitor has no row of heartbeats yet, and no other write is under way");
            return;
        }
        let (table, column) = match column {
            "monitor" => ("wishes", "monitor"),
            "health" => ("monitors", "health"),
            "change" => ("changes", "change"),
            "incident" => ("incidents", "incident"),
            "notification" => ("notifications", "notification"),
            "delivery" => ("notifications", "delivery"),
            _ => ("documents", "body"),
        };
        let sql = format!("UPDATE {table} SET {column} = CAST(?1 AS TEXT)");
        let updated = self.raw.execute(&sql, [Sql::Blob(text.to_vec())]);
        assert_eq!(updated.expect("the column takes any value, and no other write is under way"), 1);
    }

    fn record(&self) {
        let id = record(1).id();
        let load = || {
            block_on(self.storage.load(&[id])).map(|mut found| found.remove(0).expect("it was stored and not removed"))
        };
        let Some(found) = understood(load()) else { return };
        let page = block_on(self.storage.monitors(None, 10)).expect("what one read understands, another does");
        assert_eq!(page.items, std::slice::from_ref(&found));
        let next = Record { version: found.version.next(), ..found };
        let change = Change::Put(Arc::new(next.clone()));
        self.commit(&batch([transition(id, Some(Version(next.version.0 - 1)), change)]));
        same(&load().expect("what was stored just now can be read"), &next);
    }

    fn history(&self, query: &HistoryQuery) -> Option<HistoryItem> {
        let found = understood(block_on(self.storage.history(query, 10)))?;
        assert_eq!(found.items.len(), 1);
        found.items.into_iter().next()
    }

    /// Stores something of the monitor beside a new version of its record.
    fn store_again(&self, fill: impl FnOnce(&mut Transition)) {
        let clear = ["recent", "changes", "incidents", "notifications"].map(|table| format!("DELETE FROM {table};"));
        let cleared = self.raw.execute_batch(&format!("BEGIN; {} COMMIT;", clear.concat()));
        cleared.expect("the tables are there, and no other write is under way");
        let next = Record { version: Version(2), ..record(1) };
        let mut again = transition(next.id(), Some(Version(1)), Change::Put(Arc::new(next)));
        fill(&mut again);
        self.commit(&batch([again]));
    }

    fn ping(&self) {
        let query = HistoryQuery::Pings { monitor: record(1).id(), before: None };
        let Some(HistoryItem::Ping(found)) = self.history(&query) else { return };
        self.store_again(|again| again.pings.push((*found).clone()));
        same(&self.history(&query), &Some(HistoryItem::Ping(found)));
    }

    fn change(&self) {
        let monitor = record(1).id();
        let query = HistoryQuery::Changes { monitor, before: None };
        let Some(HistoryItem::Change(found)) = self.history(&query) else { return };
        // A change belongs to the monitor whose transition it is.
        self.store_again(|again| again.changes.push(found.clone()));
        if i64::try_from(found.version.0).is_ok_and(|version| version < i64::MAX) && found.monitor == monitor {
            same(&self.history(&query), &Some(HistoryItem::Change(found)));
        }
    }

    fn incident(&self) {
        let query = HistoryQuery::Incidents { monitor: None, open: None, before: None };
        let Some(HistoryItem::Incident(found)) = self.history(&query) else { return };
        self.store_again(|again| again.incidents.push(found.clone()));
        same(&self.history(&HistoryQuery::Incident(found.id)), &Some(HistoryItem::Incident(found)));
    }

    fn notification(&self) {
        let query = HistoryQuery::Notification(notification_id(1));
        let Some(HistoryItem::Notification(found)) = self.history(&query) else { return };
        let (notification, delivery) = (found.notification.clone(), found.delivery.clone());
        self.store_again(|again| again.notifications.push(notification.clone()));
        let again = self.history(&HistoryQuery::Notification(notification.id));
        same_notification(again, &notification, &Delivery::pending(notification.created_at));
        let settled = Settlement { id: notification.id, delivery };
        self.commit(&Batch { settlements: vec![settled.clone()], ..batch([]) });
        let again = self.history(&HistoryQuery::Notification(notification.id));
        same_notification(again, &notification, &settled.delivery);
    }

    fn document(&self) {
        let read = || block_on(self.storage.documents("fuzz"));
        let Some(found) = understood(read()) else { return };
        let body = found[0].body.clone();
        let write = write_document("fuzz", "one", Some(found[0].version.0), Some(body.clone()));
        self.commit(&Batch { documents: vec![write], ..batch([]) });
        same(&read().expect("what was stored just now can be read")[0].body, &body);
    }
}

/// What was read; an error must say that the store is damaged.
fn understood<T>(read: Result<T, StorageError>) -> Option<T> {
    match read {
        Ok(found) => Some(found),
        Err(StorageError::Corrupt(message)) => {
            assert_message(&message);
            None
        }
        Err(other) => panic!("a damaged record is told as {other:?}"),
    }
}

fn same<T: PartialEq + Debug>(again: &T, stored: &T) {
    assert_eq!(again, stored, "it is read back in another way than it was stored");
}

fn same_notification(found: Option<HistoryItem>, notification: &Notification, delivery: &Delivery) {
    let Some(HistoryItem::Notification(found)) = found else { panic!("the notification is gone") };
    same(&found.notification, notification);
    same(&found.delivery, delivery);
}
