-- Statements of an audit: each thread in turn, and what puts a step right.

-- name: some
SELECT t.name, t.number, h.* FROM thread t LEFT JOIN head h ON h.thread = t.number
WHERE t.number > ? ORDER BY t.number LIMIT ?;

-- name: write_step
INSERT INTO step (thread, plan, id, place, ready, queue, live, since_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, 0)
ON CONFLICT (thread, plan, id) DO UPDATE
SET place = excluded.place, ready = excluded.ready, queue = excluded.queue;

-- name: settle
UPDATE step SET settled = wait IN ('answer', 'person') WHERE thread = ? AND plan = ? AND id = ?;

-- name: count
INSERT INTO stats VALUES ('repaired', ?)
ON CONFLICT (name) DO UPDATE SET value = value + excluded.value;
