-- A tenant's batches, newest first.
-- KEYS[1]  batches:<tenant>   zset
-- ARGV[1]  cursor             seq: only older ones; empty = from the newest
-- ARGV[2]  limit              int > 0
-- Returns  {seq of the last one or "", {"ok", record, id, jobs in flight}, ...}
local highest = ARGV[1] == '' and '+inf' or '(' .. ARGV[1]
local page = redis.call('ZREVRANGEBYSCORE', KEYS[1], highest, '-inf', 'WITHSCORES', 'LIMIT', 0, ARGV[2])
local out = {''}
for i = 1, #page, 2 do
  if redis.call('EXISTS', B .. page[i]) == 1 then out[#out + 1] = batch_reply('ok', page[i]) end
end
if #page >= 2 * tonumber(ARGV[2]) then out[1] = string.format('%.0f', page[#page]) end
return out
