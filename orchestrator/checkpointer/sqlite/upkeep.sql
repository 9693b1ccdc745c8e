-- Statements that sweep, audit and delete. The indexes that a sweep uses hold only steps that the sweeper may have to
-- send, and `claim` only what is claimed: a sweep costs what there is to do, not what there ever was.

-- name: claimed_by
SELECT t.name, s.*, c.owner, c.token, c.fence, c.attempt
FROM claim c
CROSS JOIN step s ON s.thread = c.thread AND s.plan = c.plan AND s.id = c.step
CROSS JOIN thread t ON t.number = c.thread
WHERE c.owner = ?;

-- name: expired
SELECT t.name, s.*, c.owner, c.token, c.fence, c.attempt
FROM claim c
CROSS JOIN step s ON s.thread = c.thread AND s.plan = c.plan AND s.id = c.step
CROSS JOIN thread t ON t.number = c.thread
WHERE ifnull((SELECT end_ms FROM lease l WHERE l.owner = c.owner), 0) < ?;

-- name: any_expired
SELECT 1 FROM claim c
WHERE ifnull((SELECT end_ms FROM lease l WHERE l.owner = c.owner), 0) < ? LIMIT 1;

-- name: release_step
UPDATE step SET attempt = ?, deaths = deaths + ?, reason = ?, since_ms = ?, sent_ms = -1
WHERE thread = ? AND plan = ? AND id = ?;

-- name: forget_lease
DELETE FROM lease WHERE owner = ?;

-- name: forget_leases
DELETE FROM lease WHERE end_ms < ?;

-- name: trust
SELECT leader, until_ms, last_ms, since_ms FROM sweep;

-- name: set_trust
INSERT OR REPLACE INTO sweep VALUES (1, ?, ?, ?, ?);

-- name: timed
SELECT t.name, s.*, NULL, NULL, NULL, NULL FROM step s JOIN thread t ON t.number = s.thread
WHERE s.wait = 'timer' AND s.live AND s.queue <> '' AND s.outcome IS NULL AND s.due_ms <= ?
  AND NOT EXISTS (
    SELECT 1 FROM claim c WHERE c.thread = s.thread AND c.plan = s.plan AND c.step = s.id
  )
ORDER BY s.due_ms LIMIT ?;

-- name: unsent
SELECT t.name, s.*, NULL, NULL, NULL, NULL FROM step s JOIN thread t ON t.number = s.thread
WHERE s.wait = '' AND s.sent_ms < 0 AND s.live AND s.queue <> '' AND s.outcome IS NULL
  AND s.since_ms <= ?
  AND NOT EXISTS (
    SELECT 1 FROM claim c WHERE c.thread = s.thread AND c.plan = s.plan AND c.step = s.id
  )
ORDER BY s.since_ms LIMIT ?;

-- name: lost
SELECT t.name, s.*, NULL, NULL, NULL, NULL FROM mark m
CROSS JOIN step s ON s.queue = m.queue AND s.sent_ms < m.sent_ms - ?
CROSS JOIN thread t ON t.number = s.thread
WHERE s.wait = '' AND s.sent_ms >= 0 AND s.live AND s.queue <> '' AND s.outcome IS NULL
  AND NOT EXISTS (
    SELECT 1 FROM claim c WHERE c.thread = s.thread AND c.plan = s.plan AND c.step = s.id
  )
LIMIT ?;

-- name: hand_out
UPDATE step SET wait = '', since_ms = ?, sent_ms = -1 WHERE thread = ? AND plan = ? AND id = ?;

-- name: idle
SELECT thread, checkpoint_id, local FROM head
WHERE idle_since_ms > 0 AND idle_since_ms <= ? ORDER BY idle_since_ms LIMIT ?;

-- name: waiting
SELECT DISTINCT t.name FROM line l
CROSS JOIN head h ON h.thread = l.thread
CROSS JOIN thread t ON t.number = l.thread
WHERE h.status NOT IN ('queued', 'running', 'paused') AND h.updated_ms <= ? LIMIT ?;

-- name: returned
UPDATE head SET idle_since_ms = ? WHERE thread = ?;

-- name: first_step
SELECT t.name, s.*, NULL, NULL, NULL, NULL FROM step s JOIN thread t ON t.number = s.thread
WHERE s.thread = ? AND s.plan = ? ORDER BY s.place LIMIT 1;

-- name: mark_sent
UPDATE step SET sent_ms = ?
WHERE (thread, plan) = (
    SELECT h.thread, h.checkpoint_id FROM thread t JOIN head h ON h.thread = t.number
    WHERE t.name = ?
  )
  AND id = ?;

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
