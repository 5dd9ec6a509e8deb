-- Keeps a new API key, unless its tenant has as many active ones for the same scopes as it may have. The same call again,
-- after its answer was lost, changes nothing.
-- KEYS[1]  key:<id>     hash
-- ARGV[1]  id
-- ARGV[2]  tenant       must have been set up
-- ARGV[3]  sha256       of the key
-- ARGV[4]  scopes       "submit,read"
-- ARGV[5]  label
-- ARGV[6]  created_at   float
-- ARGV[7]  expires_at   float, or empty
-- ARGV[8]  code         see jobs/signing.py
-- ARGV[9]  max_active   int
-- Returns  "ok" | "no_tenant" | "full"
local id, tenant, index = ARGV[1], ARGV[2], P .. 'keys:' .. ARGV[2]
if not redis.call('ZSCORE', P .. 'tenants', tenant) then return 'no_tenant' end
if redis.call('EXISTS', KEYS[1]) == 1 then return 'ok' end
local t, active = now(), 0
for _, other in ipairs(redis.call('ZRANGE', index, 0, -1)) do
  local got = redis.call('HMGET', P .. 'key:' .. other, 'scopes', 'revoked_at', 'expires_at')
  local is_over = got[2] or (got[3] and tonumber(got[3]) <= t)
  if got[1] == ARGV[4] and not is_over then active = active + 1 end
end
if active >= tonumber(ARGV[9]) then return 'full' end
redis.call('HSET', KEYS[1], 'tenant', tenant, 'sha256', ARGV[3], 'scopes', ARGV[4], 'created_at', ARGV[6],
  'code', ARGV[8])
if ARGV[5] ~= '' then redis.call('HSET', KEYS[1], 'label', ARGV[5]) end
if ARGV[7] ~= '' then redis.call('HSET', KEYS[1], 'expires_at', ARGV[7]) end
redis.call('ZADD', index, ARGV[6], id)
return 'ok'
