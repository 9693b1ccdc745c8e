-- Read a thread at one instant: its head, a checkpoint, and what belongs to it.
--
-- KEYS[1]  prefix of the thread's partition      KEYS[2]  prefix of the thread's keys
-- ARGV[1]  checkpoint id, or '' for the head     ARGV[2]  1: with values
-- Returns nil, or {now, head fields, checkpoint id, header, plan, blob names, namespace,
--         {name, value, ...}, {step id, fields, 1 if completed, ...}, {step id, outcome, ...},
--         1 if the head's owner has a lease that has not run out, {run id, how it begins, ...},
--         {name, value, ...} of what outcomes and header name}
-- Steps come with the head only.

local P, T = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local head = redis.call('HMGET', T .. 'head', 'checkpoint_id', 'owner')
local head_id, owner = head[1], head[2]
if not head_id then return nil end
local id = ARGV[1] ~= '' and ARGV[1] or head_id
local kept = data_of(T)
if redis.call('HEXISTS', T .. 'data', id) == 0 then return ARGV[1] == '' and {now} or nil end -- The head must have its checkpoint.
local header, refs, ns, plan, planned = parts_of(kept, id)

local steps, outcomes, names, named = {}, {}, {}, {}
local function name_all(record)
  for _, name in ipairs(needs(record)) do
    named[#named + 1] = name
    named[#named + 1] = kept(name)
  end
end
name_all(header)
for name in string.gmatch(refs, '[^\n]+') do names[#names + 1] = name end
for step in string.gmatch(planned, '%S+') do
  local outcome = kept('/' .. step)
  if outcome then
    outcomes[#outcomes + 1] = step
    outcomes[#outcomes + 1] = outcome
    name_all(outcome)
  end
  if id == head_id then
    local fields = redis.call('HGETALL', T .. 's:' .. step)
    steps[#steps + 1] = step
    steps[#steps + 1] = fields
    steps[#steps + 1] = redis.call('SISMEMBER', T .. 'done', step)
    local arg = redis.call('HGET', T .. 's:' .. step, 'arg')
    if arg and arg ~= '' then names[#names + 1] = arg end
  end
end
local blobs, known = {}, {}
if ARGV[2] == '1' then
  for _, name in ipairs(names) do bring(T .. 'data', name, known, blobs) end
end
local line = {}
for _, run in ipairs(redis.call('LRANGE', T .. 'line', 0, -1)) do
  line[#line + 1] = run
  line[#line + 1] = redis.call('HGET', T .. 'begins', run)
end
local lease = owner and owner ~= '' and redis.call('ZSCORE', P .. 'leases', owner)
local alive = lease and tonumber(lease) >= now and 1 or 0
return {now, redis.call('HGETALL', T .. 'head'), id, header, plan, refs, ns, blobs, steps, outcomes, alive, line, named}
