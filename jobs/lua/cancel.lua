-- The owner's wish: a queued job ends at once, a processing one at its worker's next beat, a finished one stays as it is.
-- KEYS[1]  job:<id>   hash
-- ARGV[1]  policy     JSON, see _common.lua
-- ARGV[2]  id         job id
-- ARGV[3]  tenant     whose job it must be
-- Returns  {"ok", record, id} | {"gone"}
essential()
local policy, id = cjson.decode(ARGV[1]), ARGV[2]
local job = load(id)
if not job or job.tenant ~= ARGV[3] then return {'gone'} end
if job.state == 'queued' then
  finish(id, job, 'canceled', now(), policy, {})
elseif job.state == 'processing' and not job.cancel then
  redis.call('HSET', KEYS[1], 'cancel', 1)
  redis.call('HINCRBY', KEYS[1], 'rev', 1)
end
return reply('ok', id)
