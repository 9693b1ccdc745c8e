-- A stored checkpoint; this stands before the scripts that read one. See `checkpoint_record` in `arguments.py`.

-- Returns its header, its plan, its refs by line, its namespace and the ids of its steps; all empty if it cannot be read.
local function parts_of(stored)
  local h, p, r, n, at = string.match(stored or '', '^(%d+) (%d+) (%d+) (%d+)\n()')
  if not h then return '', '', '', '', '' end
  local function part(size)
    at = at + size
    return string.sub(stored, at - size, at - 1)
  end
  return part(tonumber(h)), part(tonumber(p)), part(tonumber(r)), part(tonumber(n)), string.sub(stored, at)
end

-- Returns the ids of its steps alone, in one string.
local function ids_of(stored)
  local h, p, r, n, at = string.match(stored or '', '^(%d+) (%d+) (%d+) (%d+)\n()')
  return h and string.sub(stored, at + h + p + r + n) or ''
end
