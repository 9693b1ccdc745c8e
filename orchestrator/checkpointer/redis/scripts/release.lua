-- Take all claims from an owner that is known to be dead, or has to stop; its steps are ready again.
--
-- KEYS[1]  prefix of a partition      ARGV[1]  owner      ARGV[2]  1: only if its lease has run out
-- ARGV[3]  1: count a death under each of its steps      ARGV[4]  the reason that each of them gets
-- ARGV[5]  a member, and ARGV[6] its fence: only this claim, which its owner has forgotten; '': all
-- Returns {how many, {{member, checkpoint, record} of each released step that has a queue and an active run}}.
-- Their messages are still to be sent; until then they are in `unsent`, where the sweeper finds them.

local P, owner = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lease = redis.call('ZSCORE', P .. 'leases', owner)
if ARGV[2] == '1' and lease and tonumber(lease) >= now then return {0, {}} end
local found, count = {}, 0
local one = ARGV[5] ~= '' and ARGV[5]
for _, member in ipairs(one and {one} or redis.call('SMEMBERS', P .. 'claims:' .. owner)) do
  local step, thread = string.sub(member, 1, 32), string.sub(member, 33)
  local T = P .. 't:' .. thread .. ':'
  local record = T .. 's:' .. step
  local s = redis.call('HMGET', record, 'owner', 'queue', 'step', 'fence', 'cp')
  if s[1] == owner and (not one or s[4] == ARGV[6]) then
    redis.call('HDEL', record, 'owner')
    redis.call('HSET', record, 'reason', ARGV[4])
    -- Damaged records must not keep others from being released.
    if ARGV[3] == '1' then redis.pcall('HINCRBY', record, 'deaths', 1) end
    local fields = {'step', step, 'owner', owner, 'fence', s[4] or ''}
    local L, root, ns = T, string.match(thread, '^([^\31]*)\31(.*)$')
    if root then -- The thread of a subgraph: the log is that of the thread around it, if there is one.
      fields[#fields + 1], fields[#fields + 2] = 'ns', ns
      local outer = P .. 't:' .. root .. ':'
      if redis.call('EXISTS', outer .. 'head') == 1 then L = outer end
    end
    local seq = redis.pcall('HINCRBY', L .. 'head', 'seq', 1)
    if type(seq) == 'number' then
      redis.pcall('XADD', L .. 'ev', 'MAXLEN', '~', 10000, seq .. '-0', 'ts', now, 'type', 'step_released', unpack(fields))
    end
    redis.pcall('HINCRBY', P .. 'stats', 'released', 1)
    if one then
      redis.call('SREM', P .. 'claims:' .. owner, one)
      redis.pcall('HINCRBY', P .. 'stats', 'forgotten', 1)
    end
    count = count + 1
    local status = redis.call('HGET', T .. 'head', 'status')
    if s[2] and s[2] ~= '' and s[3] and (status == 'running' or status == 'queued') then
      redis.call('ZADD', P .. 'unsent', now, member)
      found[#found + 1] = {member, s[5] or '', s[3]}
    end
  end
end
if not one then
  redis.call('DEL', P .. 'claims:' .. owner)
  redis.call('ZREM', P .. 'leases', owner)
end
return {count, found}
