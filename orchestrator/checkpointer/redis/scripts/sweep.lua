-- Sweep a partition once: check that it was not rolled back, then find what is due, lost, unsent or stuck. (INV-7)
--
-- KEYS[1]  prefix of the partition
-- ARGV[1]  leader   ARGV[2]  lease, ms   ARGV[3]  silence after which leases are doubted, ms
-- ARGV[4]  grace, ms   ARGV[5]  batch   ARGV[6]  '', or what the lists of queues begin with: this server is the broker
-- ARGV[7]  the epoch that the caller knows, or ''   ARGV[8]  the greatest mark of it that it has seen
-- ARGV[9]  1: it has seen them itself; 0: it has read them from a file    ARGV[10] id for a new epoch
-- ARGV[11] ms after which claims need another sweep; 0: the caller does not watch what the server has
-- ARGV[12] loss that is borne, ms
-- ARGV[13..] queues of another broker that are known to be empty
--
-- Returns {leading, {owners whose lease has run out}, {records of due steps}, {a record of each stuck superstep},
--         {threads whose run has ended with others queued}, {epoch, mark, what the sweep found out, how much is lost in ms}}
-- Found out is '' or `slipped` (a loss that is borne: `owners` are all then), `back`, `other` or `halted`, after which
-- nothing is sent until a person accepts it, or `new` (as `other`, but the caller has not seen it itself).
-- A step returned here is unsent until it is marked: if the sender dies first, the next sweep finds it again.
-- Damaged entries are skipped, never an error: one damaged thread must not stop the others. The
-- auditor finds it.

local P, leader = KEYS[1], ARGV[1]
local lease, silence, grace, batch = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local lead = math.min(lease, 1000) -- How long a leader leads that has stopped asking.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local sweep = redis.call('HMGET', P .. 'sweep', 'leader', 'until', 'last', 'since', 'epoch', 'mark', 'halted', 'was', 'opens', 'slipped')

-- Whether the server was rolled back: the caller sends what it has seen here before.
local epoch, halted, opens = sweep[5], sweep[7], math.min(tonumber(sweep[9] or '') or 0, now + lease)
local mark = tonumber(sweep[6] or '') or 0
local known, seen, loss = ARGV[7], tonumber(ARGV[8]), 0
local found, informed, watches = '', false, ARGV[11] ~= '0'
if known ~= '' and not halted then
  if known == epoch then
    informed = mark - seen < 3000 -- It has seen nearly the end of the stored data.
    -- Other sweepers may have swept since without that knowledge; but they left the gap.
    local gap = redis.call('ZRANGEBYSCORE', P .. 'gaps', '(' .. string.format('%.0f', seen), '+inf', 'LIMIT', 0, 1)
    local from = seen > mark and mark or tonumber(gap[1] or seen)
    loss = math.max(0, seen - from)
    if loss > 0 then
      found = loss > tonumber(ARGV[12]) and 'back' or 'slipped'
      redis.call('HINCRBY', P .. 'stats', 'went_back', 1)
      if found == 'slipped' then redis.call('HSET', P .. 'sweep', 'slipped', 1, 'floor', now) end
      if gap[1] and seen <= mark then redis.call('ZREM', P .. 'gaps', gap[1]) end
    end
  elseif not (sweep[8] and string.find(sweep[8], known, 1, true)) then
    found = ARGV[9] == '1' and 'other' or 'new'
    -- A copy from before the first sweep: it is as old as the last change of a thread.
    local last = not epoch and redis.call('ZREVRANGE', P .. 'threads', 0, 0, 'WITHSCORES')[2]
    if last and found == 'other' then found, loss = 'back', math.max(0, seen - tonumber(last)) end
  end
  if found == 'back' or found == 'other' then
    halted = table.concat({found, known, string.format('%.0f', seen - loss), string.format('%.0f', seen)}, ' ')
    redis.call('HSET', P .. 'sweep', 'halted', halted)
  end
elseif halted then
  found = 'halted'
end
if not watches then
  epoch = epoch or ''
elseif not epoch then
  epoch, mark = ARGV[10], now
  redis.call('HSET', P .. 'sweep', 'epoch', epoch, 'mark', now, 'opens', 0, 'shuts', now + ARGV[11])
elseif now - mark >= 100 then
  if now - mark > tonumber(ARGV[11]) then -- Another sweeper may have seen more: wait for it, or for a lease.
    redis.call('ZADD', P .. 'gaps', now, string.format('%.0f', mark))
    redis.call('ZREMRANGEBYRANK', P .. 'gaps', 0, -101)
    opens = now + lease
  end
  if informed then opens = math.min(opens, now) end
  mark = now
  redis.call('HSET', P .. 'sweep', 'mark', now, 'opens', opens, 'shuts', now + ARGV[11])
elseif informed and opens > now then
  opens = now
  redis.call('HSET', P .. 'sweep', 'opens', opens)
