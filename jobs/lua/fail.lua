-- Ends a job as failed: by the worker that holds it, or before any worker had it.
-- KEYS[1]  job:<id>   hash
-- ARGV[1]  policy     JSON, see _common.lua
-- ARGV[2]  id         job id
-- ARGV[3]  epoch      int, of the claim; empty = only if it is queued
-- ARGV[4]  failure    JSON
-- Returns  {"ok", record, id} | {"gone"|"fenced"|"illegal", state}
essential()
local policy, id, epoch = cjson.decode(ARGV[1]), ARGV[2], ARGV[3]
local job = load(id)
local why
if epoch ~= '' then
  why = refusal(job, epoch)
elseif not job then
  why = 'gone'
elseif job.state ~= 'queued' then
  why = 'illegal'
end
-- The same failure again, after its answer was lost.
if why == 'illegal' and job.state == 'failed' and job.failure == ARGV[4] then return reply('ok', id) end
if why then return {why, job and job.state} end
finish(id, job, 'failed', now(), policy, {'failure', ARGV[4]})
return reply('ok', id)
