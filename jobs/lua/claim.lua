-- Gives a queued job to a worker: attempt + 1 and epoch + 1 before the worker reads a byte, so that a start that kills
-- the process is counted. Ends the job instead where its deadline is past or its attempts are used up.
-- KEYS[1]  job:<id>    hash
-- ARGV[1]  policy      JSON, see _common.lua
-- ARGV[2]  id          job id
-- ARGV[3]  worker      who claims
-- ARGV[4]  lease_s     float > 0
-- ARGV[5]  token       random, one per claim: the same call again after a lost answer is granted again
-- ARGV[6]  version     int, newest form of record that the caller reads
-- Returns  {"ok", record, id} | {"gone"|"not_queued"|"canceled"|"deadline"|"exhausted"}
essential()
local policy, id = cjson.decode(ARGV[1]), ARGV[2]
local job = load(id)
if not job then return {'gone'} end
if job.state == 'processing' and job.claim == ARGV[5] then return reply('ok', id) end
if job.state == 'canceled' then return {'canceled'} end
if job.state ~= 'queued' or tonumber(job.v) > tonumber(ARGV[6]) then return {'not_queued'} end

local t = now()
if job.deadline and t >= tonumber(job.deadline) then
  finish(id, job, 'failed', t, policy, {'failure', policy.deadline_failure})
  return {'deadline'}
end
local attempt, epoch = tonumber(job.attempt or 0) + 1, tonumber(job.epoch or 0) + 1
if attempt > policy.max_attempts then
  finish(id, job, 'failed', t, policy, {'failure', policy.interrupted_failure})
  return {'exhausted'}
end
unqueue(id, job)
local lease_until = num(t + tonumber(ARGV[4]))
redis.call('ZADD', P .. 'leases', lease_until, id)
move(id, job, 'processing', {'attempt', attempt, 'epoch', epoch, 'worker', ARGV[3], 'claim', ARGV[5],
  'lease_s', ARGV[4], 'lease_until', lease_until, 'started_at', num(t)})
if epoch == 1 then emit(id, job, 'started', t) end
return reply('ok', id)
