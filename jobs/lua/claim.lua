-- Gives a queued job to a worker; see `grant`. A suspect is not given in this way, and nothing is given to a worker that
-- has or awaits one: what was sent to it goes back to its place, to be sent again at once.
-- KEYS[1]  job:<id>    hash
-- ARGV[1]  policy      JSON, see _common.lua
-- ARGV[2]  id          job id
-- ARGV[3]  worker      who claims
-- ARGV[4]  lease_s     float > 0
-- ARGV[5]  token       random, one per claim: the same call again after a lost answer is granted again
-- ARGV[6]  version     int, newest form of record that the caller reads
-- Returns  {"ok", record, id} | {"gone"|"not_queued"|"canceled"|"deadline"|"exhausted"|"suspect"|"secluded"}
essential()
local policy, id, worker = cjson.decode(ARGV[1]), ARGV[2], ARGV[3]
local job = load(id)
if not job then return {'gone'} end
if job.state == 'processing' and job.claim == ARGV[5] then return reply('ok', id) end
if job.state == 'canceled' then return {'canceled'} end
if job.state ~= 'queued' or tonumber(job.v) > tonumber(ARGV[6]) then return {'not_queued'} end
if job.suspect then return {'suspect'} end

local t = now()
local secluded = redis.call('ZSCORE', P .. 'secluded', worker)
if secluded and tonumber(secluded) > t then
  hand_back(id, job)
  return {'secluded'}
end
local why = grant(id, job, t, policy, worker, ARGV[4], ARGV[5])
if why then return {why} end
return reply('ok', id)
