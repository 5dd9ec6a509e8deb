-- Makes a result visible, if the epoch is still the record's; the callback goes into the outbox in the same call.
-- A cancel that was asked for meanwhile loses: the work is done.
-- KEYS[1]  job:<id>   hash
-- ARGV[1]  policy     JSON, see _common.lua
-- ARGV[2]  id         job id
-- ARGV[3]  epoch      int, of the claim
-- ARGV[4]  result     JSON
-- ARGV[5]  cost       float, what the job really took; the tenant is charged the difference
-- ARGV[6]  megapixels float, of the picture; the tenant's account of the day is put right
-- ARGV[7]  gpu_s      float, that a device worked for it; the tenant's account has it by days
-- ARGV[8]  upsample_s float, of these, for enlarging
-- ARGV[9]  pace       what sort of job it was: its pace is remembered; empty = it is not
-- ARGV[10] faces      int, in the result
-- Returns  {"ok", record, id} | {"gone"|"fenced"|"illegal", state}
essential()
-- So many tenants are counted by name, in the order in which they were set up, besides `local`; the rest together: each
-- name is a series for every figure.
local NAMED = 100

local function counted_as(tenant)
  local rank = redis.call('ZRANK', P .. 'tenants', tenant)
  return (tenant == 'local' or rank and rank < NAMED) and tenant or 'other'
end

local policy, id, epoch = cjson.decode(ARGV[1]), ARGV[2], ARGV[3]
local job = load(id)
local why = refusal(job, epoch)
-- The same commit again, after its answer was lost: the worker must not take its own result for a zombie's.
if why == 'illegal' and job.state == 'succeeded' and job.result == ARGV[4] then return reply('ok', id) end
if why then return {why, job and job.state} end

local lane = lane_of(job)
finish(id, job, 'succeeded', now(), policy, {'result', ARGV[4], 'cost', ARGV[5]}, tonumber(ARGV[6]))
spend(job.tenant, tonumber(ARGV[7]), now())
if ARGV[9] ~= '' then note_pace(ARGV[9], tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[6])) end
local name = counted_as(job.tenant)
count('faces ' .. name, ARGV[10])
redis.call('HINCRBYFLOAT', P .. 'tally', 'megapixels ' .. name, ARGV[6])
redis.call('HINCRBYFLOAT', P .. 'tally', 'gpu_s ' .. name, ARGV[7])
local weight = tonumber(redis.call('HGET', P .. 'tenant:' .. job.tenant, 'weight') or 1)
local owed = num((tonumber(ARGV[5]) - tonumber(job.cost)) / weight)
if redis.call('ZSCORE', P .. 'ring:' .. lane, job.tenant) then
  redis.call('ZINCRBY', P .. 'ring:' .. lane, owed, job.tenant)
else
  redis.call('HINCRBYFLOAT', P .. 'tenant:' .. job.tenant, 'vt:' .. lane, owed)
end
return reply('ok', id)
