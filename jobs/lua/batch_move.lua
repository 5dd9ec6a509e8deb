-- Sets fields of a batch and, where a state is named, moves it there. A move that was made already is made again.
-- KEYS[1]  batch:<id>   hash
-- ARGV[1]  id
-- ARGV[2]  tenant       whose it must be; empty = anybody's
-- ARGV[3]  epoch        int, of the runner; empty = its owner's wish
-- ARGV[4]  to           a state, or empty
-- ARGV[5]  record_ttl_s int, how long the record of one that ended stays
-- ARGV[6..] name, value by turns; an empty value removes the field
-- Returns  {"ok", record, id, jobs in flight} | {"gone"|"fenced"} | {"illegal", state}
essential()
local id, to = ARGV[1], ARGV[4]
local batch = load_batch(id)
if not batch or (ARGV[2] ~= '' and batch.tenant ~= ARGV[2]) then return {'gone'} end
local why = ARGV[3] ~= '' and batch_refusal(batch, ARGV[3])
if why then return {why} end
if to ~= '' and batch.state == to then return batch_reply('ok', id) end
if to ~= '' and not batch_legal(batch.state, to) then return {'illegal', batch.state} end
local t = now()
for i = 6, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', KEYS[1], ARGV[i])
  else
    redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  end
end
redis.call('HINCRBY', KEYS[1], 'rev', 1)
if to == '' then return batch_reply('ok', id) end
redis.call('HSET', KEYS[1], 'state', to)
if to == 'running' and not batch.started_at then redis.call('HSET', KEYS[1], 'started_at', num(t)) end
if BATCH_ENDED[to] then
  redis.call('HSET', KEYS[1], 'completed_at', num(t))
  redis.call('ZREM', P .. 'batches', id)
  redis.call('ZADD', P .. 'batches:old', num(t + tonumber(ARGV[5])), id)
  emit_batch(id, batch, BATCH_ENDED[to], t)
else
  -- Its runner looks at once.
  if ARGV[3] == '' and not redis.call('ZSCORE', P .. 'batches', id) then redis.call('ZADD', P .. 'batches', 0, id) end
end
return batch_reply('ok', id)
