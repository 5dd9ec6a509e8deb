-- How much there is of everything that waits or runs.
-- KEYS[1]  leases    zset; names the slot
-- ARGV[..] lanes     names
-- Returns  {name, count, ...}: waiting_<lane> and sent_<lane> for each lane, processing, outbox, undelivered, trash
local out = {}
local function put(name, count)
  out[#out + 1] = name
  out[#out + 1] = count
end
for _, lane in ipairs(ARGV) do
  local waiting = 0
  for _, tenant in ipairs(redis.call('ZRANGE', P .. 'ring:' .. lane, 0, -1)) do
    waiting = waiting + redis.call('ZCARD', P .. 'backlog:' .. lane .. ':' .. tenant)
  end
  put('waiting_' .. lane, waiting)
  put('sent_' .. lane, redis.call('ZCARD', P .. 'sent:' .. lane))
end
put('processing', redis.call('ZCARD', KEYS[1]))
put('outbox', redis.call('ZCARD', P .. 'outbox'))
put('undelivered', redis.call('ZCARD', P .. 'undelivered'))
put('trash', redis.call('ZCARD', P .. 'trash'))
return out
