-- Begins a new generation of a batch that ended: its rows that failed or were canceled are tried again.
-- KEYS[1]  batch:<id>   hash
-- ARGV[1]  id
-- ARGV[2]  tenant       whose it must be
-- Returns  {"ok", record, id, jobs in flight} | {"gone"} | {"illegal", state or why}
local id = ARGV[1]
local batch = load_batch(id)
if not batch or batch.tenant ~= ARGV[2] then return {'gone'} end
if not BATCH_ENDED[batch.state] then return {'illegal', batch.state} end
if batch.prepared ~= '1' then return {'illegal', 'never prepared'} end
local again = tonumber(batch.n_failed or 0) + tonumber(batch.n_canceled or 0)
if again == 0 then return {'illegal', 'nothing failed'} end
-- A byte tells a part's generation.
if tonumber(batch.generation) >= 200 then return {'illegal', 'retried too often'} end
redis.call('HINCRBY', KEYS[1], 'generation', 1)
redis.call('HSET', KEYS[1], 'state', 'running', 'next_part', 0, 'n_failed', 0, 'n_canceled', 0)
redis.call('HDEL', KEYS[1], 'completed_at', 'ending', 'failure', 'note', 'deadline')
redis.call('HINCRBY', KEYS[1], 'rev', 1)
redis.call('ZADD', P .. 'batches', 0, id)
redis.call('ZREM', P .. 'batches:old', id)
return batch_reply('ok', id)
