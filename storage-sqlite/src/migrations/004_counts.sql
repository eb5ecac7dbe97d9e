-- Heartbeats are counted by the hour. What was folded before is not counted: only the newest of it is there, so the counts of
-- the hour in which that begins would be wrong.

-- The newest hours of each monitor; see counts.
ALTER TABLE recent ADD COLUMN counts BLOB NOT NULL DEFAULT x'';

-- Older hours, in rows that are never changed. A span is 30 days; k counts the rows of a monitor in it.
CREATE TABLE counts (
    span    INTEGER NOT NULL,
    monitor BLOB    NOT NULL,
    k       INTEGER NOT NULL,
    hours   BLOB    NOT NULL,
    PRIMARY KEY (span, monitor, k)
) STRICT, WITHOUT ROWID;
