-- Functions to return stored values; shared source of several scripts. (INV-11)
--
-- What begins with \2 or \4 needs other values to be whole: after its checksum come their names, one a line, up to an empty
-- line; see `envelope/seal.py`. Nothing of that is trusted here: the reader of the values checks them.

local function needs(stored)
  local names, at = {}, 10
  local layout = stored and string.byte(stored)
  if layout ~= 2 and layout ~= 4 then return names end
  while true do
    local last = string.find(stored, '\n', at, true)
    if not last or last == at then return names end
    names[#names + 1] = string.sub(stored, at, last - 1)
    at = last + 1
  end
end

-- Add a value to a list of names and values, and those that it continues, back to one that is known; it is known then.
local function bring(hash, name, known, list)
  while name and not known[name] do
    local value = redis.call('HGET', hash, name)
    known[name] = true
    list[#list + 1] = name
    list[#list + 1] = value
    name = needs(value)[1]
  end
end

