-- Forgets what a tenant is entitled to. What the scheduler knows of it stays: its jobs may still wait.
-- KEYS[1]  tenant:<tenant>   hash
-- ARGV[1]  tenant
-- Returns  1
essential()
redis.call('ZREM', P .. 'tenants', ARGV[1])
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  if string.sub(field, 1, 3) ~= 'vt:' then redis.call('HDEL', KEYS[1], field) end
end
return 1
