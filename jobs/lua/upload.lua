-- Registers an upload, so that it can be named as an input and expires.
-- KEYS[1]  upload:<id>   hash
-- ARGV[1]  id
-- ARGV[2]  spec          JSON
-- ARGV[3]  ttl_s         float from now, unless its tenant's own record says otherwise
-- ARGV[4]  tenant
-- ARGV[5]  size          bytes, as declared
-- Returns  {"ok", expires_at} | {"daily", limit, seconds until it is another day}
local t = now()
local own = redis.call('HMGET', P .. 'tenant:' .. ARGV[4], 'bytes', 'upload_ttl')
local limit, ttl = own[1], tonumber(own[2] or ARGV[3])
if limit and used(ARGV[4], 'bytes', t) + tonumber(ARGV[5]) > tonumber(limit) then
  return {'daily', limit, until_tomorrow(t)}
end
charge(ARGV[4], 'bytes', ARGV[5], t)
local expires = num(t + ttl)
redis.call('HSET', KEYS[1], 'spec', ARGV[2], 'expires_at', expires, 'pins', 0)
redis.call('ZADD', P .. 'uploads', expires, ARGV[1])
return {'ok', expires}
