-- Gives the next suspect, fairly between tenants, to a worker that holds nothing, and keeps everything else away from that
-- worker while it has it: a process that dies then names its cause.
-- KEYS[1]  held:<worker>   set
-- ARGV[1]  policy          JSON, see _common.lua
-- ARGV[2]  worker          who claims
-- ARGV[3]  lease_s         float > 0
-- ARGV[4]  token           random, one per claim: the same call again after a lost answer is granted again
-- ARGV[5]  version         int, newest form of record that the caller reads
-- Returns  {"ok", record, id} | {"none"|"not_alone"}
essential()
local policy, worker = cjson.decode(ARGV[1]), ARGV[2]
local held = redis.call('SMEMBERS', KEYS[1])
if #held > 0 then
  local job = load(held[1])
  if #held == 1 and job and job.claim == ARGV[4] then return reply('ok', held[1]) end
  return {'not_alone'}
end
local t = now()
while true do
  local id = next_in('suspect')
  if not id then return {'none'} end
  local job = load(id)
  if tonumber(job.v) > tonumber(ARGV[5]) then
    enqueue(id, job)
    return {'none'}
  end
  if not grant(id, job, t, policy, worker, ARGV[3], ARGV[4]) then
    redis.call('ZADD', P .. 'secluded', '+inf', worker)
    return reply('ok', id)
  end
end
