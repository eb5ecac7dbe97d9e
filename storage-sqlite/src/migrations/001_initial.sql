-- Times are milliseconds since 1970, ids 16 bytes, JSON as the engine serialises its types.

CREATE TABLE monitors (
    id        BLOB    NOT NULL PRIMARY KEY,
    partition INTEGER NOT NULL,
    version   INTEGER NOT NULL,
    wake_at   INTEGER NOT NULL,
    health    TEXT    NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX monitors_due ON monitors (partition, wake_at, id) WHERE wake_at < 9223372036854775807;

-- Apart from `monitors`, because it hardly ever changes and that does with every heartbeat.
CREATE TABLE specs (
    id      BLOB NOT NULL PRIMARY KEY,
    monitor TEXT NOT NULL
) STRICT;

-- kind 0: the slug; 1: the SHA-256 of a ping token.
CREATE TABLE names (
    kind    INTEGER NOT NULL,
    value   BLOB    NOT NULL,
    monitor BLOB    NOT NULL,
    PRIMARY KEY (kind, value)
) STRICT, WITHOUT ROWID;
CREATE INDEX names_of_monitor ON names (monitor);

CREATE TABLE pings (
    monitor BLOB    NOT NULL,
    n       INTEGER NOT NULL,
    entry   TEXT    NOT NULL,
    body    BLOB,
    PRIMARY KEY (monitor, n)
) STRICT, WITHOUT ROWID;

-- k counts the changes of a monitor.
CREATE TABLE changes (
    monitor BLOB    NOT NULL,
    version INTEGER NOT NULL,
    k       INTEGER NOT NULL,
    change  TEXT    NOT NULL,
    PRIMARY KEY (monitor, version, k)
) STRICT, WITHOUT ROWID;

-- k counts the incidents of a monitor.
CREATE TABLE incidents (
    id        BLOB    NOT NULL PRIMARY KEY,
    monitor   BLOB    NOT NULL,
    k         INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    open      INTEGER NOT NULL,
    incident  TEXT    NOT NULL
) STRICT;
CREATE UNIQUE INDEX incidents_counted ON incidents (monitor, k);
CREATE INDEX incidents_of_monitor ON incidents (monitor, opened_at, id);
CREATE INDEX incidents_in_order ON incidents (opened_at, id, open);
CREATE INDEX incidents_open ON incidents (opened_at, id) WHERE open = 1;

-- state 0: pending, 1: delivered, 2: dead, 3: told within a digest.
CREATE TABLE notifications (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    id           BLOB    NOT NULL UNIQUE,
    state        INTEGER NOT NULL,
    incident     BLOB,
    notification TEXT    NOT NULL,
    ping_body    BLOB,
    delivery     TEXT    NOT NULL
) STRICT;
CREATE INDEX notifications_pending ON notifications (seq) WHERE state = 0;
CREATE INDEX notifications_dead ON notifications (seq) WHERE state = 2;
CREATE INDEX notifications_settled ON notifications (seq) WHERE state > 0;
CREATE INDEX notifications_of_incident ON notifications (incident, seq) WHERE incident IS NOT NULL;

CREATE TABLE documents (
    kind    TEXT    NOT NULL,
    id      TEXT    NOT NULL,
    version INTEGER NOT NULL,
    body    TEXT    NOT NULL,
    PRIMARY KEY (kind, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
    partition  INTEGER PRIMARY KEY,
    epoch      INTEGER NOT NULL,
    node       TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

-- One row at most.
CREATE TABLE marks (
    id   INTEGER PRIMARY KEY CHECK (id = 1),
    mark INTEGER NOT NULL
) STRICT;

CREATE TABLE outages (
    ended_at INTEGER NOT NULL,
    began_at INTEGER NOT NULL,
    PRIMARY KEY (ended_at, began_at)
) STRICT, WITHOUT ROWID;
