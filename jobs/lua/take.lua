-- Takes jobs out of the backlogs of one lane to be sent, fairly: the tenant served least, by cost and weight, is next.
-- Start-time fair queueing: a tenant's virtual time grows by cost / weight with each job; one that comes back after a
-- pause starts no earlier than the lane is now, so idling saves nothing up.
-- KEYS[1]  ring:<lane>   zset
-- ARGV[1]  lane
-- ARGV[2]  credits       int >= 0, how many at most
-- Returns  {id, ...}
essential()
local lane, ring, out = ARGV[1], KEYS[1], {}
local t = num(now())
while #out < tonumber(ARGV[2]) do
  local first = redis.call('ZRANGE', ring, 0, 0, 'WITHSCORES')
  if #first == 0 then break end
  local tenant, tag = first[1], tonumber(first[2])
  local backlog = P .. 'backlog:' .. lane .. ':' .. tenant
  local id = redis.call('ZRANGE', backlog, 0, 0)[1]
  if id then
    redis.call('ZREM', backlog, id)
    local got = redis.call('HMGET', P .. 'job:' .. id, 'state', 'cost')
    -- An entry without a queued record has nothing to send; dropping it is all there is to do.
    if got[1] == 'queued' then
      redis.call('ZADD', P .. 'sent:' .. lane, t, id)
      redis.call('HSET', P .. 'lanes', lane, num(tag))
      local weight = tonumber(redis.call('HGET', P .. 'tenant:' .. tenant, 'weight') or 1)
      redis.call('ZADD', ring, num(tag + tonumber(got[2]) / weight), tenant)
      out[#out + 1] = id
    end
  end
  if redis.call('EXISTS', backlog) == 0 then park(lane, tenant) end
end
return out
