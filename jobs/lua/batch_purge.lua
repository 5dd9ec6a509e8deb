-- The objects of settled items' jobs are gone: so are their records.
-- KEYS[1]  trash   zset
-- ARGV[..] job ids
-- Returns  how many were there
essential()
local count = 0
for _, id in ipairs(ARGV) do
  local job = load(id)
  if job and job.state == 'expired' then
    redis.call('ZREM', KEYS[1], 'job ' .. id)
    redis.call('ZREM', P .. 'retire', id)
    redis.call('ZREM', P .. 'index:' .. job.tenant .. ':expired', id)
    redis.call('DEL', P .. 'job:' .. id)
    count = count + 1
  end
end
return count
