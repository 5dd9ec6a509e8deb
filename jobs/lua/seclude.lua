-- Chooses a worker to run a suspect: from now on it is given nothing else, so that it becomes empty. It hears of it when it
-- next says what it could take, or when a claim is refused; it is let off when no suspect waits any more.
-- KEYS[1]  secluded   zset
-- ARGV[1]  worker
-- ARGV[2]  limit      int, how many may be secluded at a time
-- ARGV[3]  ttl_s      float, until it is forgotten unless the worker says that it lives
-- Returns  1 if this worker was chosen, else 0
essential()
local t = now()
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', num(t))
if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
return redis.call('ZADD', KEYS[1], 'NX', num(t + tonumber(ARGV[3])), ARGV[1])
