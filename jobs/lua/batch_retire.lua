-- Drops the records of batches that ended long ago. Their reports lie in storage and stay.
-- KEYS[1]  batches:old   zset
-- ARGV[1]  limit         int
-- Returns  how many
essential()
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', num(now()), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(ids) do
  local batch = load_batch(id)
  if batch then
    redis.call('ZREM', P .. 'batches:' .. batch.tenant, id)
    for generation = 1, batch.generation do
      for _, event in pairs(BATCH_ENDED) do
        local delivery = 'batchmsg_' .. string.sub(id, 7) .. '_' .. generation .. '_' .. event
        redis.call('ZREM', P .. 'outbox', delivery)
        redis.call('ZREM', P .. 'undelivered', delivery)
        redis.call('DEL', P .. 'delivery:' .. delivery)
      end
    end
    for _, part in ipairs(redis.call('HKEYS', B .. id .. ':open')) do redis.call('DEL', B .. id .. ':rows:' .. part) end
    for _, name in ipairs({':open', ':flight', ':ended', ':retry', ':parts', ':flagged', ':accepted', ':rejected',
      ':decisions', ''}) do redis.call('DEL', B .. id .. name) end
    redis.call('ZREM', P .. 'batches:decided', id)
  end
  redis.call('ZREM', KEYS[1], id)
end
return #ids
