-- Takes jobs out of the backlogs of one lane to be sent, fairly: see `next_in`.
-- KEYS[1]  ring:<lane>   zset; names the slot
-- ARGV[1]  lane
-- ARGV[2]  credits       int >= 0, how many at most
-- ARGV[3]  sent          int, how many were on their way when the credits were counted; those that another feeder has sent
--                        since then are taken off the credits. Empty = the credits hold as they are
-- Returns  {id, ...}
essential()
local t, out, credits = num(now()), {}, tonumber(ARGV[2])
if ARGV[3] ~= '' then
  local sent = redis.call('ZCARD', P .. 'sent:interactive') + redis.call('ZCARD', P .. 'sent:batch')
  credits = credits - math.max(0, sent - tonumber(ARGV[3]))
end
while #out < credits do
  local id = next_in(ARGV[1])
  if not id then
    redis.call('SADD', P .. 'hungry', ARGV[1])
    break
  end
  redis.call('ZADD', P .. 'sent:' .. ARGV[1], t, id)
  out[#out + 1] = id
end
return out
