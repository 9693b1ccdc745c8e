-- name: get
SELECT value FROM entry WHERE namespace = ? AND key = ? AND (end_ms IS NULL OR end_ms > ?);

-- name: set
INSERT INTO entry (namespace, key, value, end_ms) VALUES (?, ?, ?, ?)
ON CONFLICT (namespace, key) DO UPDATE SET value = excluded.value, end_ms = excluded.end_ms;

-- name: forget
DELETE FROM entry WHERE end_ms <= ?;

-- name: clear
DELETE FROM entry WHERE namespace = ?;

-- name: clear_all
DELETE FROM entry;
