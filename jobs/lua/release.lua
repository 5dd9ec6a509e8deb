-- Gives a job back: to the head of its tenant's backlog, or to its end where its owner canceled it meanwhile, its
-- deadline is past or its attempts are used up. With a cause, the worker is about to die under it: see `accuse`; a lease
-- that ended just before does not spare it that.
-- KEYS[1]  job:<id>   hash
-- ARGV[1]  policy     JSON, see _common.lua
-- ARGV[2]  id         job id
-- ARGV[3]  epoch      int, of the claim
-- ARGV[4]  charge     "1" = the attempt counts, "0" = it never was (drain, storage out of reach)
-- ARGV[5]  cause      what the job does to its process, such as hang; or empty
-- Returns  {"ok", record, id} | {"gone"|"fenced"|"illegal", state}
essential()
local policy, id, epoch = cjson.decode(ARGV[1]), ARGV[2], ARGV[3]
local job = load(id)
local t = now()
if ARGV[5] ~= '' and job and job.epoch == epoch and has_lapsed(id, job, job.worker) then
  accuse_lapsed(id, job, t, policy, ARGV[5])
  return reply('ok', id)
end
local why = refusal(job, epoch)
if why then return {why, job and job.state} end
if ARGV[4] == '0' then job.attempt = string.format('%d', tonumber(job.attempt) - 1) end
if ARGV[5] ~= '' then accuse(id, job, t, ARGV[5]) end
put_back(id, job, t, policy, 'released')
return reply('ok', id)
