-- The tables of a store. Numbers only grow, so they are the order of arrival; AUTOINCREMENT, because the number of
-- a row that was removed must not come again.

CREATE TABLE IF NOT EXISTS namespace (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE -- The labels, which hold no period, joined by periods.
) STRICT;

CREATE TABLE IF NOT EXISTS item (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    namespace INTEGER NOT NULL REFERENCES namespace (number),
    key TEXT NOT NULL,
    value BLOB NOT NULL,
    vectors BLOB NOT NULL, -- Empty: the item is in no index.
    created_ms INTEGER NOT NULL,
    updated_ms INTEGER NOT NULL,
    ttl_ms INTEGER,
    expires_ms INTEGER,
    UNIQUE (namespace, key)
) STRICT;

-- The rows of a namespace in their order: an index ends with the number.
CREATE INDEX IF NOT EXISTS item_order ON item (namespace);

CREATE INDEX IF NOT EXISTS item_end ON item (expires_ms) WHERE expires_ms IS NOT NULL;
