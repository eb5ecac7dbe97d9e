-- Heartbeats are appended to a log, and go into the rows of their monitors later. What is in the tables of version 2 is
-- moved to these a little at a time; the tables with names of version 2 are dropped when they are empty.
ALTER TABLE monitors RENAME TO monitors_2;
DROP INDEX monitors_due;
ALTER TABLE specs RENAME TO specs_2;
ALTER TABLE pings RENAME TO pings_2;

-- The state of each monitor. Everything that the log has of it up to the position `folded` is in it. `health` is binary, or
-- JSON while there is an incident.
CREATE TABLE monitors (
    id        BLOB    NOT NULL PRIMARY KEY,
    partition INTEGER NOT NULL,
    version   INTEGER NOT NULL,
    folded    INTEGER NOT NULL,
    wake_at   INTEGER NOT NULL,
    health    ANY     NOT NULL
) STRICT, WITHOUT ROWID;

-- What is watched, and how: written when somebody edits it, with the version that the edit made of the state.
CREATE TABLE wishes (
    id      BLOB    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    monitor TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

-- New states with the heartbeats that made them, in the order of commits.
CREATE TABLE log (
    seq     INTEGER PRIMARY KEY,
    entries BLOB NOT NULL
) STRICT;

-- Rows of the log that could not be read to their end, as they were found, for whoever looks into it.
CREATE TABLE log_damaged (
    seq     INTEGER PRIMARY KEY,
    entries ANY NOT NULL
) STRICT;

-- The newest heartbeats of each monitor that are folded, how many of it are kept in all, and the keys of its chunks.
CREATE TABLE recent (
    monitor BLOB    NOT NULL PRIMARY KEY,
    kept    INTEGER NOT NULL,
    chunks  BLOB    NOT NULL,
    pings   BLOB    NOT NULL
) STRICT, WITHOUT ROWID;

-- Older heartbeats.
CREATE TABLE chunks (
    key   INTEGER PRIMARY KEY,
    pings BLOB NOT NULL
) STRICT;
