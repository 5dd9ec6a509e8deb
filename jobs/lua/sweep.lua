-- What nobody else does: ends leases and deadlines that passed, expires results and uploads, drops old records.
-- KEYS[1]  leases     zset; names the slot
-- ARGV[1]  policy     JSON, see _common.lua
-- ARGV[2]  limit      int, at most so many of each kind in one call
-- Returns  {requeued, ended, overdue, expired, retired, uploads}: counts. ended = lapsed jobs that went to their end
essential()
-- How long the end of a process may be told late (seconds): twice as long as a supervisor tries.
local KEPT_S = 600
local policy, limit = cjson.decode(ARGV[1]), ARGV[2]
local t = now()
-- After a restart of Redis every lease looks old though its worker lives; give each its length again.
local uptime = tonumber(string.match(redis.call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
local requeued, ended, overdue, expired, retired, uploads = 0, 0, 0, 0, 0, 0

local function due(key)
  return redis.call('ZRANGEBYSCORE', P .. key, '-inf', num(t), 'LIMIT', 0, limit)
end

for _, id in ipairs(due('leases')) do
  local job = load(id)
  if not job or job.state ~= 'processing' then
    redis.call('ZREM', P .. 'leases', id)
  elseif uptime >= tonumber(job.lease_s) then
    put_back(id, job, t, policy, 'lapsed')
    if job.state == 'queued' then
      requeued = requeued + 1
      redis.call('SADD', P .. 'lapsed:' .. job.worker, id)
      redis.call('EXPIRE', P .. 'lapsed:' .. job.worker, KEPT_S)
    else
      ended = ended + 1
    end
  end
end
for _, id in ipairs(due('deadlines')) do
  local job = load(id)
  if job and job.state == 'queued' then
    finish(id, job, 'failed', t, policy, {'failure', policy.deadline_failure})
    overdue = overdue + 1
  else
    redis.call('ZREM', P .. 'deadlines', id)
  end
end
for _, id in ipairs(due('expiry')) do
  local job = load(id)
  redis.call('ZREM', P .. 'expiry', id)
  if job and legal(job.state, 'expired') then
    move(id, job, 'expired', {})
    if job.result then redis.call('ZADD', P .. 'trash', num(t), 'job ' .. id) end
    local kept = kept_s(job.tenant, 'record_ttl', policy)
    redis.call('ZADD', P .. 'retire', num(math.max(t, tonumber(job.completed_at) + kept)), id)
    expired = expired + 1
  end
end
for _, id in ipairs(due('retire')) do
  local job = load(id)
  -- The record names the objects: it stays until they are gone.
  if job and redis.call('ZSCORE', P .. 'trash', 'job ' .. id) then
    redis.call('ZADD', P .. 'retire', num(t + 60), id)
  else
    redis.call('ZREM', P .. 'retire', id)
    if job then
      redis.call('ZREM', P .. 'index:' .. job.tenant .. ':' .. job.state, id)
      redis.call('ZREM', P .. 'dead', id)
      for _, event in ipairs({'started', 'completed', 'failed', 'canceled'}) do
        local delivery = 'msg_' .. string.sub(id, 5) .. '_' .. event
        redis.call('ZREM', P .. 'outbox', delivery)
        redis.call('ZREM', P .. 'undelivered', delivery)
        redis.call('DEL', P .. 'delivery:' .. delivery)
      end
      redis.call('DEL', P .. 'job:' .. id)
      retired = retired + 1
    end
  end
end
for _, id in ipairs(due('uploads')) do
  redis.call('ZREM', P .. 'uploads', id)
  redis.call('ZADD', P .. 'trash', num(t), 'upload ' .. id)
  redis.call('HSET', P .. 'upload:' .. id, 'gone', 1)
  uploads = uploads + 1
end
return {requeued, ended, overdue, expired, retired, uploads}
