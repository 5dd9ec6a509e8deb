-- What somebody should have dealt with a while ago: no keeper is at work, or it does not keep up.
-- KEYS[1]  leases     zset; names the slot
-- ARGV[1]  grace_s    float, how late is too late
-- ARGV[2]  limit      int, of each kind
-- ARGV[3..] names     of zsets whose scores say when an entry is due
-- Returns  {name, member, seconds late, name, member, seconds late, ...}
local t, out = now(), {}
for i = 3, #ARGV do
  local late = redis.call('ZRANGEBYSCORE', P .. ARGV[i], '-inf', num(t - tonumber(ARGV[1])), 'WITHSCORES',
    'LIMIT', 0, ARGV[2])
  for k = 1, #late, 2 do
    out[#out + 1] = ARGV[i]
    out[#out + 1] = late[k]
    out[#out + 1] = string.format('%.0f', t - tonumber(late[k + 1]))
  end
end
return out
