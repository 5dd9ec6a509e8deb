-- The owner's wish to have everything of a finished job removed: results and upload go at the sweeper's next round, the
-- record within a minute of them. Doing it again changes nothing.
-- KEYS[1]  job:<id>   hash
-- ARGV[1]  policy     JSON, see _common.lua; not needed
-- ARGV[2]  id         job id
-- ARGV[3]  tenant     whose job it must be
-- Returns  {"ok", record} | {"gone"} | {"illegal", state}
essential()
local id = ARGV[2]
local job = load(id)
if not job or job.tenant ~= ARGV[3] then return {'gone'} end
if job.state == 'queued' or job.state == 'processing' then return {'illegal', job.state} end
local t = now()
redis.call('ZREM', P .. 'expiry', id)
if job.state ~= 'expired' then
  move(id, job, 'expired', {})
  if job.result then redis.call('ZADD', P .. 'trash', num(t), 'job ' .. id) end
end
redis.call('ZADD', P .. 'retire', num(t), id)
-- An upload that other jobs still wait for stays until they have ended.
local upload = job.upload and P .. 'upload:' .. job.upload
if upload and redis.call('EXISTS', upload) == 1 then
  redis.call('HSET', upload, 'expires_at', num(t))
  if tonumber(redis.call('HGET', upload, 'pins')) <= 0 then redis.call('ZADD', P .. 'uploads', num(t), job.upload) end
end
return reply('ok', id)
