-- Batches whose report does not know their latest decisions; the caller has each for a while.
-- KEYS[1]  batches:decided   zset
-- ARGV[1]  limit             int
-- ARGV[2]  lease_s           float
-- Returns  ids
local t = now()
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', num(t), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do redis.call('ZADD', KEYS[1], num(t + tonumber(ARGV[2])), id) end
return ids
