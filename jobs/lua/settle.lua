-- How a delivery went. Settling one that is settled already changes nothing.
-- KEYS[1]  outbox        zset
-- ARGV[1]  delivery id
-- ARGV[2]  outcome       "delivered" | "retry" | "held" (not tried: the attempt is not counted) | "gave_up"
--                        | "gone" (given up, and its endpoint wants no more)
-- ARGV[3]  in_s          float, goes with "retry" and "held"; with "gone": how long the endpoint is left alone
-- ARGV[4]  error         sentence for the operator and the job's owner
-- Returns  1 if it was waiting to be settled, else 0
essential()
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
local key, outcome, t = P .. 'delivery:' .. ARGV[1], ARGV[2], now()
local due = t + tonumber(ARGV[3])
if outcome == 'held' then
  redis.call('ZADD', KEYS[1], num(due), ARGV[1])
  redis.call('HINCRBY', key, 'attempt', -1)
elseif outcome == 'retry' then
  redis.call('ZADD', KEYS[1], num(due), ARGV[1])
  redis.call('HSET', key, 'error', ARGV[4])
elseif outcome == 'delivered' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('HSET', key, 'delivered_at', num(t))
  redis.call('HDEL', key, 'error')
else
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('ZADD', P .. 'undelivered', num(t), ARGV[1])
  redis.call('HSET', key, 'error', ARGV[4])
  local job = outcome == 'gone' and load_told_of(ARGV[1])
  if job then
    redis.call('ZREMRANGEBYSCORE', P .. 'gone', '-inf', num(t))
    redis.call('ZADD', P .. 'gone', num(due), endpoint(job))
  end
end
return 1
