-- Accepts a batch: record, index and idempotency entry, all or nothing.
-- KEYS[1]  batch:<id>          hash, must not exist
-- ARGV[1]  id
-- ARGV[2]  tenant
-- ARGV[3]  spec                JSON
-- ARGV[4]  code                over id, tenant and spec
-- ARGV[5]  idempotency key     sha256 of it, or empty
-- ARGV[6]  fingerprint         sha256 of the canonical request, or empty
-- ARGV[7]  idempotency_ttl_s   int
-- ARGV[8]  most                int, batches of a tenant that have not ended
-- ARGV[9]  deadline_s          float from now, or empty
-- ARGV[10] request             id of the call, or empty
-- ARGV[11] version             int, of the record's form
-- ARGV[12] price               float, of an hour of a device; empty = nobody said it
-- ARGV[13] currency            of the price
-- Returns  {"ok"|"replayed", record, id, jobs in flight} | {"mismatch"} | {"quota"}
local id, tenant = ARGV[1], ARGV[2]
local idem = ARGV[5] ~= '' and P .. 'batchidem:' .. tenant .. ':' .. ARGV[5] or nil
local entry = idem and redis.call('GET', idem)
if entry then
  local fingerprint, known = string.match(entry, '^(%S+) (%S+)$')
  if redis.call('EXISTS', B .. known) == 1 then
    if fingerprint ~= ARGV[6] then return {'mismatch'} end
    return batch_reply(known == id and 'ok' or 'replayed', known)
  end
end
if redis.call('EXISTS', KEYS[1]) == 1 then return batch_reply('ok', id) end
local open = 0
for _, known in ipairs(redis.call('ZRANGE', P .. 'batches', 0, -1)) do
  if redis.call('HGET', B .. known, 'tenant') == tenant then open = open + 1 end
end
if open >= tonumber(ARGV[8]) then return {'quota'} end
local t = now()
local seq = string.format('%.0f', math.max(math.floor(t * 1000000 + 0.5), tonumber(redis.call('GET', P .. 'seq') or 0) + 1))
redis.call('SET', P .. 'seq', seq)
redis.call('HSET', KEYS[1], 'v', ARGV[11], 'tenant', tenant, 'state', 'preparing', 'seq', seq, 'spec', ARGV[3],
  'code', ARGV[4], 'rev', 1, 'epoch', 0, 'generation', 1)
if ARGV[9] ~= '' then redis.call('HSET', KEYS[1], 'deadline', num(t + tonumber(ARGV[9]))) end
if ARGV[12] ~= '' then redis.call('HSET', KEYS[1], 'price', ARGV[12], 'currency', ARGV[13]) end
if ARGV[10] ~= '' then redis.call('HSET', KEYS[1], 'request', ARGV[10]) end
redis.call('ZADD', P .. 'batches', 0, id)
redis.call('ZADD', P .. 'batches:' .. tenant, seq, id)
if idem then redis.call('SET', idem, ARGV[6] .. ' ' .. id, 'EX', ARGV[7]) end
return batch_reply('ok', id)
