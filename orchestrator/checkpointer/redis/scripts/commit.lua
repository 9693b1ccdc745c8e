-- Make one `Commit` true, or refuse it and change nothing. (INV-1, INV-2, INV-3, INV-4, INV-8, INV-9)
--
-- KEYS[1]  prefix of the thread's partition      KEYS[2]  prefix of the thread's keys
-- KEYS[3..] the broker's lists that messages go to, if this server is the broker
-- ARGV     the commit, flat; see `arguments.py`, which writes it in the order it is read here
--
-- Returns {refusal, detail, now, open}. All checks come before the first write.

local P, T = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = 0
local function take() at = at + 1 return ARGV[at] end
local function take_pairs()
  local n, list = tonumber(take()) * 2, {}
  for i = 1, n do list[i] = take() end
  return list
end
local head_key = T .. 'head'
local function step_key(step) return T .. 's:' .. step end

local function note(kind, fields)
  local seq = redis.call('HINCRBY', head_key, 'seq', 1)
  redis.call('XADD', T .. 'ev', 'MAXLEN', '~', 10000, seq .. '-0', 'ts', now, 'type', kind, unpack(fields))
end

-- ---- preconditions ---------------------------------------------------------------------

local thread, expect_new, expect_head, expect_run = take(), take(), take(), take()
local statuses = take()
local guard, guard_fence = take(), take()
local key, key_run = take(), take()
local answers = {}
for i = 1, tonumber(take()) do answers[i] = {take(), take(), take()} end

local head = redis.call('HMGET', head_key, 'status', 'checkpoint_id', 'run_id', 'open')
local exists = head[1]
local function refuse(why, detail)
  if why == 'stale_fence' then
    redis.call('HINCRBY', P .. 'stats', 'stale_refused', 1)
    note('commit_refused', {'step', guard, 'reason', why, 'fence', guard_fence})
  end
  return {why, detail, now, 0}
end
local guard_owner, guard_cp
if not exists then
  if expect_new ~= '1' then return {'unknown_thread', thread, now, 0} end
else
  if key ~= '' then
    local run = redis.call('HGET', T .. 'keys', key)
    if run then return refuse('key_used', run) end
  end
  if expect_new == '1' then return refuse('thread_exists', thread) end
  if guard ~= '' then
    if redis.call('SISMEMBER', T .. 'done', guard) == 1 then return refuse('completed', guard) end
    local s = redis.call('HMGET', step_key(guard), 'fence', 'owner', 'cp')
    if s[1] ~= guard_fence or not s[2] then return refuse('stale_fence', guard) end
    guard_owner, guard_cp = s[2], s[3]
  end
  if expect_head ~= '' and head[2] ~= expect_head then return refuse('head_moved', head[2]) end
  if expect_run ~= '' and head[3] ~= expect_run then return refuse('wrong_run', head[3]) end
  if statuses ~= '' and not string.find(statuses, ' ' .. head[1] .. ' ', 1, true) then
    return refuse('wrong_status', head[1])
  end
  for _, a in ipairs(answers) do
    local s = redis.call('HMGET', step_key(a[1]), 'ask:' .. a[2], 'ans:' .. a[2])
    if not s[1] or s[2] then return refuse('no_interrupt', a[2]) end
  end
end

-- ---- effects ---------------------------------------------------------------------------

local open = tonumber(head[4] or 0)
local status = take()
if status == '' and not exists then status = 'queued' end
local active = status ~= '' and status or head[1]
active = active == 'queued' or active == 'running'

