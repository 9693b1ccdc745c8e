-- Make one `Commit` true, or refuse it and change nothing. (INV-1, INV-2, INV-3, INV-4, INV-8, INV-9)
--
-- KEYS[1]  prefix of the thread's partition      KEYS[2]  prefix of the thread's keys
-- KEYS[3..] the broker's lists that messages go to, if this server is the broker
-- ARGV     the commit, flat; see `encode.py`, which writes it in the order it is read here. Each argument costs, also an
--          empty one: so fields of few commits are there by name, or not at all.
--
-- Returns {refusal, detail, now, open, 1 if the run has ended with others queued, {steps to be sent now}}, and
--         if the one ready step was claimed by the same commit, also fence, {name, value, ...} of the wanted values, head
--         fields unless the owner knows them. All checks come before the first write.

local P, T = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local thread, expect_head, guard, guard_fence, completes, outcome, id, taker, token, lease, known_head = unpack(ARGV, 1, 11)
local rare, updates = {}, {} -- What few commits have: by name, a list of values each. Of updates there may be several.
local at = 12
local rest = at + tonumber(ARGV[at])
while at < rest do
  local name, n, list = ARGV[at + 1], tonumber(ARGV[at + 2]), {}
  for i = 1, n do list[i] = ARGV[at + 2 + i] end
  at = at + 2 + n
  if name == 'update' then updates[#updates + 1] = list else rare[name] = list end
end
local answers, notes, fields_of_head = rare.answers or {}, rare.notes or {}, rare.head or {} -- Flat.
local head_key = T .. 'head'
local function step_key(step) return T .. 's:' .. step end
local kept = data_of(T)

local L, seq = T, 0 -- Prefix of the thread whose log takes the events, and the number of the last one.
-- Append an entry of some events to the log; trim events older than the last 10,000.
local function note(events, ...)
  seq = seq + events
  local entry = seq .. '-0'
  if seq <= 10000 then return redis.call('XADD', L .. 'ev', entry, 'ts', now, ...) end
  redis.call('XADD', L .. 'ev', 'MINID', '~', seq - 10000, entry, 'ts', now, ...)
end

-- ---- preconditions ---------------------------------------------------------------------

local head = redis.call('HMGET', head_key, 'status', 'checkpoint_id', 'run_id', 'open', 'seq', 'fence', 'seal')
local exists = head[1]
seq = tonumber(head[5] or 0)
if rare.log then
  local other = P .. 't:' .. rare.log[1] .. ':'
  local l = redis.call('HMGET', other .. 'head', 'status', 'seq')
  if l[1] then L, seq = other, tonumber(l[2] or 0) end
end
local function refuse(why, detail)
  if why == 'stale_fence' then
    redis.call('HINCRBY', P .. 'stats', 'stale_refused', 1)
    local fields = {'type', 'commit_refused', 'step', guard, 'reason', why, 'fence', guard_fence}
    local ns = string.match(thread, '\31(.*)$')
    if ns then fields[#fields + 1], fields[#fields + 2] = 'ns', ns end
    note(1, unpack(fields))
    redis.call('HSET', L .. 'head', 'seq', seq)
  end
  return {why, detail, now, 0, 0, {}}
end
local holder, hold_ms, only_holds = unpack(rare.holder or {'', ''})
if guard == '' then
  local held = redis.call('GET', T .. 'hold')
  if held and held ~= holder then return {'held', held, now, 0, 0, {}} end
end
local guard_owner, guard_cp, guard_noted
if not exists then
  if not rare.new then return {'unknown_thread', thread, now, 0, 0, {}} end
else
  if rare.key then
    local run = redis.call('HGET', T .. 'keys', rare.key[1])
    if run then return refuse('key_used', run) end
  end
  if rare.new then return refuse('thread_exists', thread) end
  if guard ~= '' then
    local s = redis.call('HMGET', step_key(guard), 'fence', 'owner', 'cp', 'noted')
    if s[1] ~= guard_fence or not s[2] then
      -- Only here: a step that is completed has no owner.
      if redis.call('SISMEMBER', T .. 'done', guard) == 1 then return refuse('completed', guard) end
      return refuse('stale_fence', guard)
    end
    guard_owner, guard_cp, guard_noted = s[2], s[3], s[4]
  end
  if expect_head ~= '' and head[2] ~= expect_head then return refuse('head_moved', head[2]) end
  if rare.run and head[3] ~= rare.run[1] then return refuse('wrong_run', head[3]) end
  if rare.statuses and not string.find(rare.statuses[1], ' ' .. head[1] .. ' ', 1, true) then
    return refuse('wrong_status', head[1])
  end
  if rare.settled and head[4] ~= '0' then return refuse('unsettled', head[4]) end
  for i = 1, #answers, 3 do
    local step, question = answers[i], answers[i + 1]
    local s = redis.call('HMGET', step_key(step), 'ask:' .. question, 'ans:' .. question, 'wait')
    local open = s[1] and not s[2] and s[3] == 'answer'
    if not open or redis.call('SISMEMBER', T .. 'done', step) == 1 then
      return refuse('no_interrupt', question)
    end
  end
  for _, update in ipairs(updates) do
    if redis.call('EXISTS', step_key(update[1])) == 0 then return refuse('unknown_step', update[1]) end
  end
  if rare.dequeue and redis.call('HEXISTS', T .. 'begins', rare.dequeue[1]) == 0 then
    return refuse('not_waiting', rare.dequeue[1])
  end
end

if rare.parent and redis.call('EXISTS', P .. 't:' .. rare.parent[1] .. ':s:' .. rare.parent[2]) == 0 then
  return refuse('unknown_step', rare.parent[2])
end

-- ---- effects ---------------------------------------------------------------------------

if hold_ms == '0' then
  redis.call('DEL', T .. 'hold')
elseif hold_ms ~= '' then
  redis.call('SET', T .. 'hold', holder, 'PX', hold_ms)
end
if only_holds == '1' then return {'', '', now, tonumber(head[4] or 0), 0, {}} end

local open = tonumber(head[4] or 0)
local status = rare.status and rare.status[1]
if not status and not exists then status = 'queued' end
local active = status or head[1]
active = active == 'queued' or active == 'running'

local function unclaim(step, owner)
  redis.call('HDEL', step_key(step), 'owner', 'token')
  redis.call('SREM', P .. 'claims:' .. owner, step .. thread)
end

-- Index a ready step, and send its message if this server is the broker and the run is active.
local function dispatch(step, queue, list, message)
  if queue == '' or not active then return end
  if list == '' then
    redis.call('ZADD', P .. 'unsent', now, step .. thread)
    return
  end
  redis.call('LPUSH', KEYS[tonumber(list)], message)
  redis.call('ZADD', P .. 'ready:' .. queue, now, step .. thread)
  if redis.call('SISMEMBER', P .. 'queues', queue) == 0 then redis.call('SADD', P .. 'queues', queue) end
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

-- Values and the checkpoint, with the outcome in the same command.
local first = at + 2
at = at + 1 + 2 * tonumber(ARGV[at + 1])
if guard_owner and completes == '1' then
  redis.call('HSET', T .. 'data', '/' .. guard, outcome, unpack(ARGV, first, math.min(first + 255, at)))
  first = first + 256
end
for i = first, at, 256 do
  redis.call('HSET', T .. 'data', unpack(ARGV, i, math.min(i + 255, at)))
end
if rare.input then -- The header of its checkpoint again, which names some of the values.
  local stored = kept(guard_cp) or ''
  local size, others, at = string.match(stored, '^(%d+)( %d+ %d+ %d+\n)()')
  if size then redis.call('HSET', T .. 'data', guard_cp, #rare.input[1] .. others .. rare.input[1] .. string.sub(stored, at + size)) end
end

-- Keep what a step has so far, or drop it with its completion.
local function keep_notes(step)
  for i = 1, #notes, 2 do redis.call('HSETNX', step_key(step), 'note:' .. notes[i], notes[i + 1]) end
  if #notes > 0 then redis.call('HSET', step_key(step), 'noted', 1) end
end
local function drop_notes(step)
  for _, field in ipairs(redis.call('HKEYS', step_key(step))) do
    if string.sub(field, 1, 5) == 'note:' then redis.call('HDEL', step_key(step), field) end
  end
  redis.call('HDEL', step_key(step), 'noted')
end

if guard_owner then
  if id ~= '' then -- Its record goes with the old plan; the new head is what marks it completed.
    redis.call('DEL', step_key(guard))
  else
    if not rare.keeps_claim then unclaim(guard, guard_owner) end
    if completes == '1' then
      redis.call('SADD', T .. 'done', guard)
      if guard_noted then drop_notes(guard) end
    else
      keep_notes(guard)
    end
  end
  if completes == '1' then open = open - 1 end
end
if rare.revoke then
  for step in string.gmatch(ids_of(kept, head[2]), '%S+') do
    local owner = redis.call('HGET', step_key(step), 'owner')
    if owner then unclaim(step, owner) end
  end
end
for i = 1, #answers, 3 do redis.call('HSET', step_key(answers[i]), 'ans:' .. answers[i + 1], answers[i + 2]) end

local on_timers = 0
local function update(change)
  local step, wait, delay, reset, failed, has_error, error, reason, queue, list, message = unpack(change, 1, 11)
  if redis.call('SISMEMBER', T .. 'done', step) == 1 then return end -- It has its one result.
  local record, member = step_key(step), step .. thread
  local s = redis.call('HMGET', record, 'settled', 'owner')
  local was, claimed = s[1], s[2]
  for i = 12, #change, 256 do redis.call('HSET', record, unpack(change, i, math.min(i + 255, #change))) end -- Its questions.
  if reason ~= '' then redis.call('HSET', record, 'reason', reason) else redis.call('HDEL', record, 'reason') end
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
    on_timers = on_timers + 1
    redis.call('HSET', record, 'due', now + delay)
    if queue ~= '' then redis.call('ZADD', P .. 'timers', now + delay, member) end
  elseif wait == '' and not claimed then
    redis.call('ZREM', T .. 'later', step)
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
for _, each in ipairs(updates) do update(each) end

local news = {'open', 0, 'updated_ms', now} -- of the head
if id ~= '' then
  -- Before anything is deleted: a server that is out of memory refuses a script at its first write or never.
  redis.call('ZADD', T .. 'ids', 0, id)
  local ids = head[2] and ids_of(kept, head[2]) or ''
  -- If the step that brings the checkpoint is alone, none was completed before it.
  if guard == '' or ids ~= guard then
    for step in string.gmatch(ids, '%S+') do
      if step ~= guard then forget(step) end
    end
    redis.call('DEL', T .. 'done', T .. 'later')
  end
  news[#news + 1], news[#news + 2] = 'checkpoint_id', id
  open = 0
end
local fence = nil
if taker ~= '' and active then
  local halted, shut, floor = gate_of(P, now)
  if not halted and not shut then fence = fence_after(head[6], floor) end
end
at = at + 1
for i = 1, tonumber(ARGV[at]) do -- new steps
  local step, cp, queue, arg, record, list, message = unpack(ARGV, at + 1, at + 7)
  at = at + 7
  open = open + 1
  if arg ~= '' then redis.call('HSET', step_key(step), 'arg', arg) end
  if fence then
    redis.call('HSET', step_key(step), 'cp', cp, 'queue', queue, 'step', record, 'owner', taker, 'fence', fence, 'token', token,
      'attempt', 1, 'claimed', now)
    hold(P, step .. thread, taker, lease, now)
    news[#news + 1], news[#news + 2] = 'fence', fence
  else
    redis.call('HSET', step_key(step), 'cp', cp, 'queue', queue, 'step', record)
    if list == 'later' then
      redis.call('ZADD', T .. 'later', i, step)
    else
      dispatch(step, queue, list, message)
    end
  end
end
-- Only now: a set that is never empty need not be made anew.
if guard_owner and id ~= '' then redis.call('SREM', P .. 'claims:' .. guard_owner, guard .. thread) end
-- Fan-out window: dispatch at most `window` steps of a superstep; refill when half of them are done. The sender may die
-- first, so until they are marked as sent they count as unsent.
local due = {}
if rare.window and active then
  local window = tonumber(rare.window[1])
  local later = redis.call('ZCARD', T .. 'later')
  if later > 0 then
    if guard ~= '' then later = later - redis.call('ZREM', T .. 'later', guard) end
    local flying = open - later
    local n = flying * 2 <= window and window - flying or on_timers
    local popped = n > 0 and redis.call('ZPOPMIN', T .. 'later', n) or {}
    for i = 1, #popped, 2 do
      local s = redis.call('HMGET', step_key(popped[i]), 'cp', 'step')
      if s[1] and s[2] then
        redis.call('ZADD', P .. 'unsent', now, popped[i] .. thread)
        due[#due + 1] = {popped[i] .. thread, s[1], s[2]}
      end
    end
  end
end
for _, item in ipairs(fields_of_head) do news[#news + 1] = item end
if not status and fence and head[1] == 'queued' then
  news[#news + 1], news[#news + 2] = 'status', 'running'
elseif status then
  news[#news + 1], news[#news + 2] = 'status', status
end
if not exists then
  news[#news + 1], news[#news + 2] = 'created_ms', now
  local root, ns = string.match(thread, '^([^\31]*)\31(.*)$')
  if root then -- The thread of a subgraph.
    local K = P .. 't:' .. root .. ':'
    redis.call('SADD', K .. 'children', ns)
    -- That the list is not empty; a thread without its root must not get a head for that.
    if redis.call('SCARD', K .. 'children') == 1 and redis.call('EXISTS', K .. 'head') == 1 then
      redis.call('HSET', K .. 'head', 'kin', 2)
    end
  else
    news[#news + 1], news[#news + 2] = 'kin', 1 -- All its child threads will be listed.
  end
end
news[2] = open
local events = tonumber(ARGV[at + 1])
if events > 0 then note(events, 'n', events, 'sealed', ARGV[at + 2]) end
if L == T then
  news[#news + 1], news[#news + 2] = 'seq', seq
  -- A stream takes 4 KB for its next entries; a run that is not active has none. Its copy takes what it holds.
  local length = status and not active and redis.call('XLEN', T .. 'ev') or 0
  if length > 0 and length <= 100 then
    redis.call('COPY', T .. 'ev', T .. 'ev:packed', 'REPLACE')
    redis.call('RENAME', T .. 'ev:packed', T .. 'ev')
  end
else
  redis.call('HSET', L .. 'head', 'seq', seq)
end
redis.call('HSET', head_key, unpack(news))
if #fields_of_head > 0 then -- See `head_seal` in `envelope/sealed_records.py`.
  local fields = redis.call('HMGET', head_key, 'graph', 'fingerprint', 'run_id', 'config', 'stop', 'breaks_seen', 'resumes', 'local', 'owner', 'error')
  for i = 1, 10 do
    local value = fields[i] or ''
    fields[i] = #value .. ':' .. value
  end
  local seal = redis.sha1hex and string.sub(redis.sha1hex(thread .. table.concat(fields)), 1, 16) or '-'
  redis.call('HSET', head_key, 'seal', seal)
end
-- The thread of a subgraph is not listed.
if status and not string.find(thread, '\31', 1, true) then redis.call('ZADD', P .. 'threads', now, thread) end
if rare.key then redis.call('HSET', T .. 'keys', rare.key[1], rare.key[2]) end
if rare.dequeue then
  redis.call('LREM', T .. 'line', 1, rare.dequeue[1])
  redis.call('HDEL', T .. 'begins', rare.dequeue[1])
end
if rare.enqueue then
  redis.call('RPUSH', T .. 'line', rare.enqueue[1])
  redis.call('HSET', T .. 'begins', rare.enqueue[1], rare.enqueue[2])
end
local waiting = 0
if status or rare.enqueue or rare.dequeue then
  local final = not active and (status or head[1]) ~= 'paused'
  if final and redis.call('EXISTS', T .. 'line') == 1 then waiting = 1 end
  if waiting == 1 then
    redis.call('ZADD', P .. 'waiting', now, thread)
  elseif rare.dequeue then
    redis.call('ZREM', P .. 'waiting', thread)
  end
end
-- Notify waiters. A user of the server without the right to publish is no reason to fail.
if status or rare.dequeue then redis.pcall('PUBLISH', T .. 'news', status or '') end
if open == 0 and active then
  redis.call('ZADD', P .. 'stuck', 'NX', now, thread)
elseif head[4] == '0' then
  redis.call('ZREM', P .. 'stuck', thread)
end
if not fence then return {'', '', now, open, waiting, due} end
local values, known = {}, {}
for _, name in ipairs(rare.brought or {}) do bring(T .. 'data', name, known, values) end
local same = #fields_of_head == 0 and head[7] == known_head
return {'', '', now, open, waiting, due, fence, values, not same and redis.call('HGETALL', head_key) or nil}
