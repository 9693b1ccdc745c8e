-- Read one thread and every entry that names it at one instant; change it if it is unchanged since it was read. (INV-7)
--
-- KEYS[1]  prefix of the thread's partition      KEYS[2]  prefix of the thread's keys
-- ARGV[1]  thread id   ARGV[2]  what an earlier call found, or '': only read
-- ARGV[3]  how many changes, then for each: how many words, the command, 'P' or 'T', the rest of the key, its arguments
-- ... then how many events, and for each: its type, how many fields, their names and values
--
-- Returns {now, 1 if changed, {the values found}, header, plan, {keys of another type than they should have}}
-- Nothing is trusted: a key of a wrong type is returned, not an error. Every value seen is '' (missing) or '=' and the
-- value; `SeenHead` and `SeenStep` in `decode.py` reads them in the order in which they are put here.

local P, T, thread = KEYS[1], KEYS[2], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local seen, wrong, known = {}, {}, {}

local function ask(...)
  local answer = redis.pcall(...)
  if type(answer) == 'table' and answer.err then
    local key = select(2, ...)
    if not known[key] then wrong[#wrong + 1], known[key] = key, true end
    return nil
  end
  return answer
end
local function put(value) seen[#seen + 1] = value and '=' .. value or '' end
local function put_all(key, names)
  local values = ask('HMGET', key, unpack(names)) or {}
  for i = 1, #names do put(values[i]) end
  return values
end
-- A time in an index: missing, `far` (ahead, so an error) or `near`.
local function put_time(score) put(score and (tonumber(score) > now + 1000 and 'far' or 'near')) end

local head = put_all(T .. 'head', {'status', 'checkpoint_id', 'run_id', 'graph', 'open', 'fence', 'seq', 'local', 'created_ms',
  'updated_ms', 'seal'})
-- See `head_seal` in `envelope/sealed_records.py`.
local sealed = ask('HMGET', T .. 'head', 'graph', 'fingerprint', 'run_id', 'config', 'stop', 'breaks_seen', 'resumes', 'local', 'owner', 'error') or {}
local any = false
for i = 1, 10 do
  local value = sealed[i] or ''
  any = any or value ~= ''
  sealed[i] = #value .. ':' .. value
end
local made = head[11] or ''
local fits = made == '-' or (made == '' and not any)
if not fits and redis.sha1hex then fits = made == string.sub(redis.sha1hex(thread .. table.concat(sealed)), 1, 16) end
put(fits and '1')
local newest = ask('ZREVRANGE', T .. 'ids', 0, 0)
put(newest and newest[1])
local last = ask('XREVRANGE', T .. 'ev', '+', '-', 'COUNT', 1)
put(last and last[1] and last[1][1])
local id = head[2] or ''
put(ask('ZSCORE', T .. 'ids', id))
local header, refs, ns, plan, planned = parts_of(function(field) return ask('HGET', T .. 'data', field) end, id)
put(header ~= '' and '1')
put(plan ~= '' and '1')
put(refs)
put(ns)
put(planned)
put(ask('HEXISTS', T .. 'data', newest and newest[1] or '') == 1 and '1')
local lost = {}
for name in string.gmatch(refs, '[^\n]+') do
  if ask('HEXISTS', T .. 'data', name) == 0 then lost[#lost + 1] = name end
end
put(table.concat(lost, '\n'))
put(table.concat(ask('LRANGE', T .. 'line', 0, -1) or {}, '\n'))
local begins = ask('HKEYS', T .. 'begins') or {}
table.sort(begins)
put(table.concat(begins, '\n'))
put_time(ask('ZSCORE', P .. 'waiting', thread))
put_time(ask('ZSCORE', P .. 'stuck', thread))
put(ask('ZSCORE', P .. 'threads', thread) and '1')

local function put_step(step)
  local record, member = T .. 's:' .. step, step .. thread
  put(step)
  put(ask('SISMEMBER', T .. 'done', step) == 1 and '1')
  put(ask('HEXISTS', T .. 'data', '/' .. step) == 1 and '1')
  local s = put_all(record, {'step', 'cp', 'queue', 'arg', 'wait', 'owner', 'fence', 'attempt', 'due', 'settled', 'failures',
    'deaths'})
  local asked, open = 0, 0
  if s[5] or s[10] then
    local answered = {}
    for _, field in ipairs(ask('HKEYS', record) or {}) do answered[field] = true end
    for field in pairs(answered) do
      if string.sub(field, 1, 4) == 'ask:' then
        asked = asked + 1
        if not answered['ans:' .. string.sub(field, 5)] then open = open + 1 end
      end
    end
  end
  put(asked)
  put(open)
  put(s[4] and s[4] ~= '' and ask('HEXISTS', T .. 'data', s[4]) == 1 and '1')
  local queue = s[3] or ''
  put(ask('SISMEMBER', P .. 'queues', queue) == 1 and '1')
  put_time(ask('ZSCORE', P .. 'ready:' .. queue, member))
  put_time(ask('ZSCORE', P .. 'unsent', member))
  put(ask('ZSCORE', T .. 'later', step))
  put(ask('ZSCORE', P .. 'timers', member))
  put(s[6] and ask('SISMEMBER', P .. 'claims:' .. s[6], member) == 1 and '1')
  put(s[6] and ask('ZSCORE', P .. 'leases', s[6]) and '1')
end
for step in string.gmatch(planned, '%S+') do put_step(step) end

local changed = 0
if ARGV[2] ~= '' and ARGV[2] == table.concat(seen, '\30') then
  local at = 2
  local function take() at = at + 1 return ARGV[at] end
  local function take_list()
    local list = {}
    for i = 1, tonumber(take()) do list[i] = take() end
    return list
  end
  for _ = 1, tonumber(take()) do
    local words = take_list()
    local key = (words[2] == 'P' and P or T) .. words[3]
    redis.call(words[1], key, unpack(words, 4))
  end
  for _ = 1, tonumber(take()) do
    local kind, fields = take(), take_list()
    local L, root = T, string.match(thread, '^([^\31]*)\31')
    if root then -- The thread of a subgraph: the log is that of the thread around it, if there is one.
      local outer = P .. 't:' .. root .. ':'
      if redis.call('EXISTS', outer .. 'head') == 1 then L = outer end
    end
    if redis.call('EXISTS', L .. 'head') == 1 then
      local seq = redis.call('HINCRBY', L .. 'head', 'seq', 1)
      redis.pcall('XADD', L .. 'ev', 'MAXLEN', '~', 10000, seq .. '-0', 'ts', now, 'type', kind, unpack(fields))
    end
  end
  changed = 1
end
return {now, changed, seen, header, plan, wrong}
