-- name: get
SELECT n.path, i.key, i.value, i.vectors, i.created_ms, i.updated_ms, i.ttl_ms, i.expires_ms
FROM namespace n JOIN item i ON i.namespace = n.number
WHERE n.path = ? AND i.key = ?;

-- name: all_rows
SELECT n.path, i.key, i.value, i.vectors, i.created_ms, i.updated_ms, i.ttl_ms, i.expires_ms
FROM namespace n JOIN item i ON i.namespace = n.number
ORDER BY n.number, i.number;

-- name: rows
SELECT n.path, i.key, i.value, i.vectors, i.created_ms, i.updated_ms, i.ttl_ms, i.expires_ms
FROM namespace n JOIN item i ON i.namespace = n.number
WHERE n.path = ? OR (n.path > ? || '.' AND n.path < ? || '/') -- '/' follows '.'.
ORDER BY n.number, i.number;

-- name: namespaces
SELECT path FROM namespace
WHERE EXISTS (
    SELECT 1 FROM item
    WHERE item.namespace = namespace.number AND (expires_ms IS NULL OR expires_ms > ?)
);

-- name: add_namespace
INSERT INTO namespace (path) VALUES (?) ON CONFLICT DO NOTHING;

-- name: put
INSERT INTO item (namespace, key, value, vectors, created_ms, updated_ms, ttl_ms, expires_ms)
SELECT number, ?, ?, ?, ?, ?, ?, ? FROM namespace WHERE path = ?
ON CONFLICT (namespace, key) DO UPDATE SET
    value = excluded.value,
    vectors = excluded.vectors,
    updated_ms = excluded.updated_ms,
    ttl_ms = excluded.ttl_ms,
    expires_ms = excluded.expires_ms;

-- name: remove
DELETE FROM item WHERE namespace = (SELECT number FROM namespace WHERE path = ?) AND key = ?;

-- name: remove_empty_namespace
DELETE FROM namespace
WHERE path = ? AND NOT EXISTS (SELECT 1 FROM item WHERE item.namespace = namespace.number);

-- name: touch
UPDATE item SET expires_ms = ?
WHERE namespace = (SELECT number FROM namespace WHERE path = ?) AND key = ?
    AND expires_ms IS NOT NULL;

-- name: forget
DELETE FROM item WHERE expires_ms <= ?;

-- name: remove_empty_namespaces
DELETE FROM namespace
WHERE NOT EXISTS (SELECT 1 FROM item WHERE item.namespace = namespace.number);
