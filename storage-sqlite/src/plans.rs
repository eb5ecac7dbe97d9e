//! Every query that grows with the database uses an index, in its order.

use std::path::Path;

use rusqlite::Connection;

use crate::checkpoint::WalGauge;
use crate::history::{CHANGES, FEED, LATEST_EVENT, incidents_sql, notifications_sql};
use crate::options::{SqliteOptions, Synchronous};
use crate::pings::{CHUNK, FOLDED, RECENT};
use crate::read::{LOAD, MONITORS, OUTBOX, WISHES};
use crate::{migrations, open};

fn database(path: &Path) -> Connection {
    open::open(path, &SqliteOptions::new()).unwrap().connection
}

fn plan(connection: &Connection, sql: &str) -> String {
    let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let parameters = vec![1_i64; statement.parameter_count()];
    let rows = statement.query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>(3)).unwrap();
    rows.map(Result::unwrap).collect::<Vec<_>>().join("; ")
}

#[test]
fn no_query_scans_or_sorts() {
    let directory = tempfile::tempdir().unwrap();
    let connection = database(&directory.path().join("heartbeat.db"));
    let mut queries = vec![
        (crate::log::ROW.to_owned(), "PRIMARY KEY"),
        (crate::log::ROWS_BACKWARDS.to_owned(), "PRIMARY KEY"),
        (FOLDED.to_owned(), "PRIMARY KEY"),
        (RECENT.to_owned(), "PRIMARY KEY"),
        (CHUNK.to_owned(), "PRIMARY KEY"),
        (crate::counts::BELOW.to_owned(), "USING PRIMARY KEY (span<?)"),
        (crate::counts::ROWS.to_owned(), "USING PRIMARY KEY (span=? AND monitor=?)"),
        (crate::counts::LAST.to_owned(), "USING PRIMARY KEY (span=? AND monitor=?)"),
        (crate::counts::FORGET.to_owned(), "USING PRIMARY KEY (span<?)"),
        (crate::counts::REMOVE.to_owned(), "counts USING PRIMARY KEY (span=? AND monitor=?)"),
        (LOAD.to_owned(), "PRIMARY KEY"),
        (MONITORS.to_owned(), "PRIMARY KEY"),
        (WISHES.to_owned(), "PRIMARY KEY"),
        (crate::fold::ENTRIES.to_owned(), "PRIMARY KEY"),
        (crate::deferred::NEXT.to_owned(), "PRIMARY KEY"),
        (OUTBOX.to_owned(), "notifications_pending"),
        (CHANGES.to_owned(), "changes_of_monitor"),
        (FEED.to_owned(), "PRIMARY KEY"),
        (LATEST_EVENT.to_owned(), "SCAN changes"),
        (
            "SELECT k FROM changes WHERE monitor = ?1 ORDER BY version DESC, k DESC LIMIT 1".to_owned(),
            "changes_of_monitor",
        ),
        ("DELETE FROM changes WHERE monitor = ?1 AND k <= ?2".to_owned(), "changes_of_monitor"),
        (incidents_sql(true, None), "incidents_of_monitor"),
        (incidents_sql(true, Some(false)), "incidents_of_monitor"),
        (incidents_sql(false, None), "incidents_in_order"),
        (incidents_sql(false, Some(false)), "incidents_in_order"),
        (incidents_sql(false, Some(true)), "incidents_open"),
        (notifications_sql(Some(0), false), "notifications_pending"),
        (notifications_sql(Some(2), false), "notifications_dead"),
        (notifications_sql(None, false), "PRIMARY KEY"),
        (notifications_sql(None, true), "notifications_of_incident"),
    ];
    queries.extend(crate::retention::QUERIES.map(|(sql, index)| (sql.to_owned(), index)));
    for (sql, index) in queries {
        let plan = plan(&connection, &sql);
        assert!(plan.contains(index), "{sql}\nwants {index}, but: {plan}");
        assert!(!plan.contains("TEMP B-TREE"), "{sql}\nsorts: {plan}");
    }
}

#[test]
fn commits_wait_for_the_disk_unless_told_otherwise() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heartbeat.db");
    let synchronous = |options: SqliteOptions| {
        let connection = open::open(&path, &options).unwrap().connection;
        let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).unwrap();
        assert_eq!(mode, "wal");
        connection.pragma_query_value(None, "synchronous", |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(synchronous(SqliteOptions::new()), 2, "FULL");
    assert_eq!(synchronous(SqliteOptions::new().synchronous(Synchronous::Normal)), 1, "NORMAL");
}

#[test]
fn migrating_twice_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut connection = database(&directory.path().join("heartbeat.db"));
    assert_eq!(
        migrations::migrate(&mut connection, &SqliteOptions::new(), &WalGauge::default()).unwrap(),
        migrations::VERSION
    );
}
