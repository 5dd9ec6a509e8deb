-- A person's decision about one item's result. The same one once more, right after it, changes nothing.
-- KEYS[1]  batch:<id>   hash
-- ARGV[1]  id
-- ARGV[2]  tenant       whose it must be
-- ARGV[3]  item         int
-- ARGV[4]  decision     accepted | rejected
-- ARGV[5]  note         may be empty
-- ARGV[6]  by           may be empty
-- ARGV[7]  most         int, decisions that may wait for storage
-- ARGV[8]  quiet_s      float, after the last decision a report is made anew
-- Returns  {"ok", decision (JSON), how many wait for storage} | {"gone"} | {"full"}
local id, item, log = ARGV[1], tonumber(ARGV[3]), B .. ARGV[1] .. ':decisions'
local batch = load_batch(id)
if not batch or batch.tenant ~= ARGV[2] then return {'gone'} end
for _, text in ipairs(redis.call('LRANGE', log, -10, -1)) do
  local said = cjson.decode(text)
  local same = said.decision == ARGV[4] and said.note == ARGV[5] and said.by == ARGV[6]
  if said.item == item and same then return {'ok', text, redis.call('LLEN', log)} end
end
if redis.call('LLEN', log) >= tonumber(ARGV[7]) then return {'full'} end
local t = now()
local text = cjson.encode({item = item, decision = ARGV[4], note = ARGV[5], by = ARGV[6], at = t})
local waiting = redis.call('RPUSH', log, text)
local was_decided = false
for _, name in ipairs({'accepted', 'rejected'}) do
  local is = name == ARGV[4] and 1 or 0
  local was = redis.call('SETBIT', B .. id .. ':' .. name, item, is)
  was_decided = was_decided or was == 1
  if was ~= is then redis.call('HINCRBY', KEYS[1], name, is - was) end
end
if not was_decided and redis.call('GETBIT', B .. id .. ':flagged', item) == 1 then
  redis.call('HINCRBY', KEYS[1], 'pending', -1)
end
-- A report that is being made, or is there, does not know of it yet.
if batch.state == 'completing' or BATCH_ENDED[batch.state] then
  redis.call('ZADD', P .. 'batches:decided', num(t + tonumber(ARGV[8])), id)
end
redis.call('HINCRBY', KEYS[1], 'rev', 1)
return {'ok', text, waiting}
