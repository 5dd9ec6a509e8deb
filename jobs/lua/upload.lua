-- Registers an upload, so that it can be named as an input and expires.
-- KEYS[1]  upload:<id>   hash
-- ARGV[1]  id
-- ARGV[2]  spec          JSON
-- ARGV[3]  ttl_s         float from now
-- Returns  expires_at
local expires = num(now() + tonumber(ARGV[3]))
redis.call('HSET', KEYS[1], 'spec', ARGV[2], 'expires_at', expires, 'pins', 0)
redis.call('ZADD', P .. 'uploads', expires, ARGV[1])
return expires
