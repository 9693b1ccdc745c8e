-- Layout 2 of the file. Running this twice, or in two processes at once, is as good as once.
--
-- Everything of a thread is keyed by its number, so that a name of any length is stored once. What a
-- step changes is in few, short rows: a page that is not touched is not written.
-- Text that is no Unicode (lone surrogates) is stored as bytes; see rows.py.

BEGIN IMMEDIATE;

-- A thread, and what of its head is long and seldom changes.
CREATE TABLE IF NOT EXISTS thread (
  number INTEGER PRIMARY KEY,
  name   TEXT NOT NULL UNIQUE,
  config BLOB NOT NULL DEFAULT x'',
  error  BLOB NOT NULL DEFAULT x''
);

-- The rest of the head: the one row of a thread that every commit writes. `seq` is the last one given;
-- so is `fence`, but for those of the claims there are.
CREATE TABLE IF NOT EXISTS head (
  thread        INTEGER PRIMARY KEY,
  status        TEXT NOT NULL,
  checkpoint_id INTEGER NOT NULL,
  open          INTEGER NOT NULL,
  updated_ms    INTEGER NOT NULL,
  idle_since_ms INTEGER NOT NULL,  -- When the superstep was settled and not advanced; 0: it is not.
  seq           INTEGER NOT NULL,
  fence         INTEGER NOT NULL,
  graph         TEXT NOT NULL,
  fingerprint   TEXT NOT NULL,
  run_id        TEXT NOT NULL,
  stop          INTEGER NOT NULL,
  breaks_seen   INTEGER NOT NULL,
  resumes       INTEGER NOT NULL,
  local         INTEGER NOT NULL,
  owner         TEXT NOT NULL,
  child         INTEGER NOT NULL,  -- Whether it is the thread of a subgraph.
  created_ms    INTEGER NOT NULL,
  seal          TEXT NOT NULL      -- Over the fields that callers set; see `envelope/sealed_records.py`.
);
CREATE INDEX IF NOT EXISTS head_idle ON head (idle_since_ms) WHERE idle_since_ms > 0;

CREATE TABLE IF NOT EXISTS checkpoint (
  thread INTEGER NOT NULL,
  id     INTEGER NOT NULL,
  ns     TEXT NOT NULL,
  header BLOB NOT NULL,
  plan   BLOB NOT NULL,
  refs   BLOB NOT NULL,  -- Names of blobs.
  PRIMARY KEY (thread, id)
) WITHOUT ROWID;

-- Values and arguments of `Send`s. Never changed, shared by all checkpoints that refer to them. A tail
-- of a list holds the name of the value that it continues, and an outcome may name values; see envelope/seal.py.
CREATE TABLE IF NOT EXISTS blob (
  thread INTEGER NOT NULL,
  name   TEXT NOT NULL,
  value  BLOB NOT NULL,
  PRIMARY KEY (thread, name)
) WITHOUT ROWID;

-- A step: one row from its plan to its outcome. `plan` is the checkpoint that planned it. Of plans
-- below the head only the completed steps are kept.
CREATE TABLE IF NOT EXISTS step (
  thread   INTEGER NOT NULL,
  plan     INTEGER NOT NULL,
  id       TEXT NOT NULL,
  place    INTEGER NOT NULL,        -- In the plan.
  ready    BLOB NOT NULL,           -- The rest of its `ReadyStep`.
  queue    TEXT NOT NULL,
  live     INTEGER NOT NULL,        -- Whether its run is active.
  wait     TEXT NOT NULL DEFAULT '',
  attempt  INTEGER NOT NULL DEFAULT 0,   -- Without the claim there may be.
  failures INTEGER NOT NULL DEFAULT 0,
  deaths   INTEGER NOT NULL DEFAULT 0,
  settled  INTEGER NOT NULL DEFAULT 0,
  due_ms   INTEGER NOT NULL DEFAULT 0,
  since_ms INTEGER NOT NULL,             -- When it became ready.
  sent_ms  INTEGER NOT NULL DEFAULT -1,  -- When it was last sent; -1: not since it is ready.
  reason   TEXT NOT NULL DEFAULT '',
  error    BLOB NOT NULL DEFAULT x'',
  outcome  BLOB,                         -- Not null: the step is completed. (INV-2)
  PRIMARY KEY (thread, plan, id)
) WITHOUT ROWID;
-- For the sweeper. A step that runs in the process that called has no queue: it costs none of these.
CREATE INDEX IF NOT EXISTS step_timed ON step (due_ms)
  WHERE wait = 'timer' AND live AND queue <> '' AND outcome IS NULL;
