-- What a tenant has used of what it is entitled to.
-- KEYS[1]  used:<tenant>   hash
-- ARGV[1]  tenant
-- Returns  {unfinished jobs, megapixels today, bytes of uploads today, seconds until it is another day}
local t, tenant = now(), ARGV[1]
local index = P .. 'index:' .. tenant .. ':'
local unfinished = redis.call('ZCARD', index .. 'queued') + redis.call('ZCARD', index .. 'processing')
return {unfinished, num(used(tenant, 'megapixels', t)), num(used(tenant, 'bytes', t)), until_tomorrow(t)}
