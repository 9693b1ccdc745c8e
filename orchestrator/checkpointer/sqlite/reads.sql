-- Statements that change nothing.

-- name: head
SELECT t.config, t.error, h.* FROM thread t JOIN head h ON h.thread = t.number WHERE t.name = ?;

-- name: checkpoint
SELECT ns, header, plan, refs FROM checkpoint WHERE thread = ? AND id = ?;

-- name: header
SELECT header, refs FROM checkpoint WHERE thread = ? AND id = ?;

-- name: blob
SELECT value FROM blob WHERE thread = ? AND name = ?;

-- name: steps
SELECT s.*, c.owner, c.token, c.fence, c.attempt
FROM step s LEFT JOIN claim c ON c.thread = s.thread AND c.plan = s.plan AND c.step = s.id
WHERE s.thread = ? AND s.plan = ? ORDER BY s.place;

-- name: outcomes
SELECT id, outcome FROM step
WHERE thread = ? AND plan = ? AND outcome IS NOT NULL ORDER BY place;

-- name: questions
SELECT step, name, ask, answer FROM question WHERE thread = ? AND plan = ? ORDER BY number;

-- name: notes
SELECT step, name, value FROM note WHERE thread = ? AND plan = ?;

-- name: line
SELECT run_id, begins FROM line WHERE thread = ? ORDER BY number;

-- name: lease
SELECT end_ms FROM lease WHERE owner = ?;

-- name: history
SELECT c.id FROM thread t JOIN checkpoint c ON c.thread = t.number
WHERE t.name = ? AND c.id < ? ORDER BY c.id DESC LIMIT ?;

-- name: threads
SELECT t.name, t.config, t.error, h.*
FROM (SELECT * FROM head WHERE NOT child ORDER BY updated_ms DESC, thread LIMIT ?) h
JOIN thread t ON t.number = h.thread
ORDER BY h.updated_ms DESC, h.thread;

-- name: threads_of_status
SELECT t.name, t.config, t.error, h.*
FROM (
  SELECT * FROM head WHERE status = ? AND NOT child ORDER BY updated_ms DESC, thread LIMIT ?
) h
JOIN thread t ON t.number = h.thread
ORDER BY h.updated_ms DESC, h.thread;

-- name: events
SELECT e.seq, e.ts_ms, e.type, e.fields FROM thread t JOIN event e ON e.thread = t.number
WHERE t.name = ? AND e.seq > ? ORDER BY e.seq LIMIT ?;

-- name: stat
SELECT value FROM stats WHERE name = ?;
