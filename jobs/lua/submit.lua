-- Accepts a job: idempotency entry, quota, record, index, backlog, deadline and the hold on its upload, all or nothing.
-- KEYS[1]  job:<id>            hash, must not exist
-- ARGV[1]  id                  job id
-- ARGV[2]  tenant
-- ARGV[3]  lane                interactive | batch
-- ARGV[4]  cost                float > 0, the scheduler's first idea
-- ARGV[5]  spec                JSON, what the submitter asked for
-- ARGV[6]  events              "completed,failed", empty without a callback
-- ARGV[7]  deadline_s          float from now, or empty
-- ARGV[8]  upload              id of the upload that is the input, or empty
-- ARGV[9]  idempotency key     sha256 of it, or empty
-- ARGV[10] fingerprint         sha256 of the canonical request, or empty
-- ARGV[11] idempotency_ttl_s   int
-- ARGV[12] quota               int, unfinished jobs a tenant may have unless its own record says otherwise
-- ARGV[13] version             int, of the record's form
-- Returns  {"ok"|"replayed", record, its id} | {"mismatch"} | {"quota", limit}
local id, tenant, lane = ARGV[1], ARGV[2], ARGV[3]
local idem = ARGV[9] ~= '' and P .. 'idem:' .. tenant .. ':' .. ARGV[9] or nil

-- A write that changes nothing: WAIT then has an offset to wait for, also when an earlier call made the record.
local function touched(status, known)
  redis.call('HSET', P .. 'job:' .. known, 'tenant', tenant)
  return reply(status, known)
end

if idem then
  local entry = redis.call('GET', idem)
  if entry then
    local fingerprint, known = string.match(entry, '^(%S+) (%S+)$')
    if redis.call('EXISTS', P .. 'job:' .. known) == 1 then
      if fingerprint ~= ARGV[10] then return {'mismatch'} end
      return touched(known == id and 'ok' or 'replayed', known)
    end
  end
end
-- The same call again, after its answer was lost.
if redis.call('EXISTS', KEYS[1]) == 1 then return touched('ok', id) end

local quota = tonumber(redis.call('HGET', P .. 'tenant:' .. tenant, 'quota') or ARGV[12])
local index = P .. 'index:' .. tenant .. ':'
if redis.call('ZCARD', index .. 'queued') + redis.call('ZCARD', index .. 'processing') >= quota then
  return {'quota', quota}
end

local t = now()
local seq = math.max(math.floor(t * 1000000 + 0.5), tonumber(redis.call('GET', P .. 'seq') or 0) + 1)
local job = {tenant = tenant, lane = lane, seq = string.format('%.0f', seq)}
local fields = {'v', ARGV[13], 'state', 'queued', 'tenant', tenant, 'lane', lane, 'seq', job.seq, 'cost', ARGV[4],
  'rev', 1, 'spec', ARGV[5]}
local function set(name, value)
  fields[#fields + 1] = name
  fields[#fields + 1] = value
end
if ARGV[6] ~= '' then set('events', ARGV[6]) end
if ARGV[7] ~= '' then
  job.deadline = num(t + tonumber(ARGV[7]))
  set('deadline', job.deadline)
end
local state_of_upload = ARGV[8] ~= '' and redis.call('HMGET', P .. 'upload:' .. ARGV[8], 'spec', 'gone')
local pinned = state_of_upload and state_of_upload[1] and not state_of_upload[2]
if pinned then set('upload', ARGV[8]) end

redis.call('HSET', KEYS[1], unpack(fields))
redis.call('SET', P .. 'seq', job.seq)
redis.call('ZADD', index .. 'queued', job.seq, id)
enqueue(id, job)
if pinned then
  redis.call('HINCRBY', P .. 'upload:' .. ARGV[8], 'pins', 1)
  redis.call('ZREM', P .. 'uploads', ARGV[8])
end
if idem then redis.call('SET', idem, ARGV[10] .. ' ' .. id, 'EX', ARGV[11]) end
return reply('ok', id)
