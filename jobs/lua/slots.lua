-- What a worker can take now; forgotten when it stops saying so. It hears whether it is to take nothing but a suspect.
-- KEYS[1]  slots      hash   worker -> JSON
-- KEYS[2]  workers    zset   worker -> when its word ends
-- ARGV[1]  worker     who speaks; empty = nobody, only read
-- ARGV[2]  slots      JSON; empty = the worker leaves
-- ARGV[3]  ttl_s      float, how long the word holds
-- ARGV[4]  free       int, how many jobs the worker could take
-- ARGV[5]  effort     JSON, what a job takes of it; empty = not known. The last word is kept for when no worker is there
-- Returns  to a worker {"secluded"} or {}; to a reader {JSON, ...} of all whose word still holds
essential()
local t = now()
if ARGV[1] ~= '' then
  if ARGV[2] == '' then
    redis.call('ZREM', KEYS[2], ARGV[1])
    redis.call('HDEL', KEYS[1], ARGV[1])
    -- One that leaves with a suspect in hand keeps everything else away until it has let it go.
    if redis.call('ZSCORE', P .. 'secluded', ARGV[1]) ~= 'inf' then redis.call('ZREM', P .. 'secluded', ARGV[1]) end
    return {}
  end
  local until_t = num(t + tonumber(ARGV[3]))
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
  redis.call('ZADD', KEYS[2], until_t, ARGV[1])
  if ARGV[5] ~= '' then redis.call('SET', P .. 'effort', ARGV[5]) end
  if tonumber(ARGV[4]) > 0 and redis.call('EXISTS', P .. 'ring:interactive', P .. 'ring:batch') > 0 then nudge() end
  local secluded = redis.call('ZSCORE', P .. 'secluded', ARGV[1])
  if not secluded then return {} end
  if secluded ~= 'inf' then
    if redis.call('EXISTS', P .. 'ring:suspect') == 0 then
      redis.call('ZREM', P .. 'secluded', ARGV[1])
      return {}
    end
    redis.call('ZADD', P .. 'secluded', until_t, ARGV[1])
  end
  return {'secluded'}
end
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', num(t))) do
  redis.call('ZREM', KEYS[2], worker)
  redis.call('HDEL', KEYS[1], worker)
end
return redis.call('HVALS', KEYS[1])
