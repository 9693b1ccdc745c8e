-- Give an owner the right to run a ready step, with what running it needs. (INV-2, INV-3)
--
-- KEYS[1]  prefix of the thread's partition      KEYS[2]  prefix of the thread's keys
-- ARGV[1]  thread id   ARGV[2]  step id   ARGV[3]  owner   ARGV[4]  lease, ms
-- ARGV[5]  when the message was sent, ms (0: unknown)      ARGV[6]  token of this attempt to claim
-- ARGV[7..] blobs the owner knows
--
-- Returns {refusal, detail, now} or
--         {"", "", now, head fields, step fields, header, blob names, {name, value, ...}}
-- A refusal `halted` says in its detail why nothing may run now: the partition was silent and has not been
-- swept since (''), or the server has gone back in time. See `sweep.lua`.
-- A claim is the only way to a new fence, and fences of a thread only grow: by `floor` also beyond those that were given
-- and then lost.

local P, T = KEYS[1], KEYS[2]
local thread, step, owner = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local head, record, member = T .. 'head', T .. 's:' .. step, step .. thread

local h = redis.call('HMGET', head, 'status', 'fence')
local status = h[1]
if not status then return {'unknown_thread', thread, now} end
if status ~= 'running' and status ~= 'queued' then return {'wrong_status', status, now} end
if redis.call('SISMEMBER', T .. 'done', step) == 1 then return {'completed', step, now} end
local halted, shut, floor = gate_of(P, now)
if halted then return {'halted', halted, now} end
local s = redis.call('HMGET', record, 'queue', 'wait', 'owner', 'due', 'cp', 'arg', 'token', 'attempt')
local queue = s[1]
if not queue then return {'unknown_step', step, now} end
-- The same attempt asks again when the answer to it was lost.
local again = s[3] and s[7] == ARGV[6]
if s[3] and not again then return {'claimed', step, now} end
if s[2] and not (s[2] == 'timer' and tonumber(s[4]) <= now) then return {'waiting', step, now} end
-- In process there is no sweeper.
if shut and queue ~= '' and not again then return {'halted', '', now} end

if not again then
  local fence = fence_after(h[2], floor)
  local attempt = tonumber(s[8] or 0) + 1
  redis.call('HSET', head, 'fence', fence)
  redis.call('HSET', record, 'owner', owner, 'fence', fence, 'token', ARGV[6], 'attempt', attempt, 'claimed', now)
  if s[2] then
    redis.call('HDEL', record, 'wait', 'due')
    redis.call('ZREM', P .. 'timers', member)
  end
  if queue ~= '' then
    if redis.call('ZREM', P .. 'ready:' .. queue, member) == 0 then
      redis.call('ZREM', P .. 'unsent', member)
    end
    local sent = tonumber(ARGV[5])
    -- The watermark moves in steps of 20 ms: fewer writes, and its grace is far longer.
    if sent > tonumber(redis.call('HGET', P .. 'marks', queue) or 0) + 20 then
      redis.call('HSET', P .. 'marks', queue, sent)
    end
  end
  hold(P, member, owner, ARGV[4], now)
  if status == 'queued' then redis.call('HSET', head, 'status', 'running') end
end

local known = {}
for i = 7, #ARGV do known[ARGV[i]] = true end
local header, refs = header_of(data_of(T), s[5] or '')
local blobs = {}
for name in string.gmatch(refs, '[^\n]+') do bring(T .. 'data', name, known, blobs) end
if s[6] and s[6] ~= '' then bring(T .. 'data', s[6], known, blobs) end
return {'', '', now, redis.call('HGETALL', head), redis.call('HGETALL', record), header, refs, blobs}
