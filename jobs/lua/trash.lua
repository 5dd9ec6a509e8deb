-- Whose objects are to be deleted now; each is held for a while, so that keepers do not do the same twice.
-- KEYS[1]  trash      zset
-- ARGV[1]  limit      int
-- ARGV[2]  hold_s     float, until it is offered again unless it was forgotten
-- Returns  {member, JSON, ...}: the result of a job, or the spec of an upload, or "" where there is nothing to delete
essential()
local t, out = now(), {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', num(t), 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', KEYS[1], num(t + tonumber(ARGV[2])), member)
  local kind, id = string.match(member, '^(%S+) (%S+)$')
  local words = kind == 'job' and redis.call('HGET', P .. 'job:' .. id, 'result')
    or kind == 'upload' and redis.call('HGET', P .. 'upload:' .. id, 'spec')
  out[#out + 1] = member
  out[#out + 1] = words or ''
end
return out
