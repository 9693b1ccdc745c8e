-- Functions to give a step to an owner; shared source of the scripts that do. (INV-2, INV-3)

-- Returns why nothing of a partition may run, if its server has gone back in time; whether it has not been swept since it
-- was silent; and the least fence that was never given. See `sweep.lua`.
local function gate_of(P, now)
  local gate = redis.call('HMGET', P .. 'sweep', 'halted', 'opens', 'shuts', 'floor')
  local shut = gate[3] and (now < (tonumber(gate[2]) or 0) or now > (tonumber(gate[3]) or now))
  return gate[1], shut, tonumber(gate[4] or '') or 0
end

local function fence_after(last, floor) return math.max((tonumber(last or '') or 0) + 1, floor) end

-- Index a claim, and see that its owner has a lease.
local function hold(P, member, owner, lease, now)
  redis.call('SADD', P .. 'claims:' .. owner, member)
  local ends = redis.call('ZSCORE', P .. 'leases', owner)
  if not ends or tonumber(ends) < now + lease / 2 then
    redis.call('ZADD', P .. 'leases', 'GT', now + lease, owner)
  end
end
