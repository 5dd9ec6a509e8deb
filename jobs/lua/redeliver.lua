-- Tells callbacks once more: due now, by a fresh schedule, under the same id; their endpoints are taken to be back.
-- KEYS[1]  outbox       zset
-- ARGV[..] delivery ids
-- Returns  those that are told again; others have no job any more, or their event has not happened
essential()
local t, again = now(), {}
for _, delivery in ipairs(ARGV) do
  local key, job = P .. 'delivery:' .. delivery, load_told_of(delivery)
  if job and redis.call('EXISTS', key) == 1 then
    redis.call('ZREM', P .. 'gone', endpoint(job))
    redis.call('ZREM', P .. 'undelivered', delivery)
    redis.call('ZADD', KEYS[1], num(t), delivery)
    redis.call('HSET', key, 'before', redis.call('HGET', key, 'attempt'))
    redis.call('HDEL', key, 'delivered_at')
    again[#again + 1] = delivery
  end
end
return again
