-- A batch's report knows so many decisions; if there are more by now it is made once more.
-- KEYS[1]  batches:decided   zset
-- ARGV[1]  id
-- ARGV[2]  count             int, decisions that the report knows
-- ARGV[3]  size              int, decisions of a chunk
-- ARGV[4]  quiet_s           float
-- Returns  1 if that is all, else 0
local id = ARGV[1]
local stored = tonumber(redis.call('HGET', B .. id, 'decided') or 0)
local there = stored * tonumber(ARGV[3]) + redis.call('LLEN', B .. id .. ':decisions')
if there <= tonumber(ARGV[2]) then
  redis.call('ZREM', KEYS[1], id)
  return 1
end
redis.call('ZADD', KEYS[1], num(now() + tonumber(ARGV[4])), id)
return 0
