-- Delete child threads, and with them or after them the thread itself, with every entry of an index that names one. (INV-3)
--
-- KEYS[1]  prefix of the thread's partition      KEYS[2]  prefix of the thread's keys
-- ARGV[1]  thread id   ARGV[2]  1: delete the thread, too   ARGV[3]  how many records of steps one call deletes at most
-- ARGV[4..] ids of child threads
--
-- Returns {refusal, how many records of steps are left}; while any is left, the same call again deletes more of them.
-- From the first call on no thread of these exists. Its remaining step ids are in `gone`.

local P, T = KEYS[1], KEYS[2]
local thread, whole, budget = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local refused = busy_of(P, T, now)
-- A head may be lost, or was deleted by an earlier call.
if refused == 'unknown_thread' and redis.call('EXISTS', T .. 'gone', T .. 'data') > 0 then refused = nil end
-- Without its checkpoints no run of it can continue, whatever its head says.
if refused == 'wrong_status' and redis.call('EXISTS', T .. 'data') == 0 then refused = nil end
if refused then return {refused, 0} end

local left, floor = 0, 0
local function forget(step, id)
  local C, member = P .. 't:' .. id .. ':', step .. id
  local s = redis.call('HMGET', C .. 's:' .. step, 'queue', 'owner', 'fence')
  floor = math.max(floor, (tonumber(s[3] or '') or 0) + 1) -- The head, which has the greatest, may be lost.
  if s[2] then redis.call('SREM', P .. 'claims:' .. s[2], member) end
  if s[1] and s[1] ~= '' then redis.call('ZREM', P .. 'ready:' .. s[1], member) end
  redis.call('ZREM', P .. 'unsent', member)
  redis.call('ZREM', P .. 'timers', member)
  redis.call('UNLINK', C .. 's:' .. step, C .. 's:' .. step .. ':aside')
end

local WHOLE = {'head', 'data', 'ids', 'done', 'later', 'keys', 'line', 'begins', 'ev', 'ev:packed', 'children', 'gone'}
local function erase(id)
  local C = P .. 't:' .. id .. ':'
  local h = redis.call('HMGET', C .. 'head', 'checkpoint_id', 'fence')
  local ids = (h[1] and ids_of(data_of(C), h[1]) or '') .. ' ' .. (redis.call('GET', C .. 'gone') or '')
  floor = math.max(floor, (tonumber(h[2] or '') or 0) + 1)
  for _, name in ipairs(WHOLE) do redis.call('UNLINK', C .. name, C .. name .. ':aside') end
  for _, index in ipairs({'threads', 'stuck', 'waiting'}) do redis.call('ZREM', P .. index, id) end
  local root, ns = string.match(id, '^([^\31]*)\31(.*)$')
  if root then redis.call('SREM', P .. 't:' .. root .. ':children', ns) end
  local rest = {}
  for step in string.gmatch(ids, '%S+') do
    if budget > 0 then
      forget(step, id)
      budget = budget - 1
    else
      rest[#rest + 1] = step
    end
  end
  if #rest > 0 then redis.call('SET', C .. 'gone', table.concat(rest, ' ')) end
  left = left + #rest
end

for i = 4, #ARGV do erase(ARGV[i]) end
if whole then erase(thread) end
-- No fence of a deleted thread is given again.
if floor > (tonumber(redis.call('HGET', P .. 'sweep', 'floor') or '') or 0) then redis.call('HSET', P .. 'sweep', 'floor', floor) end
return {'', left}
