-- Revokes an API key for good: its hash goes, so that no field that is taken away again makes it good. Doing it again
-- changes nothing.
-- KEYS[1]  key:<id>   hash
-- ARGV[1]  kept_s     int, how long it is still listed
-- Returns  1 if it was good until now, else 0
essential()
if redis.call('EXISTS', KEYS[1]) == 0 or redis.call('HEXISTS', KEYS[1], 'revoked_at') == 1 then return 0 end
redis.call('HSET', KEYS[1], 'revoked_at', num(now()))
redis.call('HDEL', KEYS[1], 'sha256', 'code')
redis.call('EXPIRE', KEYS[1], ARGV[1])
return 1
