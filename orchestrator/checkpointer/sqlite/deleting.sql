-- Statements that delete a thread, or what is not its head.

-- name: number
SELECT number FROM thread WHERE name = ?;

-- name: children
SELECT name FROM thread WHERE name > ? AND name < ? ORDER BY name;

-- name: any_claim
SELECT 1 FROM claim WHERE thread = ? LIMIT 1;

-- name: raise_floor
INSERT INTO stats SELECT 'fence_floor', max(h.fence, ifnull((SELECT max(fence) FROM claim WHERE thread = h.thread), 0))
FROM head h WHERE h.thread = ?
ON CONFLICT (name) DO UPDATE SET value = max(value, excluded.value);

-- name: delete_checkpoints
DELETE FROM checkpoint WHERE thread = ?;

-- name: delete_blobs
DELETE FROM blob WHERE thread = ?;

-- name: delete_steps
DELETE FROM step WHERE thread = ?;

-- name: delete_claims
DELETE FROM claim WHERE thread = ?;

-- name: delete_questions
DELETE FROM question WHERE thread = ?;

-- name: delete_notes
DELETE FROM note WHERE thread = ?;

-- name: delete_events
DELETE FROM event WHERE thread = ?;

-- name: delete_line
DELETE FROM line WHERE thread = ?;

-- name: delete_accepted
DELETE FROM accepted WHERE thread = ?;

-- name: delete_head
DELETE FROM head WHERE thread = ?;

-- name: delete_name
DELETE FROM thread WHERE number = ?;

-- name: other_checkpoints
DELETE FROM checkpoint WHERE thread = ? AND id <> ?;

-- name: other_steps
DELETE FROM step WHERE thread = ? AND plan <> ?;

-- name: blob_names
SELECT name FROM blob WHERE thread = ?;

-- name: delete_blob
DELETE FROM blob WHERE thread = ? AND name = ?;
