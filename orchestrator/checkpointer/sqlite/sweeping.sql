-- Statements that find what was left lying. The indexes they use hold only steps that the sweeper may
-- have to touch, and `claim` only what is claimed: looking costs what there is to do, not what there
-- ever was.

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

-- name: take_away
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

-- name: told
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