local function set_pairs(target, list)
  for i = 1, #list, 128 do
    redis.call('HSET', target, unpack(list, i, math.min(i + 127, #list)))
  end
end

local function unclaim(step, owner)
  redis.call('HDEL', step_key(step), 'owner')
  redis.call('SREM', P .. 'claims:' .. owner, step .. thread)
end

-- Index a ready step, and send its message if this server is the broker and the run is active.
local function dispatch(step, queue, list, message)
  if queue == '' or not active then return end
  redis.call('SADD', P .. 'queues', queue)
  if list ~= '' then
    redis.call('LPUSH', KEYS[tonumber(list)], message)
    redis.call('ZADD', P .. 'ready:' .. queue, now, step .. thread)
  else
    redis.call('ZADD', P .. 'unsent', now, step .. thread)
  end
end

local function forget(step)
  local s = redis.call('HMGET', step_key(step), 'queue', 'owner')
  if s[2] then redis.call('SREM', P .. 'claims:' .. s[2], step .. thread) end
  if s[1] and s[1] ~= '' and not s[2] then
    redis.call('ZREM', P .. 'ready:' .. s[1], step .. thread)
    redis.call('ZREM', P .. 'unsent', step .. thread)
    redis.call('ZREM', P .. 'timers', step .. thread)
  end
  redis.call('DEL', step_key(step))
end

set_pairs(T .. 'blob', take_pairs())
local completes, outcome = take(), take()
if guard ~= '' then
  unclaim(guard, guard_owner)
  if completes == '1' then
    redis.call('SADD', T .. 'done', guard)
    redis.call('HSET', T .. 'out', guard_cp .. '/' .. guard, outcome)
    open = open - 1
  end
end
if take() == '1' then -- revoke
  for _, step in ipairs(redis.call('SMEMBERS', T .. 'steps')) do
    local owner = redis.call('HGET', step_key(step), 'owner')
    if owner then unclaim(step, owner) end
  end
end
for _, a in ipairs(answers) do redis.call('HSET', step_key(a[1]), 'ans:' .. a[2], a[3]) end

for _ = 1, tonumber(take()) do -- updates
  local step, wait, delay, reset, failed, has_error, error, reason = take(), take(), take(), take(), take(), take(), take(), take()
  local asks, queue, list, message = take_pairs(), take(), take(), take()
  local record, member = step_key(step), step .. thread
  local was = redis.call('HGET', record, 'settled')
  set_pairs(record, asks)
  redis.call('HSET', record, 'reason', reason)
  if has_error == '1' then redis.call('HSET', record, 'error', error) end
  if failed == '1' then redis.call('HINCRBY', record, 'failures', 1) end
  if reset == '1' then redis.call('HDEL', record, 'failures', 'deaths') end
  redis.call('HDEL', record, 'due', 'wait')
  redis.call('ZREM', P .. 'timers', member)
  if queue ~= '' then
    redis.call('ZREM', P .. 'ready:' .. queue, member)
    redis.call('ZREM', P .. 'unsent', member)
  end
  if wait ~= '' then redis.call('HSET', record, 'wait', wait) end
  if wait == 'timer' then
    redis.call('HSET', record, 'due', now + delay)
    if queue ~= '' then redis.call('ZADD', P .. 'timers', now + delay, member) end
  elseif wait == '' then
    dispatch(step, queue, list, message)
  end
  local settled = wait == 'answer' or wait == 'person'
  if settled and not was then
    redis.call('HSET', record, 'settled', 1)
    open = open - 1
  elseif was and not settled then
    redis.call('HDEL', record, 'settled')
    open = open + 1
  end
end

local id = take()
if id ~= '' then
  local header, plan, refs = take(), take(), take()
  for _, step in ipairs(redis.call('SMEMBERS', T .. 'steps')) do forget(step) end
  redis.call('DEL', T .. 'steps', T .. 'done')
  redis.call('HSET', T .. 'cp', id .. ':h', header, id .. ':p', plan, id .. ':r', refs)
  redis.call('ZADD', T .. 'ids', 0, id)
  redis.call('HSET', head_key, 'checkpoint_id', id)
  open = 0
end
local ids = {}
for i = 1, tonumber(take()) do -- new steps
  local step, cp, queue, arg, json, list, message = take(), take(), take(), take(), take(), take(), take()
  ids[i] = step
  redis.call('SADD', T .. 'steps', step)
  redis.call('HSET', step_key(step), 'cp', cp, 'queue', queue, 'step', json)
  if arg ~= '' then redis.call('HSET', step_key(step), 'arg', arg) end
  dispatch(step, queue, list, message)
  open = open + 1
end
if id ~= '' then redis.call('HSET', T .. 'cp', id .. ':s', table.concat(ids, ' ')) end
set_pairs(head_key, take_pairs())
if status ~= '' then redis.call('HSET', head_key, 'status', status) end
redis.call('HSET', head_key, 'open', open, 'updated_ms', now)
if not exists then redis.call('HSET', head_key, 'created_ms', now) end
if status ~= '' then redis.call('ZADD', P .. 'threads', now, thread) end
if key ~= '' then redis.call('HSET', T .. 'keys', key, key_run) end
if open == 0 and active then
  redis.call('ZADD', P .. 'stuck', 'NX', now, thread)
elseif head[4] == '0' then
  redis.call('ZREM', P .. 'stuck', thread)
end
for _ = 1, tonumber(take()) do note(take(), take_pairs()) end
return {'', '', now, open}