end
local state = {epoch, mark, found, loss}
if halted or opens > now then return {0, {}, {}, {}, {}, state} end
if found == 'slipped' or sweep[10] then
  -- A step claimed in the copy may be completed: its owner is alive, and does not have that claim. Until they are
  -- released, which takes `slipped` away.
  state[3] = 'slipped'
  return {0, redis.call('ZRANGE', P .. 'leases', 0, -1), {}, {}, {}, state}
end

-- Nothing here can lie ahead, unless it was altered or the server's clock was set back.
local last, since = math.min(tonumber(sweep[3] or '') or 0, now), math.min(tonumber(sweep[4] or '') or now, now)
local ends = tonumber(sweep[2] or '') or 0
if now - last > silence then since = now end
if sweep[1] and sweep[1] ~= leader and ends > now and ends <= now + lead then
  -- A dead leader is no silence: that others ask shows that keepers could have renewed.
  if now - last > silence / 2 then redis.call('HSET', P .. 'sweep', 'last', now, 'since', since) end
  return {0, {}, {}, {}, {}, state}
end
redis.call('HSET', P .. 'sweep', 'leader', leader, 'until', now + lead, 'last', now, 'since', since)

local owners = {}
if now - since >= lease then
  owners = redis.call('ZRANGEBYSCORE', P .. 'leases', '-inf', '(' .. now)
end

local empty = {}
for i = 13, #ARGV do empty[ARGV[i]] = true end
local due = {}
-- Return a member if its step is really ready (or its timer due) and its run active.
local function hand_out(member, from)
  local step, thread = string.sub(member, 1, 32), string.sub(member, 33)
  local T = P .. 't:' .. thread .. ':'
  redis.call('ZREM', from, member)
  local s = redis.call('HMGET', T .. 's:' .. step, 'queue', 'owner', 'wait', 'step', 'due', 'cp')
  local status = redis.call('HGET', T .. 'head', 'status')
  if not (s[1] and s[4]) or s[2] or redis.call('SISMEMBER', T .. 'done', step) == 1 then return end
  if status ~= 'running' and status ~= 'queued' then return end
  if s[3] and not (s[3] == 'timer' and (tonumber(s[5] or '') or now + 1) <= now) then return end
  if s[3] then redis.call('HDEL', T .. 's:' .. step, 'wait', 'due') end
  redis.call('ZADD', P .. 'unsent', now, member)
  due[#due + 1] = {member, s[6] or '', s[4]}
end
local function hand_out_until(key, score)
  if #due >= batch then return end
  local members = redis.call('ZRANGEBYSCORE', key, '-inf', score, 'LIMIT', 0, batch - #due)
  for _, member in ipairs(members) do hand_out(member, key) end
end

hand_out_until(P .. 'timers', now)
hand_out_until(P .. 'unsent', now - grace)
for _, queue in ipairs(redis.call('SMEMBERS', P .. 'queues')) do
  -- Queues are first-in first-out: what was sent before a message that was claimed has left the queue.
  local mark = (tonumber(redis.call('HGET', P .. 'marks', queue) or '') or 0) - grace
  if ARGV[6] ~= '' and redis.call('LLEN', ARGV[6] .. queue) == 0 then empty[queue] = true end
  if empty[queue] then mark = now - grace end
  hand_out_until(P .. 'ready:' .. queue, '(' .. string.format('%.0f', mark))
end

local stuck = {}
for _, thread in ipairs(redis.call('ZRANGEBYSCORE', P .. 'stuck', '-inf', now - grace, 'LIMIT', 0, batch)) do
  local T = P .. 't:' .. thread .. ':'
  local h = redis.call('HMGET', T .. 'head', 'checkpoint_id', 'local')
  local planned = ids_of(data_of(T), h[1] or '')
  local step = string.match(planned, '%S+')
  local s = step and redis.call('HMGET', T .. 's:' .. step, 'cp', 'step') or {}
  redis.call('ZADD', P .. 'stuck', now, thread)
  if not h[1] then redis.call('ZREM', P .. 'stuck', thread) end
  if s[2] and h[2] ~= '1' then stuck[#stuck + 1] = {step .. thread, s[1] or '', s[2]} end
end
local waiting = {}
for _, thread in ipairs(redis.call('ZRANGEBYSCORE', P .. 'waiting', '-inf', now - grace, 'LIMIT', 0, batch)) do
  local T = P .. 't:' .. thread .. ':'
  local h = redis.call('HMGET', T .. 'head', 'status', 'updated_ms')
  local is_idle = h[1] ~= 'running' and h[1] ~= 'queued' and h[1] ~= 'paused'
  if not is_idle or redis.call('EXISTS', T .. 'line') == 0 then
    redis.call('ZREM', P .. 'waiting', thread)
  elseif (tonumber(h[2] or '') or 0) <= now - grace then
    waiting[#waiting + 1] = thread
  end
end
return {1, owners, due, stuck, waiting, state}
