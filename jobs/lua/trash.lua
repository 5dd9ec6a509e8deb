-- Whose objects are to be deleted now; each is held for a while, so that keepers do not do the same twice.
-- KEYS[1]  trash      zset
-- ARGV[1]  limit      int
-- ARGV[2]  hold_s     float, until it is offered again unless it was forgotten
-- Returns  {member, owner, JSON, ...}: the tenant and the result of a job, or "" and the spec of an upload; JSON "" where
--          there is nothing to delete
essential()
local t, out = now(), {}
for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', num(t), 'LIMIT', 0, ARGV[1])) do
  redis.call('ZADD', KEYS[1], num(t + tonumber(ARGV[2])), member)
  local kind, id = string.match(member, '^(%S+) (%S+)$')
  local owner, words
  if kind == 'job' then
    owner, words = unpack(redis.call('HMGET', P .. 'job:' .. id, 'tenant', 'result'))
  elseif kind == 'upload' then
    words = redis.call('HGET', P .. 'upload:' .. id, 'spec')
  end
  for _, word in ipairs({member, owner or '', words or ''}) do out[#out + 1] = word end
end
return out
