-- How a delivery went. Settling one that is settled already changes nothing.
-- KEYS[1]  outbox        zset
-- ARGV[1]  delivery id
-- ARGV[2]  outcome       "delivered" | "retry" | "gave_up"
-- ARGV[3]  retry_in_s    float, goes with "retry"
-- ARGV[4]  error         sentence for the operator
-- Returns  1 if it was waiting to be settled, else 0
essential()
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then return 0 end
local key = P .. 'delivery:' .. ARGV[1]
if ARGV[2] == 'delivered' then
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('DEL', key)
elseif ARGV[2] == 'retry' then
  redis.call('ZADD', KEYS[1], num(now() + tonumber(ARGV[3])), ARGV[1])
  redis.call('HSET', key, 'error', ARGV[4])
else
  redis.call('ZREM', KEYS[1], ARGV[1])
  redis.call('ZADD', P .. 'undelivered', num(now()), ARGV[1])
  redis.call('HSET', key, 'error', ARGV[4])
end
return 1
