-- Callbacks that are due, each leased to the caller: another sender gets it only when that lease ends unsettled.
-- Those of an endpoint that said 410 Gone are not offered: they go to the undelivered ones at once.
-- KEYS[1]  outbox     zset
-- ARGV[1]  limit      int
-- ARGV[2]  lease_s    float
-- Returns  {{delivery id, attempt, at, record}, ...}; attempt: 1 for the first since it was put into the outbox
essential()
local t, out = now(), {}
for _, delivery in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', num(t), 'LIMIT', 0, ARGV[1])) do
  local key = P .. 'delivery:' .. delivery
  local record = redis.call('HGETALL', told_of(delivery))
  if #record == 0 then
    redis.call('ZREM', KEYS[1], delivery)
    redis.call('DEL', key)
  elseif gone(load_told_of(delivery), t) then
    redis.call('ZREM', KEYS[1], delivery)
    redis.call('ZADD', P .. 'undelivered', num(t), delivery)
    redis.call('HSET', key, 'error', 'not sent: the endpoint answered 410 Gone before')
  else
    redis.call('ZADD', KEYS[1], num(t + tonumber(ARGV[2])), delivery)
    local attempt = redis.call('HINCRBY', key, 'attempt', 1)
    local before = tonumber(redis.call('HGET', key, 'before') or 0)
    out[#out + 1] = {delivery, attempt - before, redis.call('HGET', key, 'at') or num(t), record}
  end
end
return out
