-- Remembers when an API key was used, roughly.
-- KEYS[1]  key:<id>   hash
-- ARGV[1]  every_s    float: a use so soon after the last one that is known is not written
-- Returns  1 if it was written, else 0
essential()
local got, t = redis.call('HMGET', KEYS[1], 'tenant', 'used_at'), now()
if not got[1] or (got[2] and t - tonumber(got[2]) < tonumber(ARGV[1])) then return 0 end
redis.call('HSET', KEYS[1], 'used_at', num(t))
return 1