CREATE INDEX IF NOT EXISTS step_unsent ON step (since_ms)
  WHERE wait = '' AND sent_ms < 0 AND live AND queue <> '' AND outcome IS NULL;
CREATE INDEX IF NOT EXISTS step_sent ON step (queue, sent_ms)
  WHERE wait = '' AND sent_ms >= 0 AND live AND queue <> '' AND outcome IS NULL;

-- The claims there are: a table that stays as small as the work in flight, so that a claim writes
-- one page, and reading all of them is cheap. What a claim counts goes to `step` and `head`
-- when it ends.
CREATE TABLE IF NOT EXISTS claim (
  thread  INTEGER NOT NULL,
  plan    INTEGER NOT NULL,
  step    TEXT NOT NULL,
  owner   TEXT NOT NULL,
  token   TEXT NOT NULL,     -- Of the attempt to claim that got it.
  fence   INTEGER NOT NULL,
  attempt INTEGER NOT NULL,
  PRIMARY KEY (thread, plan, step)
) WITHOUT ROWID;

-- Questions of the steps of the current plan, in the order in which they were asked.
CREATE TABLE IF NOT EXISTS question (
  number INTEGER PRIMARY KEY,
  thread INTEGER NOT NULL,
  plan   INTEGER NOT NULL,
  step   TEXT NOT NULL,
  name   TEXT NOT NULL,
  ask    BLOB NOT NULL,
  answer BLOB,
  UNIQUE (thread, plan, step, name)
);

-- What steps of the current plan that are not completed have noted. Never changed.
CREATE TABLE IF NOT EXISTS note (
  thread INTEGER NOT NULL,
  plan   INTEGER NOT NULL,
  step   TEXT NOT NULL,
  name   TEXT NOT NULL,
  value  BLOB NOT NULL,
  PRIMARY KEY (thread, plan, step, name)
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS event (
  thread INTEGER NOT NULL,
  seq    INTEGER NOT NULL,
  ts_ms  INTEGER NOT NULL,
  type   TEXT NOT NULL,
  fields BLOB NOT NULL,
  PRIMARY KEY (thread, seq)
) WITHOUT ROWID;

-- Runs that wait until the thread's run has ended.
CREATE TABLE IF NOT EXISTS line (
  number INTEGER PRIMARY KEY,
  thread INTEGER NOT NULL,
  run_id TEXT NOT NULL,
  begins BLOB NOT NULL,
  UNIQUE (thread, run_id)
);

-- Idempotency keys and the runs that were accepted under them.
CREATE TABLE IF NOT EXISTS accepted (
  thread INTEGER NOT NULL,
  key    TEXT NOT NULL,
  run_id TEXT NOT NULL,
  PRIMARY KEY (thread, key)
) WITHOUT ROWID;

-- The call that holds a thread, by name: the thread may not exist yet.
CREATE TABLE IF NOT EXISTS hold (
  name TEXT PRIMARY KEY, holder TEXT NOT NULL, until_ms INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS lease (owner TEXT PRIMARY KEY, end_ms INTEGER NOT NULL) WITHOUT ROWID;
-- When the newest claimed message of a queue was sent.
CREATE TABLE IF NOT EXISTS mark (queue TEXT PRIMARY KEY, sent_ms INTEGER NOT NULL) WITHOUT ROWID;
-- One row: the leader of the sweeps, and the fields of `Trust`.
CREATE TABLE IF NOT EXISTS sweep (
  one      INTEGER PRIMARY KEY CHECK (one = 1),
  leader   TEXT NOT NULL,
  until_ms INTEGER NOT NULL,
  last_ms  INTEGER NOT NULL,
  since_ms INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS stats (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

PRAGMA application_id = 1735619691;  -- "gstk"
PRAGMA user_version = 2;
COMMIT;
