-- What a worker can take now; forgotten when it stops saying so.
-- KEYS[1]  slots      hash   worker -> JSON
-- KEYS[2]  workers    zset   worker -> when its word ends
-- ARGV[1]  worker     who speaks; empty = nobody, only read
-- ARGV[2]  slots      JSON; empty = the worker leaves
-- ARGV[3]  ttl_s      float, how long the word holds
-- Returns  {JSON, ...} of all whose word still holds
essential()
local t = now()
if ARGV[1] ~= '' then
  if ARGV[2] == '' then
    redis.call('ZREM', KEYS[2], ARGV[1])
    redis.call('HDEL', KEYS[1], ARGV[1])
  else
    redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
    redis.call('ZADD', KEYS[2], num(t + tonumber(ARGV[3])), ARGV[1])
  end
  return {}
end
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', num(t))) do
  redis.call('ZREM', KEYS[2], worker)
  redis.call('HDEL', KEYS[1], worker)
end
return redis.call('HVALS', KEYS[1])
