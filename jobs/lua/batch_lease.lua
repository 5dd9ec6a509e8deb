-- Gives batches that nobody runs to a runner, each under a new epoch: whoever had it before can't write any more.
-- KEYS[1]  batches   zset
-- ARGV[1]  runner    who takes them
-- ARGV[2]  lease_s   float > 0
-- ARGV[3]  limit     int
-- Returns  {{"ok", record, id, jobs in flight}, ...}
essential()
local t, out = now(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', num(t), 'LIMIT', 0, ARGV[3])) do
  if redis.call('EXISTS', B .. id) == 0 then
    redis.call('ZREM', KEYS[1], id)
  else
    redis.call('HINCRBY', B .. id, 'epoch', 1)
    redis.call('HSET', B .. id, 'runner', ARGV[1])
    redis.call('ZADD', KEYS[1], num(t + tonumber(ARGV[2])), id)
    out[#out + 1] = batch_reply('ok', id)
  end
end
return out
