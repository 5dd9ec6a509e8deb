-- The worker obeys a cancel that was asked for.
-- KEYS[1]  job:<id>   hash
-- ARGV[1]  policy     JSON, see _common.lua
-- ARGV[2]  id         job id
-- ARGV[3]  epoch      int, of the claim
-- Returns  {"ok", record, id} | {"gone"|"fenced"|"illegal", state}
essential()
local policy, id, epoch = cjson.decode(ARGV[1]), ARGV[2], ARGV[3]
local job = load(id)
local why = refusal(job, epoch)
if why == 'illegal' and job.state == 'canceled' then return reply('ok', id) end
if not why and not job.cancel then why = 'illegal' end
if why then return {why, job and job.state} end
finish(id, job, 'canceled', now(), policy, {})
return reply('ok', id)
