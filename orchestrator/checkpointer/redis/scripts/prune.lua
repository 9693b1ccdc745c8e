-- Delete some of a thread's checkpoints, the oldest first, but not its head.
--
-- KEYS[1]  prefix of the thread's partition      KEYS[2]  prefix of the thread's keys
-- ARGV[1]  how many checkpoints one call deletes at most
--
-- Returns {refusal, 1 if there are more of them, {names of the values that the head needs}}; the names come with the last.
-- A checkpoint goes as a whole, with the outcomes of its steps. Values stay: others may need them.

local P, T = KEYS[1], KEYS[2]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local refused = busy_of(P, T, now)
if refused then return {refused, 0, {}} end

local kept, limit = data_of(T), tonumber(ARGV[1])
local head = redis.call('HGET', T .. 'head', 'checkpoint_id')
local found = redis.call('ZRANGE', T .. 'ids', 0, limit) -- One more than are deleted: the head may be among them.
local count = 0
for _, id in ipairs(found) do
  if id ~= head and count < limit then
    count = count + 1
    local fields = {id, id .. '+'}
    for step in string.gmatch(ids_of(kept, id), '%S+') do fields[#fields + 1] = '/' .. step end
    for i = 1, #fields, 256 do redis.call('HDEL', T .. 'data', unpack(fields, i, math.min(i + 255, #fields))) end
    redis.call('ZREM', T .. 'ids', id)
  end
end
if redis.call('ZCARD', T .. 'ids') > 1 then return {'', 1, {}} end

local header, refs, _, _, planned = parts_of(kept, head)
local needed, known = {}, {}
local function need(name)
  while name and not known[name] do
    known[name] = true
    needed[#needed + 1] = name
    name = needs(kept(name))[1]
  end
end
local function need_all(record)
  for _, name in ipairs(needs(record)) do need(name) end
end
need_all(header)
for name in string.gmatch(refs, '[^\n]+') do need(name) end
for step in string.gmatch(planned, '%S+') do
  need_all(kept('/' .. step))
  local arg = redis.call('HGET', T .. 's:' .. step, 'arg')
  if arg and arg ~= '' then need(arg) end
end
return {'', 0, needed}
