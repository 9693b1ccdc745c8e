-- Whether a thread can be deleted; shared source of the scripts that delete. (INV-9)

-- Returns why not: there is none, or it has a run that is active or queued, or a call holds it. A run in a process is active while that has a
-- lease, or a step is claimed.
local function busy_of(P, T, now)
  local head = redis.call('HMGET', T .. 'head', 'status', 'local', 'owner', 'checkpoint_id')
  if not head[1] then return 'unknown_thread' end
  if redis.call('EXISTS', T .. 'line', T .. 'hold') > 0 then return 'wrong_status' end
  if head[1] ~= 'queued' and head[1] ~= 'running' then return nil end
  if head[2] ~= '1' then return 'wrong_status' end
  local lease = head[3] and head[3] ~= '' and redis.call('ZSCORE', P .. 'leases', head[3])
  if lease and tonumber(lease) >= now then return 'wrong_status' end
  for step in string.gmatch(ids_of(data_of(T), head[4] or ''), '%S+') do
    if redis.call('HEXISTS', T .. 's:' .. step, 'owner') == 1 then return 'wrong_status' end
  end
  return nil
end
