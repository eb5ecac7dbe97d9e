-- Changes get a place in one order over all monitors, which is never given twice.
CREATE TABLE changes_in_order (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    monitor BLOB    NOT NULL,
    version INTEGER NOT NULL,
    k       INTEGER NOT NULL,
    change  TEXT    NOT NULL
) STRICT;

-- Old ones get theirs by when they were seen; within a monitor they keep their order, whatever its clock did.
INSERT INTO changes_in_order (monitor, version, k, change)
    SELECT monitor, version, k, change FROM (
        SELECT *, max(json_extract(change, '$.detected_at')) OVER (PARTITION BY monitor ORDER BY version, k) AS seen
        FROM changes
    )
    ORDER BY seen, monitor, version, k;

DROP TABLE changes;
ALTER TABLE changes_in_order RENAME TO changes;
CREATE UNIQUE INDEX changes_of_monitor ON changes (monitor, version, k);
