-- Gives a job back: to its place at the head of its backlog, or to its end where its owner canceled it meanwhile, its
-- deadline is past or its attempts are used up.
-- KEYS[1]  job:<id>   hash
-- ARGV[1]  policy     JSON, see _common.lua
-- ARGV[2]  id         job id
-- ARGV[3]  epoch      int, of the claim
-- ARGV[4]  charge     "1" = the attempt counts, "0" = it never was (drain, storage out of reach)
-- Returns  {"ok", record, id} | {"gone"|"fenced"|"illegal", state}
essential()
local policy, id, epoch = cjson.decode(ARGV[1]), ARGV[2], ARGV[3]
local job = load(id)
local why = refusal(job, epoch)
if why then return {why, job and job.state} end
if ARGV[4] == '0' then job.attempt = string.format('%d', tonumber(job.attempt) - 1) end
put_back(id, job, now(), policy)
return reply('ok', id)
