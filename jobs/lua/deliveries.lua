-- Callbacks that are due, each leased to the caller: another sender gets it only when that lease ends unsettled.
-- KEYS[1]  outbox     zset
-- ARGV[1]  limit      int
-- ARGV[2]  lease_s    float
-- Returns  {{delivery id, attempt, at, record}, ...}
essential()
local t, out = now(), {}
for _, delivery in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', num(t), 'LIMIT', 0, ARGV[1])) do
  local id = 'job_' .. string.match(delivery, '^msg_(%x+)_')
  local record = redis.call('HGETALL', P .. 'job:' .. id)
  if #record == 0 then
    redis.call('ZREM', KEYS[1], delivery)
    redis.call('DEL', P .. 'delivery:' .. delivery)
  else
    redis.call('ZADD', KEYS[1], num(t + tonumber(ARGV[2])), delivery)
    local attempt = redis.call('HINCRBY', P .. 'delivery:' .. delivery, 'attempt', 1)
    out[#out + 1] = {delivery, attempt, redis.call('HGET', P .. 'delivery:' .. delivery, 'at') or num(t), record}
  end
end
return out
