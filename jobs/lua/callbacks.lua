-- What became of callbacks. Reads only.
-- KEYS[1]  outbox       zset
-- ARGV[..] delivery ids; those whose event has not happened, or whose job is gone, are passed over
-- Returns  {{delivery id, tenant, url, at, attempts, due, given_up_at, delivered_at, error}, ...}; empty = not so
local out = {}
for _, delivery in ipairs(ARGV) do
  local job = load_told_of(delivery)
  local said = redis.call('HMGET', P .. 'delivery:' .. delivery, 'at', 'attempt', 'delivered_at', 'error')
  if job and said[1] then
    out[#out + 1] = {
      delivery, job.tenant, cjson.decode(job.spec).callback.url, said[1], said[2] or '0',
      redis.call('ZSCORE', KEYS[1], delivery) or '',
      redis.call('ZSCORE', P .. 'undelivered', delivery) or '',
      said[3] or '', said[4] or '',
    }
  end
end
return out
