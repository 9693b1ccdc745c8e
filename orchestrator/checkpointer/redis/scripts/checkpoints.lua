-- A stored checkpoint; shared source of the scripts that read one. See `checkpoint_records` in `encode.py`.
--
-- The plan of a wide superstep, and the ids of its steps, have a field of their own, `<id>+`: a claim on one of ten thousand
-- steps must not read all of them. `get` returns a field of the thread's data, most often that of `data_of`.

local SIZES = '^(%d+) (%d+) (%d+) (%d+)\n()'

local function data_of(T)
  return function(field) return redis.call('HGET', T .. 'data', field) end
end

-- Returns the plan and the ids in the field of their own.
local function apart_of(get, id)
  local stored = get(id .. '+') or ''
  local p, at = string.match(stored, '^(%d+)\n()')
  if not p then return '', '' end
  return string.sub(stored, at, at + p - 1), string.sub(stored, at + p)
end

-- Returns its header, its refs by line and its namespace, its plan and the ids of its steps; all empty if it cannot be read.
local function parts_of(get, id)
  local stored = get(id) or ''
  local h, p, r, n, at = string.match(stored, SIZES)
  if not h then return '', '', '', '', '' end
  local function part(size)
    at = at + size
    return string.sub(stored, at - size, at - 1)
  end
  local header, plan, refs, ns = part(tonumber(h)), part(tonumber(p)), part(tonumber(r)), part(tonumber(n))
  if plan == '' then return header, refs, ns, apart_of(get, id) end
  return header, refs, ns, plan, string.sub(stored, at)
end

-- Returns its header and its refs alone.
local function header_of(get, id)
  local stored = get(id) or ''
  local h, p, r, _, at = string.match(stored, SIZES)
  if not h then return '', '' end
  return string.sub(stored, at, at + h - 1), string.sub(stored, at + h + p, at + h + p + r - 1)
end

-- Returns the ids of its steps alone, in one string.
local function ids_of(get, id)
  local stored = get(id) or ''
  local h, p, r, n, at = string.match(stored, SIZES)
  if not h then return '' end
  if p ~= '0' then return string.sub(stored, at + h + p + r + n) end
  local _, ids = apart_of(get, id)
  return ids
end
