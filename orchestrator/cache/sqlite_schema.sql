-- The table of a cache.

CREATE TABLE IF NOT EXISTS entry (
    namespace TEXT NOT NULL, -- Its labels as a JSON list.
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    end_ms INTEGER,
    PRIMARY KEY (namespace, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS entry_end ON entry (end_ms) WHERE end_ms IS NOT NULL;
