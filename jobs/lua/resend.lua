-- Jobs that were sent and not claimed in time, marked as sent now: their messages may be lost, and doubling one does no harm.
-- KEYS[1]  sent:<lane>      zset
-- ARGV[1]  resend_after_s   float
-- ARGV[2]  limit            int
-- Returns  {id, ...}
essential()
local t, out = now(), {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', num(t - tonumber(ARGV[1])), 'LIMIT', 0, ARGV[2])) do
  if redis.call('HGET', P .. 'job:' .. id, 'state') == 'queued' then
    redis.call('ZADD', KEYS[1], num(t), id)
    out[#out + 1] = id
  else
    redis.call('ZREM', KEYS[1], id)
  end
end
if #out > 0 then count('resent', #out) end
return out
