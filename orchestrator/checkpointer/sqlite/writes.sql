-- Statements of commits and claims.

-- name: head
SELECT h.* FROM thread t JOIN head h ON h.thread = t.number WHERE t.name = ?;

-- name: run_of_key
SELECT run_id FROM accepted WHERE thread = ? AND key = ?;

-- name: step
SELECT s.*, c.owner, c.token, c.fence, c.attempt
FROM step s LEFT JOIN claim c ON c.thread = s.thread AND c.plan = s.plan AND c.step = s.id
WHERE s.thread = ? AND s.plan = ? AND s.id = ?;

-- name: questions
SELECT name, ask, answer FROM question WHERE thread = ? AND plan = ? AND step = ? ORDER BY number;

-- name: fence_floor
SELECT value FROM stats WHERE name = 'fence_floor';

-- name: add_thread
INSERT INTO thread (name) VALUES (?);

-- name: add_head
INSERT INTO head VALUES (
  :thread, :status, :checkpoint_id, :open, :updated_ms, :idle_since_ms, :seq, :fence, :graph,
  :fingerprint, :run_id, :stop, :breaks_seen, :resumes, :local, :owner, :child, :created_ms, :seal
);

-- name: set_head
UPDATE head SET
  status = :status, checkpoint_id = :checkpoint_id, open = :open, updated_ms = :updated_ms,
  idle_since_ms = :idle_since_ms, seq = :seq, fence = :fence, graph = :graph,
  fingerprint = :fingerprint, run_id = :run_id, stop = :stop, breaks_seen = :breaks_seen,
  resumes = :resumes, local = :local, owner = :owner, seal = :seal
WHERE thread = :thread;

-- name: set_seq
UPDATE head SET seq = ? WHERE thread = ?;

-- name: raise_fence
UPDATE head SET fence = max(fence, ?) WHERE thread = ?;

-- name: set_config
UPDATE thread SET config = ? WHERE number = ?;

-- name: config_and_error
SELECT config, error FROM thread WHERE number = ?;

-- name: set_error
UPDATE thread SET error = ? WHERE number = ?;

-- name: put_blob
INSERT OR REPLACE INTO blob VALUES (?, ?, ?);

-- name: complete
UPDATE step SET outcome = ?, attempt = ? WHERE thread = ? AND plan = ? AND id = ?;

-- name: set_attempt
UPDATE step SET attempt = ? WHERE thread = ? AND plan = ? AND id = ?;

-- name: unclaim
DELETE FROM claim WHERE thread = ? AND plan = ? AND step = ?;

-- name: claims
SELECT step, fence, attempt FROM claim WHERE thread = ? AND plan = ?;

-- name: left
SELECT
  (SELECT max(fence) FROM claim WHERE thread = h.thread AND plan = h.checkpoint_id),
  EXISTS (SELECT 1 FROM step WHERE thread = h.thread AND plan = h.checkpoint_id AND outcome IS NULL),
  EXISTS (SELECT 1 FROM question WHERE thread = h.thread AND plan = h.checkpoint_id),
  EXISTS (SELECT 1 FROM note WHERE thread = h.thread AND plan = h.checkpoint_id)
FROM head h WHERE h.thread = ?;

-- name: drop_claims
DELETE FROM claim WHERE thread = ? AND plan = ?;

-- name: answer
UPDATE question SET answer = ? WHERE thread = ? AND plan = ? AND step = ? AND name = ?;

-- name: ask
INSERT INTO question (thread, plan, step, name, ask) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (thread, plan, step, name) DO UPDATE SET ask = excluded.ask;

-- name: note
INSERT OR IGNORE INTO note VALUES (?, ?, ?, ?, ?);

-- name: notes
SELECT name, value FROM note WHERE thread = ? AND plan = ? AND step = ?;

-- name: drop_notes
DELETE FROM note WHERE thread = ? AND plan = ? AND step = ?;

-- name: drop_all_notes
DELETE FROM note WHERE thread = ? AND plan = ?;

-- name: update_step
UPDATE step SET
  wait = ?, reason = ?, due_ms = ?, since_ms = ?, sent_ms = -1, error = ?, failures = ?, deaths = ?,
  settled = ?
WHERE thread = ? AND plan = ? AND id = ?;

-- name: drop_steps
DELETE FROM step WHERE thread = ? AND plan = ? AND outcome IS NULL;

-- name: drop_questions
DELETE FROM question WHERE thread = ? AND plan = ?;

-- name: put_checkpoint
INSERT OR REPLACE INTO checkpoint VALUES (?, ?, ?, ?, ?, ?);

-- name: put_step
INSERT OR REPLACE INTO step (thread, plan, id, place, ready, queue, live, since_ms)
VALUES (?, ?, ?, ?, ?, ?, ?, ?);

-- name: put_result
INSERT OR REPLACE INTO step (thread, plan, id, place, ready, queue, live, since_ms, outcome)
VALUES (?, ?, ?, 0, x'', '', 0, 0, ?);

-- name: any_step
SELECT 1 FROM step WHERE thread = ? AND plan = ? LIMIT 1;

-- name: set_live
UPDATE step SET live = ? WHERE thread = ? AND plan = ? AND outcome IS NULL;

-- name: put_key
INSERT OR REPLACE INTO accepted VALUES (?, ?, ?);

-- name: in_line
SELECT 1 FROM line WHERE thread = ? AND run_id = ?;

-- name: any_in_line
SELECT 1 FROM line WHERE thread = ? LIMIT 1;

-- name: enqueue
INSERT INTO line (thread, run_id, begins) VALUES (?, ?, ?);

-- name: dequeue
DELETE FROM line WHERE thread = ? AND run_id = ?;

-- name: add_event
INSERT INTO event VALUES (?, ?, ?, ?, ?);

-- name: trim_events
DELETE FROM event WHERE thread = ? AND seq <= ?;

-- name: count
INSERT INTO stats VALUES (?, 1) ON CONFLICT (name) DO UPDATE SET value = value + 1;

-- name: last_fence
SELECT max(fence) FROM claim WHERE thread = ?;

-- name: claim
INSERT INTO claim VALUES (?, ?, ?, ?, ?, ?, ?);

-- name: end_timer
UPDATE step SET wait = '' WHERE thread = ? AND plan = ? AND id = ?;

-- name: set_status
UPDATE head SET status = ? WHERE thread = ?;

-- name: move_mark
INSERT INTO mark VALUES (?, ?)
ON CONFLICT (queue) DO UPDATE SET sent_ms = excluded.sent_ms WHERE excluded.sent_ms > sent_ms;

-- name: renew
INSERT INTO lease VALUES (?, ?)
ON CONFLICT (owner) DO UPDATE SET end_ms = excluded.end_ms WHERE excluded.end_ms > end_ms + ?;

-- name: held
SELECT holder FROM hold WHERE name = ? AND until_ms > ?;

-- name: hold
INSERT OR REPLACE INTO hold VALUES (?, ?, ?);

-- name: end_hold
DELETE FROM hold WHERE name = ?;
