-- How much there is of everything that waits or runs.
-- KEYS[1]  leases    zset; names the slot
-- ARGV[..] lanes     names
-- Returns  {name, count, ...}: waiting_<lane> and sent_<lane> for each lane, processing, outbox, undelivered, trash,
--          dead, waiting_suspect, secluded (workers)
local out = {}
local function put(name, count)
  out[#out + 1] = name
  out[#out + 1] = count
end
local function waiting(lane)
  local count = 0
  for _, tenant in ipairs(redis.call('ZRANGE', P .. 'ring:' .. lane, 0, -1)) do
    count = count + redis.call('ZCARD', P .. 'backlog:' .. lane .. ':' .. tenant)
  end
  return count
end
for _, lane in ipairs(ARGV) do
  put('waiting_' .. lane, waiting(lane))
  put('sent_' .. lane, redis.call('ZCARD', P .. 'sent:' .. lane))
end
put('processing', redis.call('ZCARD', KEYS[1]))
put('outbox', redis.call('ZCARD', P .. 'outbox'))
put('undelivered', redis.call('ZCARD', P .. 'undelivered'))
put('trash', redis.call('ZCARD', P .. 'trash'))
put('dead', redis.call('ZCARD', P .. 'dead'))
put('waiting_suspect', waiting('suspect'))
put('secluded', redis.call('ZCOUNT', P .. 'secluded', num(now()), '+inf'))
return out
