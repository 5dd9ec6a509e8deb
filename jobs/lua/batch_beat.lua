-- Renews a runner's lease, or ends it; says what there is to do.
-- KEYS[1]  batch:<id>   hash
-- ARGV[1]  id
-- ARGV[2]  epoch        int
-- ARGV[3]  lease_s      float; 0 = somebody else may have it
-- ARGV[4]  limit        int, ended items to name
-- Returns  {"ok", record, id, jobs in flight, now, {ended item, ...}, {open part, its rows, rows it has, ...}}
--          | {"gone"|"fenced"}
essential()
local id, t = ARGV[1], now()
local batch = load_batch(id)
local why = batch_refusal(batch, ARGV[2])
if why then return {why} end
if not BATCH_ENDED[batch.state] then redis.call('ZADD', P .. 'batches', num(t + tonumber(ARGV[3])), id) end
local open, parts = redis.call('HGETALL', B .. id .. ':open'), {}
for i = 1, #open, 2 do
  parts[#parts + 1] = open[i]
  parts[#parts + 1] = open[i + 1]
  parts[#parts + 1] = redis.call('HLEN', B .. id .. ':rows:' .. open[i])
end
local out = batch_reply('ok', id)
out[5] = num(t)
out[6] = redis.call('SRANDMEMBER', B .. id .. ':ended', ARGV[4])
out[7] = parts
return out
