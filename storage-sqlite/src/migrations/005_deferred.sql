-- What large batches wrote of history, in the order of commits, until it is put into its tables: changes of state, incidents,
-- notifications and their outcomes.
CREATE TABLE deferred (
    seq   INTEGER PRIMARY KEY,
    lines BLOB NOT NULL
) STRICT;

-- Rows of it that could not be read to their end, as they were found, for whoever looks into it.
CREATE TABLE deferred_damaged (
    seq   INTEGER PRIMARY KEY,
    lines ANY NOT NULL
) STRICT;
